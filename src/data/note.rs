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
}

impl Note {
    /// Whether it says where the labels come from.
    pub fn is_about_labels(&self) -> bool {
        matches!(self, Note::FolderLabels | Note::DeclaredLabels { .. })
    }

    /// Whether it is likely to be a mistake.
    pub fn is_warning(&self) -> bool {
        matches!(self, Note::NotImages { .. } | Note::SomePairs)
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
