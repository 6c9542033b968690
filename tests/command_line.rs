//! What people see: clear refusals, exit codes, Ctrl-C, and a comparison of runs.

use std::io::BufRead;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use headstart_tests::{children, command, digits, headstart, outcome, sha256, succeed, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[test]
fn a_misspelt_key_is_shown_with_a_caret_and_a_suggestion() {
    let directory = texts();
    let run_file = directory.path().join("run.yaml");
    let good = std::fs::read_to_string(&run_file).expect("it was written");
    std::fs::write(&run_file, format!("{good}learning_rat: 1e-4\n")).expect("writable");
    for program in ["train", "validate"] {
        let output = headstart(directory.path(), &[program, "run.yaml"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("run.yaml:16"), "the line: {said}");
        assert!(said.contains("learning_rat:") && said.contains("did you mean"), "{said}");
        assert!(!said.contains('\u{1b}'), "no colours where there is no terminal");
    }
    assert!(!directory.path().join("out").exists());
}

#[test]
fn what_cannot_work_is_refused_before_a_worker_starts() {
    let directory = texts();
    std::fs::write(
        directory.path().join("bad.jsonl"),
        "{\"text\": \"a game\", \"label\": \"code\"}\n{\"text\": 5}\n",
    )
    .expect("writable");
    let cases = [
        ("base_model=nowhere", 12, "nowhere"),
        ("datasets.0.path=nowhere.jsonl", 10, "nowhere.jsonl"),
        ("datasets.0.path=bad.jsonl", 10, "bad.jsonl"),
        ("datasets.0.label_column=section", 10, "section"),
        ("model_overrides.num_attention_heads=5", 12, "num_attention_heads"),
        ("sequence_len=500", 2, "sequence_len"),
        ("freeze=[\"bert.nothing.*\"]", 2, "bert.nothing.*"),
        (
            "unfreeze={step: 3, parameters: \"bert.nothing.*\"}",
            2,
            "unfreeze[0].parameters: \"bert.nothing.*\"",
        ),
        ("unfreeze={step: 15, parameters: \"bert.*\"}", 2, "unfreeze: the run has 14 steps"),
        ("l2_sp=-1", 2, "l2_sp"),
        ("shards_per_step=32", 2, "shards_per_step"),
        ("resume_from_checkpoint=runs/a", 2, "base_model"),
    ];
    for (set, code, named) in cases {
        let output = headstart(directory.path(), &["train", "run.yaml", "--set", set]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{set}: {said}");
        assert!(said.contains(named), "{set}: {said}");
        assert!(!said.contains("panicked") && !said.contains("worker 1"), "{set}: {said}");
        assert!(!directory.path().join("out").exists(), "{set}");
    }
}

/// What a project of transformers has in its TrainingArguments beside the keys of the run.
const FOREIGN: &str = "do_train: true\nlogging_strategy: steps\nreport_to: [wandb]\nrun_name: first\nfp16: false\n\
     dataloader_num_workers: 4\nddp_find_unused_parameters: true\nnum_train_epochs: 3.0\ngroup_by_length: false\n\
     label_smoothing_factor: 0.0\nwarmup_ratio: 0.0\nhub_token: hf_secret\n";

#[test]
fn keys_without_effect_are_told_of_once_and_change_nothing() {
    let directory = texts();
    let run_file = directory.path().join("run.yaml");
    let plain = std::fs::read_to_string(&run_file).expect("it was written");
    succeed(directory.path(), &["train", "run.yaml", "--workers", "1", "--set", "output_dir=plain"]);
    std::fs::write(&run_file, format!("{plain}{FOREIGN}")).expect("writable");
    let measured = ["--samples-per-second", "100", "--bandwidth", "1e9"];
    for command in [
        &["validate", "run.yaml"][..],
        &[&["plan", "run.yaml"][..], &measured].concat(),
        &["train", "run.yaml", "--workers", "1"],
    ] {
        let output = headstart(directory.path(), command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
        assert_eq!(said.matches("keys without effect").count(), 1, "{command:?}: {said}");
        assert!(said.contains("warning: run.yaml: keys without effect:\n"), "{command:?}: {said}");
        for key in
            ["do_train", "report_to", "dataloader_num_workers", "ddp_find_unused_parameters", "hub_token"]
        {
            assert!(said.contains(key), "{command:?} tells of {key}: {said}");
        }
        for key in ["fp16", "group_by_length", "label_smoothing_factor", "hf_secret"] {
            assert!(!said.contains(key), "{command:?} is silent about {key}: {said}");
        }
    }
    let [plain, foreign] = ["plain", "out"].map(|output| outcome(&directory.path().join(output)));
    assert_eq!(foreign, plain, "the same weights and the same ledger");
}

#[test]
fn a_coordinator_on_its_own_logs_the_keys_without_effect_once() {
    let directory = texts();
    let mut coordinator = command("headstart-coordinator", directory.path());
    // It ends before it listens, because the checkpoint is not there.
    coordinator.args([
        "run.yaml",
        "--listen",
        "127.0.0.1:0",
        "--set",
        "base_model=org/name",
        "--set",
        "run_name=a",
    ]);
    let output = coordinator.output().expect("it starts");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert_eq!(said.matches("WARN run.yaml: keys without effect: run_name: ").count(), 1, "{said}");
    assert!(said.contains("looks like a model's id on the Hugging Face Hub"), "{said}");
}

#[test]
fn a_tilde_is_the_home_directory_in_every_path_of_a_run_file() {
    let directory = texts();
    let mut validate = command("headstart", directory.path());
    validate.env("HOME", directory.path()).args(["validate", "run.yaml"]);
    let run_file = std::fs::read_to_string(directory.path().join("run.yaml")).expect("it was written");
    assert!(run_file.contains("train.jsonl"), "{run_file}");
    for set in ["base_model=~/model", "datasets.0.path=~/train.js*", "output_dir=~/elsewhere/out"] {
        validate.args(["--set", set]);
    }
    let output = validate.output().expect("it starts");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let home = directory.path().canonicalize().expect("it is there");
    assert!(said.contains(&format!("{}/elsewhere/out", home.display())), "{said}");
    assert!(!directory.path().join("~").exists());
}

#[test]
fn validate_says_what_would_be_trained_and_leaves_no_trace() {
    let directory = texts();
    let said = succeed(directory.path(), &["validate", "run.yaml"]);
    for part in ["90", "30", "code", "other", "14", "classifier.weight"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!directory.path().join("out").exists());
}

#[test]
fn the_schema_knows_every_key_of_the_examples() {
    let directory = texts();
    let schema: Value = serde_json::from_str(&succeed(directory.path(), &["schema"])).expect("it is JSON");
    let properties = schema["properties"].as_object().expect("an object");
    for key in ["base_model", "micro_batch_size", "cluster", "shards_per_step", "freeze"] {
        assert!(properties.contains_key(key), "{key}");
    }
}

#[test]
fn a_coordinator_that_is_not_there_is_said_so() {
    let directory = texts();
    let output = headstart(directory.path(), &["status", "--coordinator", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(20), "{}", text(&output));
    assert!(text(&output).contains("http://127.0.0.1:1"));
    let output = command("headstart-worker", directory.path())
        .args(["--coordinator", "http://no host", "--device", "cpu"])
        .output()
        .expect("the worker starts");
    assert_ne!(output.status.code(), Some(0), "{}", text(&output));
    let output =
        command("headstart-worker", directory.path()).args(["--device", "tpu"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("auto, cpu, cuda"), "{}", text(&output));
}

#[test]
fn what_a_killed_worker_leaves_behind_is_removed_by_the_next_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let worker = |coordinator: &str| {
        let mut worker = command("headstart-worker", directory.path());
        worker.args(["--device", "cpu", "--coordinator", coordinator]).env("TMPDIR", directory.path());
        worker.stdout(Stdio::null()).stderr(Stdio::null());
        worker
    };
    let left = || std::fs::read_dir(directory.path()).expect("it is readable").count();
    let mut killed = worker("http://127.0.0.1:1").spawn().expect("the worker starts");
    until("the worker has a directory", || left() == 1);
    killed.kill().expect("the worker is ours");
    killed.wait().expect("it can be waited for");
    assert_eq!(left(), 1, "nobody tidied up");
    let ended = worker("http://no host").status().expect("the worker starts");
    assert_ne!(ended.code(), Some(0), "it has no coordinator");
    assert_eq!(left(), 0);
}

/// Waits for something that must come about within a minute.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Interrupts a long run once it trains; returns its exit code and what it said.
fn interrupted(directory: &Path, signal: Signal) -> (Option<i32>, String) {
    let mut run = command("headstart", directory)
        .args(["train", "run.yaml", "--workers", "2", "--log-format", "json"])
        .args(["--set", "max_steps=100000", "--set", "eval_strategy=no"])
        .args(["--set", "cluster.min_workers=2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("headstart starts");
    let id = run.id();
    let all = || [children(id, "headstart-worker"), children(id, "headstart-coordinator")].concat();
    until("three children are running", || all().len() == 3);
    let mut lines =
        std::io::BufReader::new(run.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let steps = |line: &String| {
        let line: Option<Value> = serde_json::from_str(line).ok();
        line.is_some_and(|line| line["event"] == "progress" && line["step"].as_u64() > Some(0))
    };
    assert!(lines.any(|line| steps(&line)), "it trains");
    let started = all();
    kill(Pid::from_raw(id as i32), signal).expect("the run is ours");
    let rest: Vec<String> = lines.collect();
    let output = run.wait_with_output().expect("it ends");
    for process in started {
        until("all children have ended", || !Path::new(&format!("/proc/{process}")).exists());
    }
    (output.status.code(), format!("{}\n{}", rest.join("\n"), text(&output)))
}

#[test]
fn ctrl_c_ends_all_children_and_says_what_was_kept() {
    let directory = texts();
    let (code, said) = interrupted(directory.path(), Signal::SIGINT);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("kept") && said.contains("checkpoint-"), "{said}");
    let kept = std::fs::read_dir(directory.path().join("out")).expect("something was kept").flatten();
    let named = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-"))
    };
    let checkpoint = kept.map(|entry| entry.path()).find(named).expect("a directory");
    // A new run begins from there.
    let base = format!("base_model={}", checkpoint.display());
    succeed(
        directory.path(),
        &["train", "run.yaml", "--workers", "1", "--set", &base, "--set", "output_dir=next"],
    );
}

#[test]
fn sigterm_ends_a_run_in_order_too() {
    let directory = texts();
    let (code, said) = interrupted(directory.path(), Signal::SIGTERM);
    assert_eq!(code, Some(143), "{said}");
    assert!(said.contains("checkpoint-"), "{said}");
}

#[test]
fn a_tokenizer_is_followed_and_copied_to_the_byte() {
    let directory = texts();
    let model = directory.path().join("model");
    let files = [
        (
            "tokenizer_config.json",
            r#"{"tokenizer_class": "TokenizersBackend", "model_max_length": 7, "padding_side":"left"}"#,
        ),
        ("special_tokens_map.json", "{\"pad_token\" : \"[PAD]\"}\r\n"),
        ("added_tokens.json", "{}"),
        ("vocab.txt", "a\nb"),
        ("chat_template.jinja", "{{ messages }}"),
    ];
    for (name, content) in files {
        std::fs::write(model.join(name), content).expect("the directory is writable");
    }
    let run_file = std::fs::read_to_string(directory.path().join("run.yaml")).expect("it is there");
    let run_file = run_file.replace("sequence_len: 12\n", "");
    std::fs::write(directory.path().join("run.yaml"), run_file).expect("the directory is writable");
    let said = headstart(directory.path(), &["validate", "run.yaml"]);
    assert!(
        text(&said).contains("sequences are cut to 7 tokens, the tokenizer's model_max_length"),
        "{}",
        text(&said)
    );
    let longer = headstart(directory.path(), &["validate", "run.yaml", "--set", "sequence_len=12"]);
    assert!(!text(&longer).contains("model_max_length"), "{}", text(&longer));
    succeed(directory.path(), &["train", "run.yaml", "--workers", "2"]);
    for (name, _) in files.iter().chain(&[("tokenizer.json", "")]) {
        let read = |path: &Path| std::fs::read_to_string(path.join(name)).expect("it is there");
        // The one exception: version 4 of transformers does not know the class.
        let expected = read(&model).replace("TokenizersBackend", "PreTrainedTokenizerFast");
        assert_eq!(read(&directory.path().join("out/final")), expected, "{name}");
    }
}

#[test]
fn a_run_leaves_a_whole_directory_behind() {
    let directory = texts();
    let said = succeed(directory.path(), &["train", "run.yaml", "--workers", "2"]);
    let out = directory.path().join("out/final");
    assert!(said.contains(&sha256(&out.join("model.safetensors"))), "the hash is shown: {said}");
    for line in std::fs::read_to_string(out.join("SHA256SUMS")).expect("it was written").lines() {
        let (hash, name) = line.split_once("  ").expect("hash and name");
        assert_eq!(sha256(&out.join(name)), hash, "{name}");
    }
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("it was written");
    let config: Value = serde_json::from_str(&read("config.json")).expect("JSON");
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");
    assert_eq!(config["id2label"], serde_json::json!({"0": "code", "1": "other"}));
    let run: Value = serde_json::from_str(&read("run.json")).expect("JSON");
    assert_eq!(run["spec"]["seed"], 42, "defaults are filled in");
    assert_eq!(run["weights_sha256"], sha256(&out.join("model.safetensors")).as_str());
    let steps = read("metrics.jsonl").lines().filter(|line| line.contains("\"loss\"")).count();
    assert_eq!(steps, 14);
    let header = std::fs::read(out.join("model.safetensors")).expect("it was written");
    assert!(
        header[8..200].starts_with(b"{\"__metadata__\":{\"format\":\"pt\"}"),
        "transformers wants this first"
    );

    // Weights of an output directory are never overwritten.
    let before = outcome(&directory.path().join("out"));
    let again = headstart(directory.path(), &["train", "run.yaml"]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert_eq!(outcome(&directory.path().join("out")), before);
}

#[test]
fn the_best_weights_are_those_that_are_written() {
    let directory = digits();
    let sets =
        ["metric_for_best_model=loss", "load_best_model_at_end=true", "learning_rate=0.3", "eval_steps=4"];
    let mut arguments = vec!["train", "run.yaml", "--workers", "2", "--set", "eval_on_start=true"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory.path(), &arguments);
    let out = directory.path().join("out/final");
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).expect("it was written");
    let evaluations: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let best = evaluations
        .iter()
        .filter(|line| line.get("eval_loss").is_some())
        .min_by(|one, other| {
            one["eval_loss"].as_f64().partial_cmp(&other["eval_loss"].as_f64()).expect("numbers")
        })
        .expect("there are evaluations");
    let run: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).expect("it was written"))
            .expect("JSON");
    assert_eq!(run["weights_version"], best["step"], "a learning rate of 0.3 ruins what follows");
    assert_ne!(run["weights_version"], 24);
}

#[test]
fn a_head_start_is_measured() {
    let directory = digits();
    let pretrain = directory.path().join("pretrain.yaml");
    let run_file = std::fs::read_to_string(directory.path().join("run.yaml")).expect("it was written");
    std::fs::write(pretrain, run_file.replace("five_to_nine", "zero_to_four")).expect("writable");
    let run = |file: &str, sets: &[&str]| {
        let mut arguments = vec!["train", file, "--workers", "2"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        succeed(directory.path(), &arguments)
    };
    run("pretrain.yaml", &["output_dir=first", "max_steps=120", "eval_steps=60"]);
    let second = ["eval_on_start=true", "eval_steps=8"];
    run(
        "run.yaml",
        &[&["output_dir=ahead", "init=pretrained", "base_model=first/final"][..], &second].concat(),
    );
    run("run.yaml", &[&["output_dir=behind"][..], &second].concat());
    let compared = succeed(
        directory.path(),
        &["compare", "ahead", "behind", "--names", "head start,from scratch", "--plot", "plot.svg"],
    );
    assert!(compared.contains("head start") && compared.contains("saved"), "{compared}");
    let plot = std::fs::read_to_string(directory.path().join("plot.svg")).expect("it was written");
    assert!(plot.starts_with("<svg") && plot.contains("from scratch"), "{plot}");
    let json = succeed(directory.path(), &["compare", "ahead", "behind", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let curve = |run: usize| json["runs"][run]["curve"].as_array().expect("a curve").clone();
    assert_eq!(curve(0).len(), 4, "before the first step and after 8, 16 and 24");
    let third = |run: usize| curve(run)[1][1].as_f64().expect("a number");
    assert!(third(0) > third(1) + 0.05, "ahead {}, behind {}", third(0), third(1));
}
