//! What a run left behind is verified: every flipped byte is found, and a step computed again is the same.

use std::path::{Path, PathBuf};

use headstart::store::Location;
use headstart::verify::{Difference, verify};
use headstart_tests::processes::interrupted;
use headstart_tests::{Draws, headstart, succeed, text, texts};
use serde_json::Value;
use tempfile::TempDir;

/// Flips tried in each file.
const FLIPS: usize = 200;

/// A finished run.
fn finished() -> TempDir {
    let directory = texts();
    succeed(directory.path(), &["train", "run.yaml", "--workers", "2"]);
    directory
}

fn last(directory: &TempDir) -> PathBuf {
    directory.path().join("out/final")
}

/// Paths of the files below a directory in `out`, relative to that.
fn files(out: &Path, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(out.join(directory)).expect("the run wrote it").flatten() {
        let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => found.extend(files(out, &name)),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// Calls `look` with a byte of the file flipped, which is then put back.
fn flipped<T>(path: &Path, (at, with): (usize, u8), look: impl FnOnce() -> T) -> T {
    let good = std::fs::read(path).expect("the run wrote it");
    let mut bad = good.clone();
    bad[at] ^= with;
    std::fs::write(path, bad).expect("writable");
    let seen = look();
    std::fs::write(path, good).expect("writable");
    seen
}

/// Flips bytes of the files, given below `out`; verifying must name the file each time.
fn every_flip_is_found(directory: &TempDir, names: &[String]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let place = Location::parse(directory.path().join("out").to_str().expect("UTF-8")).expect("a path");
    let look =
        || -> Vec<Difference> { runtime.block_on(verify(&place)).expect("it can be read").differences };
    assert_eq!(look(), []);
    for name in names {
        let (path, file) = (directory.path().join("out").join(name), name.trim_start_matches("final/"));
        let len = std::fs::metadata(&path).expect("the run wrote it").len() as usize;
        let mut draws = Draws::new(20_261_124);
        for number in 0..FLIPS {
            let flip = (draws.below(len as u64) as usize, draws.below(255) as u8 + 1);
            let found = flipped(&path, flip, look);
            assert!(!found.is_empty(), "{file}, flip {number}: byte {} XOR {}", flip.0, flip.1);
            let named = found.iter().any(|difference| difference.to_string().contains(file));
            assert!(named, "{file}, flip {number}: {found:?}");
        }
    }
    assert_eq!(look(), []);
}

#[test]
fn two_hundred_of_two_hundred_flipped_bytes_are_found_in_each_file() {
    let directory = finished();
    let out = directory.path().join("out");
    let mut names: Vec<String> = ["ledger.jsonl", "SHA256SUMS", "run.json", "model.safetensors"]
        .map(|name| format!("final/{name}"))
        .into();
    let logs = files(&out, "manifests").into_iter().chain(files(&out, "parts")).collect::<Vec<_>>();
    assert!(logs.len() >= 4, "{logs:?}");
    names.extend(logs);
    every_flip_is_found(&directory, &names);
}

#[test]
fn two_hundred_of_two_hundred_flipped_bytes_are_found_in_each_file_of_a_state_to_go_on_from() {
    let directory = interrupted(&["max_steps=300", "save_steps=8"]);
    let out = directory.path().join("out");
    let mut names = files(&out, "manifests");
    let newest =
        std::fs::read(out.join(names.last().expect("the run wrote them"))).expect("the run wrote it");
    let newest: Value = serde_json::from_slice(&newest).expect("JSON");
    let state = &newest["manifest"]["state"];
    for parts in [&state["vectors"], &state["texts"]] {
        let directory = parts["directory"].as_str().expect("they lie somewhere");
        let found = parts["files"].as_array().expect("there are files");
        names.extend(
            found.iter().map(|file| format!("{directory}/{}", file["name"].as_str().expect("a name"))),
        );
    }
    assert!(names.iter().any(|name| name.ends_with("state.safetensors")), "{names:?}");
    every_flip_is_found(&directory, &names);
}

#[test]
fn the_program_names_what_was_changed_with_the_code_of_a_damaged_checkpoint() {
    let directory = finished();
    let said = succeed(directory.path(), &["verify", "out"]);
    assert!(said.contains("verified") && said.contains("14 steps"), "{said}");
    succeed(directory.path(), &["verify", "out/final"]);
    let look = || {
        let output = headstart(directory.path(), &["verify", "out"]);
        assert_eq!(output.status.code(), Some(12), "{}", text(&output));
        text(&output)
    };
    let file = |name: &str| last(&directory).join(name);
    let ledger = std::fs::read_to_string(file("ledger.jsonl")).expect("the run wrote it");
    let third = ledger.match_indices("\"weights\"").nth(2).expect("it has more lines").0 + 12;
    let said = flipped(&file("ledger.jsonl"), (third, 1), look);
    assert!(said.contains("ledger.jsonl:3: "), "{said}");
    let said = flipped(&file("model.safetensors"), (5000, 64), look);
    assert!(said.contains("model.safetensors: its SHA-256 is"), "{said}");
    let said = flipped(&file("SHA256SUMS"), (64, 0x29), look);
    assert!(said.contains("SHA256SUMS:1: "), "a tab for a space: {said}");
    std::fs::write(file("pytorch_model.bin"), "x").expect("writable");
    assert!(look().contains("pytorch_model.bin"));
    std::fs::remove_file(file("pytorch_model.bin")).expect("it was just written");
    std::fs::rename(file("tokenizer.json"), directory.path().join("tokenizer.json"))
        .expect("the run wrote it");
    assert!(look().contains("tokenizer.json: it is gone"));
    std::fs::remove_dir_all(last(&directory)).expect("the run wrote it");
    assert!(look().contains("final/SHA256SUMS: it is gone, though the run is complete"));
    let output = headstart(directory.path(), &["verify", "model"]);
    assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    assert!(text(&output).contains("output_dir of a run"), "{}", text(&output));
}

#[test]
fn a_run_that_is_not_finished_is_verified_by_its_commit_log() {
    let directory = interrupted(&["max_steps=300", "save_steps=8"]);
    let said = succeed(directory.path(), &["verify", "out"]);
    assert!(said.contains("commits, the last at step") && said.contains("not finished"), "{said}");
    let output = headstart(directory.path(), &["verify", "out", "--replay", "3"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let manifest = directory.path().join("out/manifests/00000000000000000000.json");
    std::fs::remove_file(manifest).expect("the run wrote it");
    let output = headstart(directory.path(), &["verify", "out"]);
    assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    assert!(text(&output).contains("manifests/00000000000000000001.json: it continues"), "{}", text(&output));
}

/// Rewrites a ledger from a line on, with its chain and every hash of it in `final/`.
fn forge(directory: &TempDir, step: u64) {
    let file = |name: &str| last(directory).join(name);
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("the run wrote it");
    let mut previous = String::new();
    let mut forged = String::new();
    for line in read("ledger.jsonl").lines() {
        let facts: Value = serde_json::from_str(line).expect("JSON");
        let (mut text, _) = line.rsplit_once(",\"previous\":").expect("it is chained");
        let gradient = facts["gradient"].as_str().filter(|_| facts["step"] == step);
        let other = gradient.map(|gradient| text.replace(gradient, "0123456789abcdef0123456789abcdef"));
        text = other.as_deref().unwrap_or(text);
        let line = format!("{text},\"previous\":\"{previous}\"}}");
        previous = headstart::hash::sha256(line.as_bytes());
        forged.push_str(&format!("{line}\n"));
    }
    let replace = |name: &str, from: &str, to: &str| {
        std::fs::write(file(name), read(name).replace(from, to)).expect("writable");
    };
    let (before, after) = (headstart::hash::sha256(read("ledger.jsonl").as_bytes()), forged.clone());
    let run_before = headstart::hash::sha256(read("run.json").as_bytes());
    std::fs::write(file("ledger.jsonl"), &forged).expect("writable");
    replace("run.json", &before, &headstart::hash::sha256(after.as_bytes()));
    replace("SHA256SUMS", &before, &headstart::hash::sha256(after.as_bytes()));
    replace("SHA256SUMS", &run_before, &headstart::hash::sha256(read("run.json").as_bytes()));
}

#[test]
fn a_step_computed_again_is_the_same_and_a_forged_one_is_named() {
    let directory = finished();
    let said = succeed(directory.path(), &["verify", "out", "--replay", "5"]);
    assert!(said.contains("replayed"), "{said}");
    succeed(directory.path(), &["verify", "out", "--replay", "14"]);
    let output = headstart(directory.path(), &["verify", "out", "--replay", "15"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));

    forge(&directory, 3);
    let output = headstart(directory.path(), &["verify", "out"]);
    assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    assert!(text(&output).contains("it is not what was committed"), "{}", text(&output));
    // Without the commit log only computing again uncovers it.
    succeed(directory.path(), &["verify", "out/final"]);
    succeed(directory.path(), &["verify", "out/final", "--replay", "2"]);
    let output = headstart(directory.path(), &["verify", "out/final", "--replay", "5"]);
    assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    assert!(text(&output).contains("step 3 is the first that differs: its gradient"), "{}", text(&output));

    // What the run began with is looked at before anything is computed.
    let data = directory.path().join("train.jsonl");
    let rows = std::fs::read_to_string(&data).expect("it was written");
    std::fs::write(
        &data,
        rows.replacen("\"text\": \"", "\"text\": \"the ", 1).replacen("\"text\":\"", "\"text\":\"the ", 1),
    )
    .expect("writable");
    let output = headstart(directory.path(), &["verify", "out/final", "--replay", "2"]);
    assert_eq!(output.status.code(), Some(10), "{}", text(&output));
    assert!(text(&output).contains("train.jsonl"), "{}", text(&output));
    std::fs::write(&data, rows).expect("writable");

    // Another instruction set is another numeric class, which is no fault of the run.
    let mut command = headstart_tests::command("headstart", directory.path());
    let output = command
        .args(["verify", "out/final", "--replay", "2"])
        .env("ATEN_CPU_CAPABILITY", "default")
        .output()
        .expect("headstart starts");
    assert_eq!(output.status.code(), Some(23), "{}", text(&output));
    assert!(text(&output).contains("instructions is"), "{}", text(&output));
}
