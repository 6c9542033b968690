//! A column's value, as far as rows care.

use super::RowProblem;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// In its usual spelling: its range is that of no Rust type.
    Integer(String),
    Float(f64),
    Bool(bool),
    Null,
    /// What it is, for people.
    Other(&'static str),
}

impl Cell {
    /// The text of a row; an empty one is refused.
    pub(super) fn into_text(self, column: &str) -> Result<String, RowProblem> {
        match self {
            Cell::Text(text) if text.is_empty() => Err(RowProblem::EmptyValue { column: column.to_owned() }),
            Cell::Text(text) => Ok(text),
            other => Err(other.wrong_kind(column, "a string")),
        }
    }

    pub(super) fn wrong_kind(&self, column: &str, expected: &'static str) -> RowProblem {
        let found = match self {
            Cell::Text(_) => "a string",
            Cell::Integer(_) => "a number",
            Cell::Float(_) => "a number with a fraction",
            Cell::Bool(_) => "a boolean",
            Cell::Null => "null",
            Cell::Other(kind) => kind,
        };
        RowProblem::WrongKind { column: column.to_owned(), found, expected }
    }
}
