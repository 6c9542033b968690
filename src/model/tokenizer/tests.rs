//! What is refused, what is warned of, and which ids a network must know. The ids themselves are compared with
//! transformers' in the worker, which has the library.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const PIECES: &str = r#"{"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4, "a": 5}"#;

fn stored() -> Value {
    let vocab: Value = serde_json::from_str(PIECES).unwrap();
    json!({"added_tokens": [], "normalizer": null, "post_processor": null, "model": {"type": "WordPiece", "vocab": vocab}})
}

fn files(contents: &[(&'static str, Value)]) -> TokenizerFiles {
    let mut files = TokenizerFiles::default();
    for (name, content) in contents {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        files.insert(name, text.into());
    }
    files
}

fn resolve(class: &'static str, contents: &[(&'static str, Value)]) -> Result<TokenizerSpec, TokenizerError> {
    TokenizerSpec::resolve(&files(contents), &Value::Null, Registered::as_class(class))
}

fn with(settings: Value) -> Vec<(&'static str, Value)> {
    vec![("tokenizer.json", stored()), ("tokenizer_config.json", settings)]
}

#[test]
fn settings_that_cannot_be_followed_are_refused_by_file_and_key() {
    let refused = |settings: Value| resolve("BertTokenizer", &with(settings)).unwrap_err();
    for (settings, key) in [
        (json!({"do_lower_case": null}), "do_lower_case"),
        (json!({"strip_accents": "yes"}), "strip_accents"),
        (json!({"tokenizer_class": 3}), "tokenizer_class"),
        (json!({"cls_token": null}), "cls_token"),
        (json!({"sep_token": {"content": "[SEP]"}}), "sep_token"),
        (json!({"padding_side": "up"}), "padding_side"),
        (json!({"truncation_side": null}), "truncation_side"),
        (json!({"split_special_tokens": 1}), "split_special_tokens"),
        (json!({"model_max_length": "512"}), "model_max_length"),
        (json!({"model_max_length": 5.5}), "model_max_length"),
        (json!({"model_input_names": "input_ids"}), "model_input_names"),
        (json!({"added_tokens_decoder": []}), "added_tokens_decoder"),
        (json!({"added_tokens_decoder": {"x": {"content": "y"}}}), "added_tokens_decoder"),
        (json!({"added_tokens_decoder": {"7": {"special": true}}}), "added_tokens_decoder"),
        (json!({"added_tokens_decoder": {"7": {"content": "y", "lstrip": 1}}}), "lstrip"),
        (json!({"extra_special_tokens": [3]}), "extra_special_tokens"),
        (json!({"fast_tokenizer_files": ["tokenizer.4.1.json"]}), "fast_tokenizer_files"),
        (json!({"init_inputs": ["vocab"]}), "init_inputs"),
    ] {
        let error = refused(settings);
        assert_eq!(error.file, "tokenizer_config.json");
        assert!(error.reason.contains(key), "{error}");
    }
    assert!(refused(json!([])).to_string().contains("must hold a JSON object"));
    assert!(refused(json!("{")).to_string().starts_with("tokenizer_config.json: "));
}

#[test]
fn what_changes_nothing_is_accepted() {
    let plain = resolve("BertTokenizer", &with(json!({}))).unwrap();
    let more = json!({
        "clean_up_tokenization_spaces": true, "never_split": ["x"], "name_or_path": "y", "chat_template": "z", "verbose": 1,
        "fast_tokenizer_files": ["tokenizer.json"], "tokenizer_file": "/tmp/t", "auto_map": {"AutoTokenizer": ["t.T", null]},
        "init_inputs": [], "tokenizer_class": "BertTokenizerFast", "model_max_length": 1e30, "extra_special_tokens": {},
    });
    assert_eq!(resolve("BertTokenizer", &with(more)).unwrap(), plain);
}

#[test]
fn missing_files_are_named_with_a_cure() {
    let said = |class, contents: &[_]| resolve(class, contents).unwrap_err().to_string();
    let nothing = said("BertTokenizer", &[]);
    assert!(nothing.starts_with("tokenizer.json: there is no such file, nor vocab.txt"), "{nothing}");
    assert!(nothing.contains("save_pretrained"), "{nothing}");
    let half = said("GPT2Tokenizer", &[("vocab.json", json!({"a": 0}))]);
    assert!(half.contains("vocab.json with merges.txt"), "{half}");
    let model = said("XLMRobertaTokenizer", &[("sentencepiece.bpe.model", "".into())]);
    assert!(model.contains("sentencepiece.bpe.model without it is not supported yet"), "{model}");
}

#[test]
fn vocabularies_of_text_are_read_as_transformers_reads_them() {
    let lines = "[UNK]\n[CLS]\r\n[SEP]  \nb\nb\n";
    let spec = resolve("BertTokenizer", &[("vocab.txt", lines.into())]).unwrap();
    assert!(String::from_utf8(spec.json).unwrap().contains(r####"{"[UNK]":0,"[CLS]":1,"[SEP]":2,"b":4}"####));
    let pair = |vocab: Value, merges: &str| {
        resolve("RobertaTokenizer", &[("vocab.json", vocab), ("merges.txt", merges.into())])
    };
    let spec = pair(json!({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}), "#version: 0.2\na b\n").unwrap();
    assert!(String::from_utf8(spec.json).unwrap().contains(r#""merges":["a b"]"#));
    assert!(pair(json!({"a": -1}), "").unwrap_err().to_string().starts_with("vocab.json: "));
    assert!(pair(json!([1]), "").unwrap_err().to_string().starts_with("vocab.json: "));
    assert!(pair(json!({"a": 0}), "a b c\n").unwrap_err().to_string().starts_with("merges.txt: "));
}

#[test]
fn a_class_that_is_not_known_leaves_tokenizer_json_alone_and_says_so() {
    let spec = resolve("BertTokenizer", &with(json!({"tokenizer_class": "T5TokenizerFast"}))).unwrap();
    assert_eq!(spec.json, stored().to_string().into_bytes());
    assert_eq!(spec.warnings.len(), 1);
    assert!(spec.warnings[0].contains("T5Tokenizer"), "{:?}", spec.warnings);
    let known =
        resolve("BertTokenizer", &with(json!({"tokenizer_class": "PreTrainedTokenizerFast"}))).unwrap();
    assert_eq!((known.json, known.warnings), (spec.json, Vec::new()));
    let code = json!({"auto_map": {"AutoTokenizer": ["t.T", null]}, "tokenizer_class": "HouseTokenizer"});
    let refused = TokenizerSpec::resolve(&files(&with(code)), &Value::Null, Registered::NONE).unwrap_err();
    assert!(refused.reason.contains("auto_map names Python code"), "{refused}");
}

#[test]
fn tokens_that_texts_can_contain_need_an_embedding() {
    let beyond = |stored: Value, settings: Value, vocab: u64| {
        let spec =
            resolve("BertTokenizer", &[("tokenizer.json", stored), ("tokenizer_config.json", settings)])
                .unwrap();
        spec.beyond(vocab).cloned()
    };
    let token = |text: &str, number| Some(Token { text: text.into(), number });
    assert_eq!(beyond(stored(), json!({}), 6), None);
    assert_eq!(beyond(stored(), json!({}), 5), token("a", 5), "of the vocabulary");
    let new = json!({"added_tokens_decoder": {"6": {"content": "new"}}});
    assert_eq!(beyond(stored(), new, 6), token("new", 6), "added, to be found in texts");
    let extra = json!({"extra_special_tokens": ["<x>"]});
    assert_eq!(beyond(stored(), extra, 6), token("<x>", 6));
    // Many checkpoints name special tokens for which their networks have no embedding, and never meet them.
    let named = json!({"pad_token": "<pad>", "mask_token": "<mask>", "image_token": "<image>"});
    assert_eq!(beyond(stored(), named, 6), None);
    assert_eq!(beyond(stored(), json!({"sep_token": "<sep>"}), 6), token("<sep>", 6), "in every text");
    // A language model meets the tokens that begin and end its texts, though no text is wrapped in them here.
    let named = json!({"pad_token": "<pad>", "eos_token": "<end>", "mask_token": "<mask>"});
    let files = [("tokenizer.json", stored()), ("tokenizer_config.json", named)];
    let spec = resolve("BertTokenizer", &files).unwrap();
    assert_eq!(spec.beyond(6), None);
    assert_eq!(spec.beyond_language(6).map(|token| token.text.as_str()), Some("<end>"));
    assert_eq!(spec.beyond_language(9), None);
    // What tokenizer.json says of numbers counts where it is taken as it is.
    let mut numbered = stored();
    numbered["added_tokens"] = json!([{"id": 4_000_000_000u32, "content": "[NEW]", "special": true}]);
    let as_is = json!({"tokenizer_class": "TokenizersBackend"});
    assert_eq!(beyond(numbered, as_is, 100), token("[NEW]", 4_000_000_000));
}

#[test]
fn a_post_processor_that_the_library_would_panic_over_is_refused() {
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let special = json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}});
    let template = |single: Value, tokens: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [sequence("A"), sequence("B")], "special_tokens": tokens});
    let refused = |processor: Value| {
        let mut stored = stored();
        stored["post_processor"] = json!({"type": "Sequence", "processors": [processor]});
        resolve("GPT2Tokenizer", &[("tokenizer.json", stored)]).err().map(|error| error.reason)
    };
    let cls = json!({"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}});
    assert_eq!(refused(template(json!([special, sequence("A")]), cls.clone())), None);
    let unknown = refused(template(json!([special, sequence("A")]), json!({}))).unwrap();
    assert!(unknown.contains("\"[CLS]\" is not among its special_tokens"), "{unknown}");
    let second = refused(template(json!([sequence("B")]), cls)).unwrap();
    assert!(second.contains("single holds a second text"), "{second}");
}

#[test]
fn every_kind_of_vocabulary_is_counted() {
    let highest = |json: &str| {
        let vocabulary = Vocabulary::read(json, std::iter::once("b".to_owned())).unwrap();
        (
            vocabulary.len,
            vocabulary.highest.clone().map(|token| (token.text, token.number)),
            vocabulary.number("b"),
        )
    };
    assert_eq!(highest(r#"{"b": 7, "a": 0}"#), (2, Some(("b".into(), 7)), Some(7)));
    assert_eq!(highest(r#"[["<unk>", 0.0], ["b", -1.5]]"#), (2, Some(("b".into(), 1)), Some(1)));
    assert_eq!(highest("{}"), (0, None, None));
    for broken in ["", r#"{"a": -1}"#, r#""a""#, r#"[["a"]]"#, "[3]"] {
        assert!(Vocabulary::read(broken, std::iter::empty()).is_err(), "{broken}");
    }
}
