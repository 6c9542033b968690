//! Which numbers a vocabulary gives to tokens, read entry by entry: it can hold a million.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::TokenizerError;
use super::files::{MERGES, TOKENIZER, TokenizerFiles, VOCAB_JSON, VOCAB_TXT};

/// A token and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it stands for.
    pub text: String,
    /// The row of the embedding that belongs to it.
    pub number: u64,
}

/// What is asked about a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    pub len: u64,
    /// The token with the highest number.
    pub highest: Option<Token>,
    /// Numbers of the texts that were asked for; those that are no tokens have none.
    numbers: BTreeMap<String, Option<u64>>,
}

impl Vocabulary {
    /// Reads numbers by text, or pairs of text and score whose place is their number.
    pub(super) fn read(
        json: &str,
        wanted: impl Iterator<Item = String>,
    ) -> Result<Vocabulary, TokenizerError> {
        let mut vocabulary =
            Vocabulary { numbers: wanted.map(|text| (text, None)).collect(), ..Vocabulary::default() };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        (&mut vocabulary)
            .deserialize(&mut deserializer)
            .map_err(|error| TokenizerError::new(TOKENIZER, format!("vocab: {error}")))?;
        Ok(vocabulary)
    }

    /// The number of a text that was asked for.
    pub(super) fn number(&self, text: &str) -> Option<u64> {
        self.numbers.get(text).copied().flatten()
    }

    fn add(&mut self, text: String, number: u64) {
        self.len += 1;
        if let Some(wanted) = self.numbers.get_mut(&text) {
            *wanted = Some(number);
        }
        if self.highest.as_ref().is_none_or(|highest| highest.number < number) {
            self.highest = Some(Token { text, number });
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Vocabulary {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Vocabulary {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and their numbers, or a list of tokens and their scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((text, number)) = map.next_entry()? {
            self.add(text, number);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut numbers = 0..;
        while let (Some(entry), Some(number)) = (list.next_element::<Entry>()?, numbers.next()) {
            let (Entry::Scored(text, _) | Entry::Plain(text)) = entry;
            self.add(text, number);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Scored(String, IgnoredAny),
    Plain(String),
}

/// A list of tokens as an object of numbers; an object as it is.
pub(super) fn numbered(json: &str) -> Result<String, TokenizerError> {
    if !json.trim_start().starts_with('[') {
        return Ok(json.to_owned());
    }
    let entries: Vec<Entry> = serde_json::from_str(json)
        .map_err(|error| TokenizerError::new(TOKENIZER, format!("vocab: {error}")))?;
    let numbers = (0u64..).zip(entries).map(|(number, entry)| {
        let (Entry::Scored(text, _) | Entry::Plain(text)) = entry;
        (text, number.into())
    });
    Ok(Value::Object(numbers.collect()).to_string())
}

/// The vocabulary of `vocab.txt`, a token a line.
pub(super) fn of_lines(files: &TokenizerFiles) -> Result<Option<String>, TokenizerError> {
    let Some(text) = files.text(VOCAB_TXT)? else { return Ok(None) };
    let numbers =
        (0u64..).zip(text.lines()).map(|(number, line)| (line.trim_end().to_owned(), number.into()));
    Ok(Some(Value::Object(numbers.collect()).to_string()))
}

/// The vocabulary of `vocab.json` and the merges of `merges.txt`.
pub(super) fn of_pair(files: &TokenizerFiles) -> Result<Option<(String, String)>, TokenizerError> {
    let (Some(numbers), Some(merges)) = (files.object(VOCAB_JSON)?, files.text(MERGES)?) else {
        return Ok(None);
    };
    let numbers: Map<String, Value> = numbers.into_iter().filter(|(_, number)| number.is_number()).collect();
    if let Some((text, number)) = numbers.iter().find(|(_, number)| !number.is_u64()) {
        return Err(TokenizerError::new(VOCAB_JSON, format!("{text:?} has number {number}")));
    }
    let merges: Vec<&str> = merges.lines().filter(|line| !line.starts_with("#version")).collect();
    if let Some(line) = merges.iter().find(|line| line.split(' ').count() != 2) {
        return Err(TokenizerError::new(MERGES, format!("{line:?} is not two tokens with a blank between")));
    }
    Ok(Some((Value::Object(numbers).to_string(), serde_json::json!(merges).to_string())))
}
