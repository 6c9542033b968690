//! Values of one column of a row group, in order, a few at a time.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::Result;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::kind::Kind;
use super::ranged::{self, Ranged, Source};
use crate::data::cell::Cell;

/// Reads the values of one column of one row group.
pub(super) struct Cells {
    reader: ColumnReader,
    most_defined: i16,
    kind: Kind,
}

impl Cells {
    pub(super) fn new(source: Source, group: &RowGroupMetaData, column: usize) -> Result<Cells> {
        let chunk = group.column(column);
        let gzip = matches!(chunk.compression(), Compression::GZIP(_));
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let pages = SerializedPageReader::new(Arc::new(Ranged::new(source, gzip)), chunk, rows, None)?;
        let description = chunk.column_descr_ptr();
        let most_defined = description.max_def_level();
        let kind = Kind::of(&description);
        Ok(Cells { reader: get_column_reader(description, Box::new(pages)), most_defined, kind })
    }

    /// The next values as bytes, at most `count` of them; `None` where there is none. They share their page's memory.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>> {
        match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => next(reader, count, self.most_defined),
            _ => unreachable!("a column of contents was checked to hold bytes"),
        }
    }

    /// As [`Cells::bytes`], exactly `count` of them.
    pub(super) fn exact_bytes(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>> {
        exactly(count, |count| self.bytes(count))
    }

    /// The next values as labels, exactly `count` of them.
    pub(super) fn labels(&mut self, count: usize) -> Result<Vec<Cell>> {
        exactly(count, |count| self.some_labels(count))
    }

    fn some_labels(&mut self, count: usize) -> Result<Vec<Cell>> {
        let (most, kind) = (self.most_defined, self.kind);
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Other("not valid UTF-8"),
        };
        // The bits of an unsigned number are stored as those of a signed one.
        let unsigned = kind == Kind::Unsigned;
        Ok(match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| Cell::Bool(*value))
            }
            ColumnReader::Int32ColumnReader(reader) => cells(next(reader, count, most)?, |value| {
                Cell::Integer(if unsigned { value.cast_unsigned().to_string() } else { value.to_string() })
            }),
            ColumnReader::Int64ColumnReader(reader) => cells(next(reader, count, most)?, |value| {
                Cell::Integer(if unsigned { value.cast_unsigned().to_string() } else { value.to_string() })
            }),
            ColumnReader::FloatColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| Cell::Float((*value).into()))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| Cell::Float(*value))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| text(value.data()))
            }
            ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
                unreachable!("a column of labels was checked to hold labels")
            }
        })
    }
}

/// Calls `some` until it has given `count` values.
fn exactly<T>(count: usize, mut some: impl FnMut(usize) -> Result<Vec<T>>) -> Result<Vec<T>> {
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let more = some(count - found.len())?;
        if more.is_empty() {
            return Err(ranged::refused("one column is shorter than another".to_owned()));
        }
        found.extend(more);
    }
    Ok(found)
}

fn cells<T>(values: Vec<Option<T>>, cell: impl Fn(&T) -> Cell) -> Vec<Cell> {
    values.iter().map(|value| value.as_ref().map_or(Cell::Null, &cell)).collect()
}

fn next<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
    most_defined: i16,
) -> Result<Vec<Option<T::T>>> {
    let (mut defined, mut values) = (Vec::new(), Vec::new());
    let (rows, _, _) = reader.read_records(count, Some(&mut defined), None, &mut values)?;
    if most_defined == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(defined
        .into_iter()
        .take(rows)
        .map(|level| (level == most_defined).then(|| values.next()).flatten())
        .collect())
}
