//! The first rows of data as tokens, for people who want to see what the model is trained on.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::row::{self, Previewed};
use super::{RowsError, WrongRow};
use crate::chat::RowEncoder;
use crate::data::{self, DataFile, RowIndex, Visitor};
use crate::store::Stores;

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
            let previewed = match row::tokenise(&self.encoder, file, bytes) {
                Ok(previewed) => previewed,
                Err(wrong) => {
                    self.wrong = Some(wrong.at(file, row, self.offsets[row as usize]));
                    return ControlFlow::Break(());
                }
            };
            (self.show)(row, previewed)?;
        }
        ControlFlow::Continue(())
    }
}
