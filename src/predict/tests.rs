//! Models as their files describe them, and the bytes for a worker.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::chat::TemplateChoice;
use crate::exit::Exit;
use crate::network::Network;

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// A directory with the BERT of three classes as `model`, one row of data, and the files of an adapter as `adapter`.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer =
        json!({"added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}});
    for (to, from, files) in [
        ("model", "bert", ["config.json", "model.safetensors"]),
        ("adapter", "adapters/bert", ["adapter_config.json", "adapter_model.safetensors"]),
    ] {
        std::fs::create_dir(directory.path().join(to)).unwrap();
        for file in files {
            std::fs::copy(reference(from).join(file), directory.path().join(to).join(file)).unwrap();
        }
    }
    write(&directory, "model/tokenizer.json", &tokenizer);
    write(&directory, "rows.jsonl", &json!({"text": "a"}));
    directory
}

fn write(directory: &TempDir, name: &str, content: &Value) {
    std::fs::write(directory.path().join(name), content.to_string()).unwrap();
}

fn change(directory: &TempDir, name: &str, key: &str, value: Value) {
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(directory.path().join(name)).unwrap()).unwrap();
    json[key] = value;
    write(directory, name, &json);
}

fn request(directory: &TempDir, adapter: bool) -> Request {
    let at = |name: &str| directory.path().join(name).display().to_string();
    Request {
        model: Some(at("model")),
        adapter: adapter.then(|| at("adapter")),
        data: at("rows.jsonl"),
        text_column: None,
        text_pair_column: None,
        image_column: None,
        sequence_len: None,
        batch_size: 4,
        threads: 2,
    }
}

#[tokio::test]
async fn work_arrives_as_it_was_sent() {
    let directory = directory();
    let Prepared { work, warnings } = prepare(&request(&directory, true)).await.unwrap();
    // What other programs make of the adapter is no matter here.
    assert_eq!(warnings, [] as [String; 0]);
    assert_eq!((work.index.len(), work.labels.len()), (1, 3));
    let mut bytes = Vec::new();
    work.write(&mut bytes).unwrap();
    assert_eq!(Work::read(bytes.as_slice()).unwrap(), work);
    for cut in [3, 20, bytes.len() - 1] {
        assert!(Work::read(&bytes[..cut]).is_err(), "{cut} bytes");
    }
    bytes[7] = 1;
    assert!(Work::read(bytes.as_slice()).is_err(), "a header of 2^56 bytes");
    let network = Network::open(&work.spec.cluster.stores(), &work.spec, &work.labels).await.unwrap();
    assert_eq!(network.first_drawn(), None);
}

#[tokio::test]
async fn an_adapter_of_other_classes_than_its_base_brings_its_head() {
    let directory = directory();
    // The adapter's head has three rows, whatever the base was for.
    change(&directory, "model/config.json", "id2label", json!({"0": "no", "1": "yes"}));
    change(&directory, "model/config.json", "architectures", json!(["BertForMaskedLM"]));
    let error = prepare(&request(&directory, false)).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Checkpoint);
    assert!(error.to_string().contains("BertForMaskedLM"), "{error}");
    let Prepared { work, .. } = prepare(&request(&directory, true)).await.unwrap();
    assert_eq!(work.labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    // The run that made the adapter knows their names.
    write(&directory, "adapter/run.json", &json!({"labels": ["a", "b", "c"], "spec": {"seed": 1}}));
    let Prepared { work, .. } = prepare(&request(&directory, true)).await.unwrap();
    assert_eq!(work.labels, ["a", "b", "c"]);
    // Another program's file of this name says nothing.
    write(&directory, "adapter/run.json", &json!({"id": 5}));
    assert_eq!(prepare(&request(&directory, true)).await.unwrap().work.labels[0], "LABEL_0");
    write(&directory, "adapter/run.json", &json!({"spec": {}, "labels": 5}));
    let error = prepare(&request(&directory, true)).await.unwrap_err();
    assert!(error.exit() == Exit::Checkpoint && error.to_string().contains("run.json"), "{error}");
}

#[tokio::test]
async fn a_language_model_renders_as_its_run_did_and_is_asked_about_every_token() {
    let directory = directory();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(reference("decoders/llama").join(file), directory.path().join("model").join(file))
            .unwrap();
    }
    let spec = json!({"chat_template_date": "2026-01-02", "train_on_eos": "last", "add_eos": true,
        "chat_template_kwargs": {"thinking": false}, "sequence_len": 9, "chat_template_path": "gone.jinja",
        "chat_template": "jinja", "datasets": [{"path": "x", "text_column": "text", "field_messages": "talk"}]});
    write(&directory, "model/run.json", &json!({"labels": [], "spec": spec}));
    let Prepared { work, .. } = prepare(&request(&directory, false)).await.unwrap();
    assert_eq!(work.spec.datasets[0].rows.field_messages.as_deref(), Some("talk"));
    let chat = work.spec.chat;
    assert_eq!((chat.chat_template_path, chat.chat_template), (None, TemplateChoice::TokenizerDefault));
    assert_eq!((work.labels.len(), work.spec.task, work.spec.sequence_len), (0, Task::CausalLm, None));
    assert_eq!(chat.chat_template_date.as_deref(), Some("2026-01-02"));
    assert_eq!(chat.chat_template_kwargs["thinking"], false);
    assert!(chat.train_on_inputs && !chat.add_eos);
    for option in ["--text-pair-column", "--image-column"] {
        let mut request = request(&directory, false);
        match option {
            "--image-column" => request.image_column = Some("x".into()),
            _ => request.text_pair_column = Some("x".into()),
        }
        let error = prepare(&request).await.unwrap_err();
        assert!(error.exit() == Exit::Usage && error.to_string().contains(option), "{error}");
    }
}
