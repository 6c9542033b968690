//! Asks a model about rows, without a coordinator: `headstart predict` starts this and passes its lines on.
//!
//! Rows are read, tokenised or decoded on other threads while the rows before them are computed. They go through the network in
//! the order of the data, as many at a time as was asked for; memory does not grow with their number, but for the row index.

mod rows;

use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::sync::Arc;

use headstart::data::{DataFile, FewRows, Format, Packing, RowIndex};
use headstart::exit::Exit;
use headstart::network::{Network, NetworkError};
use headstart::predict::{PredictError, Work};
use headstart::run_file::{RunSpec, Task};
use headstart::store::Stores;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::info;

use crate::collate::{CollateError, Collator};
use crate::objective::Objective;
use crate::torch::TorchTrainer;
use crate::trainer::{Batch, TrainError, Trainer, TrainerJob};
use rows::{Asked, Preparer, lay_out};

/// Batches prepared ahead of the one being computed.
const AHEAD: usize = 2;
/// Threads that read.
const READERS: usize = 2;

/// Why a prediction failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// What to do did not arrive.
    #[error("the work on standard input: {0}")]
    Work(io::Error),
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The tokenizer cannot be built.
    #[error(transparent)]
    Collate(#[from] CollateError),
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The system refuses threads, or the result cannot be written.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<NetworkError> for Failed {
    fn from(error: NetworkError) -> Self {
        Failed::Predict(error.into())
    }
}

impl Failed {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            Failed::Predict(error) => error.exit(),
            Failed::Collate(CollateError::Network(error)) => error.exit(),
            Failed::Collate(CollateError::Tokenizer { .. }) => Exit::Checkpoint,
            Failed::Collate(_) => Exit::Data,
            Failed::Train(TrainError::Device(_)) => Exit::Usage,
            Failed::Work(_) | Failed::Train(_) | Failed::System(_) => Exit::Internal,
        }
    }
}

/// Predicts the rows of the [`Work`] in `input` on a device that [`choose_device`](crate::torch::choose_device) returned. Writes
/// a line of JSON for each to standard output, in order. Must be called on the program's main thread, which computes.
pub fn run(device: String, input: impl Read) -> Result<(), Failed> {
    let Work { spec, labels, index, golden } = Work::read(input).map_err(Failed::Work)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(READERS).enable_all().build()?;
    let stores = spec.cluster.stores();
    if !golden.is_empty() {
        let network = runtime.block_on(Network::open_without_files(&stores, &spec, &labels))?;
        let longest = golden.iter().map(Vec::len).max().unwrap_or_default();
        let trainer = trainer(&runtime, &spec, Arc::new(network), device, longest as u32)?;
        return answer_golden(&trainer, &golden);
    }
    let network = Arc::new(runtime.block_on(Network::open_as_written(&stores, &spec, &labels))?);
    let collator = runtime.block_on(Collator::for_network(&network))?;
    let batch_size = spec.batch.per_device_train_batch_size;
    let sequence_len = collator.sequence_len();
    let encoder = network.rows.as_ref().map(|rows| rows.encoder.clone());
    let trainer = trainer(&runtime, &spec, network, device, sequence_len)?;
    let index = Arc::new(index);
    let preparer = Preparer::new(collator, encoder, index.clone(), batch_size, spec.threads_per_worker)?;
    let model = Model { trainer, task: spec.task, labels, index };
    let cut = model.answer(&runtime, stores, preparer)?;
    if cut.rows > 0 {
        let mut err = io::stderr().lock();
        // That nobody reads warnings is no error.
        let _ =
            writeln!(err, "warning: {cut} cut to {sequence_len} tokens, the model's limit or --sequence-len");
    }
    Ok(())
}

/// Loads the weights. `sequence_len`: tokens of the longest row.
fn trainer(
    runtime: &Runtime,
    spec: &RunSpec,
    network: Arc<Network>,
    device: String,
    sequence_len: u32,
) -> Result<TorchTrainer, Failed> {
    Ok(TorchTrainer::new(TrainerJob {
        objective: Objective::new(spec),
        threads: spec.threads_per_worker,
        micro_batch: spec.batch.per_device_train_batch_size,
        sequence_len,
        device,
        values: runtime.block_on(network.load_all()).map_err(PredictError::from)?,
        network,
        checkpointing: false,
        precision: spec.precision,
    })?)
}

/// Writes what numbers this device computes in, then a line for each list of tokens: the log probabilities of all but the first.
fn answer_golden(trainer: &TorchTrainer, golden: &[Vec<u32>]) -> Result<(), Failed> {
    let mut out = BufWriter::new(io::stdout().lock());
    write_line(&mut out, &trainer.numeric_class().precision)?;
    for tokens in golden {
        let batch = Batch::whole_row(tokens);
        let logprobs: Vec<f32> = trainer.nll(&batch)?.into_iter().map(|nll| -nll).collect();
        write_line(&mut out, &logprobs)?;
    }
    Ok(out.flush()?)
}

/// A model, and the rows that it is asked about.
struct Model {
    trainer: TorchTrainer,
    task: Task,
    /// The names of the classes, by class id.
    labels: Vec<String>,
    index: Arc<RowIndex>,
}

/// What a classifier makes of a row.
#[derive(Serialize)]
struct Classified<'a> {
    /// The file of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    /// The class with the largest logit; of equal ones, the first.
    label: &'a str,
    /// `[labels]`, by class id.
    logits: &'a [f32],
}

/// What a language model makes of a row.
#[derive(Serialize)]
struct Scored {
    /// Negative log likelihood in nats, summed over the tokens.
    nll: f64,
    /// Tokens that were predicted.
    tokens: usize,
}

impl Model {
    /// Writes a line for each row. Returns which rows were cut.
    fn answer(&self, runtime: &Runtime, stores: Stores, preparer: Preparer) -> Result<FewRows, Failed> {
        let (send, mut batches) = mpsc::channel(AHEAD);
        let index = self.index.clone();
        let reading = runtime.spawn(async move { preparer.run(&stores, &index, send).await });
        let mut out = BufWriter::new(io::stdout().lock());
        let mut cut = FewRows::default();
        while let Some(rows) = batches.blocking_recv() {
            let rows: Vec<Asked> = rows?;
            rows.iter().filter(|row| row.cut).for_each(|row| cut.add(row.number));
            let written = match self.task {
                Task::CausalLm => self.score(&rows, &mut out),
                Task::SequenceClassification | Task::ImageClassification => self.classify(&rows, &mut out),
            };
            match written.and_then(|()| Ok(out.flush()?)) {
                // Nobody reads on.
                Err(Failed::System(error)) if error.kind() == ErrorKind::BrokenPipe => {
                    info!("the reader of the results is gone");
                    return Ok(cut);
                }
                written => written?,
            }
        }
        runtime.block_on(reading).map_err(io::Error::other)?.map_err(PredictError::from)?;
        Ok(cut)
    }

    fn classify(&self, rows: &[Asked], out: &mut impl Write) -> Result<(), Failed> {
        let Some(batch) = lay_out(rows) else { return Ok(()) };
        let logits = self.trainer.logits(&batch)?;
        for (row, logits) in rows.iter().zip(logits.chunks(self.labels.len())) {
            self.check(row, logits)?;
            // Of equal ones the first, as argmax has it.
            let largest =
                (0..logits.len()).rev().max_by(|&one, &other| logits[one].total_cmp(&logits[other]));
            let label = &self.labels[largest.expect("a classifier has labels")];
            write_line(out, &Classified { file: self.image(row.number), label, logits })?;
        }
        Ok(())
    }

    fn score(&self, rows: &[Asked], out: &mut impl Write) -> Result<(), Failed> {
        let nll = match lay_out(rows) {
            Some(batch) => self.trainer.nll(&batch)?,
            None => Vec::new(),
        };
        let mut rest = nll.as_slice();
        for row in rows {
            let tokens = row.batch.as_ref().map_or(0, |batch| batch.predicted().count());
            let (own, others) = rest.split_at(tokens);
            rest = others;
            self.check(row, own)?;
            write_line(out, &Scored { nll: own.iter().fold(0.0, |sum, &nll| sum + f64::from(nll)), tokens })?;
        }
        Ok(())
    }

    /// Refuses numbers that no healthy model computes.
    fn check(&self, row: &Asked, numbers: &[f32]) -> Result<(), Failed> {
        if numbers.iter().all(|number| number.is_finite()) {
            return Ok(());
        }
        let place = self.index.row(row.number).map_err(PredictError::from)?;
        let url = self.index.files()[place.file].url.clone();
        Err(PredictError::NotFinite { url, row: row.number, offset: place.offset }.into())
    }

    /// The file of a row that is an image of its own.
    fn image(&self, row: u64) -> Option<&str> {
        let place = self.index.row(row).ok()?;
        let DataFile { url, format, packing, .. } = &self.index.files()[place.file];
        ((*format, *packing) == (Format::Image, Packing::Plain)).then_some(url.as_str())
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
