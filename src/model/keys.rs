//! Reading keys of an HF JSON file, with errors that name the key.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::ModelError;

/// Largest value accepted for any count or dimension: keeps products of dimensions within 64 bits.
const LARGEST: u64 = 1 << 24;

/// One JSON object of a checkpoint, such as `config.json`.
pub(super) struct Keys<'a> {
    map: Option<&'a Map<String, Value>>,
    /// Keys that were asked for.
    asked: RefCell<BTreeSet<&'static str>>,
    /// Keys that change nothing.
    settled: RefCell<BTreeSet<&'static str>>,
    /// Keys of inner objects that nobody asked for, with the outer key before them.
    unknown_within: RefCell<Vec<String>>,
}

impl<'a> Keys<'a> {
    /// The object; anything else is refused.
    pub(super) fn new(value: &'a Value) -> Result<Keys<'a>, ModelError> {
        let map = value.as_object().ok_or(ModelError::NotAnObject)?;
        Ok(Keys { map: Some(map), ..Keys::empty() })
    }

    /// An object without keys.
    pub(super) fn empty() -> Keys<'a> {
        Keys {
            map: None,
            asked: RefCell::default(),
            settled: RefCell::default(),
            unknown_within: RefCell::default(),
        }
    }

    /// Reads the object that a key holds; errors name the key too.
    pub(super) fn within<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Keys<'a>) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let value = self.get(key).ok_or(ModelError::Missing { key })?;
        let inner = Keys::new(value).map_err(|_| wrong(key, "an object", value))?;
        let found = read(&inner).map_err(|error| ModelError::Within { key, error: error.into() })?;
        self.unknown_within.borrow_mut().extend(inner.unknown().iter().map(|name| format!("{key}.{name}")));
        Ok(found)
    }

    /// A key's value for a look that decides nothing: it does not count as asked for.
    pub(super) fn peek(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key)
    }

    /// Notes that a key changes nothing here, so that no warning is due where it is there. It does not count as asked for.
    pub(super) fn settle(&self, key: &'static str) {
        self.settled.borrow_mut().insert(key);
    }

    /// Keys that are there and were neither asked for nor settled, in alphabetical order.
    pub(super) fn unknown(&self) -> Vec<String> {
        let (asked, settled) = (self.asked.borrow(), self.settled.borrow());
        let own = self.all().map(|(key, _)| key.as_str());
        let unknown = own.filter(|key| !asked.contains(key) && !settled.contains(key)).map(str::to_owned);
        let mut unknown: Vec<String> = unknown.chain(self.unknown_within.borrow().iter().cloned()).collect();
        unknown.sort();
        unknown
    }

    /// A key's value; `null` counts as absent, as in transformers.
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.given(key).filter(|value| !value.is_null())
    }

    /// A key's value, `null` included.
    pub(super) fn given(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key);
        self.peek(key)
    }

    /// Every key that was asked for, whether or not it is there.
    pub(super) fn asked(self) -> BTreeSet<&'static str> {
        self.asked.into_inner()
    }

    /// All keys with their values.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.into_iter().flatten()
    }

    /// A dimension or count from 1.
    pub(super) fn size(&self, key: &'static str) -> Result<u64, ModelError> {
        size(key, self.get(key).ok_or(ModelError::Missing { key })?)
    }

    /// A dimension or count from 1, with a default.
    pub(super) fn size_or(&self, key: &'static str, default: u64) -> Result<u64, ModelError> {
        self.get(key).map_or(Ok(default), |value| size(key, value))
    }

    /// A count from 0, with a default.
    pub(super) fn count_or(&self, key: &'static str, default: u64) -> Result<u64, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let count = value.as_u64().filter(|&count| count <= LARGEST);
        count.ok_or_else(|| wrong(key, format!("a whole number from 0 to {LARGEST}"), value))
    }

    /// Height and width: one number for both, or a list of two.
    pub(super) fn pair(&self, key: &'static str) -> Result<[u64; 2], ModelError> {
        let value = self.get(key).ok_or(ModelError::Missing { key })?;
        match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => Ok([size(key, height)?, size(key, width)?]),
            Some(_) => Err(wrong(key, "a whole number or a list of two", value)),
            None => size(key, value).map(|side| [side, side]),
        }
    }

    /// A finite number within `0 ..= most`.
    pub(super) fn number_or(&self, key: &'static str, default: f64, most: f64) -> Result<f64, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_f64()
            .filter(|number| (0.0..=most).contains(number))
            .ok_or_else(|| wrong(key, format!("a number from 0 to {most}"), value))
    }

    /// A probability below 1.
    pub(super) fn dropout_or(&self, key: &'static str, default: f64) -> Result<f64, ModelError> {
        let probability = self.number_or(key, default, 1.0)?;
        if probability < 1.0 {
            return Ok(probability);
        }
        Err(ModelError::Wrong {
            key,
            expected: "a probability below 1".into(),
            found: probability.to_string(),
        })
    }

    /// A yes or no.
    pub(super) fn bool_or(&self, key: &'static str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.as_bool().ok_or_else(|| wrong(key, "true or false", value))
    }

    /// A string.
    pub(super) fn text_or(&self, key: &'static str, default: &'a str) -> Result<&'a str, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.as_str().ok_or_else(|| wrong(key, "a string", value))
    }

    /// One number per channel: a list, or one number for all. A default whose numbers are all the same stands for any
    /// number of channels.
    pub(super) fn channels_or(
        &self,
        key: &'static str,
        default: &[f64],
        channels: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let default = match default {
            [first, others @ ..] if others.iter().all(|other| other == first) => Value::from(*first),
            list => Value::from(list),
        };
        let value = self.get(key).unwrap_or(&default);
        let numbers: Option<Vec<f32>> = match value {
            Value::Array(list) => list.iter().map(|one| one.as_f64().map(|number| number as f32)).collect(),
            one => one.as_f64().map(|number| vec![number as f32; channels]),
        };
        numbers
            .filter(|list| list.len() == channels && list.iter().all(|number| number.is_finite()))
            .ok_or_else(|| wrong(key, format!("{channels} numbers, one per channel"), value))
    }
}

/// The error for a key whose value is of no use; the value is quoted, cut short.
pub(super) fn wrong(key: &'static str, expected: impl Into<String>, found: &Value) -> ModelError {
    let found = found.to_string().chars().take(80).collect();
    ModelError::Wrong { key, expected: expected.into(), found }
}

fn size(key: &'static str, value: &Value) -> Result<u64, ModelError> {
    value
        .as_u64()
        .filter(|size| (1..=LARGEST).contains(size))
        .ok_or_else(|| wrong(key, format!("a whole number from 1 to {LARGEST}"), value))
}
