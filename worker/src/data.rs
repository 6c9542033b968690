//! Shards as batches: rows are read, and tokenised or decoded, ahead of the computation.

use std::path::PathBuf;
use std::sync::Arc;

use headstart::data::{Cache, Content, DataError, Row, RowIndex, Rows};
use headstart::exit::Exit;
use headstart::message::{Failure, GoldenRow, Pass, Work};
use headstart::plan::Plan;
use headstart::run_file::RunSpec;
use headstart::store::Stores;

use crate::collate::{CollateError, Collator, Sample, TrainedText};
use crate::platform::Executor;
use crate::trainer::{Batch, Line};

/// Turns shards into batches.
pub struct Loader {
    plan: Plan,
    micro_batch: usize,
    train: Rows,
    eval: Rows,
    collator: Arc<Collator>,
    place: Executor,
}

/// Where rows are read, and made batches.
pub struct Reading {
    /// Where the files are.
    pub stores: Stores,
    /// Where those of other machines are kept. Without, their rows are read one by one.
    pub cache: Option<PathBuf>,
    /// Where batches are made.
    pub place: Executor,
}

/// Why a shard could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its rows could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its rows could not be made a batch.
    #[error("{file}: {error}")]
    Collate {
        /// The file of the row it is about.
        file: String,
        /// What is wrong with it.
        error: CollateError,
    },
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let text = error.to_string();
        match error {
            LoadError::Data(error) if error.exit() != Exit::Data => Failure::Storage(text),
            LoadError::Data(_) | LoadError::Collate { .. } => Failure::Data(text),
        }
    }
}

impl Loader {
    /// A loader of the indexed rows.
    pub fn new(
        plan: Plan,
        spec: &RunSpec,
        [train, eval]: [RowIndex; 2],
        collator: Collator,
        Reading { stores, cache, place }: Reading,
    ) -> Loader {
        let plan = plan.over(&train);
        let cache = cache.map(|directory| Cache::new(directory, spec.data_cache));
        let rows = |index| Rows::new(Arc::new(index), cache.clone(), stores.clone());
        let train = match plan.blocks() {
            Some(blocks) => rows(train).in_blocks(blocks.clone()),
            None => rows(train),
        };
        let micro_batch = spec.batch.per_device_train_batch_size as usize;
        Loader { plan, micro_batch, train, eval: rows(eval), collator: Arc::new(collator), place }
    }

    /// Longest token sequence; 0 for images.
    pub fn sequence_len(&self) -> u32 {
        self.collator.sequence_len()
    }

    /// What a shard of a probe is computed with.
    pub fn line(&self, shard: u32) -> Line {
        if (shard as usize) < self.plan.probed().len() { Line::First } else { Line::Zero }
    }

    /// A shard, ready to compute. An evaluation shard is one batch.
    pub async fn shard(&self, work: &Work, shard: u32) -> Result<Loaded, LoadError> {
        let rows = match work.pass {
            Pass::Train | Pass::Probe => &self.train,
            Pass::Eval => &self.eval,
            Pass::Golden if self.eval.index().is_empty() => &self.train,
            Pass::Golden => &self.eval,
        };
        let size = if work.pass == Pass::Train { self.micro_batch } else { usize::MAX };
        let (index, rows) = (rows.index(), rows.read(&self.plan.rows(work.pass, work.step, shard)).await?);
        let (collator, pass) = (self.collator.clone(), work.pass);
        let entries: Vec<usize> = rows.iter().map(|row| index.entry_of(row.number)).collect();
        let loaded = self.place.run(move || load(&collator, pass, &rows, &entries, size)).await;
        loaded.map_err(|error| {
            let place = error.row().and_then(|row| index.row(row).ok());
            let file = place.map_or_else(String::new, |place| index.files()[place.file].url.clone());
            LoadError::Collate { file, error: error.of_row(|row| index.data_row(row)) }
        })
    }
}

/// A shard's rows.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its micro-batches, in order.
    pub batches: Vec<Batch>,
    /// [`Pass::Golden`]: the text of its row.
    pub prompt: String,
    /// [`Pass::Probe`] of a language model: what its row trains.
    pub text: TrainedText,
}

fn load(
    collator: &Collator,
    pass: Pass,
    rows: &[Row],
    entries: &[usize],
    size: usize,
) -> Result<Loaded, CollateError> {
    let samples: Vec<Sample<'_>> = rows
        .iter()
        .zip(entries)
        .map(|(row, &entry)| match &row.content {
            Content::Text { text, pair } => Sample::Text { text, pair: pair.as_deref() },
            Content::Image(bytes) => Sample::Image(bytes),
            Content::Json(object) => Sample::Json { object, entry },
        })
        .collect();
    let labels: Vec<i64> = rows.iter().map(|row| i64::from(row.label)).collect();
    let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
    match (pass, &samples[..]) {
        (Pass::Golden, [sample]) => {
            let (prompt, batch) = collator.whole(sample, numbers[0], GoldenRow::LONGEST)?;
            Ok(Loaded { batches: vec![batch], prompt, ..Loaded::default() })
        }
        _ => {
            let batches = collator.batches(&samples, &labels, &numbers, size)?;
            let text = match (pass, &batches[..]) {
                (Pass::Probe, [row]) => collator.trained_text(row),
                _ => TrainedText::default(),
            };
            Ok(Loaded { text, batches, ..Loaded::default() })
        }
    }
}
