//! Which numbers a `tokenizer.json` gives to tokens, without building the tokenizer.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A token and its number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Token {
    /// What it stands for.
    #[serde(rename = "content")]
    pub text: String,
    /// The row of the embedding that belongs to it.
    #[serde(rename = "id")]
    pub number: u64,
}

/// What a `tokenizer.json` says of its tokens.
#[derive(Debug, Deserialize)]
pub struct Tokens {
    #[serde(default)]
    added_tokens: Vec<Token>,
    model: Model,
}

impl Tokens {
    /// The token with the highest number; `None` when there are no tokens.
    pub fn highest(self) -> Option<Token> {
        self.added_tokens.into_iter().chain(self.model.vocab.highest).max_by_key(|token| token.number)
    }
}

#[derive(Debug, Deserialize)]
struct Model {
    vocab: Vocabulary,
}

/// Numbers by text, or pairs of text and score whose place is their number.
#[derive(Debug, Default)]
struct Vocabulary {
    highest: Option<Token>,
}

impl Vocabulary {
    fn add(&mut self, text: String, number: u64) {
        if self.highest.as_ref().is_none_or(|highest| highest.number < number) {
            self.highest = Some(Token { text, number });
        }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and their numbers, or a list of tokens and their scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let mut vocabulary = Vocabulary::default();
        while let Some((text, number)) = map.next_entry()? {
            vocabulary.add(text, number);
        }
        Ok(vocabulary)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocabulary, A::Error> {
        let mut vocabulary = Vocabulary::default();
        let mut numbers = 0..;
        while let (Some((text, _)), Some(number)) = (list.next_element::<(String, f64)>()?, numbers.next()) {
            vocabulary.add(text, number);
        }
        Ok(vocabulary)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_vocabulary_is_counted() {
        let highest = |json: &str| {
            serde_json::from_str::<Tokens>(json).unwrap().highest().map(|token| (token.text, token.number))
        };
        let words = r#"{"model": {"type": "WordPiece", "vocab": {"b": 7, "a": 0}}}"#;
        assert_eq!(highest(words), Some(("b".into(), 7)));
        let added = r#"{"added_tokens": [{"id": 9, "content": "[X]", "special": true}], "model": {"vocab": {"a": 0}}}"#;
        assert_eq!(highest(added), Some(("[X]".into(), 9)));
        let scores = r#"{"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.5]]}}"#;
        assert_eq!(highest(scores), Some(("a".into(), 1)));
        assert_eq!(highest(r#"{"model": {"vocab": {}}}"#), None);
        for broken in ["", "[]", "{}", r#"{"model": {"vocab": {"a": -1}}}"#, r#"{"model": {"vocab": "a"}}"#] {
            assert!(serde_json::from_str::<Tokens>(broken).is_err(), "{broken}");
        }
    }
}
