//! What is to be indexed, and which files that takes.

use std::path::Path;

use super::columns::Header;
use super::{DataError, images};
use crate::chat;
use crate::run_file::{Dataset, Task};
use crate::store::{Location, Meta, Stores};

/// Rows to be indexed.
#[derive(Clone, Copy, Debug)]
pub struct DataRequest<'a> {
    /// The datasets, in run-file order.
    pub datasets: &'a [Dataset],
    /// What the rows hold.
    pub task: Task,
    /// The only labels allowed, in their order. `None`: those that occur, sorted, or those that a file declares.
    pub labels: Option<&'a [String]>,
    /// Bytes that packed files may unpack to.
    pub data_cache: u64,
    /// Where indexes of earlier runs are kept, if they are.
    pub kept: Option<&'a Path>,
}

/// The files that a dataset is scanned from; `None` for folders of images, whose listing is all that an index takes, and for
/// a directory of texts, which is refused.
pub(super) async fn scanned_files(
    stores: &Stores,
    dataset: &Dataset,
    task: Task,
) -> Result<Option<Vec<(Location, Meta)>>, DataError> {
    let root = stores.locate(&dataset.path)?;
    let scanned = match task {
        Task::SequenceClassification | Task::CausalLm => !root.local_path().is_some_and(|path| path.is_dir()),
        Task::ImageClassification => images::are_tables(&root, &dataset.path).await?,
    };
    Ok(if scanned { Some(stores.glob(&dataset.path).await?) } else { None })
}

/// What the header of a CSV file must have.
pub(super) fn header(dataset: &Dataset, task: Task) -> Header {
    let Dataset { text_column, text_pair_column, label_column, .. } = dataset;
    if task == Task::CausalLm {
        return Header { columns: row_columns(dataset), all: false };
    }
    let texts = std::iter::once(text_column).chain(text_pair_column);
    Header { columns: texts.chain(label_column).cloned().collect(), all: true }
}

/// The columns that may matter in rows of language models: those of every format, by the names of this dataset.
pub(super) fn row_columns(dataset: &Dataset) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in chat::columns(&dataset.row_format()) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}
