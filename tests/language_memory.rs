//! Logits exist for a chunk of positions at a time: a large vocabulary takes a worker's memory for two chunks, not for every
//! token of a micro-batch, in training and in evaluation.

use std::path::Path;
use std::process::Command;

use headstart::model::blueprint::LOGITS_CHUNK;
use headstart_tests::language::{LORA, chats, config, write};
use headstart_tests::processes::{address, coordinator};
use headstart_tests::{program, text};

const SMALL: u64 = 1_000;
const LARGE: u64 = 150_000;
const HIDDEN: u64 = 16;
/// Tokens of a long row, and long rows of a micro-batch.
const TOKENS: usize = 512;
const ROWS: usize = 4;

/// Runs what follows its first argument, and writes its peak memory, in KiB, to that file. The kernel counts a child's peak
/// from before its `exec`, so the parent must be small.
const MEASURE: &str = "
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:], timeout=300).returncode
with open(sys.argv[1], 'w') as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
";

/// Peak memory of a worker, in bytes, over a run of one step.
fn peak(vocabulary: u64, sets: &[&str]) -> u64 {
    let directory = chats();
    let at = directory.path();
    write(at, "model/config.json", config(vocabulary, TOKENS as u64).to_string());
    let long = format!("{{\"text\": \"{}\"}}\n", "a".repeat(TOKENS - 1));
    write(at, "long.jsonl", long.repeat(ROWS));
    write(at, "short.jsonl", "{\"text\": \"ab\"}\n".repeat(ROWS));
    let shape = [
        "init=random",
        "max_steps=1",
        "global_batch_size=4",
        "per_device_train_batch_size=4",
        "per_device_eval_batch_size=4",
        "shards_per_step=1",
    ];
    let mut run = coordinator(at, &[&shape[..], sets].concat());
    let address = address(&mut run).unwrap_or_else(|| panic!("it does not listen"));
    let mut worker = Command::new("python3");
    worker.args(["-c", MEASURE]).arg(at.join("peak")).arg(program("headstart-worker"));
    worker.args(["--coordinator", &address, "--device", "cpu"]).current_dir(at).env_remove("RUST_LOG");
    let worked = worker.output().expect("python3 starts");
    let output = run.wait_with_output().expect("it ends");
    assert!(worked.status.success() && output.status.success(), "{}{}", text(&worked), text(&output));
    1024 * read(&at.join("peak"))
}

fn read(path: &Path) -> u64 {
    std::fs::read_to_string(path).expect("the peak was written").parse().expect("a number")
}

/// `copies`: how often the embeddings exist, with their gradients.
fn assert_bounded(sets: &[&str], copies: u64) {
    let [small, large] = [SMALL, LARGE].map(|vocabulary| peak(vocabulary, sets));
    let weights = copies * (LARGE - SMALL) * HIDDEN * 4;
    let logits = 2 * LOGITS_CHUNK as u64 * LARGE * 4;
    println!("{sets:?}: {small} and {large} bytes; weights {weights}, two chunks {logits}");
    let beyond = large.saturating_sub(small + weights);
    assert!(
        beyond <= logits,
        "{} MiB beyond {} MiB, two chunks are {} MiB",
        beyond >> 20,
        small >> 20,
        logits >> 20
    );
    assert!(large > small + logits / 4, "a chunk of logits shows, so the measure measures something");
}

const TRAIN: [&str; 2] = ["datasets.0.path=long.jsonl", "eval_strategy=no"];
const EVALUATE: [&str; 3] =
    ["datasets.0.path=short.jsonl", "eval_datasets.0.path=long.jsonl", "eval_steps=1"];

#[test]
fn training_beside_a_frozen_head() {
    assert_bounded(&[&LORA[..], &TRAIN].concat(), 1);
}

#[test]
fn training_a_head() {
    assert_bounded(&TRAIN, 2);
}

#[test]
fn evaluating_beside_a_frozen_head() {
    assert_bounded(&[&LORA[..], &EVALUATE].concat(), 1);
}

#[test]
fn evaluating_a_head_that_trains() {
    assert_bounded(&EVALUATE, 2);
}
