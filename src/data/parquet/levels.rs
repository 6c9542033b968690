//! One column of a row group, a row at a time, with the levels that say where its values stand in lists and structs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::Result;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use serde_json::{Number, Value};

use super::kind::Kind;
use super::paced::{Paced, Since};
use super::ranged::{self, Ranged, Source};

/// Values of one row in one column, those included that say that there is none.
const MOST_IN_ROW: usize = 1 << 20;

/// A column, and the row of it that was read last.
pub(super) struct Column {
    reader: ColumnReader,
    kind: Kind,
    /// Definition level of a value that is there.
    most_defined: i16,
    repeated: bool,
    since: Since,
    defined: Vec<i16>,
    repetition: Vec<i16>,
    values: std::vec::IntoIter<Value>,
    /// Place of the next value.
    at: usize,
    /// Number of values of the row.
    count: usize,
}

impl Column {
    pub(super) fn open(source: Source, group: &RowGroupMetaData, place: usize) -> Result<Column> {
        let chunk = group.column(place);
        let gzip = matches!(chunk.compression(), Compression::GZIP(_));
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let pages = SerializedPageReader::new(Arc::new(Ranged::new(source, gzip)), chunk, rows, None)?;
        let description = chunk.column_descr_ptr();
        let (kind, since) = (Kind::of(&description), Since::default());
        let (most_defined, repeated) = (description.max_def_level(), description.max_rep_level() > 0);
        let reader = get_column_reader(description, Box::new(Paced::new(pages, since.clone())));
        Ok(Column {
            reader,
            kind,
            most_defined,
            repeated,
            since,
            defined: Vec::new(),
            repetition: Vec::new(),
            values: Vec::new().into_iter(),
            at: 0,
            count: 0,
        })
    }

    /// Reads the next row; false where there is none.
    pub(super) fn next_row(&mut self) -> Result<bool> {
        if self.at < self.count {
            return Err(contradiction());
        }
        self.at = 0;
        let (rows, values) = self.read()?;
        self.since.store(0, Ordering::Relaxed);
        // Columns without levels have one value in each row.
        self.count = match (self.most_defined, self.repeated) {
            (0, false) => rows,
            (0, true) => self.repetition.len(),
            _ => self.defined.len(),
        };
        if self.count > MOST_IN_ROW {
            return Err(ranged::refused(format!("a row with more than {MOST_IN_ROW} values in one column")));
        }
        self.values = values.into_iter();
        Ok(rows == 1)
    }

    fn read(&mut self) -> Result<(usize, Vec<Value>)> {
        let (defined, repetition) = (&mut self.defined, &mut self.repetition);
        let unsigned = self.kind == Kind::Unsigned;
        match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => read(reader, defined, repetition, |bit| Ok(bit.into())),
            ColumnReader::Int32ColumnReader(reader) => read(reader, defined, repetition, |number| {
                Ok(if unsigned { number.cast_unsigned().into() } else { number.into() })
            }),
            ColumnReader::Int64ColumnReader(reader) => read(reader, defined, repetition, |number| {
                Ok(if unsigned { number.cast_unsigned().into() } else { number.into() })
            }),
            ColumnReader::FloatColumnReader(reader) => {
                read(reader, defined, repetition, |number| Ok(float(number.into())))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                read(reader, defined, repetition, |number| Ok(float(number)))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                read(reader, defined, repetition, |bytes| text(&bytes))
            }
            ColumnReader::Int96ColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_) => {
                unreachable!("such columns are left out")
            }
        }
    }

    /// Whether the row has values left.
    pub(super) fn is_left(&self) -> bool {
        self.at < self.count
    }

    /// How far the next value is defined: the number of lists and optional structs around it that are there.
    pub(super) fn defined(&self) -> Result<i16> {
        match self.defined.get(self.at) {
            Some(&level) => Ok(level),
            None if self.most_defined == 0 && self.is_left() => Ok(0),
            None => Err(contradiction()),
        }
    }

    /// The list that the next value goes on, counted from the outermost, 1; 0 for the first value of a row.
    pub(super) fn repetition(&self) -> i16 {
        self.repetition.get(self.at).copied().unwrap_or_default()
    }

    /// The next value; null where there is none.
    pub(super) fn take(&mut self) -> Result<Value> {
        let value = match self.defined()? == self.most_defined {
            true => self.values.next().ok_or_else(contradiction)?,
            false => Value::Null,
        };
        self.at += 1;
        Ok(value)
    }
}

/// Columns that tell of other lists than their neighbours.
pub(super) fn contradiction() -> parquet::errors::ParquetError {
    ranged::refused("its columns contradict each other".to_owned())
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    defined: &mut Vec<i16>,
    repetition: &mut Vec<i16>,
    value: impl Fn(T::T) -> Result<Value>,
) -> Result<(usize, Vec<Value>)> {
    defined.clear();
    repetition.clear();
    let mut found = Vec::new();
    let (rows, _, _) = reader.read_records(1, Some(defined), Some(repetition), &mut found)?;
    Ok((rows, found.into_iter().map(value).collect::<Result<_>>()?))
}

/// A number, as far as JSON has it: null for infinities and what is no number.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn text(bytes: &ByteArray) -> Result<Value> {
    let text = std::str::from_utf8(bytes.data());
    Ok(text.map_err(|_| ranged::refused("a text that is not valid UTF-8".to_owned()))?.into())
}
