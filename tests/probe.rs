//! What a checkpoint knows of a task before it is trained: the same numbers from any workers, and no part of a run's result.

use std::path::Path;

use headstart_tests::language::chats;
use headstart_tests::processes::interrupted;
use headstart_tests::{command, digits, headstart, outcome, succeed, text, texts};
use serde_json::Value;

/// What `headstart probe` finds, without the time it took.
fn probe(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> =
        ["probe", "run.yaml", "--json", "--device", "cpu"].iter().chain(arguments).copied().collect();
    let found: Vec<Value> = serde_json::from_str(&succeed(directory, &arguments)).expect("it is a list");
    let timeless = |mut entry: Value| {
        let seconds = entry.as_object_mut().and_then(|entry| entry.remove("seconds"));
        assert!(seconds.and_then(|seconds| seconds.as_f64()).is_some_and(|seconds| seconds > 0.0));
        entry
    };
    found.into_iter().map(timeless).collect()
}

fn keys(entry: &Value) -> Vec<&str> {
    entry.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn one_worker_and_three_find_the_same() {
    let (texts, images, chats) = (texts(), digits(), chats());
    succeed(images.path(), &["init", "run.yaml", "first"]);
    for (directory, checkpoint, rows) in
        [(&texts, "model", "40"), (&images, "first", "120"), (&chats, "model", "12")]
    {
        let of = |workers: &str| {
            probe(directory.path(), &["--checkpoint", checkpoint, "--rows", rows, "--workers", workers])
        };
        let found = of("1");
        assert_eq!(found, of("3"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["rows"], rows.parse::<u64>().expect("a number"));
        assert!(["head start", "small", "none"].contains(&found[0]["verdict"].as_str().expect("a word")));
    }
}

#[test]
fn checkpoints_are_ranked_beside_random_weights() {
    let directory = texts();
    // The same network from other weights, and one that has learned the task.
    succeed(directory.path(), &["init", "run.yaml", "fresh", "--set", "init=random"]);
    succeed(
        directory.path(),
        &["train", "run.yaml", "--workers", "2", "--set", "max_steps=120", "--set", "learning_rate=3e-3"],
    );
    let found = probe(
        directory.path(),
        &["--checkpoint", "fresh", "--checkpoint", "out/final", "--rows", "90", "--plot", "p.svg"],
    );
    let order: Vec<&str> = found.iter().map(|entry| entry["checkpoint"].as_str().expect("a name")).collect();
    assert_eq!(order, ["out/final", "fresh"], "best first: {found:?}");
    for entry in &found {
        assert_eq!(
            keys(entry),
            ["checkpoint", "score", "accuracy", "log_evidence", "random", "verdict", "rows"]
        );
        assert_eq!(keys(&entry["random"]), ["score", "accuracy", "log_evidence"]);
    }
    assert_eq!(found[1]["verdict"], "none", "random weights are no head start: {found:?}");
    let picture = std::fs::read_to_string(directory.path().join("p.svg")).expect("it was asked for");
    assert!(picture.starts_with("<svg") && picture.contains("out/final"), "{picture}");
}

#[test]
fn a_language_models_probe_counts_bits_of_bytes() {
    let directory = chats();
    let found = &probe(directory.path(), &["--rows", "12"])[0];
    for (name, value) in [
        ("bits_per_byte", &found["bits_per_byte"]),
        ("unigram", &found["unigram"]),
        ("random", &found["random"]["bits_per_byte"]),
    ] {
        assert!(value.as_f64().is_some_and(|bits| bits > 0.0), "{name}: {found}");
    }
    let bits = |least: &str| found["context"][least].as_f64();
    assert!(bits("1").is_some() && bits("8").is_some(), "{found}");
    // One token of this tokenizer is one byte, and tokens that end turns are no text: so bits per byte are those per token.
    let all = [found["bits_per_byte"].as_f64(), bits("1")].map(|bits| bits.expect("a number"));
    assert!((all[0] - all[1]).abs() < 1e-9, "{found}");
    // ln V nats are about what random weights give.
    let random = found["random"]["bits_per_byte"].as_f64().expect("a number");
    assert!((random - 258f64.log2()).abs() < 2.0, "{found}");
}

#[test]
fn an_adapter_is_compared_with_its_base() {
    let directory = chats();
    let sets = [
        "--set",
        "adapter=lora",
        "--set",
        "lora_r=4",
        "--set",
        "max_steps=30",
        "--set",
        "learning_rate=1e-2",
    ];
    let arguments: Vec<&str> = ["train", "run.yaml", "--workers", "1"].into_iter().chain(sets).collect();
    succeed(directory.path(), &arguments);
    let found = probe(directory.path(), &["--adapter", "out/final", "--checkpoint", "model", "--rows", "12"]);
    let [trained, base] = &found[..] else { panic!("two: {found:?}") };
    assert_eq!(trained["adapter"], "out/final", "it has been trained on these rows: {found:?}");
    assert_eq!(
        trained["random"]["bits_per_byte"], base["bits_per_byte"],
        "its zero line is its base without it"
    );
}

#[test]
fn a_runs_probe_changes_nothing_of_its_result() {
    let directory = texts();
    let run = |output: &str, probe: &str| {
        let mut train = command("headstart", directory.path());
        train
            .args(["train", "run.yaml", "--workers", "2", "--set", probe])
            .env("RUST_LOG", "headstart_coordinator=info");
        let output = train.args(["--set", &format!("output_dir={output}")]).output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let said = |log: &str| log.matches("head start of model: ").count();
    assert_eq!(said(&run("probed", "probe=60")), 1);
    let without = run("without", "probe=false");
    assert_eq!(said(&without), 0, "{without}");
    assert!(
        run("too-short", "probe=true").contains("no probe of the checkpoint"),
        "a line says that it is left out"
    );
    let [probed, without, short] =
        ["probed", "without", "too-short"].map(|output| outcome(&directory.path().join(output)));
    assert_eq!((&probed, &probed), (&without, &short));
    let spec = |output: &str| {
        let text =
            std::fs::read(directory.path().join(output).join("final/run.json")).expect("it is finished");
        let run: Value = serde_json::from_slice(&text).expect("it is JSON");
        Value::Object(
            run["spec"]
                .as_object()
                .expect("an object")
                .clone()
                .into_iter()
                .filter(|(key, _)| key != "output_dir")
                .collect(),
        )
    };
    assert_eq!(spec("probed"), spec("without"), "run.json is hashed");
}

#[test]
fn a_resumed_run_is_not_probed_again() {
    let directory = interrupted(&["probe=60", "save_steps=1"]);
    let arguments = [
        "train",
        "run.yaml",
        "--workers",
        "1",
        "--set",
        "probe=60",
        "--set",
        "save_steps=1",
        "--set",
        "resume_from_checkpoint=auto",
    ];
    let mut resume = command("headstart", directory.path());
    let output =
        resume.args(arguments).env("RUST_LOG", "headstart_coordinator=info").output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    assert!(!text(&output).contains("head start of"), "{}", text(&output));
}

#[test]
fn what_cannot_be_probed_is_said() {
    let directory = texts();
    let output = headstart(directory.path(), &["probe", "run.yaml", "--checkpoint", "nowhere"]);
    assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    assert!(text(&output).contains("nowhere"), "{}", text(&output));
    let rows: String =
        (0..40).map(|row| format!("{{\"text\": \"a b {row}\", \"label\": \"only\"}}\n")).collect();
    std::fs::write(directory.path().join("train.jsonl"), rows).expect("writable");
    let output = headstart(directory.path(), &["probe", "run.yaml", "--set", "labels=[only,other]"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("one label"), "{}", text(&output));
}
