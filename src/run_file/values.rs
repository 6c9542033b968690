//! Single values in every spelling that YAML writers, command lines and Python give them.

use std::borrow::Cow;

use super::choice::{self, Choice};
use super::error::Problem;
use super::findings::Findings;
use super::node::{Node, Value};
use super::read::FromNode;

/// One of a fixed set of names.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneOf<T>(pub(super) T);

/// The name of a label, which may look like a number.
#[derive(Debug, Clone)]
pub(super) struct LabelName(pub(super) String);

/// A number of bytes: a whole number, or one with a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

/// Whether a run in `output_dir` is resumed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resumption(pub(super) bool);

pub(super) fn wrong_type<T>(node: &Node, key: &str, expected: &str, findings: &mut Findings) -> Option<T> {
    let message = format!("`{key}` must be {expected}, found {}", found(&node.value));
    let mut problem = Problem::at(&node.at, message);
    if expected == "text" && !matches!(node.value, Value::List(_) | Value::Map(_)) {
        problem = problem.help("put quotes around it");
    }
    findings.push(problem);
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
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.trim().is_empty() => {
                findings.push(Problem::at(&node.at, format!("`{key}` is empty")));
                None
            }
            Value::Text(text) => Some(text.clone()),
            _ => wrong_type(node, key, "text", findings),
        }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<bool> {
        truth(&node.value).or_else(|| wrong_type(node, key, "true or false", findings))
    }
}

/// True or false in the spellings of YAML 1.1 and of command lines.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "t" | "1" => Some(true),
            "false" | "no" | "off" | "n" | "f" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

impl FromNode for f64 {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<f64> {
        let number = match &node.value {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            // `1e-4` is text in YAML 1.1, so that files written for it put quotes around numbers, or get them.
            Value::Text(text) => without_underscores(text).parse().ok(),
            _ => None,
        };
        number
            .filter(|number| number.is_finite())
            .or_else(|| wrong_type(node, key, "a finite number", findings))
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl FromNode for $type {
            fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<$type> {
                let range = || format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                let number = whole(&node.value).and_then(|number| <$type>::try_from(number).ok());
                number.or_else(|| wrong_type(node, key, &range(), findings))
            }
        }
    )*};
}
whole_numbers!(u32, u64, i64);

/// A whole number, also one that is written as text (`"500"`) or with a fraction of zero (`500.0`, `1e3`).
fn whole(value: &Value) -> Option<i128> {
    // Above it, not every whole number is a float.
    const EXACT: f64 = (1u64 << 53) as f64;
    let exact = |number: f64| (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128);
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => exact(*number),
        Value::Text(text) => {
            let text = without_underscores(text);
            text.parse().ok().or_else(|| text.parse().ok().and_then(exact))
        }
        _ => None,
    }
}

/// A number's text without the underscores that group its digits, as in `1_000`.
fn without_underscores(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    let between_digits =
        text.match_indices('_').all(|(at, _)| digit(at.checked_sub(1)) && digit(Some(at + 1)));
    if between_digits { text.replace('_', "").into() } else { text.into() }
}

impl<T: Choice> FromNode for OneOf<T> {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<OneOf<T>> {
        let text = match &node.value {
            Value::Text(text) => text.as_str(),
            // YAML 1.1 reads `no`, the name of a strategy, as false, and some programs write it back so.
            Value::Bool(false) if choice::find::<T>("no").is_some() => "no",
            // Python's own YAML of an enum: `!!python/object/apply:….IntervalStrategy [steps]`.
            Value::List(items) if items.len() == 1 && matches!(items[0].value, Value::Text(_)) => {
                return OneOf::from_node(&items[0], key, findings);
            }
            _ => {
                let names: Vec<String> = T::NAMES.iter().map(|(name, _)| format!("{name:?}")).collect();
                return wrong_type(node, key, &names.join(" or "), findings);
            }
        };
        let chosen = choice::find(text);
        if chosen.is_none() {
            findings.push(choice::refusal::<T>(&node.at, key, text));
        }
        chosen.map(OneOf)
    }
}

impl FromNode for LabelName {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<LabelName> {
        match &node.value {
            Value::Int(number) => Some(LabelName(number.to_string())),
            Value::Bool(truth) => Some(LabelName(truth.to_string())),
            _ => String::from_node(node, key, findings).map(LabelName),
        }
    }
}

impl FromNode for Resumption {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Resumption> {
        match &node.value {
            Value::Text(text) if choice::plain(text) == "auto" => Some(Resumption(true)),
            value if truth(value).is_some() => truth(value).map(Resumption),
            Value::Text(text) => {
                let problem = Problem::at(&node.at, format!("`{key}` cannot be {text:?}"));
                findings.push(problem.help(
                    "write auto: a run is found by its output_dir; to begin a new run from weights, name them as base_model",
                ));
                None
            }
            _ => wrong_type(node, key, "auto or no", findings),
        }
    }
}

impl FromNode for Bytes {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Bytes> {
        let bytes = match &node.value {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::Text(text) => bytes(text),
            _ => None,
        };
        bytes
            .map(Bytes)
            .or_else(|| wrong_type(node, key, "a number of bytes, such as 500MB or 20GB", findings))
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
