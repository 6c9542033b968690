//! Rows made of the values of some columns: texts or images, and their labels.

use std::borrow::Cow;

use parquet::data_type::ByteArray;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;

use super::cells::Cells;
use super::kind::Kind;
use super::{ParquetRow, Source, Visit, classes};
use crate::data::cell::Cell;
use crate::data::columns::{Column, IMAGE, LABEL};
use crate::data::{DataFile, Format, RowProblem, pair};

/// Rows in memory at once; their values lie in their pages.
const ROWS_AT_ONCE: usize = 64;

/// The columns of a row.
pub(super) struct ValueColumns {
    content: Leaf,
    pair: Option<Leaf>,
    label: Option<Leaf>,
    /// The names that stand for the integers of the column of labels.
    pub(super) classes: Option<Vec<String>>,
}

/// A column, by its place among those that hold values, and its name in the run file.
struct Leaf {
    place: usize,
    name: String,
}

/// A row's value, its second one where rows are pairs, and its label where one was asked for.
pub(super) type RowValues = (Option<ByteArray>, Option<Option<ByteArray>>, Option<Cell>);

/// The columns of one row group, open.
pub(super) struct Values {
    contents: Cells,
    pairs: Option<Cells>,
    labels: Option<Cells>,
}

impl Values {
    /// Some of the next rows; none at the end.
    pub(super) fn next(&mut self) -> ParquetResult<Vec<RowValues>> {
        let values = self.contents.bytes(ROWS_AT_ONCE)?;
        let count = values.len();
        let mut seconds = match &mut self.pairs {
            Some(pairs) if count > 0 => Some(pairs.exact_bytes(count)?.into_iter()),
            _ => None,
        };
        let mut labels = match &mut self.labels {
            Some(labels) if count > 0 => Some(labels.labels(count)?.into_iter()),
            _ => None,
        };
        let row = |value| {
            let second = seconds.as_mut().and_then(Iterator::next);
            (value, second, labels.as_mut().and_then(Iterator::next))
        };
        Ok(values.into_iter().map(row).collect())
    }
}

impl ValueColumns {
    /// Finds the columns that `planned` names. An image may lie in a column of bytes or, as the `datasets` library writes
    /// it, in a struct of `bytes` and `path`.
    pub(super) fn find(
        footer: &ParquetMetaData,
        planned: &DataFile,
        label: Option<&str>,
    ) -> Result<ValueColumns, RowProblem> {
        let schema = footer.file_metadata().schema_descr();
        let mut contents = if planned.format == Format::Image {
            let column = Column { name: &planned.column, key: IMAGE };
            vec![leaf(schema, column, Some("bytes"), "bytes")?].into_iter()
        } else {
            let texts = planned.text_columns().all().map(|column| leaf(schema, column, None, "a string"));
            texts.collect::<Result<Vec<Leaf>, _>>()?.into_iter()
        };
        let label = label.map(|name| label_leaf(schema, name)).transpose()?;
        let classes = label.as_ref().and_then(|label| classes::names(footer, &label.name));
        let content = contents.next().expect("there is a column of contents");
        Ok(ValueColumns { content, pair: contents.next(), label, classes })
    }

    /// Opens the columns in a row group.
    pub(super) fn open(&self, source: &Source, group: &RowGroupMetaData) -> ParquetResult<Values> {
        let open = |leaf: &Leaf| Cells::new(source.clone(), group, leaf.place);
        Ok(Values {
            contents: open(&self.content)?,
            pairs: self.pair.as_ref().map(open).transpose()?,
            labels: self.label.as_ref().map(open).transpose()?,
        })
    }

    /// Gives a row to `visit`.
    pub(super) fn visit(
        &self,
        (value, second, label): RowValues,
        visit: &mut impl Visit,
    ) -> Result<(), RowProblem> {
        let content = present(value, &self.content)?;
        let content = match (second, &self.pair) {
            (Some(second), Some(column)) => {
                Cow::Owned(pair::join(content.data(), present(second, column)?.data()))
            }
            _ => Cow::Borrowed(content.data()),
        };
        let label = label.map(|label| self.name(label)).transpose()?;
        visit(ParquetRow { content: &content, label })
    }

    /// The name of a class, where the file has a name for it.
    fn name(&self, cell: Cell) -> Result<Cell, RowProblem> {
        let (Some(names), Some(column)) = (&self.classes, &self.label) else { return Ok(cell) };
        let label = match &cell {
            Cell::Integer(label) => label.clone(),
            // A column in which a value is missing becomes one of floats in other tools.
            Cell::Float(label) if label.fract() == 0.0 => label.to_string(),
            _ => return Ok(cell),
        };
        let column = column.name.clone();
        match label.parse::<usize>().ok().and_then(|number| names.get(number)) {
            Some(name) => Ok(Cell::Text(name.clone())),
            None if label.starts_with('-') => Err(RowProblem::NoLabel { label, column }),
            None => Err(RowProblem::NoClass { label, column, classes: names.len() }),
        }
    }
}

/// A value that must be there.
fn present(value: Option<ByteArray>, column: &Leaf) -> Result<ByteArray, RowProblem> {
    let column = || column.name.clone();
    let value = value.ok_or_else(|| RowProblem::WrongKind {
        column: column(),
        found: "null",
        expected: "a value in every row",
    })?;
    if value.data().is_empty() { Err(RowProblem::EmptyValue { column: column() }) } else { Ok(value) }
}

/// The column of labels, of a kind that labels can have.
fn label_leaf(schema: &SchemaDescriptor, name: &str) -> Result<Leaf, RowProblem> {
    let place = find(schema, Column { name, key: LABEL }, None)?;
    let leaf = Leaf { place, name: name.to_owned() };
    match Kind::of(&schema.column(place)) {
        Kind::Other(found) => Err(RowProblem::WrongKind {
            column: leaf.name,
            found,
            expected: "a string, an integer or a boolean",
        }),
        _ => Ok(leaf),
    }
}

/// A column of strings or bytes.
fn leaf(
    schema: &SchemaDescriptor,
    column: Column<'_>,
    inner: Option<&str>,
    expected: &'static str,
) -> Result<Leaf, RowProblem> {
    let place = find(schema, column, inner)?;
    let name = column.name.to_owned();
    match Kind::of(&schema.column(place)) {
        Kind::Text => Ok(Leaf { place, name }),
        kind => Err(RowProblem::WrongKind { column: name, found: kind.name(), expected }),
    }
}

/// The place of a column: of itself, of the field that its name leads to (`translation.en`) or, where `inner` is given, of its
/// field of that name.
fn find(
    schema: &SchemaDescriptor,
    Column { name, key }: Column<'_>,
    inner: Option<&str>,
) -> Result<usize, RowProblem> {
    let leaves: Vec<&[String]> = schema.columns().iter().map(|leaf| leaf.path().parts()).collect();
    let is = |leaf: &&[String]| {
        leaf.join(".") == name
            || inner.is_some_and(|inner| {
                leaf.split_last().is_some_and(|(last, rest)| last == inner && rest.join(".") == name)
            })
    };
    let found = leaves.iter().position(is);
    if let Some(found) = found.filter(|&found| schema.column(found).max_rep_level() == 0) {
        return Ok(found);
    }
    let top = |leaf: &&&[String]| leaf.first().is_some_and(|first| first == name);
    if found.is_none() && !leaves.iter().any(|leaf| top(&leaf)) {
        let mut present: Vec<String> = leaves.iter().filter_map(|leaf| leaf.first().cloned()).collect();
        present.dedup();
        return Err(RowProblem::MissingColumn { column: name.to_owned(), key, present });
    }
    let single = |leaf: &&(usize, &&[String])| top(&leaf.1) && schema.column(leaf.0).max_rep_level() == 0;
    let fields: Vec<String> =
        leaves.iter().enumerate().filter(|leaf| single(&leaf)).map(|(_, leaf)| leaf.join(".")).collect();
    Err(RowProblem::Nested { column: name.to_owned(), fields })
}
