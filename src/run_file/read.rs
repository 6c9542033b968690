//! From the tree to typed keys: spellings, repetitions, unknown keys, wrong types. Problems are collected, not thrown.

use std::collections::BTreeMap;

use super::error::{At, Problem};
use super::findings::Findings;
use super::foreign;
use super::keys::{DatasetBlock, Keys, Names, spelling_of};
use super::node::{Key, Node, Value};
use super::values::wrong_type;

/// A value and the places of it and its key.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: At,
    pub(super) key: At,
}

/// A text or a list of texts.
#[derive(Debug)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

/// A source of rows: its block of keys, or only its path.
#[derive(Debug)]
pub(super) struct Source(pub(super) DatasetBlock, pub(super) At);

/// Sources of rows: a list of them, or a single one.
#[derive(Debug)]
pub(super) struct Sources(pub(super) Vec<Source>);

/// Keys that are not ours, with JSON values.
#[derive(Debug)]
pub(super) struct Overrides(pub(super) BTreeMap<String, serde_json::Value>);

/// Texts, and for each one text or several.
#[derive(Debug)]
pub(super) struct TextLists(pub(super) BTreeMap<String, Vec<String>>);

/// What a value can be read as.
pub(super) trait FromNode: Sized {
    /// `key` is the whole path of the key, for messages.
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Self>;
}

/// One block of keys, each under its own name.
pub(super) struct KeyBlock<'a> {
    path: &'a str,
    entries: BTreeMap<&'static str, (&'a Key, &'a Node)>,
    findings: &'a mut Findings,
}

/// Reads a block of keys; `path` is its key, empty for the whole file.
pub(super) fn read_block<K: Keys>(node: &Node, path: &str, findings: &mut Findings) -> Option<K> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        other => {
            let what = if path.is_empty() { "a run file".to_owned() } else { format!("`{path}`") };
            let message = format!("{what} must be a block of keys, found {}", other.kind());
            findings.push(Problem::at(&node.at, message));
            return None;
        }
    };
    let mut table = KeyBlock { path, entries: BTreeMap::new(), findings };
    let mut others = Vec::new();
    for (key, value) in entries {
        match spelling_of(K::KEYS, &key.name) {
            Some(names) => table.insert(names, key, value),
            None => others.push((key, value)),
        }
    }
    // After the block's own: what is asked of a key of another trainer can depend on them.
    let KeyBlock { entries, findings, .. } = &mut table;
    if let Some((key, _)) = entries.get("max_grad_norm").filter(|(_, node)| is_absent(&node.value))
        && !key.at.source.argument
    {
        // To transformers, none means no clipping.
        findings.ignore(&key.name, "it is empty, so the default of 1 applies; 0 turns clipping off");
    }
    let sibling = |name: &str| entries.get(name).map(|(_, node)| &node.value);
    let block = foreign::Block { path, keys: K::KEYS, sibling: &sibling };
    for (key, value) in others {
        foreign::judge(&block, key, value, findings);
    }
    Some(K::take(&mut table))
}

impl<'a> KeyBlock<'a> {
    fn insert(&mut self, names: &'static Names, key: &'a Key, value: &'a Node) {
        let shown = &key.name;
        let Some((first, before)) = self.entries.get(names.name) else {
            self.entries.insert(names.name, (key, value));
            return;
        };
        if first.name == *shown {
            let message = format!("`{shown}` is given twice");
            self.findings.push(Problem::at(&key.at, message).help("keep one of them"));
        } else if is_absent(&before.value) {
            self.entries.insert(names.name, (key, value));
        } else if !is_absent(&value.value) {
            let message = format!("`{shown}` and `{}` are the same key", first.name);
            self.findings.push(Problem::at(&key.at, message).help("keep one of them"));
        }
    }

    /// The value of a key; `None` when it is absent, empty or wrong.
    pub(super) fn take<T: FromNode>(&mut self, name: &'static str) -> Option<Located<T>> {
        let (key, node) = self.entries.remove(name)?;
        if is_absent(&node.value) {
            return None;
        }
        let shown =
            if self.path.is_empty() { key.name.clone() } else { format!("{}.{}", self.path, key.name) };
        let value = T::from_node(node, &shown, self.findings)?;
        Some(Located { value, at: node.at.clone(), key: key.at.clone() })
    }
}

/// Whether a value means that its key is not given. Python writes its null as `None`.
fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text == "None",
        _ => false,
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            return wrong_type(node, key, "a list", findings);
        };
        // Every item is read, so that the problems of all of them are found.
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| T::from_node(item, &format!("{key}[{index}]"), findings))
            .collect();
        read.into_iter().collect()
    }
}

impl FromNode for OneOrMany {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<OneOrMany> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                findings.push(Problem::at(&node.at, format!("`{key}` is empty")));
                None
            }
            Value::List(_) => Vec::from_node(node, key, findings).map(OneOrMany),
            _ => String::from_node(node, key, findings).map(|path| OneOrMany(vec![path])),
        }
    }
}

impl FromNode for Source {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Source> {
        let block = match &node.value {
            Value::Text(_) => {
                let path = OneOrMany::from_node(node, key, findings)?;
                let path = Located { value: path, at: node.at.clone(), key: node.at.clone() };
                DatasetBlock { path: Some(path), ..DatasetBlock::default() }
            }
            _ => read_block(node, key, findings)?,
        };
        Some(Source(block, node.at.clone()))
    }
}

impl FromNode for Sources {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Sources> {
        match &node.value {
            Value::Text(_) | Value::Map(_) => {
                Source::from_node(node, key, findings).map(|one| Sources(vec![one]))
            }
            _ => Vec::from_node(node, key, findings).map(Sources),
        }
    }
}

impl<K: Keys> FromNode for K {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<K> {
        read_block(node, key, findings)
    }
}

impl FromNode for Overrides {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Overrides> {
        let Value::Map(entries) = &node.value else {
            return wrong_type(node, key, "a block of keys", findings);
        };
        let mut overrides = BTreeMap::new();
        for (name, value) in entries {
            let json = json(value, &format!("{key}.{}", name.name), findings)?;
            if overrides.insert(name.name.clone(), json).is_some() {
                findings.push(Problem::at(&name.at, format!("`{key}.{}` is given twice", name.name)));
            }
        }
        Some(Overrides(overrides))
    }
}

impl FromNode for TextLists {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<TextLists> {
        let Value::Map(entries) = &node.value else {
            return wrong_type(node, key, "a block of keys", findings);
        };
        let mut lists = BTreeMap::new();
        for (name, value) in entries {
            let list = OneOrMany::from_node(value, &format!("{key}.{}", name.name), findings)?;
            if lists.insert(name.name.clone(), list.0).is_some() {
                findings.push(Problem::at(&name.at, format!("`{key}.{}` is given twice", name.name)));
            }
        }
        Some(TextLists(lists))
    }
}

fn json(node: &Node, key: &str, findings: &mut Findings) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(_) => i64::from_node(node, key, findings)?.into(),
        Value::Float(_) => f64::from_node(node, key, findings)?.into(),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => {
            items.iter().map(|item| json(item, key, findings)).collect::<Option<Vec<_>>>()?.into()
        }
        Value::Map(entries) => {
            let mut object = serde_json::Map::new();
            for (name, value) in entries {
                object.insert(name.name.clone(), json(value, &format!("{key}.{}", name.name), findings)?);
            }
            object.into()
        }
    })
}
