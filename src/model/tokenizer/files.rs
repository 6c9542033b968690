//! Which files say what a tokenizer is, and `tokenizer.json` taken apart.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::TokenizerError;
use super::added::AddedToken;
use crate::hash;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL: &str = "special_tokens_map.json";
pub(super) const ADDED: &str = "added_tokens.json";
pub(super) const VOCAB_TXT: &str = "vocab.txt";
pub(super) const VOCAB_JSON: &str = "vocab.json";
pub(super) const MERGES: &str = "merges.txt";

/// The files of a tokenizer that were found, by name.
#[derive(Clone, Debug, Default)]
pub struct TokenizerFiles(BTreeMap<&'static str, Bytes>);

impl TokenizerFiles {
    /// Files that are read where they exist.
    pub const ALWAYS: [&str; 4] = [TOKENIZER, CONFIG, SPECIAL, ADDED];
    /// Files that are read where there is no `tokenizer.json`.
    pub const WITHOUT_JSON: [&str; 3] = [VOCAB_TXT, VOCAB_JSON, MERGES];
    /// Models of sentencepiece, which are not read: their names are for an error's cure.
    pub const SENTENCEPIECE: [&str; 4] =
        ["tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "spm.model"];

    /// Adds a file under one of the names above.
    pub fn insert(&mut self, name: &'static str, bytes: Bytes) {
        self.0.insert(name, bytes);
    }

    /// Whether a file was found.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Hash (XXH3-128) of all names and bytes.
    pub fn hash(&self) -> u128 {
        let parts: Vec<u128> = self
            .0
            .iter()
            .flat_map(|(name, bytes)| [hash::of_bytes(name.as_bytes()), hash::of_bytes(bytes)])
            .collect();
        hash::of_segments(&parts)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, TokenizerError> {
        let text =
            |bytes| std::str::from_utf8(bytes).map_err(|error| TokenizerError::new(name, error.to_string()));
        self.get(name).map(|bytes| text(bytes.as_ref())).transpose()
    }

    /// A file that holds a JSON object.
    pub(super) fn object(&self, name: &'static str) -> Result<Option<Map<String, Value>>, TokenizerError> {
        let Some(bytes) = self.get(name) else { return Ok(None) };
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Some(object)),
            Ok(_) => Err(TokenizerError::new(name, "must hold a JSON object")),
            Err(error) => Err(TokenizerError::new(name, error.to_string())),
        }
    }

    /// `tokenizer.json`.
    pub(super) fn stored(&self) -> Result<Option<Stored<'_>>, TokenizerError> {
        let Some(text) = self.text(TOKENIZER)? else { return Ok(None) };
        let failed = |error: serde_json::Error| TokenizerError::new(TOKENIZER, error.to_string());
        let parts: Parts<'_> = serde_json::from_str(text).map_err(failed)?;
        let model: StoredModel<'_> = serde_json::from_str(parts.model.get()).map_err(failed)?;
        Ok(Some(Stored { parts, model }))
    }
}

/// `tokenizer.json`. Vocabulary and merges stay text: they can hold a million entries.
pub(super) struct Stored<'a> {
    pub parts: Parts<'a>,
    pub model: StoredModel<'a>,
}

#[derive(Deserialize)]
pub(super) struct Parts<'a> {
    #[serde(default)]
    added_tokens: Vec<Value>,
    #[serde(default)]
    pub normalizer: Value,
    #[serde(default)]
    pub post_processor: Value,
    #[serde(default)]
    pub padding: Value,
    #[serde(default)]
    pub truncation: Value,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
pub(super) struct StoredModel<'a> {
    #[serde(borrow)]
    pub vocab: &'a RawValue,
    #[serde(borrow, default)]
    merges: Option<&'a RawValue>,
}

impl<'a> StoredModel<'a> {
    pub(super) fn merges(&self) -> Cow<'a, str> {
        Cow::Borrowed(self.merges.map_or("[]", RawValue::get))
    }
}

impl Stored<'_> {
    /// The tokens of `added_tokens`, in order, with the numbers that the file gives them. Those decide nothing.
    pub(super) fn added(&self) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
        let token = |row: &Value| {
            let token = AddedToken::from_json(TOKENIZER, "added_tokens", row)?;
            let number = row.get("id").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            match number {
                Some(number) => Ok((number, token)),
                None => {
                    let why = format!("added_tokens: token {:?} has no id", token.content);
                    Err(TokenizerError::new(TOKENIZER, why))
                }
            }
        };
        self.parts.added_tokens.iter().map(token).collect()
    }
}
