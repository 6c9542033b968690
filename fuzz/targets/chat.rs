//! A chat template and a row for it: two parts of the bytes, separated by a zero.
#![no_main]

use headstart::chat::{ChatSettings, EncoderParts, RowEncoder, RowFormat};
use headstart::model::tokenizer::{Registered, TokenizerFiles, TokenizerSpec};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null, "added_tokens": [{"id": 2, "content": "</s>", "single_word": false, "lstrip": false,
    "rstrip": false, "normalized": false, "special": true}], "model": {"type": "BPE", "dropout": null, "unk_token": "?",
    "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
    "vocab": {"?": 0, "a": 1}, "merges": []}}"#;
const CONFIG: &str = r#"{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}"#;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (template, row) =
        text.split_once('\0').unwrap_or((text, r#"{"messages": [{"role": "assistant", "content": "a"}]}"#));
    let Ok(Value::Object(row)) = serde_json::from_str(row) else { return };
    let mut files = TokenizerFiles::default();
    files.insert("tokenizer.json", TOKENIZER.into());
    files.insert("tokenizer_config.json", CONFIG.into());
    let spec = TokenizerSpec::resolve(&files, &Value::Null, Registered::NONE).expect("it is sound");
    for train_on_inputs in [false, true] {
        let settings = ChatSettings { train_on_inputs, ..ChatSettings::default() };
        let encoder = RowEncoder::new(EncoderParts {
            tokenizer: &spec,
            tokenizer_config: Some(CONFIG.into()),
            chat_template: Some(template.into()),
            template: None,
            generation_config: None,
            sequence_len: 1 << 20,
            vocab: 3,
            settings: &settings,
            entries: &[RowFormat::default()],
        });
        let Ok(encoder) = encoder else { continue };
        if let Ok(Some(rendered)) = encoder.render(&row, 0) {
            let mut end = 0;
            for span in rendered.spans {
                assert!(
                    end <= span.start && rendered.text.get(span.clone()).is_some_and(|text| !text.is_empty())
                );
                end = span.end;
            }
        }
        if let Ok(row) = encoder.encode(&row, 0) {
            assert_eq!(row.input_ids.len(), row.trained.len());
            assert!(!row.trained[0] && row.trained.contains(&true));
        }
    }
});
