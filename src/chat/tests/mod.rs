//! Rows become tokens with a mask: formats, templates, masks, lengths, refusals.

mod formats;
mod masks;
mod refusals;
mod templates;
mod tokens;

use serde_json::{Map, Value, json};

use super::*;
use crate::exit::Exit;
use crate::model::tokenizer::{Registered, TokenizerFiles, TokenizerSpec};

/// A template of the usual kind, without generation tags.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\
                      {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// The same with generation tags.
const TAGGED: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% if message.role == 'assistant' %}\
                      {% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message.content + \
                      '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}";
const SPECIAL: [&str; 5] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot|>"];

/// What an encoder is made of, with defaults: one token a byte, and the tokens of [`SPECIAL`] from 256 on.
struct Setup {
    template: Option<String>,
    settings: ChatSettings,
    format: RowFormat,
    config: Value,
    generation: Option<Value>,
    post_processor: Value,
    sequence_len: u32,
    vocab: u64,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            template: Some(CHATML.into()),
            settings: ChatSettings::default(),
            format: RowFormat::default(),
            config: json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<|im_end|>"}),
            generation: None,
            post_processor: Value::Null,
            sequence_len: 1000,
            vocab: 300,
        }
    }
}

impl Setup {
    fn of(template: &str) -> Setup {
        Setup { template: Some(template.into()), ..Setup::default() }
    }

    /// Run settings by their keys.
    fn settings(mut self, keys: Value) -> Setup {
        self.settings = serde_json::from_value(keys).expect("they are settings");
        self
    }

    /// Keys of the dataset entry.
    fn format(mut self, keys: Value) -> Setup {
        self.format = serde_json::from_value(keys).expect("they are settings");
        self
    }

    fn build(&self) -> Result<RowEncoder, ChatError> {
        let mut files = TokenizerFiles::default();
        let config = self.config.to_string();
        files.insert("tokenizer.json", tokenizer(&self.post_processor).to_string().into());
        files.insert("tokenizer_config.json", config.clone().into());
        let spec = TokenizerSpec::resolve(&files, &Value::Null, Registered::NONE)?;
        RowEncoder::new(EncoderParts {
            tokenizer: &spec,
            tokenizer_config: Some(config),
            chat_template: self.template.clone(),
            template: None,
            generation_config: self.generation.as_ref().map(Value::to_string),
            sequence_len: self.sequence_len,
            vocab: self.vocab,
            settings: &self.settings,
            entries: std::slice::from_ref(&self.format),
        })
    }

    fn encode(&self, row: Value) -> Result<EncodedRow, RowRefusal> {
        self.build()?.encode(object(&row), 0)
    }

    /// A row that is trained on.
    fn row(&self, row: Value) -> EncodedRow {
        self.encode(row).expect("it is encoded")
    }

    /// The row's text, with trained tokens in brackets.
    fn marked(&self, row: Value) -> String {
        marked(&self.row(row))
    }

    /// The row's text alone.
    fn text(&self, row: Value) -> String {
        self.build()
            .expect("it is sound")
            .render(object(&row), 0)
            .expect("it is rendered")
            .expect("a template renders it")
            .text
    }

    /// The error that ends the run.
    fn refused(&self, row: Value) -> ChatError {
        match self.encode(row) {
            Err(RowRefusal::Fatal(error)) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn dropped(&self, row: Value) -> DropReason {
        match self.encode(row) {
            Err(RowRefusal::Dropped(reason)) => reason,
            other => panic!("not dropped: {other:?}"),
        }
    }
}

fn object(row: &Value) -> &Map<String, Value> {
    row.as_object().expect("it is a row")
}

/// Messages of user and assistant in turn.
fn chat(turns: &[&str]) -> Value {
    let roles = ["user", "assistant"].into_iter().cycle();
    let messages: Vec<_> =
        roles.zip(turns).map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({"messages": messages})
}

/// The letters that stand for bytes in byte-level vocabularies.
fn letters() -> Vec<char> {
    let plain = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256..;
    (0..256u32)
        .map(|byte| if plain(byte) { byte } else { others.next().expect("it has no end") })
        .map(|code| char::from_u32(code).expect("it is below 512"))
        .collect()
}

fn tokenizer(post_processor: &Value) -> Value {
    let vocab: Map<String, Value> =
        letters().into_iter().enumerate().map(|(id, letter)| (letter.to_string(), id.into())).collect();
    let added: Vec<Value> = (256..)
        .zip(SPECIAL)
        .map(|(id, token)| {
            json!({"id": id, "content": token, "special": true, "normalized": false, "single_word": false, "lstrip": false,
                "rstrip": false})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null, "decoder": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": post_processor, "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

fn marked(row: &EncodedRow) -> String {
    assert_eq!(row.input_ids.len(), row.trained.len());
    let mut bytes = Vec::new();
    let mut inside = false;
    for (&id, &trained) in row.input_ids.iter().zip(&row.trained) {
        if trained != inside {
            bytes.push(if trained { b'[' } else { b']' });
            inside = trained;
        }
        match id.checked_sub(256) {
            Some(special) => bytes.extend(SPECIAL[special as usize].bytes()),
            None => bytes.push(id as u8),
        }
    }
    if inside {
        bytes.push(b']');
    }
    String::from_utf8(bytes).expect("it is text")
}
