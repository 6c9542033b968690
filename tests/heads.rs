//! A checkpoint's head is kept where it is of the run's labels, whatever names and order they have.

use std::path::Path;

use headstart_tests::{headstart, repository, succeed, text, texts};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A classifier for three labels, and rows whose label `names[id]` stands for row `id` of its head.
fn run(id2label: Option<Value>, names: [&str; 3]) -> TempDir {
    let directory = texts();
    let path = directory.path().join("model/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("copied")).expect("JSON");
    let config_keys = config.as_object_mut().expect("an object");
    config_keys.remove("label2id");
    config_keys.remove("id2label");
    if let Some(id2label) = id2label {
        config_keys.insert("id2label".into(), id2label);
    }
    std::fs::write(&path, config.to_string()).expect("writable");
    let row = |number: usize| {
        let text = ["a library", "the game of data", "fast python tool", "server"][number % 4];
        // Whole numbers stay numbers, as people write them.
        let label = names[number % 3].parse::<u64>().map_or_else(|_| json!(names[number % 3]), Value::from);
        format!("{}\n", json!({"text": text, "label": label}))
    };
    let rows: String = (0..12).map(row).collect();
    for name in ["train.jsonl", "eval.jsonl"] {
        std::fs::write(directory.path().join(name), &rows).expect("writable");
    }
    directory
}

/// Loss of the weights as they are.
fn loss(directory: &Path, sets: &[&str]) -> f64 {
    let settings = ["learning_rate=0", "max_steps=1", "eval_steps=1", "weight_decay=0"];
    let mut arguments = vec!["train", "run.yaml", "--workers", "1"];
    for set in settings.iter().chain(sets) {
        arguments.extend(["--set", set]);
    }
    succeed(directory, &arguments);
    let lines = std::fs::read_to_string(directory.join("out/final/metrics.jsonl")).expect("it has finished");
    let mut losses = lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line.get("eval_loss")?.as_f64()
    });
    losses.next_back().expect("it was evaluated")
}

fn labels(directory: &Path) -> Value {
    let config = std::fs::read(directory.join("out/final/config.json")).expect("it has finished");
    serde_json::from_slice::<Value>(&config).expect("JSON")["id2label"].clone()
}

#[test]
fn a_head_serves_the_same_labels_under_any_names_and_in_any_order() {
    let unnamed = json!({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"});
    let directory = run(Some(unnamed), ["0", "1", "2"]);
    let expected = loss(directory.path(), &[]);
    assert_eq!(labels(directory.path()), json!({"0": "0", "1": "1", "2": "2"}));

    // Sorted they would be bird, cat, dog; the checkpoint knows them in another order.
    let named = json!({"0": "dog", "1": "bird", "2": "cat"});
    let directory = run(Some(named.clone()), ["dog", "bird", "cat"]);
    assert!((loss(directory.path(), &[]) - expected).abs() < 1e-6);
    assert_eq!(labels(directory.path()), named);

    // The run file may order them; the head's rows follow.
    let directory = run(Some(named), ["dog", "bird", "cat"]);
    assert!((loss(directory.path(), &["labels=[cat, dog, bird]"]) - expected).abs() < 1e-6);
    assert_eq!(labels(directory.path()), json!({"0": "cat", "1": "dog", "2": "bird"}));
}

#[test]
fn validate_says_which_head_begins_fresh() {
    let cases = [
        (Some(json!({"0": "dog", "1": "bird", "2": "cat"})), ["dog", "bird", "cow"], true),
        (Some(json!({"0": "dog", "1": "bird", "2": "cat"})), ["0", "1", "2"], true),
        (
            Some(json!({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})),
            ["LABEL_2", "LABEL_0", "LABEL_1"],
            false,
        ),
        // Two classes are meant, and the head has three rows.
        (None, ["0", "1", "2"], true),
    ];
    for (id2label, names, fresh) in cases {
        let directory = run(id2label.clone(), names);
        let output = headstart(directory.path(), &["validate", "run.yaml"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(said.contains("newly initialised"), fresh, "{id2label:?} {names:?}: {said}");
    }
}

#[test]
fn a_body_with_a_gap_is_refused_and_init_missing_is_the_way_out() {
    let directory = texts();
    let sets = ["--set", "model_overrides.num_hidden_layers=3"];
    let output = headstart(directory.path(), &[&["validate", "run.yaml"][..], &sets].concat());
    let said = text(&output);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(said.contains("bert.encoder.layer.2.attention.self.query.weight"), "{said}");
    assert!(said.contains("init_missing: true"), "{said}");
    let output = headstart(
        directory.path(),
        &[&["validate", "run.yaml", "--set", "init_missing=true"][..], &sets].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn an_override_that_nobody_reads_is_refused() {
    let directory = texts();
    for (set, says) in [
        ("model_overrides.hidden_droput_prob=0.3", "did you mean hidden_dropout_prob?"),
        ("model_overrides.num_labels=5", "`labels` names the classes"),
    ] {
        let output = headstart(directory.path(), &["validate", "run.yaml", "--set", set]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{set}: {said}");
        assert!(said.contains(says), "{set}: {said}");
    }
    let output =
        headstart(directory.path(), &["validate", "run.yaml", "--set", "model_overrides.use_cache=false"]);
    assert_eq!(output.status.code(), Some(0), "other trainers' run files have it: {}", text(&output));
}

#[test]
fn a_class_label_column_orders_the_labels_and_the_head_follows() {
    let directory = run(Some(json!({"0": "cow", "1": "zebra", "2": "ant"})), ["cow", "zebra", "ant"]);
    let classes = repository().join("src/data/testdata/classes.parquet");
    let path = format!("datasets.0.path={}", classes.display());
    let settings = ["learning_rate=0", "max_steps=1", "eval_strategy=no", "eval_datasets=null", &path];
    let mut arguments = vec!["train", "run.yaml", "--workers", "1"];
    for set in settings {
        arguments.extend(["--set", set]);
    }
    succeed(directory.path(), &arguments);
    assert_eq!(labels(directory.path()), json!({"0": "zebra", "1": "ant", "2": "cow"}));
    let bias = |path: &str| {
        let bytes = std::fs::read(directory.path().join(path)).expect("it is there");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
        file.tensor("classifier.bias")
            .expect("it has one")
            .data()
            .chunks(4)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let (before, after) = (bias("model/model.safetensors"), bias("out/final/model.safetensors"));
    assert_eq!(after, [1, 2, 0].map(|row| before[row].clone()), "zebra, ant, cow");
}
