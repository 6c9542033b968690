//! Ids equal transformers': the variants that tests/reference/tokenizers/make_tokenizers.py made.

use std::path::{Path, PathBuf};

use headstart::model::tokenizer::{Registered, TokenizerFiles};
use serde_json::{Value, json};

use super::*;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/tokenizers")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("it is JSON")
}

/// The files of a variant, its config.json and what transformers makes of it.
struct Variant {
    files: TokenizerFiles,
    config: Value,
    expected: Value,
}

impl Variant {
    fn read(directory: &Path) -> Variant {
        let mut files = TokenizerFiles::default();
        for name in TokenizerFiles::ALWAYS.into_iter().chain(TokenizerFiles::WITHOUT_JSON) {
            if let Ok(bytes) = std::fs::read(directory.join(name)) {
                files.insert(name, bytes.into());
            }
        }
        let [config, expected] = ["config.json", "expected.json"].map(|name| read(&directory.join(name)));
        Variant { files, config, expected }
    }

    fn spec(&self) -> Result<TokenizerSpec, TokenizerError> {
        let registered = &self.expected["registered"];
        let class = registered["class"].as_str().map(|class| &*class.to_owned().leak());
        let overrides = registered["overrides"].as_bool().expect("it is a flag");
        TokenizerSpec::resolve(&self.files, &self.config, Registered { class, overrides })
    }
}

fn names() -> Vec<String> {
    let entries =
        std::fs::read_dir(directory()).expect("it is there").map(|entry| entry.expect("it can be read"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("it is text"))
        .collect();
    names.sort();
    names
}

/// Ids and types of a row; types that transformers leaves out are 0.
fn row(expected: &Value) -> Encoded {
    let numbers =
        |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).expect("they are numbers") };
    let ids = numbers(&expected["ids"]);
    let type_ids = expected.get("types").map_or_else(|| vec![0; ids.len()], numbers);
    Encoded { ids, type_ids }
}

#[test]
fn every_variant_gives_the_ids_of_transformers() {
    let texts = read(&directory().join("texts.json"));
    let list = |key: &str| texts[key].as_array().expect("it is a list").clone();
    let single = list("texts").into_iter().map(|text| (json!([text, null]), &texts["max_length"]));
    let pairs = list("pairs").into_iter().map(|pair| (pair, &texts["pair_length"]));
    let inputs: Vec<(Value, u32)> = single
        .chain(pairs)
        .map(|(texts, length)| (texts, length.as_u64().expect("it is a number") as u32))
        .collect();
    let names = names();
    assert!(names.len() >= 30, "{names:?}");
    let mut wrong = Vec::new();
    for name in names {
        let variant = Variant::read(&directory().join(&name));
        let spec = variant.spec().unwrap_or_else(|error| panic!("{name}: {error}"));
        let rows = variant.expected["rows"].as_array().expect("it is a list");
        assert_eq!(rows.len(), inputs.len(), "{name}");
        for ((texts, length), expected) in inputs.iter().zip(rows) {
            let tokenizer =
                TextTokenizer::new(&spec, *length).unwrap_or_else(|error| panic!("{name}: {error}"));
            let text = texts[0].as_str().expect("it is a text");
            let found = tokenizer.encode(text, texts[1].as_str());
            if found.as_ref() != Ok(&row(expected)) {
                wrong.push(format!("{name}: {texts}: {found:?} where transformers has {:?}", row(expected)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn limits_sides_and_added_tokens_are_those_of_transformers() {
    for name in names() {
        let Variant { expected, .. } = &Variant::read(&directory().join(&name));
        let spec = Variant::read(&directory().join(&name)).spec().expect("it is a tokenizer");
        let side = |side: Side| if side == Side::Left { "left" } else { "right" };
        let ids: serde_json::Map<String, Value> =
            spec.ids.iter().map(|token| (token.text.clone(), token.number.into())).collect();
        let found = json!({
            "model_max_length": spec.max_length, "pad_token_id": spec.pad_id, "padding_side": side(spec.padding),
            "truncation_side": side(spec.truncation), "added": ids,
        });
        for (key, found) in found.as_object().expect("it is an object") {
            assert_eq!(found, &expected[key], "{name}: {key}");
        }
    }
}
