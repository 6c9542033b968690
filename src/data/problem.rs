//! What can be wrong with a row.

use super::columns::{advice, shown};

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
        column: String,
        /// What is there.
        found: &'static str,
        /// What must be there.
        expected: &'static str,
    },
    /// Nothing in the column.
    #[error("column {column:?} is empty")]
    EmptyValue { column: String },
    /// A column that holds several values a row.
    #[error(
        "column {column:?} is a list or a struct, expected one value in each row (several labels a row are not supported \
         yet){}",
        if .fields.is_empty() { String::new() } else { format!("; its fields are {}", shown(.fields)) }
    )]
    Nested {
        column: String,
        /// Its fields that can be named instead.
        fields: Vec<String>,
    },
    /// A label below zero.
    #[error(
        "the label {label} in column {column:?} is negative, which means \"no label\" in other tools; remove such rows or, if \
         it is a class, list all classes under `labels`"
    )]
    NegativeLabel { label: String, column: String },
    /// A label that is a number between two others.
    #[error(
        "the label {label} in column {column:?} has a fraction, but labels are classes: regression is not supported yet; if \
         it is a class, list all classes under `labels`"
    )]
    Fraction { label: String, column: String },
    /// What stands for a missing value.
    #[error("the label {label} in column {column:?} means that there is none; remove such rows")]
    NoLabel { label: String, column: String },
    /// The number of a class that has no name.
    #[error(
        "the label {label} has no name: the ClassLabel column {column:?} has {classes} classes, numbered from 0"
    )]
    NoClass {
        label: String,
        column: String,
        /// Classes of the column.
        classes: usize,
    },
    /// A class that is declared twice.
    #[error("the ClassLabel column {column:?} has the class {label:?} twice")]
    TwoClasses { label: String, column: String },
    /// A label that training does not have.
    #[error("label {label:?} is not one of the run's labels, which are {}", shown(.known))]
    UnknownLabel {
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
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}
