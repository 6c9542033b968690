//! A run file as a tree in which every key and value knows its place; `--set` arguments are grafted onto it.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::error::{At, Problem, Source};

/// Deepest nesting of a run file.
const DEPTH: usize = 32;
/// Most values of a run file, those repeated through anchors included.
const NODES: usize = 65_536;

/// A YAML value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: At,
}

/// A key and its place.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) at: At,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the file's order; a key may occur twice.
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// What a value is called in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a block of keys",
        }
    }
}

/// Parses one YAML document that begins at byte `shift` of the source.
pub(super) fn parse(source: &Arc<Source>, shift: usize) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH, max_nodes: NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES },
        // Repetitions are reported with the place of both, so they have to arrive here.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // `no` is the name of a strategy.
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let text = &source.text[shift..];
    serde_saphyr::from_str_with_options::<Spanned<Shape>>(text, options)
        .map(|root| Planter { source, shift }.node(root))
        .map_err(|error| syntax_problem(source, shift, &error))
}

fn syntax_problem(source: &Arc<Source>, shift: usize, error: &serde_saphyr::Error) -> Problem {
    let plain = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
    let rendered = error.render_with_options(plain);
    // The place is shown as a caret; the library repeats it at the end of its sentence.
    let message = rendered.split(" at line ").next().unwrap_or(&rendered);
    let message = format!("not valid YAML: {message}");
    let Some(location) = error.location() else {
        return Problem::whole(source, message);
    };
    let lines_before = (location.line() as usize).saturating_sub(1);
    let line_start: usize = source.text.split_inclusive('\n').take(lines_before).map(str::len).sum();
    let column = (location.column() as usize).saturating_sub(1);
    let in_line = source.text[line_start..].char_indices().nth(column);
    let start = in_line.map_or(source.text.len(), |(offset, _)| (line_start + offset).max(shift));
    Problem::at(&At { source: Arc::clone(source), span: start..start }, message)
}

struct Planter<'a> {
    source: &'a Arc<Source>,
    shift: usize,
}

impl Planter<'_> {
    fn node(&self, spanned: Spanned<Shape>) -> Node {
        let at = self.at(spanned.referenced);
        let value = match spanned.value {
            Shape::Null => Value::Null,
            Shape::Bool(value) => Value::Bool(value),
            Shape::Int(value) => Value::Int(value),
            Shape::Float(value) => Value::Float(value),
            Shape::Text(value) => Value::Text(value),
            Shape::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Shape::Map(entries) => {
                let key = |name: Spanned<String>| Key { at: self.at(name.referenced), name: name.value };
                Value::Map(entries.into_iter().map(|(name, value)| (key(name), self.node(value))).collect())
            }
        };
        Node { value, at }
    }

    fn at(&self, location: serde_saphyr::Location) -> At {
        let text = &self.source.text;
        let start = location.span().byte_offset().unwrap_or(0) as usize + self.shift;
        let end = start + location.span().byte_len().unwrap_or(0) as usize;
        let span = match text.get(start..end) {
            Some(covered) => start..start + covered.trim_end().len(),
            None => text.len()..text.len(),
        };
        At { source: Arc::clone(self.source), span }
    }
}

/// A YAML value of any kind as serde shows it.
enum Shape {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Shape>>),
    Map(Vec<(Spanned<String>, Spanned<Shape>)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Shape, E> {
        Ok(Shape::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Shape::Map(map))
    }
}
