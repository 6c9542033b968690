//! Parquet: columns of a file as rows, each with its content and its label.

mod cells;
mod classes;
mod header;
mod kind;
mod ranged;

use std::borrow::Cow;
use std::collections::BTreeSet;

use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;

use super::cell::Cell;
use super::columns::{Column, IMAGE, LABEL};
use super::unpack::Broken;
use super::{DataError, DataFile, FilePosition, Format, RowProblem, pair};
use crate::store::StoreError;
use cells::Cells;
use kind::Kind;
pub(super) use ranged::Source;

/// Bytes of the longest footer.
const LONGEST_FOOTER: u64 = 16 << 20;
/// Rows in memory at once; their values lie in their pages.
const ROWS_AT_ONCE: usize = 64;
const TAIL: u64 = 8;

/// A Parquet file whose columns were found.
pub(super) struct ParquetTable {
    source: Source,
    footer: ParquetMetaData,
    content: Leaf,
    pair: Option<Leaf>,
    label: Option<Leaf>,
    /// The names that stand for the integers of the column of labels.
    classes: Option<Vec<String>>,
}

/// A column, by its place among those that hold values, and its name in the run file.
struct Leaf {
    place: usize,
    name: String,
}

/// A row: its content, or two texts as [`pair::join`] makes them one, and its label if a label column was asked for.
pub(super) struct ParquetRow<'a> {
    pub(super) content: &'a [u8],
    pub(super) label: Option<Cell>,
}

/// What is done with a row.
pub(super) trait Visit: FnMut(ParquetRow<'_>) -> Result<(), RowProblem> {}

impl<F: FnMut(ParquetRow<'_>) -> Result<(), RowProblem>> Visit for F {}

/// The error for a file on which the `parquet` crate panics.
pub(super) fn contradicts(url: String) -> DataError {
    let problem = RowProblem::Parquet("its pages contradict each other".to_owned());
    DataError::Row { url, place: FilePosition::File, problem }
}

impl ParquetTable {
    /// Reads the footer and finds the columns that `planned` names. An image may lie in a column of bytes or, as the
    /// `datasets` library writes it, in a struct of `bytes` and `path`. Blocks.
    pub(super) fn open(
        source: Source,
        planned: &DataFile,
        label: Option<&str>,
    ) -> Result<ParquetTable, DataError> {
        let place =
            |problem| DataError::Row { url: source.url.to_string(), place: FilePosition::File, problem };
        let footer = footer(&source).map_err(|error| located(&source, FilePosition::File, error))?;
        let schema = footer.file_metadata().schema_descr();
        let images = planned.format == Format::Image;
        let mut contents = if images {
            let column = Column { name: &planned.column, key: IMAGE };
            vec![leaf(schema, column, Some("bytes"), "bytes").map_err(place)?].into_iter()
        } else {
            let texts = planned.text_columns().all().map(|column| leaf(schema, column, None, "a string"));
            texts.collect::<Result<Vec<Leaf>, _>>().map_err(place)?.into_iter()
        };
        let label = label.map(|name| label_leaf(schema, name)).transpose().map_err(place)?;
        let classes = label.as_ref().and_then(|label| classes::names(&footer, &label.name));
        let content = contents.next().expect("there is a column of contents");
        Ok(ParquetTable { content, pair: contents.next(), label, classes, source, footer })
    }

    /// The classes of the column of labels, in their order, where the file names them.
    pub(super) fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// Number of rows, as the footer says.
    pub(super) fn rows(&self) -> u64 {
        (0..self.footer.num_row_groups()).map(|group| self.rows_of(group)).sum()
    }

    /// Gives every row to `visit`.
    pub(super) fn read(&self, mut visit: impl Visit) -> Result<(), DataError> {
        let mut row = 0;
        for group in 0..self.footer.num_row_groups() {
            let first = row;
            self.read_group(group, &mut row, u64::MAX, &mut visit)?;
            if row - first != self.rows_of(group) {
                let reason = format!("row group {group} has other rows than its footer says");
                return Err(self.problem(row, RowProblem::Parquet(reason)));
            }
        }
        Ok(())
    }

    /// As [`ParquetTable::read`], for about `most` rows of the first row group, the last, and one between them.
    pub(super) fn read_some(&self, most: u64, mut visit: impl Visit) -> Result<(), DataError> {
        let groups = self.footer.num_row_groups();
        let some: BTreeSet<usize> = [0, groups / 2, groups.saturating_sub(1)].into();
        for group in some.into_iter().filter(|group| *group < groups) {
            let mut row = (0..group).map(|group| self.rows_of(group)).sum();
            self.read_group(group, &mut row, most, &mut visit)?;
        }
        Ok(())
    }

    fn rows_of(&self, group: usize) -> u64 {
        u64::try_from(self.footer.row_group(group).num_rows()).unwrap_or_default()
    }

    fn read_group(
        &self,
        number: usize,
        row: &mut u64,
        most: u64,
        visit: &mut impl Visit,
    ) -> Result<(), DataError> {
        let failed = |row, error| located(&self.source, FilePosition::Entry(row), error);
        let end = row.saturating_add(most);
        let group = self.footer.row_group(number);
        let open = |leaf: &Leaf| Cells::new(self.source.clone(), group, leaf.place);
        let mut contents = open(&self.content).map_err(|error| failed(*row, error))?;
        let mut pairs = self.pair.as_ref().map(open).transpose().map_err(|error| failed(*row, error))?;
        let mut labels = self.label.as_ref().map(open).transpose().map_err(|error| failed(*row, error))?;
        while *row < end {
            let values = contents.bytes(ROWS_AT_ONCE).map_err(|error| failed(*row, error))?;
            if values.is_empty() {
                break;
            }
            let count = values.len();
            let seconds = pairs.as_mut().map(|pairs| pairs.exact_bytes(count)).transpose();
            let mut seconds = seconds.map_err(|error| failed(*row, error))?.map(Vec::into_iter);
            let cells = labels.as_mut().map(|labels| labels.labels(count)).transpose();
            let mut cells = cells.map_err(|error| failed(*row, error))?.map(Vec::into_iter);
            for value in values {
                let second = seconds.as_mut().and_then(Iterator::next);
                let label = cells.as_mut().and_then(Iterator::next);
                self.visit(value, second, label, visit).map_err(|problem| self.problem(*row, problem))?;
                *row += 1;
            }
        }
        Ok(())
    }

    /// Gives a row to `visit`; `second` is `None` where rows are no pairs.
    fn visit(
        &self,
        value: Option<ByteArray>,
        second: Option<Option<ByteArray>>,
        label: Option<Cell>,
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

    fn problem(&self, row: u64, problem: RowProblem) -> DataError {
        DataError::Row { url: self.source.url.to_string(), place: FilePosition::Entry(row), problem }
    }
}

/// The footer, whose length stands before the last four bytes.
fn footer(source: &Source) -> Result<ParquetMetaData, ParquetError> {
    let tail = source.bytes(source.size.saturating_sub(TAIL)..source.size)?;
    let length = match tail.as_ref() {
        [length @ .., b'P', b'A', b'R', b'1'] => <[u8; 4]>::try_from(length).map(u32::from_le_bytes).ok(),
        _ => None,
    };
    let Some(length) = length.map(u64::from).filter(|length| length + TAIL <= source.size) else {
        return Err(ranged::refused("it does not end as one; it may be cut short".to_owned()));
    };
    if length > LONGEST_FOOTER {
        return Err(ranged::refused(format!(
            "its footer has {length} bytes, at most {LONGEST_FOOTER} are read"
        )));
    }
    let end = source.size - TAIL;
    let bytes = source.bytes(end - length..end)?;
    if !header::is_sound(&bytes) {
        return Err(ranged::refused("its footer is damaged".to_owned()));
    }
    ParquetMetaDataReader::decode_metadata(&bytes)
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

/// Converts an error of the `parquet` crate, which may wrap one of our own.
fn located(source: &Source, place: FilePosition, error: ParquetError) -> DataError {
    let broken = match error {
        ParquetError::External(cause) => match cause.downcast::<StoreError>() {
            Ok(error) => Broken::Data((*error).into()),
            Err(cause) => match cause.downcast::<RowProblem>() {
                Ok(problem) => Broken::Row(*problem),
                Err(cause) => Broken::Row(RowProblem::Parquet(cause.to_string())),
            },
        },
        other => Broken::Row(RowProblem::Parquet(other.to_string())),
    };
    match broken {
        Broken::Data(error) => error,
        Broken::Row(problem) => DataError::Row { url: source.url.to_string(), place, problem },
    }
}
