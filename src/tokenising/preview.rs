//! The first rows of data as tokens, for people who want to see what the model is trained on.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::{RowsError, WrongRow};
use crate::chat::{DropReason, EncodedRow, RowEncoder, RowRefusal};
use crate::data::{self, Content, DataFile, RowIndex, Visitor};
use crate::exit::Exit;
use crate::store::Stores;

/// A row that was looked at.
#[derive(Clone, Debug)]
pub enum Previewed {
    /// Its tokens.
    Tokens(EncodedRow),
    /// Why it would be dropped.
    Dropped(DropReason),
}

/// Gives the first `most` rows of the index to `show`, with their numbers, until it breaks off.
pub async fn preview<F>(
    stores: &Stores,
    index: &RowIndex,
    encoder: Arc<RowEncoder>,
    most: u64,
    show: F,
) -> Result<(), RowsError>
where
    F: FnMut(u64, Previewed) -> ControlFlow<()> + Send + 'static,
{
    let offsets = (0..index.len().min(most)).map(|row| Ok(index.row(row)?.offset));
    let offsets = offsets.collect::<Result<Vec<u64>, data::DataError>>()?;
    let preview = Preview { encoder, offsets, show, wrong: None };
    match data::stream(stores, index, most, preview).await?.wrong {
        Some(wrong) => Err(wrong.into()),
        None => Ok(()),
    }
}

struct Preview<F> {
    encoder: Arc<RowEncoder>,
    offsets: Vec<u64>,
    show: F,
    wrong: Option<WrongRow>,
}

impl<F: FnMut(u64, Previewed) -> ControlFlow<()> + Send + 'static> Visitor for Preview<F> {
    fn visit(&mut self, file: &DataFile, first: u64, rows: &[Bytes]) -> ControlFlow<()> {
        for (row, bytes) in (first..).zip(rows) {
            let found = match data::content(file, bytes.clone()) {
                Ok(Content::Json(object)) => self.encoder.encode(&object, file.entry as usize),
                Ok(_) => unreachable!("rows of language models are objects"),
                Err(problem) => return self.end(file, row, problem.to_string(), Exit::Data),
            };
            let previewed = match found {
                Ok(row) => Previewed::Tokens(row),
                Err(RowRefusal::Dropped(reason)) => Previewed::Dropped(reason),
                Err(RowRefusal::Fatal(error)) => return self.end(file, row, error.to_string(), error.exit()),
            };
            (self.show)(row, previewed)?;
        }
        ControlFlow::Continue(())
    }
}

impl<F> Preview<F> {
    fn end(&mut self, file: &DataFile, row: u64, reason: String, exit: Exit) -> ControlFlow<()> {
        let (url, offset) = (file.url.clone(), self.offsets[row as usize]);
        self.wrong = Some(WrongRow { url, row, offset, reason, exit: exit as i32 });
        ControlFlow::Break(())
    }
}
