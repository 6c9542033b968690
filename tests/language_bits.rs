//! Equal bits of language models: from any number of workers, with and without faults, however frozen weights are stored.

use std::path::Path;
use std::process::Child;
use std::sync::Arc;

use headstart::exit::Exit;
use headstart_tests::language::{LORA, chats, config, weights};
use headstart_tests::lives::{End, live};
use headstart_tests::processes::{address, coordinator, until, worker};
use headstart_tests::trap::StopPoint;
use headstart_tests::{delivered, sha256, succeed, text};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use safetensors::Dtype;
use serde_json::Value;

const FILES: [&str; 3] = ["adapter_model.safetensors", "ledger.jsonl", "golden.jsonl"];
/// A commit after every step, so that a run can be disturbed between two of them.
const COMMITS: [&str; 4] =
    ["max_steps=40", "save_steps=1", "save_total_limit=1", "resume_from_checkpoint=auto"];

/// Hashes of what must be equal for equal runs.
fn outcome(output: &Path) -> [String; 3] {
    FILES.map(|file| sha256(&output.join("final").join(file)))
}

/// Trains an adapter into `name` with `workers` workers, and asserts that all took part.
fn train(directory: &Path, name: &str, workers: usize, sets: &[&str]) -> [String; 3] {
    let (output, count) = (format!("output_dir={name}"), workers.to_string());
    let least = format!("cluster.min_workers={workers}");
    let mut arguments = vec!["train", "run.yaml", "--workers", &count, "--set", &output, "--set", &least];
    arguments.extend(LORA.iter().chain(sets).flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
    let shards = delivered(&directory.join(name));
    assert_eq!(shards.len(), workers, "{shards:?}");
    assert!(shards.iter().all(|&shards| shards > 0), "each worker delivered something: {shards:?}");
    outcome(&directory.join(name))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the run wrote it");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// A file of lines, without these keys.
fn without(path: &Path, keys: &[&str]) -> Vec<Value> {
    let mut lines = lines(path);
    for line in &mut lines {
        let object = line.as_object_mut().expect("an object");
        keys.iter().for_each(|key| drop(object.remove(*key)));
    }
    lines
}

#[test]
fn an_adapter_does_not_depend_on_the_workers_nor_on_checkpointing() {
    let directory = chats();
    let expected = train(directory.path(), "one", 1, &[]);
    assert_eq!(train(directory.path(), "two", 2, &[]), expected, "two workers");
    assert_eq!(train(directory.path(), "three", 3, &["gradient_checkpointing=true"]), expected, "three");
    let other = train(directory.path(), "other", 1, &["shards_per_step=3"]);
    assert_ne!(other, expected, "another shards_per_step gives other weights, so comparing shows something");
    let sums = std::fs::read_to_string(directory.path().join("one/final/SHA256SUMS")).expect("it is there");
    assert!(sums.contains(&format!("{}  golden.jsonl", expected[2])), "{sums}");
}

#[test]
fn equal_seeds_give_equal_bits_and_others_do_not() {
    let directory = chats();
    let first = train(directory.path(), "first", 1, &["seed=7"]);
    assert_eq!(train(directory.path(), "second", 1, &["seed=7"]), first);
    let other = train(directory.path(), "other", 1, &["seed=8"]);
    assert!(other.iter().zip(&first).all(|(other, first)| other != first), "{other:?}");
}

/// Values that 16 bits hold, stored in 16 bits and in 32.
#[test]
fn the_storage_of_frozen_weights_changes_no_bit() {
    let directory = chats();
    let narrow = train(directory.path(), "narrow", 1, &[]);
    weights(directory.path(), &config(258, 1024), Dtype::F32);
    let wide = train(directory.path(), "wide", 1, &[]);
    assert_eq!(narrow, wide, "adapter, ledger and golden rows");
    let at = |run: &str, file: &str| directory.path().join(run).join("final").join(file);
    let times = ["time", "step_time", "samples_per_second", "tokens_per_second", "bytes_up", "bytes_down"];
    let metrics = |run| without(&at(run, "metrics.jsonl"), &times);
    assert_eq!(metrics("narrow"), metrics("wide"));
}

fn kill(mut process: Child) {
    process.kill().expect("it is ours");
    process.wait().expect("it ends");
}

/// Waits until a coordinator has made a number of commits.
fn until_commit(directory: &Path, coordinator: &mut Child, number: usize) {
    let manifest = directory.join(format!("out/manifests/{number:020}.json"));
    until("a commit", || {
        assert_eq!(coordinator.try_wait().expect("it can be asked"), None, "it ended before");
        manifest.exists()
    });
}

/// The run waits for three workers, so the killed one has taken part, and another must take its place.
#[test]
fn a_killed_worker_changes_no_bit() {
    let directory = chats();
    let sets = [&LORA[..], &COMMITS].concat();
    let expected = train(directory.path(), "undisturbed", 1, &COMMITS);
    let three = [&sets[..], &["cluster.min_workers=3"]].concat();
    let mut run = coordinator(directory.path(), &three);
    let address = address(&mut run).expect("it listens");
    let [victim, mut second, mut third] = [(); 3].map(|()| worker(directory.path(), &address));
    until_commit(directory.path(), &mut run, 4);
    kill(victim);
    let mut fourth = worker(directory.path(), &address);
    let output = run.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output));
    for worker in [&mut second, &mut third, &mut fourth] {
        assert!(worker.wait().expect("it ends").success());
    }
    assert!(delivered(&directory.path().join("out")).len() >= 3);
    assert_eq!(outcome(&directory.path().join("out")), expected);
}

#[test]
fn a_killed_coordinator_changes_no_bit() {
    let directory = chats();
    let sets = [&LORA[..], &COMMITS].concat();
    let expected = train(directory.path(), "undisturbed", 1, &COMMITS);
    for commits in [3, 8] {
        let mut run = coordinator(directory.path(), &sets);
        let address = address(&mut run).expect("it listens");
        let helper = worker(directory.path(), &address);
        until_commit(directory.path(), &mut run, commits);
        kill(run);
        kill(helper);
    }
    let mut run = coordinator(directory.path(), &sets);
    let address = address(&mut run).expect("it listens");
    let mut helper = worker(directory.path(), &address);
    let output = run.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output));
    assert!(helper.wait().expect("it ends").success());
    assert_eq!(outcome(&directory.path().join("out")), expected);
}

/// A successor knows nothing but what was written. So one that begins behind the last commit begins before the golden rows, and
/// one that begins amid the writes of `final/` begins behind them.
#[test]
fn a_coordinator_may_die_at_any_write() {
    let directory = chats();
    let sets = [&LORA[..], &["max_steps=2", "eval_strategy=no", "resume_from_checkpoint=auto"]].concat();
    let objects = Arc::new(InMemory::new());
    let (end, writes) = live(directory.path(), &sets, &objects, 0, None);
    assert_eq!(end, End::Exit(Exit::Ok, "the run is complete".into()));
    let left = |objects: &InMemory| {
        FILES.map(|file| {
            let key = object_store::path::Path::from(format!("out/final/{file}"));
            let read = async { objects.get(&key).await?.bytes().await };
            futures::executor::block_on(read).expect("it was written").to_vec()
        })
    };
    let expected = left(&objects);
    assert!(writes > 10, "{writes} writes");
    for place in (0..writes).flat_map(|write| [false, true].map(|after| StopPoint { write, after })) {
        let objects = Arc::new(InMemory::new());
        let (end, _) = live(directory.path(), &sets, &objects, 1, Some(place));
        assert_eq!(end, End::Killed, "{place:?}: each life writes what the first one wrote");
        let (end, _) = live(directory.path(), &sets, &objects, 2, None);
        assert!(matches!(end, End::Exit(Exit::Ok, _)), "{place:?}: {end:?}");
        assert_eq!(left(&objects), expected, "{place:?}");
    }
}
