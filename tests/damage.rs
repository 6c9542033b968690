//! Damage to the files of a checkpoint, seen by the command that resumes: the state before it is taken, and the bits stay.
//!
//! `HEADSTART_FLIPS` says how many times; `make damage` has ten thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use headstart::manifest::Manifest;
use headstart_tests::processes::{address, coordinator, interrupted, worker};
use headstart_tests::{Draws, outcome, text, texts};
use tempfile::TempDir;

const SETS: [&str; 5] = [
    "max_steps=300",
    "save_steps=8",
    "resume_from_checkpoint=auto",
    "cluster.min_workers=1",
    "load_best_model_at_end=true",
];

/// A checkpoint's files, by their path below `output_dir`.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(root: &Path) -> Files {
    let mut found = Files::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).expect("it is there").flatten() {
            match entry.path() {
                path if path.is_dir() => left.push(path),
                path => {
                    let name = path.strip_prefix(root).expect("it lies below").to_owned();
                    found.insert(name, std::fs::read(&path).expect("readable"));
                }
            }
        }
    }
    found
}

fn write(root: &Path, files: &Files) {
    // There may be none yet.
    let _ = std::fs::remove_dir_all(root);
    for (name, content) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        std::fs::write(path, content).expect("writable");
    }
}

/// Manifests and what their states need, newest first.
fn states(files: &Files) -> Vec<(u64, BTreeSet<PathBuf>)> {
    let manifests = files.iter().filter(|(name, _)| name.starts_with("manifests"));
    let state = |(name, content): (&PathBuf, &Vec<u8>)| {
        let number = Manifest::number_of(name.file_name()?.to_str()?)?;
        let state = Manifest::open(number, content).expect("it is whole").0.state;
        let files = state.parts().flat_map(|parts| {
            parts.files.iter().map(move |piece| Path::new(&parts.directory).join(&piece.name))
        });
        Some((state.standing.version, files.chain([name.clone()]).collect()))
    };
    manifests.rev().map(|manifest| state(manifest).expect("it has a number")).collect()
}

/// A run that was ended between two commits, and its checkpoint.
fn ended() -> (TempDir, Files) {
    let directory = interrupted(&SETS);
    let checkpoint = files(&directory.path().join("out"));
    (directory, checkpoint)
}

/// The step that a coordinator says it has gone on from.
fn taken_over(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("taken over"))?;
    line.rsplit_once("step=")?.1.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_state_before_a_damaged_one_is_taken() {
    let flips = std::env::var("HEADSTART_FLIPS").ok().and_then(|flips| flips.parse().ok()).unwrap_or(40u64);
    let (directory, checkpoint) = ended();
    let out = directory.path().join("out");
    let states = states(&checkpoint);
    let mut damaged: Vec<&PathBuf> = states[0].1.iter().collect();
    damaged.sort();
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    for flip in 0..flips {
        let mut draws = Draws::new(flip);
        let name = damaged[draws.below(damaged.len() as u64) as usize];
        let mut bytes = checkpoint[name].clone();
        let at = draws.below(bytes.len() as u64) as usize;
        match draws.below(4) {
            0 => bytes.truncate(at),
            _ => bytes[at] ^= 1 + draws.below(255) as u8,
        }
        write(&out, &checkpoint);
        std::fs::write(out.join(name), &bytes).expect("writable");

        let mut resumed = coordinator(directory.path(), &SETS);
        let listens = address(&mut resumed).is_some();
        // It may have ended by itself.
        let _ = resumed.kill();
        let mut said = String::new();
        resumed.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it is text");
        resumed.wait().expect("it ends");
        let context = format!("flip {flip}, byte {at} of {}: {said}", name.display());
        assert!(listens && !said.contains("panicked"), "{context}");
        let noticed =
            said.contains("a checkpoint is damaged") || said.contains("skipping an unreadable manifest");
        assert!(noticed, "{context}");
        let whole = |needed: &BTreeSet<PathBuf>| {
            !needed.contains(name) && needed.iter().all(|file| checkpoint.contains_key(file))
        };
        let (step, _) =
            states.iter().find(|(_, needed)| whole(needed)).expect("version 0 needs nothing else");
        assert_eq!(taken_over(&said), Some(*step), "{context}");
        *taken.entry(*step).or_default() += 1;
    }
    println!(
        "{flips} times damaged, of {} files; the step gone on from, and how often: {taken:?}",
        damaged.len()
    );
}

#[test]
fn what_comes_out_after_damage_is_what_an_undisturbed_run_gives() {
    let finish = |directory: &Path| {
        let mut last = coordinator(directory, &SETS);
        let address = address(&mut last).expect("it listens");
        let mut helper = worker(directory, &address);
        let output = last.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", text(&output));
        assert!(helper.wait().expect("it ends").success());
        outcome(&directory.join("out"))
    };
    let undisturbed = texts();
    let expected = finish(undisturbed.path());
    let (directory, checkpoint) = ended();
    let newest = states(&checkpoint).swap_remove(0).1;
    for kind in ["manifests/", "/state.safetensors", "-best/state.safetensors", "ledger.jsonl"] {
        let is_one = |name: &&PathBuf| name.to_string_lossy().contains(kind);
        let name = newest.iter().find(is_one).expect("it needs one");
        let mut damaged = checkpoint.clone();
        damaged.get_mut(name).expect("it is there")[30] ^= 8;
        write(&directory.path().join("out"), &damaged);
        assert_eq!(finish(directory.path()), expected, "{}", name.display());
    }
}
