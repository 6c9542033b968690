//! Values of one column of a row group, in order, a few at a time.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::Result;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::ranged::{Ranged, Source};
use crate::data::jsonl::Cell;

/// Reads the values of one column of one row group.
pub(super) struct Cells {
    reader: ColumnReader,
    most_defined: i16,
}

impl Cells {
    pub(super) fn new(source: Source, group: &RowGroupMetaData, column: usize) -> Result<Cells> {
        let chunk = group.column(column);
        let gzip = matches!(chunk.compression(), Compression::GZIP(_));
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let pages = SerializedPageReader::new(Arc::new(Ranged::new(source, gzip)), chunk, rows, None)?;
        let description = chunk.column_descr_ptr();
        let most_defined = description.max_def_level();
        Ok(Cells { reader: get_column_reader(description, Box::new(pages)), most_defined })
    }

    /// The next values as bytes, at most `count` of them; `None` where there is none. They share their page's memory.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>> {
        match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => next(reader, count, self.most_defined),
            _ => unreachable!("a column of contents was checked to hold bytes"),
        }
    }

    /// The next values as labels, at most `count` of them.
    pub(super) fn labels(&mut self, count: usize) -> Result<Vec<Cell>> {
        let most = self.most_defined;
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Other("not valid UTF-8"),
        };
        Ok(match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| Cell::Bool(*value))
            }
            ColumnReader::Int32ColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| Cell::Integer(value.to_string()))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| Cell::Integer(value.to_string()))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                cells(next(reader, count, most)?, |value| text(value.data()))
            }
            _ => vec![Cell::Other("a number with a fraction"); count],
        })
    }
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
