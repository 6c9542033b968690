//! Which bytes of which file are a row, and which label it has.

use std::ops::Range;

use prost::Message;

use super::columns::TextColumns;
use super::format::DELIMITERS;
use super::labels::Labels;
use super::{DataError, Format, Packing};
use crate::wire::pb;

/// Every row of a dataset: files in order, rows of a file in byte order. 16 bytes per row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowIndex {
    files: Vec<DataFile>,
    /// Per file, the number of rows up to and including its own.
    row_ends: Vec<u64>,
    offset: Vec<u64>,
    length: Vec<u32>,
    label: Vec<u32>,
}

/// One file of a dataset, as it was when the run was planned.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// Where it is.
    pub url: String,
    /// How its rows are read.
    pub format: Format,
    /// What its bytes go through before rows have a place in them.
    pub packing: Packing,
    /// Bytes.
    pub size: u64,
    /// The store's etag of its content, where it has one.
    pub etag: Option<String>,
    /// Hash of its content; `None` for images and Parquet files, which planning does not read from end to end.
    pub sha256: Option<[u8; 32]>,
    /// Packed files: what they unpack to. Rows lie in there.
    pub flat: Option<Flat>,
    /// CSV: the header.
    pub columns: Vec<String>,
    /// CSV: the byte between fields.
    pub delimiter: u8,
    /// The column that holds the text or, in Parquet files, the image.
    pub column: String,
    /// The column that holds the second text, where rows are pairs.
    pub pair_column: Option<String>,
}

/// The bytes that a packed file unpacks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flat {
    /// Their number.
    pub size: u64,
    /// Their hash.
    pub sha256: [u8; 32],
}

impl DataFile {
    /// Bytes that rows lie in: the file's own, or those it unpacks to.
    pub fn content_size(&self) -> u64 {
        self.flat.map_or(self.size, |flat| flat.size)
    }

    /// The columns of its texts.
    pub(super) fn text_columns(&self) -> TextColumns<'_> {
        TextColumns { text: &self.column, pair: self.pair_column.as_deref() }
    }

    /// What kind of file it is, for people.
    pub fn kind(&self) -> String {
        match (self.format, self.packing) {
            (format, Packing::Plain) => format.to_string(),
            (_, Packing::Parquet) => self.packing.to_string(),
            (format, packing) => format!("{format} in {packing}"),
        }
    }
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// Index into [`RowIndex::files`].
    pub file: usize,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// Index into the run's labels.
    pub label: u32,
}

impl RowIndex {
    /// Gives each row the class id that its own has in `ids`.
    pub fn relabel(&mut self, ids: &[u32]) {
        for label in &mut self.label {
            *label = ids[*label as usize];
        }
    }

    pub fn len(&self) -> u64 {
        self.offset.len() as u64
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }

    /// The files, in order.
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// Bytes that all rows lie in.
    pub fn content_size(&self) -> u64 {
        self.files.iter().map(DataFile::content_size).sum()
    }

    /// The labels of all rows, in order: indexes into the run's labels.
    pub fn labels(&self) -> &[u32] {
        &self.label
    }

    /// Where a row is.
    pub fn row(&self, number: u64) -> Result<RowPlace, DataError> {
        if number >= self.len() {
            return Err(DataError::NoSuchRow { row: number, rows: self.len() });
        }
        let at = number as usize;
        let file = self.row_ends.partition_point(|&end| end <= number);
        Ok(RowPlace { file, offset: self.offset[at], length: self.length[at], label: self.label[at] })
    }

    /// The lengths of all rows, in order, in bytes.
    pub fn lengths(&self) -> &[u32] {
        &self.length
    }

    /// The bytes of a file from the first to the last of `rows` that lie in it.
    pub(super) fn part(&self, file: usize, rows: Range<u64>) -> Range<u64> {
        let first = if file == 0 { 0 } else { self.row_ends[file - 1] };
        let (first, last) = (rows.start.max(first) as usize, rows.end.min(self.row_ends[file]) as usize - 1);
        self.offset[first]..self.offset[last] + u64::from(self.length[last])
    }

    /// The index as bytes of a `RowIndex` message.
    pub fn encode(&self) -> Vec<u8> {
        pb::RowIndex::from(self).encode_to_vec()
    }

    /// Reads what [`RowIndex::encode`] wrote, for a run of `labels` labels.
    pub fn decode(bytes: &[u8], labels: usize) -> Result<RowIndex, DataError> {
        let message = pb::RowIndex::decode(bytes).map_err(|_| DataError::Index("not a row index message"))?;
        let index = RowIndex::try_from(message)?;
        if index.label.iter().any(|&label| label as usize >= labels) {
            return Err(DataError::Index("a row's label is not one of the run's"));
        }
        Ok(index)
    }

    /// Adds a row of the file that [`RowIndex::push_file`] will end.
    pub(super) fn push_row(&mut self, offset: u64, length: u32, label: u32) {
        self.offset.push(offset);
        self.length.push(length);
        self.label.push(label);
    }

    /// Ends a file: the rows pushed since the last one are its rows.
    pub(super) fn push_file(&mut self, file: DataFile) {
        self.files.push(file);
        self.row_ends.push(self.len());
    }

    /// Gives labels their final numbers and returns their names.
    pub(super) fn settle(&mut self, labels: Labels) -> Vec<String> {
        let (names, renumbered) = labels.finish();
        for label in &mut self.label {
            *label = renumbered[*label as usize];
        }
        names
    }
}

impl From<&RowIndex> for pb::RowIndex {
    fn from(index: &RowIndex) -> Self {
        let RowIndex { files, row_ends, offset, length, label } = index;
        let starts = std::iter::once(0).chain(row_ends.iter().copied());
        pb::RowIndex {
            files: files.iter().map(pb::DataFile::from).collect(),
            rows_in_file: row_ends.iter().zip(starts).map(|(end, start)| (end - start) as u32).collect(),
            offset: offset.clone(),
            length: length.clone(),
            label: label.clone(),
        }
    }
}

impl TryFrom<pb::RowIndex> for RowIndex {
    type Error = DataError;

    fn try_from(message: pb::RowIndex) -> Result<Self, DataError> {
        let pb::RowIndex { files, rows_in_file, offset, length, label } = message;
        let files = files.into_iter().map(DataFile::try_from).collect::<Result<Vec<_>, _>>()?;
        let mut rows = 0;
        let row_ends: Vec<u64> = rows_in_file
            .iter()
            .map(|&count| {
                rows += u64::from(count);
                rows
            })
            .collect();
        let equal = files.len() == row_ends.len()
            && rows == offset.len() as u64
            && offset.len() == length.len()
            && offset.len() == label.len();
        if !equal {
            return Err(DataError::Index("its lists differ in length"));
        }
        let mut row = 0;
        for (file, &end) in files.iter().zip(&row_ends) {
            while row < end as usize {
                let inside = offset[row]
                    .checked_add(u64::from(length[row]))
                    .is_some_and(|end| end <= file.content_size());
                if !inside {
                    return Err(DataError::Index("a row lies outside its file"));
                }
                row += 1;
            }
        }
        Ok(RowIndex { files, row_ends, offset, length, label })
    }
}

impl From<&DataFile> for pb::DataFile {
    fn from(file: &DataFile) -> Self {
        let DataFile {
            url,
            format,
            packing,
            size,
            etag,
            sha256,
            flat,
            columns,
            delimiter,
            column,
            pair_column,
        } = file;
        let format = match format {
            Format::Jsonl => pb::data_file::Format::Jsonl,
            Format::Json => pb::data_file::Format::Json,
            Format::Csv => pb::data_file::Format::Csv,
            Format::Text => pb::data_file::Format::Text,
            Format::Image => pb::data_file::Format::Image,
        };
        let packing = match packing {
            Packing::Plain => pb::data_file::Packing::Plain,
            Packing::Gzip => pb::data_file::Packing::Gzip,
            Packing::Zstd => pb::data_file::Packing::Zstd,
            Packing::Parquet => pb::data_file::Packing::Parquet,
        };
        pb::DataFile {
            url: url.clone(),
            format: format.into(),
            packing: packing.into(),
            size: *size,
            etag: etag.clone().unwrap_or_default(),
            sha256: sha256.map(|hash| hash.to_vec()).unwrap_or_default().into(),
            flat_size: flat.map(|flat| flat.size).unwrap_or_default(),
            flat_sha256: flat.map(|flat| flat.sha256.to_vec()).unwrap_or_default().into(),
            columns: columns.clone(),
            delimiter: (*delimiter).into(),
            column: column.clone(),
            pair_column: pair_column.clone().unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::DataFile> for DataFile {
    type Error = DataError;

    fn try_from(message: pb::DataFile) -> Result<Self, DataError> {
        let pb::DataFile {
            url,
            format,
            packing,
            size,
            etag,
            sha256,
            flat_size,
            flat_sha256,
            columns,
            delimiter,
            column,
            pair_column,
        } = message;
        let format = match pb::data_file::Format::try_from(format) {
            Ok(pb::data_file::Format::Jsonl) => Format::Jsonl,
            Ok(pb::data_file::Format::Json) => Format::Json,
            Ok(pb::data_file::Format::Csv) => Format::Csv,
            Ok(pb::data_file::Format::Text) => Format::Text,
            Ok(pb::data_file::Format::Image) => Format::Image,
            Ok(pb::data_file::Format::Unspecified) | Err(_) => {
                return Err(DataError::Index("unknown format"));
            }
        };
        let packing = match pb::data_file::Packing::try_from(packing) {
            Ok(pb::data_file::Packing::Plain) => Packing::Plain,
            Ok(pb::data_file::Packing::Gzip) => Packing::Gzip,
            Ok(pb::data_file::Packing::Zstd) => Packing::Zstd,
            Ok(pb::data_file::Packing::Parquet) => Packing::Parquet,
            Err(_) => return Err(DataError::Index("unknown packing")),
        };
        let flat = hash(&flat_sha256)?.map(|sha256| Flat { size: flat_size, sha256 });
        if flat.is_some() != (packing != Packing::Plain) {
            return Err(DataError::Index("a packed file must say what it unpacks to, and no other"));
        }
        let etag = (!etag.is_empty()).then_some(etag);
        let sha256 = hash(&sha256)?;
        let delimiter = u8::try_from(delimiter).ok().filter(|delimiter| DELIMITERS.contains(delimiter));
        let delimiter = delimiter.ok_or(DataError::Index("unknown delimiter"))?;
        let pair_column = (!pair_column.is_empty()).then_some(pair_column);
        Ok(DataFile {
            url,
            format,
            packing,
            size,
            etag,
            sha256,
            flat,
            columns,
            delimiter,
            column,
            pair_column,
        })
    }
}

/// A hash, or nothing where there is none.
fn hash(bytes: &[u8]) -> Result<Option<[u8; 32]>, DataError> {
    match bytes {
        [] => Ok(None),
        bytes => bytes.try_into().map(Some).map_err(|_| DataError::Index("a hash has the wrong length")),
    }
}
