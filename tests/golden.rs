//! What a run of a language model leaves behind is asked from elsewhere: `predict` reads it as its run read data, and `verify
//! --golden` computes its log probabilities again.

use std::path::Path;

use headstart_tests::language::{LORA, chats, write};
use headstart_tests::refused::Refused;
use headstart_tests::{headstart, sha256, succeed, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Another template than the checkpoint's, in fewer words.
const OWN: &str = "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}\
                   {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/// A finished run of an adapter, with a template and a column of its own. The template's file is gone.
fn finished() -> TempDir {
    let directory = chats();
    let at = directory.path();
    for name in ["train.jsonl", "eval.jsonl"] {
        let rows = std::fs::read_to_string(at.join(name)).expect("it was written");
        write(at, name, rows.replace("\"messages\"", "\"talk\""));
    }
    write(at, "own.jinja", OWN);
    let mut arguments = vec!["train", "run.yaml"];
    let more = [
        "max_steps=1",
        "eval_strategy=no",
        "chat_template_path=own.jinja",
        "datasets.0.field_messages=talk",
        "eval_datasets.0.field_messages=talk",
    ];
    arguments.extend(LORA.iter().chain(&more).flat_map(|set| ["--set", set]));
    succeed(at, &arguments);
    std::fs::remove_file(at.join("own.jinja")).expect("it was written");
    directory
}

fn absolute(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

#[test]
fn predict_reads_rows_as_the_run_did() {
    let (directory, elsewhere) = (finished(), tempfile::tempdir().expect("a temporary directory"));
    let at = directory.path();
    let adapter = absolute(at, "out/final");
    let ask = |rows: &Value, more: &[&str]| -> Value {
        write(elsewhere.path(), "rows.jsonl", format!("{rows}\n"));
        let arguments = [&["predict", "--adapter", &adapter, "--data", "rows.jsonl"], more].concat();
        serde_json::from_str(&succeed(elsewhere.path(), &arguments)).expect("a line of JSON")
    };
    let talk = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    // Each byte is a token, and so is <|im_end|>; the first is not predicted.
    let expected = "user: q".len() + 1 + "assistant: a".len() + 1 - 1;
    assert_eq!(ask(&json!({"talk": talk}), &[])["tokens"], expected);
    // What the command line says wins.
    assert_eq!(ask(&json!({"body": "abcd"}), &["--text-column", "body"])["tokens"], 3);
}

#[test]
fn golden_rows_are_computed_again_from_anywhere() {
    let (directory, elsewhere) = (finished(), tempfile::tempdir().expect("a temporary directory"));
    let (at, here) = (directory.path(), elsewhere.path());
    let run = absolute(at, "out");
    let said = succeed(here, &["verify", &run, "--golden", "--tolerance", "0.001"]);
    assert!(said.contains("golden: 8 rows"), "{said}");
    for wrong in ["nan", "inf", "-1", "x"] {
        let tolerance = format!("--tolerance={wrong}");
        Refused::of(here, &["verify", &run, "--golden", &tolerance]).code(2).says(&["--tolerance"]);
    }
    std::fs::rename(at.join("model"), at.join("moved")).expect("it is there");
    let refused = Refused::of(here, &["verify", &run, "--golden"]).code(12);
    refused.says(&["adapter_config.json", "base_model_name_or_path", "--model"]);
    let output = headstart(here, &["verify", &run, "--golden", "--model", &absolute(at, "moved")]);
    assert!(output.status.success(), "{}", text(&output));
    // As if it had computed on a GPU.
    let record = std::fs::read_to_string(at.join("out/final/run.json")).expect("the run wrote it");
    let record = record.replace("\"precision\": \"f32\"", "\"precision\": \"bf16\"");
    replace(at, "out/final/run.json", &record);
    std::fs::rename(at.join("moved"), at.join("model")).expect("it is there");
    let said = succeed(here, &["verify", &run, "--golden"]);
    assert!(said.contains("the run computed in bf16, this device in f32"), "{said}");
    replace(at, "out/final/golden.jsonl", "");
    Refused::of(here, &["verify", &run, "--golden"]).code(12).says(&["golden.jsonl has no row"]);
}

/// Writes another file in the place of one of `final/`, with the hash that fits it.
fn replace(directory: &Path, name: &str, content: &str) {
    let (file, sums) = (directory.join(name), directory.join("out/final/SHA256SUMS"));
    let before = sha256(&file);
    write(directory, name, content);
    let listed = std::fs::read_to_string(&sums).expect("the run wrote it");
    std::fs::write(&sums, listed.replace(&before, &sha256(&file))).expect("writable");
}
