//! What can be wrong with data, and where.

use std::fmt;

use super::columns::advice;
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
        /// The file.
        url: String,
        /// Where in it.
        place: FilePosition,
        /// What is wrong.
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
        /// The directory.
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
        /// The column.
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
        /// The file.
        url: String,
        /// The column.
        column: String,
        /// Its classes.
        names: Vec<String>,
        /// The label of an earlier row.
        label: String,
    },
    /// A file is not the one that was planned with.
    #[error("{url}: the data changed since the run was planned; start a new run for the new data")]
    Changed {
        /// The file.
        url: String,
    },
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

/// What is wrong with a row.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RowProblem {
    /// Longer than any row may be.
    #[error("the row is longer than {} MiB{}", limit >> 20, if *.csv { "; a quote may be unclosed" } else { "" })]
    TooLong {
        /// Bytes allowed.
        limit: u64,
        /// Whether the file is CSV.
        csv: bool,
    },
    /// Not text.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// JSON of another kind.
    #[error("not a JSON object: every line must be one object such as {{\"text\": …, \"label\": …}}")]
    NotAnObject,
    /// The column is not there.
    #[error("no column {column:?}; the columns are {}{}", shown(.present), advice(key, .present))]
    MissingColumn {
        /// The column of the run file.
        column: String,
        /// The run file's key that names it; empty where none does.
        key: &'static str,
        /// The columns there are.
        present: Vec<String>,
    },
    /// Two columns of one name.
    #[error("the column {column:?} occurs twice in the header")]
    TwoColumns {
        /// Their name.
        column: String,
    },
    /// A value of the wrong kind.
    #[error("column {column:?} is {found}, expected {expected}")]
    WrongKind {
        /// The column.
        column: String,
        /// What is there.
        found: &'static str,
        /// What must be there.
        expected: &'static str,
    },
    /// Nothing in the column.
    #[error("column {column:?} is empty")]
    EmptyValue {
        /// The column.
        column: String,
    },
    /// A column that holds several values a row.
    #[error(
        "column {column:?} is a list or a struct, expected one value in each row (several labels a row are not supported \
         yet){}",
        if .fields.is_empty() { String::new() } else { format!("; its fields are {}", shown(.fields)) }
    )]
    Nested {
        /// The column.
        column: String,
        /// Its fields that can be named instead.
        fields: Vec<String>,
    },
    /// A label below zero.
    #[error(
        "the label {label} in column {column:?} is negative, which means \"no label\" in other tools; remove such rows or, if \
         it is a class, list all classes under `labels`"
    )]
    NegativeLabel {
        /// The label.
        label: String,
        /// The column.
        column: String,
    },
    /// A label that is a number between two others.
    #[error(
        "the label {label} in column {column:?} has a fraction, but labels are classes: regression is not supported yet; if \
         it is a class, list all classes under `labels`"
    )]
    Fraction {
        /// The label.
        label: String,
        /// The column.
        column: String,
    },
    /// What stands for a missing value.
    #[error("the label {label} in column {column:?} means that there is none; remove such rows")]
    NoLabel {
        /// The label.
        label: String,
        /// The column.
        column: String,
    },
    /// The number of a class that has no name.
    #[error(
        "the label {label} has no name: the ClassLabel column {column:?} has {classes} classes, numbered from 0"
    )]
    NoClass {
        /// The label.
        label: String,
        /// The column.
        column: String,
        /// Classes of the column.
        classes: usize,
    },
    /// A class that is declared twice.
    #[error("the ClassLabel column {column:?} has the class {label:?} twice")]
    TwoClasses {
        /// The class.
        label: String,
        /// The column.
        column: String,
    },
    /// A label that training does not have.
    #[error("label {label:?} is not one of the run's labels, which are {}", shown(.known))]
    UnknownLabel {
        /// The label.
        label: String,
        /// The labels of the run file or, without them, of the training data.
        known: Vec<String>,
    },
    /// More labels than a classifier sensibly has.
    #[error("more than {limit} different labels; is {column:?} the label column?")]
    TooManyLabels {
        /// Labels allowed.
        limit: usize,
        /// The label column.
        column: String,
    },
    /// A label too long to be one.
    #[error("the label is longer than {limit} bytes; is {column:?} the label column?")]
    LongLabel {
        /// Bytes allowed.
        limit: usize,
        /// The label column.
        column: String,
    },
    /// A CSV row whose number of fields is not the header's.
    #[error("{found} fields, but the header has {expected}")]
    Ragged {
        /// Fields of the row.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// A CSV quote without an end.
    #[error("a quote opened in this row is never closed")]
    UnclosedQuote,
    /// A file without content.
    #[error("the file is empty")]
    EmptyFile,
    /// Compressed data that cannot be decompressed.
    #[error("the compressed data is damaged or cut short: {0}")]
    Packed(String),
    /// Small data that becomes large.
    #[error(
        "the data grows to more than {ratio} times its size when unpacked, as made to fill memory; unpack it yourself \
         if it is meant to"
    )]
    Bomb {
        /// Times its size that are allowed.
        ratio: u64,
    },
    /// More than the disk cache may hold.
    #[error("the unpacked data takes more than data_cache ({} MB): raise data_cache", data_cache / 1_000_000)]
    NoRoom {
        /// Bytes of the cache.
        data_cache: u64,
    },
    /// A Parquet file that cannot be read.
    #[error("not a usable Parquet file: {0}")]
    Parquet(String),
    /// Bytes that are no image, or one too large.
    #[error("{0}")]
    Image(String),
    /// A name in `metadata.jsonl` that no image has.
    #[error("file_name {name:?} {reason}")]
    FileName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
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

/// The first names of a list, for a message.
pub(super) fn shown(names: &[String]) -> String {
    const FIRST: usize = 20;
    let mut text = names.iter().take(FIRST).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > FIRST {
        text.push_str(&format!(" and {} more", names.len() - FIRST));
    }
    text
}
