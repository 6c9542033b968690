//! Rows of data become batches, in order.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use headstart::chat::{EncodedRow, RowEncoder, RowRefusal};
use headstart::data::{self, Content, DataError, Row, RowIndex};
use headstart::exit::Exit;
use headstart::predict::PredictError;
use headstart::store::Stores;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::mpsc::Sender;

use crate::collate::{CollateError, Collator, Sample};
use crate::trainer::Batch;

/// A row as the network reads it.
pub(super) struct Asked {
    /// Its number in the index.
    pub(super) number: u64,
    /// A batch of this row alone; `None` if it has no token to predict.
    pub(super) batch: Option<Batch>,
    /// Whether tokens were cut off at the end.
    pub(super) cut: bool,
}

/// Some rows, or why one of them is no row.
pub(super) type Prepared = Result<Vec<Asked>, PredictError>;

/// Tokenises texts and decodes images.
pub(super) struct Preparer {
    converter: Arc<Converter>,
    batch_size: usize,
    pool: ThreadPool,
}

struct Converter {
    collator: Collator,
    /// Of language models.
    encoder: Option<Arc<RowEncoder>>,
    index: Arc<RowIndex>,
}

impl Preparer {
    pub(super) fn new(
        collator: Collator,
        encoder: Option<Arc<RowEncoder>>,
        index: Arc<RowIndex>,
        batch_size: u32,
        threads: u32,
    ) -> io::Result<Preparer> {
        let pool =
            ThreadPoolBuilder::new().num_threads(threads as usize).build().map_err(io::Error::other)?;
        let converter = Arc::new(Converter { collator, encoder, index });
        Ok(Preparer { converter, batch_size: batch_size as usize, pool })
    }

    /// Sends every row of the index, in batches, until nobody takes them.
    pub(super) async fn run(
        self,
        stores: &Stores,
        index: &RowIndex,
        send: Sender<Prepared>,
    ) -> Result<(), DataError> {
        let Preparer { converter, batch_size, pool } = self;
        let rows = index.len();
        let mut waiting: Vec<Row> = Vec::new();
        let take = move |row: Row| {
            let last = row.number + 1 == rows;
            waiting.push(row);
            if waiting.len() < batch_size && !last {
                return ControlFlow::Continue(());
            }
            let full = std::mem::take(&mut waiting);
            let prepared: Prepared =
                pool.install(|| full.par_iter().map(|row| converter.convert(row)).collect());
            let failed = prepared.is_err();
            match send.blocking_send(prepared) {
                Ok(()) if !failed => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        data::for_each_row(stores, index, take).await
    }
}

impl Converter {
    fn convert(&self, row: &Row) -> Result<Asked, PredictError> {
        let number = row.number;
        let sample = match &row.content {
            Content::Json(object) => match &self.encoder {
                Some(encoder) => return self.encoded(number, encoder.encode(object, 0)),
                None => Sample::Json { object, entry: 0 },
            },
            Content::Text { text, pair } => Sample::Text { text, pair: pair.as_deref() },
            Content::Image(file) => Sample::Image(file),
        };
        match self.collator.row(sample, number) {
            Ok(batch) => Ok(Asked { number, batch: Some(batch), cut: false }),
            Err(error) => {
                let reason = match error {
                    CollateError::Text { reason, .. } => reason,
                    CollateError::Image { error, .. } => error.to_string(),
                    other => other.to_string(),
                };
                Err(self.refused(number, reason, Exit::Data))
            }
        }
    }

    /// A language model's row.
    fn encoded(&self, number: u64, found: Result<EncodedRow, RowRefusal>) -> Result<Asked, PredictError> {
        match found {
            Ok(EncodedRow { input_ids, trained, truncated, .. }) => {
                let batch = Batch::tokens_of_row(&input_ids, trained);
                Ok(Asked { number, batch: Some(batch), cut: truncated })
            }
            // Training would leave it out. Its sum is that of no tokens.
            Err(RowRefusal::Dropped(_)) => Ok(Asked { number, batch: None, cut: false }),
            Err(RowRefusal::Fatal(error)) => Err(self.refused(number, error.to_string(), error.exit())),
        }
    }

    fn refused(&self, row: u64, reason: String, exit: Exit) -> PredictError {
        match self.index.row(row) {
            Ok(place) => {
                let url = self.index.files()[place.file].url.clone();
                PredictError::Row { url, row, offset: place.offset, reason, exit }
            }
            Err(error) => error.into(),
        }
    }
}

/// One batch of all rows that have one, in their order; `None` if none has.
pub(super) fn lay_out(rows: &[Asked]) -> Option<Batch> {
    Batch::join(rows.iter().filter_map(|row| row.batch.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::Targets;

    fn text(number: u64, ids: &[u32]) -> Asked {
        Asked { number, batch: Some(Batch::whole_row(ids)), cut: false }
    }

    #[test]
    fn rows_keep_their_order_and_those_without_tokens_are_left_out() {
        let empty = Asked { number: 1, batch: None, cut: false };
        let batch = lay_out(&[text(0, &[5, 6, 7]), empty, text(2, &[8, 9])]).expect("two rows have tokens");
        let expected = Batch::Text {
            input_ids: vec![5, 6, 7, 8, 9],
            token_type_ids: vec![0; 5],
            lengths: vec![3, 2],
            targets: Targets::Tokens(vec![false, true, true, false, true]),
        };
        assert_eq!(batch, expected);
        assert!(lay_out(&[Asked { number: 0, batch: None, cut: false }]).is_none());
    }
}
