//! Which bytes of which file are a row, and which label it has.

mod message;

use std::ops::Range;
use std::sync::Arc;

use prost::Message;

use super::columns::TextColumns;
use super::labels::Labels;
use super::{DataError, Format, Packing};
use crate::wire::pb;

/// Every row of a dataset: files in order, rows of a file in byte order. 16 bytes per row, 24 for language models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowIndex {
    files: Vec<DataFile>,
    /// Per file, the number of rows up to and including its own.
    row_ends: Vec<u64>,
    offset: Vec<u64>,
    length: Vec<u32>,
    label: Vec<u32>,
    /// Language models, once rows were tokenised: tokens of each row.
    tokens: Vec<u32>,
    /// As `tokens`: those that are targets.
    trained: Vec<u32>,
    /// Rows of the data that left the index, counted from 0 over all rows, in order.
    dropped: Vec<u64>,
}

/// What tokenising a row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTokens {
    /// Its tokens.
    pub tokens: u32,
    /// Those of them that are targets.
    pub trained: u32,
}

/// What a language model's rows come to: one number a row, empty for other tasks.
#[derive(Clone, Debug, Default)]
pub struct RowCounts {
    /// Tokens of each row.
    pub tokens: Arc<[u32]>,
    /// Those that are targets.
    pub trained: Arc<[u32]>,
    dropped: Arc<[u64]>,
}

impl RowCounts {
    /// As [`RowIndex::data_row`].
    pub fn data_row(&self, number: u64) -> u64 {
        data_row(&self.dropped, number)
    }
}

/// The number of a row before the rows numbered `dropped`, in order, left.
fn data_row(dropped: &[u64], number: u64) -> u64 {
    // Rows dropped before it: the k-th dropped row has k dropped rows, and so `row - k` others, before it.
    let mut before = 0..dropped.len();
    while !before.is_empty() {
        let middle = before.start + before.len() / 2;
        match dropped[middle] - middle as u64 <= number {
            true => before.start = middle + 1,
            false => before.end = middle,
        }
    }
    number + before.start as u64
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
    /// CSV: the header. Parquet files of whole rows: the columns that are read.
    pub columns: Vec<String>,
    /// CSV: the byte between fields.
    pub delimiter: u8,
    /// The column that holds the text or, in Parquet files, the image.
    pub column: String,
    /// The column that holds the second text, where rows are pairs.
    pub pair_column: Option<String>,
    /// Rows are objects of all columns, as language models need them, not the values of one or two.
    pub whole: bool,
    /// Item of the list of datasets that it belongs to, from 0.
    pub entry: u32,
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

    /// Where all rows begin in their files' content, in order.
    pub(super) fn offsets(&self) -> &[u64] {
        &self.offset
    }

    /// The lengths of all rows, in order, in bytes.
    pub fn lengths(&self) -> &[u32] {
        &self.length
    }

    /// The item of the list of datasets that a row belongs to, from 0; panics when there is no such row.
    pub fn entry_of(&self, row: u64) -> usize {
        let file = self.row_ends.partition_point(|&end| end <= row);
        self.files[file].entry as usize
    }

    /// Tokens of each row, in order. Empty unless the rows were tokenised, as those of language models are.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of each row that are targets, in order. Empty where [`RowIndex::tokens`] is.
    pub fn trained(&self) -> &[u32] {
        &self.trained
    }

    /// The number of a row among all rows of the data, those that left the index included. Messages name rows by it.
    pub fn data_row(&self, number: u64) -> u64 {
        data_row(&self.dropped, number)
    }

    /// What is known of every row, without where it is.
    pub fn counts(&self) -> RowCounts {
        let RowIndex { tokens, trained, dropped, .. } = self;
        RowCounts {
            tokens: tokens.as_slice().into(),
            trained: trained.as_slice().into(),
            dropped: dropped.as_slice().into(),
        }
    }

    /// Takes what tokenising came to, for every row. A row without tokens to train leaves the index: `None`.
    pub fn tokenised(&mut self, found: &[Option<RowTokens>]) {
        assert_eq!(found.len(), self.offset.len(), "every row is tokenised once");
        self.tokens.clear();
        self.trained.clear();
        self.dropped = (0..).zip(found).filter(|(_, row)| row.is_none()).map(|(row, _)| row).collect();
        let mut ends = Vec::with_capacity(self.row_ends.len());
        let (mut row, mut left) = (0, 0);
        for &end in &self.row_ends {
            while row < end as usize {
                if let Some(RowTokens { tokens, trained }) = found[row] {
                    (self.offset[left], self.length[left], self.label[left]) =
                        (self.offset[row], self.length[row], self.label[row]);
                    self.tokens.push(tokens);
                    self.trained.push(trained);
                    left += 1;
                }
                row += 1;
            }
            ends.push(left as u64);
        }
        self.row_ends = ends;
        self.offset.truncate(left);
        self.length.truncate(left);
        self.label.truncate(left);
    }

    /// Keeps the first `rows` rows only, and the files that they lie in.
    pub fn truncate(&mut self, rows: u64) {
        let rows = rows.min(self.len());
        let files = self.row_ends.partition_point(|&end| end < rows) + 1;
        self.row_ends.truncate(files);
        self.files.truncate(files);
        for end in &mut self.row_ends {
            *end = rows.min(*end);
        }
        let rows = rows as usize;
        for list in [&mut self.length, &mut self.label, &mut self.tokens, &mut self.trained] {
            list.truncate(rows);
        }
        self.offset.truncate(rows);
    }

    /// Says that the files from number `first` on are of item `entry` of the datasets.
    pub(super) fn assign(&mut self, first: usize, entry: u32) {
        for file in &mut self.files[first..] {
            file.entry = entry;
        }
    }

    /// Adds to the number of every file's dataset: of evaluation data, which is numbered after the training data.
    pub fn shift_entries(&mut self, by: usize) {
        for file in &mut self.files {
            file.entry += by as u32;
        }
    }

    /// The rows of a file.
    pub(super) fn rows_of(&self, file: usize) -> Range<usize> {
        let first = if file == 0 { 0 } else { self.row_ends[file - 1] };
        first as usize..self.row_ends[file] as usize
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

    /// Reads what [`RowIndex::encode`] wrote, for a run of `labels` labels. Without labels, those of rows are 0.
    pub fn decode(bytes: &[u8], labels: usize) -> Result<RowIndex, DataError> {
        let message = pb::RowIndex::decode(bytes).map_err(|_| DataError::Index("not a row index message"))?;
        let index = RowIndex::try_from(message)?;
        if index.label.iter().any(|&label| label as usize >= labels.max(1)) {
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
        if names.is_empty() {
            // Whole rows: all have the label 0.
            return names;
        }
        for label in &mut self.label {
            *label = renumbered[*label as usize];
        }
        names
    }
}
