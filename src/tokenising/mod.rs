//! Planning's pass over the rows of a language model: each is tokenised once, on all cores, and only its counts are kept.
//!
//! A row that cannot be trained on leaves the index here, before anything is planned, so that step, shard and divisor are
//! functions of the rows that are left. What the pass came to is kept for later runs over the same data (`kept`).

mod kept;
mod pass;
mod preview;
mod row;
mod summary;

use std::path::Path;
use std::sync::Arc;

use crate::chat::RowEncoder;
use crate::data::{DataError, Note, RowIndex, RowsOf};
use crate::exit::Exit;
use crate::store::Stores;
use kept::KeptPass;
use pass::Pass;
pub use preview::preview;
pub use row::Previewed;
pub use summary::Summary;

/// What rows are tokenised with.
#[derive(Clone, Debug)]
pub struct Tokenising<'a> {
    /// Makes tokens of rows.
    pub encoder: Arc<RowEncoder>,
    /// Hash of all that the encoder is made of but for the dataset entries.
    pub hash: u128,
    /// Hash of each dataset entry.
    pub entries: &'a [u128],
    /// Where what earlier runs found is kept, if it is.
    pub kept: Option<&'a Path>,
    /// The most rows that are looked at: the others leave the index. For those who do not mean to train.
    pub most: Option<u64>,
}

/// Why rows cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// They cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// One of them is wrong.
    #[error(transparent)]
    Row(#[from] WrongRow),
    /// All of them were dropped.
    #[error("no {pass} row is left: {why}", why = .summary.dropped_rows())]
    NoneLeft {
        /// What they are for.
        pass: RowsOf,
        /// Why each was dropped.
        summary: Box<Summary>,
    },
}

/// A row that is wrong, so that the run does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{url}, row {row} at byte {offset}: {reason}")]
pub struct WrongRow {
    /// The file.
    pub url: String,
    /// Its number, counted from 0 over the datasets in their order.
    pub row: u64,
    /// First byte in the file, unpacked.
    pub offset: u64,
    /// What is wrong, and what to do.
    pub reason: String,
    /// What the program exits with.
    exit: i32,
}

impl RowsError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            RowsError::Data(error) => error.exit(),
            RowsError::Row(wrong) => Exit::from_code(wrong.exit).unwrap_or(Exit::Data),
            RowsError::NoneLeft { .. } => Exit::Data,
        }
    }
}

/// Tokenises the rows of an index. Those that cannot be trained on leave it. Also what people should know of them.
pub async fn tokenise(
    stores: &Stores,
    index: &mut RowIndex,
    pass: RowsOf,
    with: &Tokenising<'_>,
) -> Result<Vec<Note>, RowsError> {
    if let Some(most) = with.most {
        index.truncate(most);
    }
    let place = with.kept.and_then(|directory| KeptPass::of(directory, index, with));
    let kept = match &place {
        Some(place) => place.read(index.len()).await,
        None => None,
    };
    let found = match kept {
        Some(found) => found,
        None => {
            let found = Pass::over(stores, index, pass, with.encoder.clone()).await?;
            if let Some(place) = &place {
                place.write(&found).await;
            }
            found
        }
    };
    if let Some(wrong) = found.wrong {
        return Err(wrong.into());
    }
    index.tokenised(&found.rows);
    if index.is_empty() {
        return Err(RowsError::NoneLeft { pass, summary: Box::new(found.summary) });
    }
    Ok(found.summary.notes(pass))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
