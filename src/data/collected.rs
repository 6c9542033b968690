//! What planning has found so far, handed from file to file.

use super::labels::{Labels, Undeclarable};
use super::request::row_columns;
use super::{DataError, DataFile, FilePosition, Format, Note, Packing, RowIndex};
use crate::run_file::{Dataset, Task};
use crate::store::{Location, Meta};

/// Data as planning found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// Its rows.
    pub index: RowIndex,
    /// The names of the classes, by class id.
    pub labels: Vec<String>,
    /// What people should know of it.
    pub notes: Vec<Note>,
}

/// Everything found so far.
pub(super) struct Collected {
    pub(super) index: RowIndex,
    pub(super) labels: Labels,
    pub(super) notes: Vec<Note>,
    /// Whether any other label than those given is refused.
    pub(super) fixed: bool,
    /// Bytes that further packed files may unpack to, of `data_cache` in all.
    pub(super) room: u64,
    pub(super) data_cache: u64,
}

impl Collected {
    pub(super) fn new(labels: Option<&[String]>, data_cache: u64) -> Collected {
        Collected {
            index: RowIndex::default(),
            labels: Labels::new(labels),
            notes: Vec::new(),
            fixed: labels.is_some(),
            room: data_cache,
            data_cache,
        }
    }

    /// Takes the classes of a file's `ClassLabel` column as the labels, unless they were given.
    pub(super) fn declare(&mut self, url: &str, column: &str, names: &[String]) -> Result<(), DataError> {
        let (file, column) = (url.to_owned(), column.to_owned());
        self.labels.declare(url, &column, names).map_err(|why| match why {
            Undeclarable::Names(problem) => DataError::Row { url: file, place: FilePosition::File, problem },
            Undeclarable::Differ { other, names: others } => {
                DataError::ClassNames { url: file, column, names: names.to_vec(), other, others }
            }
            Undeclarable::Occurs { label } => {
                DataError::NoSuchClass { url: file, column, names: names.to_vec(), label }
            }
        })
    }

    /// Notes something that people should know, once.
    pub(super) fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Gives labels their final class ids, and their names.
    pub(super) fn settle(self) -> Indexed {
        let Collected { mut index, labels, notes, .. } = self;
        let labels = index.settle(labels);
        Indexed { index, labels, notes }
    }
}

/// A file about to be read.
pub(super) fn planned(
    (file, meta): &(Location, Meta),
    (format, packing): (Format, Packing),
    column: &str,
    pair_column: Option<&str>,
) -> DataFile {
    DataFile {
        url: file.url().to_owned(),
        format,
        packing,
        size: meta.size,
        etag: meta.etag.clone(),
        sha256: None,
        flat: None,
        columns: Vec::new(),
        delimiter: b',',
        column: column.to_owned(),
        pair_column: pair_column.map(str::to_owned),
        whole: false,
        entry: 0,
    }
}

/// A file of texts or, for language models, of whole rows, about to be read.
pub(super) fn planned_texts(
    file: &(Location, Meta),
    kind: (Format, Packing),
    dataset: &Dataset,
    task: Task,
) -> DataFile {
    if task != Task::CausalLm {
        return planned(file, kind, &dataset.text_column, dataset.text_pair_column.as_deref());
    }
    // Which of these columns the file has shows when it is read.
    let format = if kind.1 == Packing::Parquet { Format::Json } else { kind.0 };
    DataFile { whole: true, columns: row_columns(dataset), ..planned(file, (format, kind.1), "", None) }
}
