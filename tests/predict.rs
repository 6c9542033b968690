//! `headstart predict`: values as the references store them, order, models and adapters, and what is refused.

use std::path::Path;

use headstart_tests::reference::numbers;
use headstart_tests::refused::Refused;
use headstart_tests::{headstart, repository, succeed, text};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A directory with a reference's checkpoint as `model`, and a tokenizer in which `<5>` is token 5.
fn reference(name: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (from, model) = (repository().join("tests/reference").join(name), directory.path().join("model"));
    std::fs::create_dir(&model).expect("the directory is writable");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), model.join(file)).expect("the reference is committed");
    }
    let tokens = config(&model)["vocab_size"].as_u64().expect("it reads tokens");
    let vocab: Map<String, Value> = (0..tokens).map(|id| (format!("<{id}>"), id.into())).collect();
    let sequence = |name: &str, kind: usize| json!({"Sequence": {"id": name, "type_id": kind}});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
        "post_processor": {
            "type": "TemplateProcessing", "single": [sequence("A", 0)],
            "pair": [sequence("A", 0), sequence("B", 1)], "special_tokens": {},
        },
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<0>"},
    });
    let settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<2>",
        "model_input_names": ["input_ids", "token_type_ids"]});
    write(directory.path(), "model/tokenizer.json", &tokenizer.to_string());
    write(directory.path(), "model/tokenizer_config.json", &settings.to_string());
    directory
}

fn config(model: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(model.join("config.json")).expect("it is there")).expect("JSON")
}

fn set(model: &Path, key: &str, value: Value) {
    let mut config = config(model);
    config[key] = value;
    write(model, "config.json", &config.to_string());
}

fn write(directory: &Path, name: &str, content: &str) {
    std::fs::write(directory.join(name), content).expect("the directory is writable");
}

/// A text of these tokens.
fn words(ids: &[i64]) -> String {
    ids.iter().map(|id| format!("<{id}>")).collect::<Vec<_>>().join(" ")
}

fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn predict(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    lines(&succeed(directory, &[&["predict", "--threads", "1"], arguments].concat()))
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(expected).all(|(one, other)| (one - other).abs() < 2e-5);
    assert!(close, "{found:?} is not {expected:?}");
}

#[test]
fn a_classifier_gives_labels_and_logits_by_class_id() {
    let directory = reference("distilbert");
    set(&directory.path().join("model"), "id2label", json!({"0": "dog", "1": "ant", "2": "cat"}));
    let facts: Value = serde_json::from_slice(
        &std::fs::read(repository().join("tests/reference/distilbert/reference.json")).expect("committed"),
    )
    .expect("JSON");
    let rows: [&[i64]; 3] = [&[0, 17, 0, 5, 27, 9, 2], &[0, 8, 2], &[0, 21, 21, 12, 2]];
    let jsonl: String = rows.iter().map(|row| format!("{}\n", json!({"body": words(row)}))).collect();
    write(directory.path(), "rows.jsonl", &jsonl);
    let csv: String = rows.iter().map(|row| format!("{},x\n", words(row))).collect();
    write(directory.path(), "rows.csv", &format!("body,label\n{csv}"));
    let arguments = ["--model", "model", "--data", "rows.jsonl", "--text-column", "body"];
    let found = predict(directory.path(), &arguments);
    assert_eq!(found.iter().map(|line| line["label"].clone()).collect::<Vec<_>>(), ["dog"; 3]);
    assert_close(
        &found.iter().flat_map(|line| numbers(&line["logits"])).collect::<Vec<_>>(),
        &numbers(&facts["logits"]),
    );
    assert_eq!(found[0].as_object().expect("an object").keys().collect::<Vec<_>>(), ["label", "logits"]);
    // Rows one by one, in another file, written to a file.
    let other = ["--model", "model", "--data", "rows.csv", "--text-column", "body", "--batch-size", "1"];
    assert_eq!(
        predict(directory.path(), &[&other[..], &["--output", "out.jsonl"]].concat()),
        [] as [Value; 0]
    );
    let written =
        lines(&std::fs::read_to_string(directory.path().join("out.jsonl")).expect("it was written"));
    assert_close(
        &written.iter().flat_map(|line| numbers(&line["logits"])).collect::<Vec<_>>(),
        &numbers(&facts["logits"]),
    );
}

#[test]
fn a_classifier_reads_pairs() {
    let directory = reference("bert");
    let rows = [
        json!({"a": "<2> <17> <33>", "b": "<5> <60> <9> <3>"}),
        json!({"a": "<2> <41>", "b": "<41> <12> <3>"}),
    ];
    write(directory.path(), "rows.json", &Value::from(rows.to_vec()).to_string());
    let columns = ["--text-column", "a", "--text-pair-column", "b"];
    let found =
        predict(directory.path(), &[&["--model", "model", "--data", "rows.json"], &columns[..]].concat());
    let expected = [
        [-0.2099493145942688, -0.13158920407295227, -0.4419713020324707],
        [-0.06158619374036789, -0.1529935598373413, -0.12763136625289917],
    ];
    assert_close(
        &found.iter().flat_map(|line| numbers(&line["logits"])).collect::<Vec<_>>(),
        &expected.concat(),
    );
    assert_eq!(found.iter().map(|line| line["label"].clone()).collect::<Vec<_>>(), ["LABEL_1", "LABEL_0"]);
}

/// An adapter for the model in `directory`, which its configuration names.
fn adapter(directory: &Path, change: impl FnOnce(&mut Value)) {
    let from = repository().join("tests/reference/adapters/bert");
    let bytes = std::fs::read(from.join("adapter_config.json")).expect("committed");
    let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
    config["base_model_name_or_path"] = "model".into();
    change(&mut config);
    std::fs::create_dir_all(directory.join("adapter")).expect("the directory is writable");
    write(directory, "adapter/adapter_config.json", &config.to_string());
    std::fs::copy(
        from.join("adapter_model.safetensors"),
        directory.join("adapter/adapter_model.safetensors"),
    )
    .expect("committed");
}

#[test]
fn an_adapter_names_its_base_and_its_run_the_labels() {
    let directory = reference("bert");
    adapter(directory.path(), |_| ());
    write(directory.path(), "rows.jsonl", "{\"text\": \"<3> <4> <5> <6> <7> <8> <9> <10>\"}\n");
    let expected = [0.3731915354728699, -0.4719122350215912, -0.5782583951950073];
    let found = predict(directory.path(), &["--adapter", "adapter", "--data", "rows.jsonl"]);
    assert_close(&numbers(&found[0]["logits"]), &expected);
    assert_eq!(found[0]["label"], "LABEL_0");
    write(directory.path(), "adapter/run.json", &json!({"labels": ["x", "y", "z"], "spec": {}}).to_string());
    let found =
        predict(directory.path(), &["--model", "model", "--adapter", "adapter", "--data", "rows.jsonl"]);
    assert_close(&numbers(&found[0]["logits"]), &expected);
    assert_eq!(found[0]["label"], "x");
}

/// For each row of the llama's reference, its tokens, and the sum of −log p of all but the first.
fn scored() -> Vec<(Vec<i64>, f64)> {
    let from = repository().join("tests/reference/decoders/llama");
    let facts: Value =
        serde_json::from_slice(&std::fs::read(from.join("reference.json")).expect("committed"))
            .expect("JSON");
    let rows: Vec<Vec<i64>> = serde_json::from_value(facts["rows"].clone()).expect("token ids");
    let bytes = std::fs::read(from.join("logits.safetensors")).expect("committed");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let values = file.tensor("main").expect("it has the logits").data();
    let values: Vec<f64> = values
        .chunks(4)
        .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes"))))
        .collect();
    // [tokens of all rows, 24]
    let mut logits = values.chunks(24);
    let mut nll = |row: &Vec<i64>| -> f64 {
        let of_row: Vec<&[f64]> = logits.by_ref().take(row.len()).collect();
        let next = row[1..].iter().zip(&of_row);
        next.map(|(&id, logits)| {
            logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[id as usize]
        })
        .sum()
    };
    rows.into_iter().map(|row| (row.clone(), nll(&row))).collect()
}

#[test]
fn a_language_model_gives_likelihoods_of_all_tokens_but_the_first() {
    let directory = reference("decoders/llama");
    let rows = scored();
    let mut jsonl: String =
        rows.iter().map(|(row, _)| format!("{}\n", json!({"text": words(row)}))).collect();
    // A prompt counts as well, and a text of one token has none to predict.
    let (row, nll) = &rows[2];
    jsonl += &format!("{}\n", json!({"prompt": words(&row[..3]) + " ", "completion": words(&row[3..])}));
    jsonl += "{\"text\": \"<5>\"}\n";
    write(directory.path(), "rows.jsonl", &jsonl);
    let found = predict(directory.path(), &["--model", "model", "--data", "rows.jsonl", "--batch-size", "2"]);
    let numbers_of =
        |key: &str| found.iter().map(|line| line[key].as_f64().expect("a number")).collect::<Vec<_>>();
    assert_eq!(numbers_of("tokens"), [25.0, 2.0, 7.0, 7.0, 0.0]);
    let expected: Vec<f64> = rows.iter().map(|(_, nll)| *nll).chain([*nll, 0.0]).collect();
    for (found, expected) in numbers_of("nll").iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }
    assert_eq!(found[4].to_string(), "{\"nll\":0.0,\"tokens\":0}");

    let output = headstart(
        directory.path(),
        &["predict", "--model", "model", "--data", "rows.jsonl", "--sequence-len", "7"],
    );
    let said = text(&output);
    assert!(output.status.success() && said.contains("3 rows (numbers 0, 2, 3) cut to 7 tokens"), "{said}");
    let tokens = lines(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(tokens.iter().map(|line| line["tokens"].clone()).collect::<Vec<_>>(), [6, 2, 6, 6, 0]);
}

#[test]
fn conversations_are_rendered_and_need_a_template() {
    let directory = reference("decoders/llama");
    let chat =
        json!({"messages": [{"role": "user", "content": "<9>"}, {"role": "assistant", "content": "<3>"}]});
    write(directory.path(), "rows.jsonl", &format!("{chat}\n"));
    let arguments = ["predict", "--model", "model", "--data", "rows.jsonl"];
    Refused::of(directory.path(), &arguments).code(12).says(&["rows.jsonl, row 0", "no chat template"]);
    let template = "{% for m in messages %}{{ '<1> ' + m.content + ' <2> ' }}{% endfor %}";
    write(directory.path(), "model/chat_template.jinja", template);
    write(directory.path(), "plain.jsonl", "{\"text\": \"<1> <9> <2> <1> <3> <2>\"}\n");
    let [chat, plain] = ["rows.jsonl", "plain.jsonl"]
        .map(|data| predict(directory.path(), &["--model", "model", "--data", data]));
    assert_eq!((chat[0]["tokens"].clone(), &chat), (5.into(), &plain));
}

#[test]
fn images_need_no_class_folders() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir_all(directory.path().join("model")).expect("the directory is writable");
    std::fs::create_dir_all(directory.path().join("images/more")).expect("the directory is writable");
    for file in ["config.json", "model.safetensors"] {
        let from = repository().join("tests/reference/vit").join(file);
        std::fs::copy(from, directory.path().join("model").join(file)).expect("committed");
    }
    let from = repository().join("tests/reference/images");
    for (image, to) in [("rgb.png", "b.png"), ("photo.jpg", "more/a.jpg"), ("rgb.png", "a.png")] {
        std::fs::copy(from.join(image), directory.path().join("images").join(to)).expect("committed");
    }
    let arguments = ["predict", "--model", "model", "--data", "images", "--batch-size", "2"];
    let output = headstart(directory.path(), &arguments);
    let said = text(&output);
    assert!(output.status.success() && said.contains("no preprocessor_config.json"), "{said}");
    let found = lines(&String::from_utf8_lossy(&output.stdout));
    let files: Vec<&str> =
        found.iter().filter_map(|line| line["file"].as_str()?.rsplit("/images/").next()).collect();
    assert_eq!(files, ["a.png", "b.png", "more/a.jpg"]);
    assert_close(&numbers(&found[0]["logits"]), &numbers(&found[1]["logits"]));
    assert_ne!(found[0]["logits"], found[2]["logits"]);
}

#[test]
fn what_cannot_be_asked_is_refused_before_libtorch_loads() {
    let directory = reference("bert");
    let at = directory.path();
    write(at, "rows.jsonl", "{\"text\": \"<5>\"}\n{\"txt\": \"<6>\"}\n");
    write(at, "good.jsonl", "{\"text\": \"<5>\"}\n");
    let refused = |arguments: &[&str]| Refused::of(at, &[&["predict"], arguments].concat());
    refused(&["--data", "good.jsonl"]).code(2).says(&["--model"]);
    refused(&["--model", "model", "--data", "rows.jsonl"]).code(10).says(&[
        "rows.jsonl:2",
        "\"text\"",
        "\"txt\"",
    ]);
    refused(&["--model", "model", "--data", "none.jsonl"]).code(10).says(&["none.jsonl"]);
    refused(&["--model", "none", "--data", "good.jsonl"]).code(12).says(&["none"]);
    refused(&["--model", "model", "--data", "good.jsonl", "--image-column", "i"])
        .code(2)
        .says(&["--image-column has no effect", "sequence-classification"]);
    refused(&["--model", "model", "--data", "good.jsonl", "--sequence-len", "17"])
        .code(2)
        .says(&["16 positions"]);
    adapter(at, |_| ());
    refused(&["--model", "adapter", "--data", "good.jsonl"]).code(2).says(&["give it as --adapter"]);
    adapter(at, |config| config["r"] = 4.into());
    refused(&["--adapter", "adapter", "--data", "good.jsonl"]).code(12).says(&["adapter", "shape"]);
    adapter(at, |config| config["base_model_name_or_path"] = Value::Null);
    refused(&["--adapter", "adapter", "--data", "good.jsonl"]).code(2).says(&["base_model_name_or_path"]);
    for (key, value, says) in [
        ("architectures", json!(["BertForMaskedLM"]), "BertForMaskedLM"),
        ("problem_type", json!("regression"), "regression"),
        ("id2label", json!({"0": "a", "1": "a", "2": "b"}), "two classes"),
        ("id2label", json!({"0": "a", "1": "b"}), "predictions would be random"),
    ] {
        let before = config(&at.join("model"));
        set(&at.join("model"), key, value);
        refused(&["--model", "model", "--data", "good.jsonl"]).code(12).says(&[says]);
        write(at, "model/config.json", &before.to_string());
    }
}
