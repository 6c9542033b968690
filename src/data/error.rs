//! What can be wrong with data, and where.

use std::fmt;

use super::columns::shown;
use super::problem::RowProblem;
use crate::exit::Exit;
use crate::store::StoreError;

/// Why data cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DataError {
    /// Storage failed, or nothing is there.
    #[error(transparent)]
    Store(StoreError),
    /// A file of a kind that is not read.
    #[error("{url}: {reason}")]
    Kind {
        /// The file or directory.
        url: String,
        /// What to do instead.
        reason: String,
    },
    /// A row that cannot be used.
    #[error("{url}{place}: {problem}")]
    Row {
        url: String,
        /// Where in it.
        place: FilePosition,
        problem: RowProblem,
    },
    /// A dataset without a row.
    #[error("{path}: no rows")]
    Empty {
        /// As the run file names it.
        path: String,
    },
    /// There is nothing to tell apart.
    #[error("every row has the label {label:?}; a classifier needs at least two labels")]
    OneLabel {
        /// The only label.
        label: String,
    },
    /// A folder of images whose own folders are parts of one dataset, not classes.
    #[error(
        "{path}: its folders {} are named like parts of one dataset, not like classes; name one of them (path: {path}/{}), \
         and another under eval_datasets. If they are classes, list them under `labels`",
        shown(.folders), training(.folders)
    )]
    Splits {
        /// The directory, as the run file names it.
        path: String,
        /// Its folders.
        folders: Vec<String>,
    },
    /// Class folders without an image.
    #[error("{url}: {}", without_images(.folders, *.files, .first))]
    NoImages {
        url: String,
        /// The class folders.
        folders: Vec<String>,
        /// Files in them.
        files: usize,
        /// The first of these.
        first: Option<String>,
    },
    /// Two files declare other classes.
    #[error(
        "{url}: its ClassLabel column {column:?} has the classes {}, but that of {other} has {}; give the labels of all \
         files as `labels`, or make the files agree",
        shown(.names), shown(.others)
    )]
    ClassNames {
        /// The later file.
        url: String,
        column: String,
        /// Its classes.
        names: Vec<String>,
        /// The earlier file.
        other: String,
        /// Its classes.
        others: Vec<String>,
    },
    /// An earlier row has a label that is no declared class.
    #[error(
        "{url}: its ClassLabel column {column:?} has the classes {}, but rows of files before it have the label {label:?}; \
         list all labels under `labels`",
        shown(.names)
    )]
    NoSuchClass {
        url: String,
        column: String,
        /// Its classes.
        names: Vec<String>,
        /// The label of an earlier row.
        label: String,
    },
    /// A file is not the one that was planned with.
    #[error("{url}: the data changed since the run was planned; start a new run for the new data")]
    Changed { url: String },
    /// An index that contradicts itself.
    #[error("row index: {0}")]
    Index(&'static str),
    /// A row number outside the index.
    #[error("row {row} does not exist: there are {rows}")]
    NoSuchRow {
        /// The number asked for.
        row: u64,
        /// Rows of the index.
        rows: u64,
    },
}

/// Where in a file a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePosition {
    /// A line, counted from 1.
    Line(u64),
    /// A row of the index and the byte it begins at.
    Row {
        /// Row number, from 0.
        row: u64,
        /// Byte offset in the file.
        offset: u64,
    },
    /// A line, counted from a byte offset on.
    After {
        /// Byte offset in the file of the first line.
        offset: u64,
        /// The line, from 1.
        line: u64,
    },
    /// A row of a Parquet file, counted from 0.
    Entry(u64),
    /// The whole file.
    File,
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilePosition::Line(line) => write!(f, ":{line}"),
            FilePosition::Row { row, offset } => write!(f, ", row {row} at byte {offset}"),
            FilePosition::After { offset, line } => write!(f, ", line {line} from byte {offset} on"),
            FilePosition::Entry(row) => write!(f, ", row {row}"),
            FilePosition::File => Ok(()),
        }
    }
}

impl DataError {
    /// The exit code of a process that ends for this reason.
    pub fn exit(&self) -> Exit {
        match self {
            DataError::Store(
                StoreError::NotFound { .. } | StoreError::DeadLink { .. } | StoreError::OddName { .. },
            ) => Exit::Data,
            DataError::Store(error) => error.exit(),
            DataError::Kind { .. }
            | DataError::Row { .. }
            | DataError::Empty { .. }
            | DataError::OneLabel { .. }
            | DataError::Splits { .. }
            | DataError::NoImages { .. }
            | DataError::ClassNames { .. }
            | DataError::NoSuchClass { .. }
            | DataError::Changed { .. }
            | DataError::NoSuchRow { .. } => Exit::Data,
            DataError::Index(_) => Exit::Internal,
        }
    }
}

impl From<StoreError> for DataError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Changed { url } => DataError::Changed { url },
            other => DataError::Store(other),
        }
    }
}

/// The folder of several that is most likely meant for training.
fn training(folders: &[String]) -> &str {
    let named = folders.iter().find(|folder| folder.to_ascii_lowercase().contains("tr"));
    named.or(folders.first()).map_or("train", String::as_str)
}

fn without_images(folders: &[String], files: usize, first: &Option<String>) -> String {
    let which = match folders {
        [only] => format!("the class folder {only:?} has no image"),
        several => format!("the class folders {} have no image", shown(several)),
    };
    let held = match first {
        Some(first) => {
            format!("; {files} other file{} there ({first})", if files == 1 { " is" } else { "s are" })
        }
        None => String::new(),
    };
    format!("{which}{held}; add images, remove the folder, or list the classes under `labels`")
}
