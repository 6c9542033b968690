//! Rows of language models on the command line: shown as tokens, checked, dropped, refused.

use std::path::Path;

use headstart_tests::language::{self, write};
use headstart_tests::{headstart, succeed, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A run of a small network with random weights, over 2,500 conversations; each hundredth is too long, and row 1 has no answer.
fn run() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    language::model(directory.path(), &language::config(258, 64));
    let rows = (0..2500).map(|row| {
        let answer = if row % 100 == 0 { "x".repeat(100) } else { "Grüße".to_owned() };
        let mut messages = vec![json!({"role": "user", "content": format!("q{row}?")})];
        if row != 1 {
            messages.push(json!({"role": "assistant", "content": answer}));
        }
        format!("{}\n", json!({"messages": messages}))
    });
    write(directory.path(), "chats.jsonl", rows.collect::<String>());
    let keys = "base_model: model\ntask: causal-lm\ninit: random\ndatasets: [{path: chats.jsonl}]\noutput_dir: out\n";
    write(directory.path(), "run.yaml", keys);
    directory
}

#[test]
fn preprocess_shows_what_is_trained() {
    let directory = run();
    let output = headstart(directory.path(), &["preprocess", "run.yaml", "--rows", "4", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let rows: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    assert_eq!(rows.iter().map(|row| row["row"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(3)]);
    let expected = "<|im_start|>user\nq2?<|im_end|>\n<|im_start|>assistant\nGrüße<|im_end|>\n";
    assert_eq!(rows[0]["text"], expected);
    let ids: Vec<u64> =
        rows[0]["input_ids"].as_array().expect("ids").iter().filter_map(Value::as_u64).collect();
    let trained = rows[0]["trained"].as_array().expect("a mask");
    let answer: Vec<u64> =
        ids.iter().zip(trained).filter(|(_, trained)| **trained == json!(true)).map(|(id, _)| *id).collect();
    let bytes: Vec<u64> = "Grüße".bytes().map(u64::from).chain([257]).collect();
    assert_eq!((answer, trained.len()), (bytes, ids.len()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("row 0 is dropped: longer than sequence_len"), "{said}");
    assert!(said.contains("row 1 is dropped: no assistant turn"), "{said}");

    let shown = succeed(directory.path(), &["preprocess", "run.yaml", "--rows", "3"]);
    assert!(
        shown.starts_with("row 2: messages, 31 tokens, 8 trained\n<|im_start|>·u·s·e·r·\\n\n"),
        "{shown}"
    );
    assert!(
        shown.contains("[G·r·") && shown.contains("·<|im_end|>]\\n") && !shown.contains('\u{1b}'),
        "{shown}"
    );
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn validate_checks_the_first_thousand_rows_and_says_so() {
    let directory = run();
    let output = headstart(directory.path(), &["validate", "run.yaml"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("about 2 473 rows (989 checked)"), "{said}");
    assert!(said.contains("only the first 1000 rows were checked"), "{said}");
    assert!(said.contains("training rows are messages") && !said.contains("labels:"), "{said}");
    let dropped =
        "dropped 10 rows (numbers 0, 100, 200, 300, 400, 500, 600, 700, 800, 900): longer than sequence_len";
    assert!(said.contains(dropped) && said.contains("dropped 1 row (number 1): no assistant turn"), "{said}");
}

/// Rows by their numbers in the data: dropped ones are in no step.
#[test]
fn dropped_rows_are_never_planned() {
    let directory = run();
    let keys =
        ["rows", "run.yaml", "--set", "num_train_epochs=1", "--set", "per_device_train_batch_size=100"];
    let cache = directory.path().join("cache");
    let mut steps = Vec::new();
    for _ in 0..2 {
        let output = headstart_tests::command("headstart", directory.path())
            .args(keys)
            .env("HEADSTART_CACHE", &cache)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        steps.push(String::from_utf8_lossy(&output.stdout).into_owned());
        // The second time, what the first found is read.
        assert_eq!(std::fs::read_dir(cache.join("indexes")).map_or(0, Iterator::count), 1);
    }
    assert_eq!(steps[0], steps[1]);
    let mut rows: Vec<u64> = steps[0]
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("one object a step"))
        .flat_map(|step| step["rows"].as_array().cloned().unwrap_or_default())
        .filter_map(|row| row.as_u64())
        .collect();
    rows.sort_unstable();
    let left: Vec<u64> = (0..2500).filter(|row| row % 100 != 0 && *row != 1).collect();
    assert_eq!(rows, left);
}

#[test]
fn what_cannot_be_trained_on_is_named_with_its_exit_code() {
    let directory = run();
    let write = |name: &str, content: &str| write(directory.path(), name, content);
    write("none.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
    write("unknown.jsonl", "{\"txet\": \"a\"}\n");
    write("raises.jinja", "{{ raise_exception('no such turn') }}");
    write("loops.jinja", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
    write("broken.jinja", "{% for %}");
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["datasets.0.path=none.jsonl"],
            10,
            "no training row is left: 1 row (number 0) dropped: no assistant turn",
        ),
        (
            &["datasets.0.path=unknown.jsonl"],
            10,
            "unknown.jsonl, row 0 at byte 0: the row has the columns [\"txet\"]",
        ),
        (&["excess_length_strategy=raise"], 10, "chats.jsonl, row 0 at byte 0: the row has"),
        (&["chat_template_path=raises.jinja"], 10, "no such turn"),
        (&["chat_template_path=loops.jinja"], 10, "out of fuel"),
        (&["chat_template_path=broken.jinja"], 12, "line 1"),
        (&["chat_template=llama3"], 2, "chat_template: llama3"),
        (&["eot_tokens=[\"<|nothing|>\"]"], 12, "<|nothing|>"),
        (&["sequence_len=65"], 2, "sequence_len is 65"),
    ];
    for (sets, code, named) in cases {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        for command in ["validate", "preprocess"] {
            let output = headstart(directory.path(), &[&[command, "run.yaml"][..], &sets].concat());
            let said = text(&output);
            // A preview of dropped rows is no error.
            let code = if command == "preprocess" && named.starts_with("no training row") { 0 } else { code };
            assert_eq!(output.status.code(), Some(code), "{command} {sets:?}: {said}");
            assert!(code == 0 || said.contains(named), "{command} {sets:?}: {said}");
            assert!(!said.contains("panicked"), "{command} {sets:?}: {said}");
        }
    }
    without_template(directory.path());
}

/// Conversations need a template, texts do not.
fn without_template(directory: &Path) {
    std::fs::remove_file(directory.join("model/chat_template.jinja")).expect("it was written");
    let output = headstart(directory, &["validate", "run.yaml"]);
    assert_eq!(output.status.code(), Some(12), "{}", text(&output));
    assert!(text(&output).contains("the checkpoint has no chat template"), "{}", text(&output));
    std::fs::write(directory.join("texts.csv"), "id,text\n1,one\n2,two\n").expect("writable");
    let said = succeed(directory, &["validate", "run.yaml", "--set", "datasets.0.path=texts.csv"]);
    assert!(said.contains("training rows are text"), "{said}");
}

#[test]
fn preprocess_is_for_language_models() {
    let directory = headstart_tests::texts();
    let output = headstart(directory.path(), &["preprocess", "run.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("preprocess shows rows of language models"), "{}", text(&output));
}
