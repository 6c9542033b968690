//! Parquet: columns of a file as rows, each with its content and its label.

mod cells;
mod classes;
mod header;
mod kind;
mod levels;
mod nested;
mod paced;
mod ranged;
mod values;

use std::collections::BTreeSet;

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use super::cell::Cell;
use super::unpack::Broken;
use super::{DataError, DataFile, FilePosition, RowProblem};
use crate::store::StoreError;
use nested::Tree;
pub(super) use ranged::Source;
use values::ValueColumns;

/// Bytes of the longest footer.
const LONGEST_FOOTER: u64 = 16 << 20;
const TAIL: u64 = 8;

/// A Parquet file whose columns were found.
pub(super) struct ParquetTable {
    source: Source,
    footer: ParquetMetaData,
    reading: Reading,
}

/// What rows are made of.
enum Reading {
    /// The values of some columns.
    Values(ValueColumns),
    /// Objects of columns that may be nested.
    Objects(Tree),
}

/// A row: its content, or two texts as [`super::pair::join`] makes them one, and its label if a label column was asked for.
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
    /// Reads the footer and finds the columns that `planned` names. Blocks.
    pub(super) fn open(
        source: Source,
        planned: &DataFile,
        label: Option<&str>,
    ) -> Result<ParquetTable, DataError> {
        let place =
            |problem| DataError::Row { url: source.url.to_string(), place: FilePosition::File, problem };
        let footer = footer(&source).map_err(|error| located(&source, FilePosition::File, error))?;
        let schema = footer.file_metadata().schema_descr();
        let reading = match planned.whole {
            true => Tree::new(schema, &planned.columns).map(Reading::Objects),
            false => ValueColumns::find(&footer, planned, label).map(Reading::Values),
        };
        let reading = reading.map_err(place)?;
        Ok(ParquetTable { reading, source, footer })
    }

    /// The classes of the column of labels, in their order, where the file names them.
    pub(super) fn classes(&self) -> Option<&[String]> {
        match &self.reading {
            Reading::Values(columns) => columns.classes.as_deref(),
            Reading::Objects(_) => None,
        }
    }

    /// The columns of whole rows that are read.
    pub(super) fn columns(&self) -> Vec<String> {
        match &self.reading {
            Reading::Values(_) => Vec::new(),
            Reading::Objects(tree) => tree.columns(),
        }
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

    /// As [`ParquetTable::read`], for the first `most` rows.
    pub(super) fn read_first(&self, most: u64, mut visit: impl Visit) -> Result<(), DataError> {
        let mut row = 0;
        for group in 0..self.footer.num_row_groups() {
            let left = most - row;
            if left == 0 {
                break;
            }
            self.read_group(group, &mut row, left, &mut visit)?;
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
        let group = self.footer.row_group(number);
        match &self.reading {
            Reading::Values(columns) => self.read_values(columns, group, row, most, visit),
            Reading::Objects(tree) => self.read_objects(tree, group, row, most, visit),
        }
    }

    fn read_values(
        &self,
        columns: &ValueColumns,
        group: &RowGroupMetaData,
        row: &mut u64,
        most: u64,
        visit: &mut impl Visit,
    ) -> Result<(), DataError> {
        let end = row.saturating_add(most);
        let mut values = columns.open(&self.source, group).map_err(|error| self.failed(*row, error))?;
        while *row < end {
            let some = values.next().map_err(|error| self.failed(*row, error))?;
            if some.is_empty() {
                break;
            }
            for value in some {
                columns.visit(value, visit).map_err(|problem| self.problem(*row, problem))?;
                *row += 1;
            }
        }
        Ok(())
    }

    fn read_objects(
        &self,
        tree: &Tree,
        group: &RowGroupMetaData,
        row: &mut u64,
        most: u64,
        visit: &mut impl Visit,
    ) -> Result<(), DataError> {
        let end = row.saturating_add(most);
        let mut rows = tree.open(&self.source, group).map_err(|error| self.failed(*row, error))?;
        while *row < end {
            let Some(object) = rows.next().map_err(|error| self.failed(*row, error))? else { break };
            let content = serde_json::to_vec(&object).expect("an object of JSON values is JSON");
            visit(ParquetRow { content: &content, label: None })
                .map_err(|problem| self.problem(*row, problem))?;
            *row += 1;
        }
        Ok(())
    }

    fn failed(&self, row: u64, error: ParquetError) -> DataError {
        located(&self.source, FilePosition::Entry(row), error)
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
