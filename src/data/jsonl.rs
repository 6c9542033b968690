//! One JSON object per line: the two columns that matter, without building the rest.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::RowProblem;

/// A column's value, as far as rows care.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Integer(String),
    Bool(bool),
    Null,
    Other(&'static str),
}

/// The text of a row.
pub(super) fn text(line: &[u8], column: &str) -> Result<String, RowProblem> {
    let [cell] = cells(line, [column])?;
    text_of(cell, column)
}

/// The text and the label of a row. Labels may be strings, integers or booleans.
pub(super) fn text_and_label(line: &[u8], text: &str, label: &str) -> Result<(String, String), RowProblem> {
    let [text_cell, label_cell] = cells(line, [text, label])?;
    Ok((text_of(text_cell, text)?, label_of(label_cell, label)?))
}

fn text_of(cell: Cell, column: &str) -> Result<String, RowProblem> {
    match cell {
        Cell::Text(text) if text.is_empty() => Err(RowProblem::EmptyValue { column: column.to_owned() }),
        Cell::Text(text) => Ok(text),
        other => Err(wrong_kind(&other, column, "a string")),
    }
}

/// A label as its name.
pub(super) fn label_of(cell: Cell, column: &str) -> Result<String, RowProblem> {
    match cell {
        Cell::Text(label) if label.is_empty() => Err(RowProblem::EmptyValue { column: column.to_owned() }),
        Cell::Text(label) | Cell::Integer(label) => Ok(label),
        Cell::Bool(label) => Ok(label.to_string()),
        other => Err(wrong_kind(&other, column, "a string, an integer or a boolean")),
    }
}

fn wrong_kind(cell: &Cell, column: &str, expected: &'static str) -> RowProblem {
    let found = match cell {
        Cell::Text(_) => "a string",
        Cell::Integer(_) => "a number",
        Cell::Bool(_) => "a boolean",
        Cell::Null => "null",
        Cell::Other(kind) => kind,
    };
    RowProblem::WrongKind { column: column.to_owned(), found, expected }
}

fn cells<const N: usize>(line: &[u8], columns: [&str; N]) -> Result<[Cell; N], RowProblem> {
    let line = std::str::from_utf8(line).map_err(|_| RowProblem::NotUtf8)?;
    if !line.trim_ascii_start().starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(line) {
            Ok(_) => Err(RowProblem::NotAnObject),
            Err(_) if line.trim_ascii_start().starts_with('[') => Err(RowProblem::NotAnObject),
            Err(error) => Err(json(&error)),
        };
    }
    let mut parser = serde_json::Deserializer::from_str(line);
    let found = Columns(columns).deserialize(&mut parser).map_err(|error| json(&error))?;
    parser.end().map_err(|error| json(&error))?;
    for (cell, column) in found.iter().zip(columns) {
        if cell.is_none() {
            let names: BTreeMap<String, IgnoredAny> =
                serde_json::from_str(line).map_err(|error| json(&error))?;
            let present = names.into_keys().collect();
            return Err(RowProblem::MissingColumn { column: column.to_owned(), present });
        }
    }
    Ok(found.map(|cell| cell.expect("missing columns were refused above")))
}

fn json(error: &serde_json::Error) -> RowProblem {
    // The parser counts lines within the row; the file's line is named already.
    let text = error.to_string();
    let cut = text.find(" at line ").unwrap_or(text.len());
    RowProblem::Json(format!("{}, column {}", &text[..cut], error.column()))
}

struct Columns<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Columns<'_, N> {
    type Value = [Option<Cell>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Columns<'_, N> {
    type Value = [Option<Cell>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(key) = map.next_key::<String>()? {
            // One column may serve both as text and as label.
            let mut places = (0..N).filter(|&place| self.0[place] == key);
            let Some(first) = places.next() else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let cell = map.next_value_seed(CellSeed)?;
            for place in places {
                found[place] = Some(cell.clone());
            }
            found[first] = Some(cell);
        }
        Ok(found)
    }
}

struct CellSeed;

impl<'de> DeserializeSeed<'de> for CellSeed {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Cell, E> {
        Ok(Cell::Text(text))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Cell, E> {
        Ok(Cell::Integer(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Cell, E> {
        Ok(Cell::Other("a number with a fraction"))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Other("an object"))
    }
}
