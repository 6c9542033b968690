//! One row of a file as tokens.

use bytes::Bytes;

use super::WrongRow;
use crate::chat::{DropReason, EncodedRow, RowEncoder, RowRefusal};
use crate::data::{self, Content, DataFile};
use crate::exit::Exit;

/// A row that was looked at.
#[derive(Clone, Debug)]
pub enum Previewed {
    /// Its tokens.
    Tokens(EncodedRow),
    /// Why it would be dropped.
    Dropped(DropReason),
}

/// Why a row ends the run.
#[derive(Debug)]
pub(super) struct Wrong {
    reason: String,
    exit: Exit,
}

impl Wrong {
    /// Names the row: its number, and the first of its bytes in the file.
    pub(super) fn at(self, file: &DataFile, row: u64, offset: u64) -> WrongRow {
        let Wrong { reason, exit } = self;
        WrongRow { url: file.url.clone(), row, offset, reason, exit: exit as i32 }
    }
}

/// Tokenises a row.
pub(super) fn tokenise(encoder: &RowEncoder, file: &DataFile, row: &Bytes) -> Result<Previewed, Wrong> {
    let object = match data::content(file, row.clone()) {
        Ok(Content::Json(object)) => object,
        Ok(_) => unreachable!("rows of language models are objects"),
        Err(problem) => return Err(Wrong { reason: problem.to_string(), exit: Exit::Data }),
    };
    match encoder.encode(&object, file.entry as usize) {
        Ok(row) => Ok(Previewed::Tokens(row)),
        Err(RowRefusal::Dropped(reason)) => Ok(Previewed::Dropped(reason)),
        Err(RowRefusal::Fatal(error)) => Err(Wrong { reason: error.to_string(), exit: error.exit() }),
    }
}
