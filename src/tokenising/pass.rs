//! The pass itself: batches of rows come in order, and their rows are tokenised in parallel.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::WrongRow;
use super::row::{self, Previewed, Wrong};
use super::summary::{Outcome, Summary};
use crate::chat::{DropReason, RowEncoder};
use crate::data::{self, DataError, DataFile, RowIndex, RowTokens, RowsOf, Visitor};
use crate::store::Stores;

/// Time between two messages about how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Counts of each row, in order; `None` if it is dropped.
    pub(super) rows: Vec<Option<RowTokens>>,
    pub(super) summary: Summary,
    /// The first row that is wrong; rows after it were not looked at.
    pub(super) wrong: Option<WrongRow>,
}

/// A pass on its way.
pub(super) struct Pass {
    encoder: Arc<RowEncoder>,
    pool: ThreadPool,
    found: Found,
    /// Where rows begin, for messages.
    offsets: Vec<u64>,
    of: RowsOf,
    started: Instant,
    told: Instant,
}

/// What became of a row.
enum Judged {
    Tokens(Outcome),
    Dropped(DropReason),
    Wrong(Wrong),
}

impl Pass {
    /// Tokenises every row of an index.
    pub(super) async fn over(
        stores: &Stores,
        index: &RowIndex,
        of: RowsOf,
        encoder: Arc<RowEncoder>,
    ) -> Result<Found, DataError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("tokens-{number}"));
        let pool = pool.build().map_err(|_| DataError::Index("no threads can be started"))?;
        let offsets =
            (0..index.len()).map(|row| Ok(index.row(row)?.offset)).collect::<Result<_, DataError>>()?;
        let now = Instant::now();
        let pass = Pass { encoder, pool, found: Found::default(), offsets, of, started: now, told: now };
        let pass = data::stream(stores, index, u64::MAX, pass).await?;
        let seconds = pass.started.elapsed().as_secs_f64();
        tracing::debug!(rows = index.len(), seconds, "tokenised {of} rows");
        Ok(pass.found)
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let (done, all) = (self.found.rows.len(), self.offsets.len());
            let percent = 100 * done / all.max(1);
            tracing::info!("tokenising {} rows: {done} of {all} ({percent} %)", self.of);
        }
    }
}

impl Visitor for Pass {
    fn visit(&mut self, file: &DataFile, first: u64, rows: &[Bytes]) -> ControlFlow<()> {
        let encoder = &self.encoder;
        // A template that fails slowly fails on every row: rows after a wrong one are not looked at.
        let wrong = AtomicUsize::new(usize::MAX);
        let judge = |(place, row): (usize, &Bytes)| {
            if place > wrong.load(Ordering::Relaxed) {
                return None;
            }
            let judged = match row::tokenise(encoder, file, row) {
                Ok(Previewed::Tokens(row)) => Judged::Tokens(row.into()),
                Ok(Previewed::Dropped(reason)) => Judged::Dropped(reason),
                Err(wrong) => Judged::Wrong(wrong),
            };
            if matches!(judged, Judged::Wrong(_)) {
                wrong.fetch_min(place, Ordering::Relaxed);
            }
            Some(judged)
        };
        let judged: Vec<Option<Judged>> =
            self.pool.install(|| rows.par_iter().enumerate().map(judge).collect());
        for (row, judged) in (first..).zip(judged) {
            match judged.expect("only rows after a wrong one are passed over") {
                Judged::Tokens(outcome) => {
                    self.found.summary.add(row, &outcome);
                    self.found.rows.push(Some(outcome.counts));
                }
                Judged::Dropped(reason) => {
                    self.found.summary.drop(row, reason);
                    self.found.rows.push(None);
                }
                Judged::Wrong(wrong) => {
                    self.found.wrong = Some(wrong.at(file, row, self.offsets[row as usize]));
                    return ControlFlow::Break(());
                }
            }
        }
        self.tell();
        ControlFlow::Continue(())
    }
}
