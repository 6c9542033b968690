//! What people should know of data that can be used.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something found in the data that is no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The labels are the names of top folders, below which there are more.
    FolderLabels,
    /// The labels are the classes of a `ClassLabel` column, in its order.
    DeclaredLabels { column: String },
    /// Files that were skipped, because their names show that they are not data.
    PassedOver {
        url: String,
        /// Their number.
        files: usize,
        /// The names of the first.
        first: Vec<String>,
    },
    /// Files of class folders that were skipped, because they are not images.
    NotImages {
        url: String,
        /// Their number.
        files: usize,
        /// The names of the first.
        first: Vec<String>,
    },
    /// Some rows are pairs of texts, some are not.
    SomePairs,
    /// The formats of a language model's rows, and how many rows have each.
    RowFormats {
        /// What the rows are for.
        pass: RowsOf,
        formats: Vec<(String, u64)>,
    },
    /// Tokens of a language model's rows.
    RowTokens {
        pass: RowsOf,
        rows: u64,
        tokens: u64,
        /// Those that are targets: never the first of a row.
        trained: u64,
        /// Tokens of the longest row.
        longest: u32,
    },
    /// Not all rows of a language model were tokenised.
    FirstRows {
        pass: RowsOf,
        /// Those that were.
        rows: u64,
    },
    /// Rows that are left out.
    Dropped { pass: RowsOf, reason: String, rows: FewRows },
    /// Something about some rows that may be a mistake.
    OfRows { pass: RowsOf, what: String, rows: FewRows },
}

/// What rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowsOf {
    /// Training.
    Training,
    /// Evaluation.
    Evaluation,
}

/// Some rows: how many, and the numbers of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FewRows {
    /// Their number.
    pub rows: u64,
    /// The first of them, counted from 0 over the datasets in their order.
    pub first: Vec<u64>,
}

/// Row numbers that a message names.
const FIRST_ROWS: usize = 10;

impl FewRows {
    /// Counts a row, which comes after those counted before.
    pub fn add(&mut self, row: u64) {
        self.rows += 1;
        if self.first.len() < FIRST_ROWS {
            self.first.push(row);
        }
    }
}

impl fmt::Display for FewRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<String> = self.first.iter().map(u64::to_string).collect();
        let more = if self.rows > self.first.len() as u64 { ", …" } else { "" };
        let (one, s) = if self.rows == 1 { ("row", "") } else { ("rows", "s") };
        write!(f, "{} {one} (number{s} {}{more})", self.rows, first.join(", "))
    }
}

impl fmt::Display for RowsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowsOf::Training => "training",
            RowsOf::Evaluation => "evaluation",
        })
    }
}

impl Note {
    /// Whether it says where the labels come from.
    pub fn is_about_labels(&self) -> bool {
        matches!(self, Note::FolderLabels | Note::DeclaredLabels { .. })
    }

    /// Whether it is likely to be a mistake.
    pub fn is_warning(&self) -> bool {
        matches!(self, Note::NotImages { .. } | Note::SomePairs | Note::Dropped { .. } | Note::OfRows { .. })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::FolderLabels => f.write_str("labels from the first folder level"),
            Note::DeclaredLabels { column } => write!(f, "labels from the ClassLabel column {column:?}"),
            Note::PassedOver { url, files, first } => {
                write!(
                    f,
                    "{url}: skipped {}",
                    counted(*files, ["hidden or system file", "hidden or system files"], first)
                )
            }
            Note::NotImages { url, files, first } => {
                write!(
                    f,
                    "{url}: skipped {}",
                    counted(*files, ["file that is no image", "files that are no images"], first)
                )
            }
            Note::RowFormats { pass, formats } => {
                let formats: Vec<String> = match formats.as_slice() {
                    [(format, _)] => vec![format.clone()],
                    several => several.iter().map(|(format, rows)| format!("{format} ({rows})")).collect(),
                };
                write!(f, "{pass} rows are {}", formats.join(", "))
            }
            Note::RowTokens { pass, rows, tokens, trained, longest } => {
                let all = trained + rows >= *tokens;
                let others = if all { "" } else { " (train_on_inputs: true trains all)" };
                write!(
                    f,
                    "{pass} rows have {tokens} tokens, {trained} of them trained{others}; the longest row has {longest}"
                )
            }
            Note::FirstRows { pass, rows } => {
                write!(
                    f,
                    "{pass} data: only the first {rows} rows were checked; what is said of rows is about these"
                )
            }
            Note::Dropped { pass, reason, rows } => write!(f, "{pass} data: dropped {rows}: {reason}"),
            Note::OfRows { pass, what, rows } => write!(f, "{pass} data: {rows}: {what}"),
            Note::SomePairs => f.write_str(
                "some datasets have a text_pair_column and some have none: is it missing from one of them?",
            ),
        }
    }
}

/// A number of things, and the names of the first.
fn counted(count: usize, [one, several]: [&str; 2], first: &[String]) -> String {
    let thing = if count == 1 { one } else { several };
    let more = if count > first.len() { ", …" } else { "" };
    format!("{count} {thing}: {}{more}", first.join(", "))
}
