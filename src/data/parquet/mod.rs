//! Parquet: two columns of a file as rows, each with its content and its label.

mod cells;
mod header;
mod ranged;

use std::collections::BTreeSet;

use parquet::basic::Type as Physical;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::jsonl::Cell;
use super::unpack::Broken;
use super::{DataError, FilePosition, Format, RowProblem};
use crate::store::StoreError;
use cells::Cells;
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
    content: usize,
    label: Option<Label>,
}

/// The column of labels, and the names that stand for its integers.
struct Label {
    column: usize,
    names: Option<Vec<String>>,
}

/// What is done with a row: its number, its content, and its label if a label column was asked for.
pub(super) trait Visit: FnMut(u64, &[u8], Option<Cell>) -> Result<(), RowProblem> {}

impl<F: FnMut(u64, &[u8], Option<Cell>) -> Result<(), RowProblem>> Visit for F {}

impl ParquetTable {
    /// Reads the footer and finds the columns. An image may lie in a column of bytes or, as the `datasets` library
    /// writes it, in a struct of `bytes` and `path`. Blocks.
    pub(super) fn open(
        source: Source,
        format: Format,
        content: &str,
        label: Option<&str>,
    ) -> Result<ParquetTable, DataError> {
        let place =
            |problem| DataError::Row { url: source.url.to_string(), place: FilePosition::File, problem };
        let footer = footer(&source).map_err(|error| located(&source, FilePosition::File, error))?;
        let schema = footer.file_metadata().schema_descr();
        let inner = (format == Format::Image).then_some("bytes");
        let content = column(schema, content, inner).and_then(|found| {
            let kind = schema.column(found).physical_type();
            let expected = if format == Format::Image { "bytes" } else { "a string" };
            let wrong = |found| RowProblem::WrongKind { column: content.to_owned(), found, expected };
            if kind == Physical::BYTE_ARRAY { Ok(found) } else { Err(wrong("a number")) }
        });
        let label = label.map(|label| {
            let column = column(schema, label, None)?;
            Ok(Label { column, names: class_names(&footer, label) })
        });
        let content = content.map_err(place)?;
        let label = label.transpose().map_err(place)?;
        Ok(ParquetTable { source, footer, content, label })
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
        let (mut contents, mut labels) = self.group(number).map_err(|error| failed(*row, error))?;
        while *row < end {
            let values = contents.bytes(ROWS_AT_ONCE).map_err(|error| failed(*row, error))?;
            if values.is_empty() {
                break;
            }
            let mut cells = self.cells(labels.as_mut(), values.len()).map_err(|error| failed(*row, error))?;
            for value in values {
                let label = cells.as_mut().and_then(Iterator::next);
                self.check(value)
                    .and_then(|value| visit(*row, value.data(), label))
                    .map_err(|problem| self.problem(*row, problem))?;
                *row += 1;
            }
        }
        Ok(())
    }

    fn group(&self, number: usize) -> Result<(Cells, Option<Cells>), ParquetError> {
        let group = self.footer.row_group(number);
        let cells = |column| Cells::new(self.source.clone(), group, column);
        let labels = self.label.as_ref().map(|label| cells(label.column)).transpose()?;
        Ok((cells(self.content)?, labels))
    }

    /// The next labels, as many as there are contents.
    fn cells(
        &self,
        labels: Option<&mut Cells>,
        count: usize,
    ) -> Result<Option<std::vec::IntoIter<Cell>>, ParquetError> {
        let Some(labels) = labels else { return Ok(None) };
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let more = labels.labels(count - found.len())?;
            if more.is_empty() {
                return Err(ranged::refused("the label column is shorter than the other".to_owned()));
            }
            found.extend(more);
        }
        let names = self.label.as_ref().and_then(|label| label.names.as_deref());
        if let Some(names) = names {
            for cell in &mut found {
                name(cell, names)?;
            }
        }
        Ok(Some(found.into_iter()))
    }

    fn check(&self, value: Option<ByteArray>) -> Result<ByteArray, RowProblem> {
        let path = self.footer.file_metadata().schema_descr().column(self.content);
        let column = || path.path().string();
        let value = value.ok_or_else(|| RowProblem::WrongKind {
            column: column(),
            found: "null",
            expected: "a value in every row",
        })?;
        if value.data().is_empty() { Err(RowProblem::EmptyValue { column: column() }) } else { Ok(value) }
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

/// The leaf of a column: itself or, where `inner` is given, its field of that name.
fn column(schema: &SchemaDescriptor, name: &str, inner: Option<&str>) -> Result<usize, RowProblem> {
    let path = |leaf: &ColumnDescPtr| leaf.path().parts().to_vec();
    let leaves: Vec<Vec<String>> = schema.columns().iter().map(path).collect();
    let found = leaves.iter().position(|leaf| match (leaf.as_slice(), inner) {
        ([only], _) => only == name,
        ([first, second], Some(inner)) => first == name && second == inner,
        _ => false,
    });
    match found {
        Some(found) if schema.column(found).max_rep_level() == 0 => Ok(found),
        None if leaves.iter().all(|leaf| leaf.first().is_none_or(|first| first != name)) => {
            let mut present: Vec<String> =
                leaves.into_iter().filter_map(|leaf| leaf.into_iter().next()).collect();
            present.dedup();
            Err(RowProblem::MissingColumn { column: name.to_owned(), present })
        }
        _ => Err(RowProblem::WrongKind {
            column: name.to_owned(),
            found: "a list or a struct",
            expected: "one value in each row",
        }),
    }
}

/// The names of a `ClassLabel` column, which the `datasets` library writes into the footer.
fn class_names(footer: &ParquetMetaData, column: &str) -> Option<Vec<String>> {
    let pairs = footer.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_ref()?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let feature = json.get("info")?.get("features")?.get(column)?;
    let names = feature.get("names").filter(|_| feature["_type"] == "ClassLabel")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Replaces the number of a class by its name.
fn name(cell: &mut Cell, names: &[String]) -> Result<(), ParquetError> {
    let Cell::Integer(number) = &*cell else { return Ok(()) };
    let found = number.parse().ok().and_then(|number: usize| names.get(number));
    *cell = Cell::Text(found.cloned().ok_or_else(|| {
        let count = names.len();
        ranged::refused(format!("label {number} has no name: the file names {count} classes, from 0 on"))
    })?);
    Ok(())
}

/// An error of the `parquet` crate, or one of ours that came through it.
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
