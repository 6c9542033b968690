//! Ids equal transformers': the variants that tests/reference/tokenizers/make_tokenizers.py made.

use std::path::{Path, PathBuf};

use crate::model::tokenizer::{Registered, TokenizerFiles};
use serde_json::{Value, json};

use super::*;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tokenizers")
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

/// The variants, and the users' checkpoints among the cases.
fn variants() -> Vec<PathBuf> {
    let roots = [directory(), directory().join("../../cases/tokenizer")];
    let entries = roots.iter().flat_map(|root| std::fs::read_dir(root).expect("it is there"));
    let mut variants: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    variants.retain(|path| path.is_dir());
    variants.sort();
    variants
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
    let variants = variants();
    assert!(variants.len() >= 30, "{variants:?}");
    let mut wrong = Vec::new();
    for path in variants {
        let (variant, name) = (Variant::read(&path), path.display());
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
    for path in variants() {
        let (variant, name) = (Variant::read(&path), path.display());
        let expected = &variant.expected;
        let spec = variant.spec().unwrap_or_else(|error| panic!("{name}: {error}"));
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

/// A tokenizer.json of words, with more keys.
fn words(more: Value) -> TokenizerFiles {
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "b": 2}, "unk_token": "?"},
    });
    json.as_object_mut().expect("it is one").extend(more.as_object().expect("it is one").clone());
    let mut files = TokenizerFiles::default();
    files.insert("tokenizer.json", json.to_string().into());
    files
}

fn build(files: &TokenizerFiles, limit: u32) -> Result<TextTokenizer, TokenizerError> {
    TextTokenizer::new(&TokenizerSpec::resolve(files, &Value::Null, Registered::NONE)?, limit)
}

/// The library finds one or the other, by chance: two workers would read the same text differently.
#[test]
fn added_tokens_that_look_alike_once_normalised_are_refused() {
    let token = |id: u32, content: &str, normalized: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": normalized,
            "special": false})
    };
    let with = |normalized| {
        words(
            json!({"normalizer": {"type": "Lowercase"}, "added_tokens": [token(3, "New", true), token(4, "NEW", normalized)]}),
        )
    };
    let refused = build(&with(true), 8).err().expect("they are alike").to_string();
    assert!(refused.contains("\"New\" and \"NEW\" are the same when normalised"), "{refused}");
    let found = build(&with(false), 8).expect("they differ").encode("a NEW new", None).expect("it is a text");
    assert_eq!(found.ids, [1, 4, 3]);
}

/// The library would subtract them from the length, below zero.
#[test]
fn special_tokens_that_fill_a_whole_sequence_are_refused() {
    let special = json!({"SpecialToken": {"id": "?", "type_id": 0}});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let files = words(json!({"post_processor": {
        "type": "TemplateProcessing",
        "single": [special, sequence("A"), special],
        "pair": [special, sequence("A"), special, special, sequence("B"), special],
        "special_tokens": {"?": {"id": "?", "ids": [0], "tokens": ["?"]}},
    }}));
    let refused = build(&files, 1).err().expect("two do not fit into one").to_string();
    assert!(refused.contains("2 special tokens enclose a text"), "{refused}");
    let tokenizer = build(&files, 3).expect("a token fits");
    assert_eq!(tokenizer.encode("a b", None).expect("it is a text").ids, [0, 1, 0]);
    let refused = tokenizer.encode("a", Some("b")).expect_err("four do not fit into three");
    assert!(refused.contains("4 special tokens enclose a pair"), "{refused}");
}
