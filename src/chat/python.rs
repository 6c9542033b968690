//! Values as Python prints them: `str`, `repr` and `json.dumps`.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// How deep values nest, at most: printing is recursive.
const DEEPEST: usize = 200;

/// `str(value)`, which a template's `{{ value }}` prints.
pub(super) fn str(value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match value.as_str() {
        Some(found) => text.push_str(found),
        None if value.is_undefined() => {}
        None => repr(value, &mut text, DEEPEST)?,
    }
    Ok(text)
}

fn repr(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    let Some(depth) = depth.checked_sub(1) else { return Err(too_deep()) };
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => number(value, out),
        ValueKind::String => repr_text(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.is_tuple();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter()?.checked() {
                if count > 0 {
                    out.push_str(", ");
                }
                repr(&item?, out, depth)?;
                count += 1;
            }
            if tuple && count == 1 {
                out.push(',');
            }
            out.push(if tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                if index > 0 {
                    out.push_str(", ");
                }
                repr(&key, out, depth)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out, depth)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn number(value: &Value, out: &mut String) {
    match (value.is_integer(), f64::try_from(value.clone())) {
        (false, Ok(number)) => out.push_str(&float(number)),
        _ => out.push_str(&value.to_string()),
    }
}

/// A float as Python's `repr` writes it: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

fn repr_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char == quote => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            char if is_printable(char) => out.push(char),
            char => {
                // Writing to a string never fails.
                let _ = match u32::from(char) {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Both languages print all characters but those of Unicode's categories "other" and "separator".
fn is_printable(char: char) -> bool {
    // After another character, combining ones are not escaped.
    let pair: String = ['a', char].into_iter().collect();
    pair.escape_debug().nth(1) == Some(char)
}

/// `json.dumps`, as transformers' filter `tojson` calls it: non-ASCII characters stay unless `ensure_ascii` is set.
pub(super) fn tojson(value: &Value, rest: &[Value], options: &Kwargs) -> Result<String, Error> {
    let option = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        match rest.get(index) {
            Some(value) => Ok(Some(value.clone())),
            None => options.get(name),
        }
    };
    let indent = option(1, "indent")?.filter(|indent| !indent.is_none());
    let indent = match indent {
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
        None => None,
    };
    let mut separators = [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()];
    if let Some(given) = option(2, "separators")?.filter(|given| !given.is_none()) {
        for (index, separator) in separators.iter_mut().enumerate() {
            let given = given.get_item_by_index(index)?;
            let text = given.as_str();
            *separator = text.ok_or_else(|| invalid("tojson: separators must be two texts"))?.to_owned();
        }
    }
    let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let json = Json {
        ascii: flag(option(0, "ensure_ascii")?),
        indent,
        separators,
        sorted: flag(option(3, "sort_keys")?),
    };
    options.assert_all_used()?;
    let mut out = String::new();
    json.write(value, &mut out, 0)?;
    Ok(out)
}

/// How JSON is written.
struct Json {
    ascii: bool,
    indent: Option<String>,
    /// Between items, and between key and value.
    separators: [String; 2],
    sorted: bool,
}

impl Json {
    fn write(&self, value: &Value, out: &mut String, level: usize) -> Result<(), Error> {
        if level > DEEPEST {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => match (value.is_integer(), f64::try_from(value.clone())) {
                (false, Ok(number)) if number.is_nan() => out.push_str("NaN"),
                (false, Ok(number)) if number.is_infinite() => {
                    out.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
                }
                _ => number(value, out),
            },
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq => {
                let items = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                self.enclosed(["[", "]"], &items, out, level, |item, out| self.write(item, out, level + 1))?;
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                if self.sorted {
                    keys.sort();
                }
                self.enclosed(["{", "}"], &keys, out, level, |key, out| {
                    self.key(key, out, level)?;
                    out.push_str(&self.separators[1]);
                    self.write(&value.get_item(key)?, out, level + 1)
                })?;
            }
            kind => return Err(invalid(format!("a value of type {kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn key(&self, key: &Value, out: &mut String, level: usize) -> Result<(), Error> {
        match key.as_str() {
            Some(text) => self.text(text, out),
            None => {
                let mut text = String::new();
                self.write(key, &mut text, level)?;
                self.text(&text, out);
            }
        }
        Ok(())
    }

    fn enclosed(
        &self,
        [open, close]: [&str; 2],
        items: &[Value],
        out: &mut String,
        level: usize,
        mut write: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, level: usize| {
            if let Some(indent) = self.indent.as_ref().filter(|_| !items.is_empty()) {
                out.push('\n');
                (0..level).for_each(|_| out.push_str(indent));
            }
        };
        out.push_str(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.separators[0]);
            }
            line(out, level + 1);
            write(item, out)?;
        }
        line(out, level);
        out.push_str(close);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        // serde_json escapes the characters that Python escapes, in the same way.
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ascii {
            out.push_str(&quoted);
            return;
        }
        for char in quoted.chars() {
            if char.is_ascii() {
                out.push(char);
            } else {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// Refuses a value that nests too deep. Counts its items.
pub(super) fn check_depth(value: &Value, items: &mut u64) -> Result<(), Error> {
    fn check(value: &Value, items: &mut u64, depth: usize) -> Result<(), Error> {
        let inside = matches!(value.kind(), ValueKind::Seq | ValueKind::Map);
        let Some(depth) = depth.checked_sub(1) else { return Err(too_deep()) };
        if inside {
            for item in value.try_iter()?.checked() {
                let item = item?;
                *items += 1;
                match value.kind() {
                    ValueKind::Map => check(&value.get_item(&item)?, items, depth)?,
                    _ => check(&item, items, depth)?,
                }
            }
        }
        Ok(())
    }
    check(value, items, DEEPEST)
}

fn too_deep() -> Error {
    invalid("a value nests too deep")
}

pub(super) fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
