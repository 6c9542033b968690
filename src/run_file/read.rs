//! From the tree to typed keys: spellings, repetitions, unknown keys, wrong types. Problems are collected, not thrown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::choice::{Choice, refusal};
use super::error::{At, Problem};
use super::keys::{DatasetBlock, Keys, Names};
use super::node::{Key, Node, Value};
use super::unsupported;

/// A value and the places of it and its key.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: At,
    pub(super) key: At,
}

/// One of a fixed set of names.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneOf<T>(pub(super) T);

/// A text or a list of texts.
#[derive(Debug)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

/// A source of rows: its block of keys, or only its path.
#[derive(Debug)]
pub(super) struct Source(pub(super) DatasetBlock, pub(super) At);

/// Keys that are not ours, with JSON values.
#[derive(Debug)]
pub(super) struct Overrides(pub(super) BTreeMap<String, serde_json::Value>);

/// The name of a label, which may look like a number.
#[derive(Debug, Clone)]
pub(super) struct LabelName(pub(super) String);

/// A number of bytes: a whole number, or one with a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

/// Whether a run that is there is gone on with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resumption(pub(super) bool);

/// What a value can be read as.
pub(super) trait FromNode: Sized {
    /// `key` is the whole path of the key, for messages.
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Self>;
}

/// One block of keys, each under its own name.
pub(super) struct KeyBlock<'a> {
    path: &'a str,
    entries: BTreeMap<&'static str, (Key, Node)>,
    problems: &'a mut Vec<Problem>,
}

/// Reads a block of keys; `path` is its key, empty for the whole file.
pub(super) fn read_block<K: Keys>(node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<K> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        other => {
            let what = if path.is_empty() { "a run file".to_owned() } else { format!("`{path}`") };
            let message = format!("{what} must be a block of keys, found {}", other.kind());
            problems.push(Problem::at(&node.at, message));
            return None;
        }
    };
    let mut table = KeyBlock { path, entries: BTreeMap::new(), problems };
    for (key, value) in entries {
        table.insert(K::KEYS, key, value);
    }
    Some(K::take(&mut table))
}

impl KeyBlock<'_> {
    fn insert(&mut self, keys: &'static [Names], key: &Key, value: &Node) {
        let shown = &key.name;
        let names = keys.iter().find(|names| names.name == shown || names.aliases.contains(&shown.as_str()));
        let Some(names) = names else {
            self.problems.extend(unsupported::refuse(self.path, keys, key, value));
            return;
        };
        if let Some((first, _)) = self.entries.get(names.name) {
            let message = if first.name == *shown {
                format!("`{shown}` is given twice")
            } else {
                format!("`{shown}` and `{}` are the same key", first.name)
            };
            self.problems.push(Problem::at(&key.at, message).help("keep one of them"));
            return;
        }
        self.entries.insert(names.name, (key.clone(), value.clone()));
    }

    /// The value of a key; `None` when it is absent, empty or wrong.
    pub(super) fn take<T: FromNode>(&mut self, name: &'static str) -> Option<Located<T>> {
        let (key, node) = self.entries.remove(name)?;
        if matches!(node.value, Value::Null) {
            return None;
        }
        let shown = if self.path.is_empty() { key.name } else { format!("{}.{}", self.path, key.name) };
        let value = T::from_node(&node, &shown, self.problems)?;
        Some(Located { value, at: node.at, key: key.at })
    }
}

fn wrong_type<T>(node: &Node, key: &str, expected: &str, problems: &mut Vec<Problem>) -> Option<T> {
    let message = format!("`{key}` must be {expected}, found {}", found(&node.value));
    let mut problem = Problem::at(&node.at, message);
    if expected == "text" && !matches!(node.value, Value::List(_) | Value::Map(_)) {
        problem = problem.help("put quotes around it");
    }
    problems.push(problem);
    None
}

fn found(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) if text.chars().count() <= 60 => format!("{text:?}"),
        other => other.kind().to_owned(),
    }
}

impl FromNode for String {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.trim().is_empty() => {
                problems.push(Problem::at(&node.at, format!("`{key}` is empty")));
                None
            }
            Value::Text(text) => Some(text.clone()),
            _ => wrong_type(node, key, "text", problems),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<bool> {
        match node.value {
            Value::Bool(truth) => Some(truth),
            _ => wrong_type(node, key, "true or false", problems),
        }
    }
}

impl FromNode for f64 {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<f64> {
        match node.value {
            Value::Int(number) => Some(number as f64),
            Value::Float(number) if number.is_finite() => Some(number),
            _ => wrong_type(node, key, "a finite number", problems),
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl FromNode for $type {
            fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<$type> {
                let number = match node.value {
                    Value::Int(number) => <$type>::try_from(number).ok(),
                    _ => None,
                };
                let range = || format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                number.or_else(|| wrong_type(node, key, &range(), problems))
            }
        }
    )*};
}
whole_numbers!(u32, u64, i64);

impl<T: Choice> FromNode for OneOf<T> {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<OneOf<T>> {
        let Value::Text(text) = &node.value else {
            let names: Vec<String> = T::NAMES.iter().map(|(name, _)| format!("{name:?}")).collect();
            return wrong_type(node, key, &names.join(" or "), problems);
        };
        let chosen = T::NAMES.iter().find(|(name, _)| name == text);
        if chosen.is_none() {
            problems.push(refusal::<T>(&node.at, key, text));
        }
        chosen.map(|&(_, value)| OneOf(value))
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            return wrong_type(node, key, "a list", problems);
        };
        // Every item is read, so that the problems of all of them are found.
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| T::from_node(item, &format!("{key}[{index}]"), problems))
            .collect();
        read.into_iter().collect()
    }
}

impl FromNode for LabelName {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<LabelName> {
        match &node.value {
            Value::Int(number) => Some(LabelName(number.to_string())),
            Value::Bool(truth) => Some(LabelName(truth.to_string())),
            _ => String::from_node(node, key, problems).map(LabelName),
        }
    }
}

impl FromNode for Resumption {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Resumption> {
        match &node.value {
            Value::Bool(truth) => Some(Resumption(*truth)),
            Value::Text(text) if text == "auto" => Some(Resumption(true)),
            Value::Text(text) if text == "no" => Some(Resumption(false)),
            Value::Text(text) => {
                let problem = Problem::at(&node.at, format!("`{key}` cannot be {text:?}"));
                problems.push(problem.help(
                    "write auto: a run is found by its output_dir; to begin a new run from weights, name them as base_model",
                ));
                None
            }
            _ => wrong_type(node, key, "auto or no", problems),
        }
    }
}

impl FromNode for Bytes {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Bytes> {
        let bytes = match &node.value {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::Text(text) => bytes(text),
            _ => None,
        };
        bytes
            .map(Bytes)
            .or_else(|| wrong_type(node, key, "a number of bytes, such as 500MB or 20GB", problems))
    }
}

/// `20GB`, `1.5 TB` or `64MiB` as bytes.
fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("TIB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let text = text.trim().to_ascii_uppercase();
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    (0.0..=1e6).contains(&number).then_some((number * *unit as f64) as u64)
}

impl FromNode for OneOrMany {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<OneOrMany> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                problems.push(Problem::at(&node.at, format!("`{key}` is empty")));
                None
            }
            Value::List(_) => Vec::from_node(node, key, problems).map(OneOrMany),
            _ => String::from_node(node, key, problems).map(|path| OneOrMany(vec![path])),
        }
    }
}

impl FromNode for Source {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Source> {
        let block = match &node.value {
            Value::Text(_) => {
                let path = OneOrMany::from_node(node, key, problems)?;
                let path = Located { value: path, at: node.at.clone(), key: node.at.clone() };
                DatasetBlock { path: Some(path), ..DatasetBlock::default() }
            }
            _ => read_block(node, key, problems)?,
        };
        Some(Source(block, node.at.clone()))
    }
}

impl<K: Keys> FromNode for K {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<K> {
        read_block(node, key, problems)
    }
}

impl FromNode for Overrides {
    fn from_node(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Overrides> {
        let Value::Map(entries) = &node.value else {
            return wrong_type(node, key, "a block of keys", problems);
        };
        let mut overrides = BTreeMap::new();
        for (name, value) in entries {
            let json = json(value, &format!("{key}.{}", name.name), problems)?;
            if overrides.insert(name.name.clone(), json).is_some() {
                problems.push(Problem::at(&name.at, format!("`{key}.{}` is given twice", name.name)));
            }
        }
        Some(Overrides(overrides))
    }
}

fn json(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(_) => i64::from_node(node, key, problems)?.into(),
        Value::Float(_) => f64::from_node(node, key, problems)?.into(),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => {
            items.iter().map(|item| json(item, key, problems)).collect::<Option<Vec<_>>>()?.into()
        }
        Value::Map(entries) => {
            let mut object = serde_json::Map::new();
            for (name, value) in entries {
                object.insert(name.name.clone(), json(value, &format!("{key}.{}", name.name), problems)?);
            }
            object.into()
        }
    })
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

impl<T: Choice> JsonSchema for OneOf<T> {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
        json_schema!({ "type": "string", "enum": names })
    }

    fn inline_schema() -> bool {
        true
    }
}

macro_rules! inline_schemas {
    ($($type:ty => $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }

            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}
inline_schemas! {
    OneOrMany => |_| json_schema!({ "anyOf": [
        { "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 },
    ] });
    LabelName => |_| json_schema!({ "type": ["string", "integer", "boolean"] });
    Bytes => |_| json_schema!({ "type": ["string", "integer"] });
    Resumption => |_| json_schema!({ "anyOf": [{ "type": "boolean" }, { "enum": ["auto", "no"] }] });
    Source => |generator| {
        let block = generator.subschema_for::<DatasetBlock>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    };
    Overrides => |_| json_schema!({ "type": "object" });
}
