//! JSON objects as rows: the columns that matter, without building the rest.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::RowProblem;
use super::cell::Cell;
use super::columns::{Column, TextColumns};

/// The text of a row, and its second text where rows are pairs.
pub(super) fn texts(object: &[u8], columns: TextColumns<'_>) -> Result<(String, Option<String>), RowProblem> {
    let (text, pair) = columns.both();
    match pair {
        None => {
            let [cell] = cells(object, [text])?;
            Ok((cell.into_text(text.name)?, None))
        }
        Some(pair) => {
            let [cell, second] = cells(object, [text, pair])?;
            Ok((cell.into_text(text.name)?, Some(second.into_text(pair.name)?)))
        }
    }
}

/// Checks the texts of a row and gives its label.
pub(super) fn label(object: &[u8], texts: TextColumns<'_>, label: Column<'_>) -> Result<Cell, RowProblem> {
    let (text, pair) = texts.both();
    match pair {
        None => text_and_cell(object, text, label).map(|(_, label)| label),
        Some(pair) => {
            let [cell, second, label] = cells(object, [text, pair, label])?;
            cell.into_text(text.name)?;
            second.into_text(pair.name)?;
            Ok(label)
        }
    }
}

/// A value that must be a text, and another of any kind.
pub(super) fn text_and_cell(
    object: &[u8],
    text: Column<'_>,
    other: Column<'_>,
) -> Result<(String, Cell), RowProblem> {
    let [cell, other] = cells(object, [text, other])?;
    Ok((cell.into_text(text.name)?, other))
}

/// Checks that a row is an object that [`whole`] will read.
pub(super) fn check(object: &[u8]) -> Result<(), RowProblem> {
    match object.trim_ascii_start().first() {
        Some(b'{') => whole(object).map(drop),
        _ => cells(object, []).map(|[]| ()),
    }
}

/// A row as the object that it is.
pub(super) fn whole(object: &[u8]) -> Result<Map<String, Value>, RowProblem> {
    let object = std::str::from_utf8(object).map_err(|_| RowProblem::NotUtf8)?;
    serde_json::from_str(object).map_err(|error| json(&error))
}

fn cells<const N: usize>(object: &[u8], columns: [Column<'_>; N]) -> Result<[Cell; N], RowProblem> {
    let object = std::str::from_utf8(object).map_err(|_| RowProblem::NotUtf8)?;
    if !object.trim_ascii_start().starts_with('{') {
        return match serde_json::from_str::<IgnoredAny>(object) {
            Ok(_) => Err(RowProblem::NotAnObject),
            Err(_) if object.trim_ascii_start().starts_with('[') => Err(RowProblem::NotAnObject),
            Err(error) => Err(json(&error)),
        };
    }
    let mut parser = serde_json::Deserializer::from_str(object);
    let mut found = Columns(columns).deserialize(&mut parser).map_err(|error| json(&error))?;
    parser.end().map_err(|error| json(&error))?;
    for (cell, column) in found.iter_mut().zip(&columns) {
        if cell.is_none() {
            *cell = Some(nested(object, column)?);
        }
    }
    Ok(found.map(|cell| cell.expect("missing columns were refused above")))
}

/// A column whose name is a path into objects, `translation.en`.
fn nested(object: &str, column: &Column<'_>) -> Result<Cell, RowProblem> {
    let mut names: BTreeMap<String, IgnoredAny> = BTreeMap::new();
    if let Some((first, rest)) = column.name.split_once('.') {
        let object: BTreeMap<String, Value> = serde_json::from_str(object).map_err(|error| json(&error))?;
        let inner = object.get(first);
        if let Some(value) =
            inner.and_then(|value| rest.split('.').try_fold(value, |value, name| value.get(name)))
        {
            return Ok(cell(value));
        }
        names.extend(object.into_keys().map(|name| (name, IgnoredAny)));
    } else {
        names = serde_json::from_str(object).map_err(|error| json(&error))?;
    }
    let present = names.into_keys().collect();
    Err(RowProblem::MissingColumn { column: column.name.to_owned(), key: column.key, present })
}

fn cell(value: &Value) -> Cell {
    CellSeed.deserialize(value).unwrap_or(Cell::Other("not a value"))
}

fn json(error: &serde_json::Error) -> RowProblem {
    // The parser counts lines within the row; the file's line is named already.
    let text = error.to_string();
    let cut = text.find(" at line ").unwrap_or(text.len());
    RowProblem::Json(format!("{}, column {}", &text[..cut], error.column()))
}

struct Columns<'a, const N: usize>([Column<'a>; N]);

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
            // One column may serve twice, say both as text and as label.
            let mut places = (0..N).filter(|&place| self.0[place].name == key);
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

    fn visit_f64<E>(self, number: f64) -> Result<Cell, E> {
        Ok(Cell::Float(number))
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
