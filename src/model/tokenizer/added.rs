//! Tokens on top of a model's vocabulary, and the ids that they get.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::vocabulary::Vocabulary;
use super::{Token, TokenizerError};

/// A token that is found in a text before anything else happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    /// Its text.
    pub content: String,
    /// Found as a whole word only.
    pub single_word: bool,
    /// Takes white space before it along.
    pub lstrip: bool,
    /// Takes white space after it along.
    pub rstrip: bool,
    /// Looked for in the normalised text. Where a file does not say so, only special tokens are not.
    pub(super) normalized: Option<bool>,
    /// Special: `split_special_tokens` is about those.
    pub special: bool,
}

impl AddedToken {
    pub(super) fn special(content: &str) -> AddedToken {
        AddedToken {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }

    /// A token that only a normalised text is searched for, or only the text itself.
    pub(super) fn legacy(content: &str, special: bool) -> AddedToken {
        AddedToken { normalized: Some(!special), special, ..AddedToken::special(content) }
    }

    /// Whether it is looked for in the normalised text.
    pub fn normalized(&self) -> bool {
        self.normalized.unwrap_or(!self.special)
    }

    /// A token as the files write it: `{"content": …, "lstrip": …, …}`.
    pub(super) fn from_json(
        file: &'static str,
        key: &str,
        json: &Value,
    ) -> Result<AddedToken, TokenizerError> {
        let wrong = |what: &str| TokenizerError::new(file, format!("{key}: {what}"));
        let object = json.as_object().ok_or_else(|| wrong("a token must be an object with content"))?;
        let content =
            object.get("content").and_then(Value::as_str).ok_or_else(|| wrong("a token has no content"))?;
        let flag = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(&format!("{name} of token {content:?} must be true or false"))),
        };
        Ok(AddedToken {
            content: content.to_owned(),
            single_word: flag("single_word")?.unwrap_or_default(),
            lstrip: flag("lstrip")?.unwrap_or_default(),
            rstrip: flag("rstrip")?.unwrap_or_default(),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or_default(),
        })
    }
}

/// A special token by name, or as a token with flags: one that is the same as another decides nothing anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Text(String),
    Token(AddedToken),
}

impl Special {
    /// As the files write it; none for null.
    pub(super) fn from_json(
        file: &'static str,
        key: &str,
        json: &Value,
    ) -> Result<Option<Special>, TokenizerError> {
        match json {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(Special::Text(text.clone()))),
            Value::Object(object) if is_typed(object) => {
                AddedToken::from_json(file, key, json).map(|token| Some(Special::Token(token)))
            }
            _ => Err(TokenizerError::new(
                file,
                format!("{key} must be a text, or a token with \"__type\": \"AddedToken\""),
            )),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Special::Text(text) => text,
            Special::Token(token) => &token.content,
        }
    }
}

fn is_typed(object: &Map<String, Value>) -> bool {
    object.get("__type").is_some_and(|kind| kind == "AddedToken")
}

/// Ids of tokens. A token in the vocabulary keeps its id; any other gets the next free id after all of them.
pub(super) struct Ids {
    vocabulary: Vocabulary,
    by_text: BTreeMap<String, u64>,
    by_id: BTreeMap<u64, AddedToken>,
}

impl Ids {
    pub(super) fn new(vocabulary: Vocabulary) -> Ids {
        Ids { vocabulary, by_text: BTreeMap::new(), by_id: BTreeMap::new() }
    }

    pub(super) fn add<'a>(&mut self, tokens: impl IntoIterator<Item = &'a AddedToken>) {
        let size = self.vocabulary.len;
        // Without a vocabulary, numbers go on from the highest; else from its size, though it may have holes.
        let mut next = match self.by_id.last_key_value() {
            Some((&highest, _)) if highest >= size || size == 0 => highest + 1,
            _ => size,
        };
        for token in tokens.into_iter().filter(|token| !token.content.is_empty()) {
            let known = self.get(&token.content);
            let id = known.unwrap_or(next);
            if known.is_none() {
                next += 1;
            }
            self.by_text.insert(token.content.clone(), id);
            self.by_id.insert(id, token.clone());
        }
    }

    /// A token's id, if it was asked for when the vocabulary was read.
    pub(super) fn get(&self, text: &str) -> Option<u64> {
        self.by_text.get(text).copied().or_else(|| self.vocabulary.number(text))
    }

    /// Whether it was added.
    pub(super) fn has(&self, text: &str) -> bool {
        self.by_id.values().any(|token| token.content == text)
    }

    pub(super) fn added(&self) -> Vec<Token> {
        self.by_text.iter().map(|(text, &number)| Token { text: text.clone(), number }).collect()
    }

    /// The vocabulary's token with the highest id.
    pub(super) fn highest(&self) -> Option<Token> {
        self.vocabulary.highest.clone()
    }
}
