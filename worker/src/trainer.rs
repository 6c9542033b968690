//! What a worker asks of the code that computes gradients.

use std::sync::Arc;

use headstart::checkpoint::Values;
use headstart::message::NumericClass;
use headstart::network::Network;
use headstart::optimizer::Piece;
use headstart::run_file::Precision;

use crate::objective::Objective;

/// What a trainer is made from.
#[derive(Debug)]
pub struct TrainerJob {
    pub network: Arc<Network>,
    /// What it trains towards.
    pub objective: Objective,
    pub threads: u32,
    /// Samples of a micro-batch.
    pub micro_batch: u32,
    /// Longest token sequence, for text.
    pub sequence_len: u32,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Version 0: the values of each parameter of the table.
    pub values: Vec<Values>,
    /// Whether a layer is computed again in the backward pass, instead of keeping what its graph holds.
    pub checkpointing: bool,
    /// Numbers in which the forward and backward pass compute on a GPU; on a CPU these are 32-bit floats.
    pub precision: Precision,
}

/// Makes a trainer, on the thread that will own it.
pub type MakeTrainer = fn(TrainerJob) -> Result<Box<dyn Trainer>, TrainError>;

/// One micro-batch, ready to compute: plain host memory, no tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum Batch {
    /// Texts as tokens, row after row, without padding.
    Text {
        /// `[tokens]` of all rows.
        input_ids: Vec<i64>,
        /// `[tokens]`: segment ids.
        token_type_ids: Vec<i64>,
        /// `[rows]`: tokens of each row, at least one.
        lengths: Vec<usize>,
        targets: Targets,
    },
    /// Images, resized, rescaled and normalised.
    Image {
        /// `[rows, channels, height, width]`, row-major.
        pixels: Vec<f32>,
        /// Dimensions of one image: channels, height, width.
        shape: [usize; 3],
        /// `[rows]`: indexes into the run's labels.
        labels: Vec<i64>,
    },
}

/// What a network is to find in texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// `[rows]`: indexes into the run's labels.
    Labels(Vec<i64>),
    /// `[tokens]`: whether a token is to be predicted from those before it in its row; never a row's first.
    Tokens(Vec<bool>),
}

impl Batch {
    /// One row of a language model. `trained`: for each token, whether it is to be predicted; never the first.
    pub fn tokens_of_row(ids: &[u32], trained: Vec<bool>) -> Batch {
        Batch::Text {
            input_ids: ids.iter().map(|&id| i64::from(id)).collect(),
            token_type_ids: vec![0; ids.len()],
            lengths: vec![ids.len()],
            targets: Targets::Tokens(trained),
        }
    }

    /// One row of a language model, all tokens of which but the first are to be predicted.
    pub fn whole_row(ids: &[u32]) -> Batch {
        Batch::tokens_of_row(ids, (0..ids.len()).map(|token| token > 0).collect())
    }

    /// One batch of the rows of several, in their order; `None` of none. They must be of one network.
    pub fn join<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Option<Batch> {
        let mut batches = batches.into_iter();
        let mut all = batches.next()?.clone();
        batches.for_each(|batch| all.append(batch));
        Some(all)
    }

    fn append(&mut self, other: &Batch) {
        match (self, other) {
            (
                Batch::Text { input_ids, token_type_ids, lengths, targets },
                Batch::Text { input_ids: ids, token_type_ids: types, lengths: more, targets: others },
            ) => {
                input_ids.extend(ids);
                token_type_ids.extend(types);
                lengths.extend(more);
                match (targets, others) {
                    (Targets::Labels(labels), Targets::Labels(others)) => labels.extend(others),
                    (Targets::Tokens(trained), Targets::Tokens(others)) => trained.extend(others),
                    _ => unreachable!("rows of one network have targets of one kind"),
                }
            }
            (Batch::Image { pixels, labels, .. }, Batch::Image { pixels: more, labels: others, .. }) => {
                pixels.extend(more);
                labels.extend(others);
            }
            _ => unreachable!("rows of one network are of one kind"),
        }
    }

    /// Indexes into the run's labels, `[rows]`; none where tokens are predicted.
    pub fn labels(&self) -> &[i64] {
        match self {
            Batch::Text { targets: Targets::Labels(labels), .. } | Batch::Image { labels, .. } => labels,
            Batch::Text { targets: Targets::Tokens(_), .. } => &[],
        }
    }

    /// Tokens that are predicted, as places among the batch's tokens.
    pub fn predicted(&self) -> impl Iterator<Item = usize> + '_ {
        let trained: &[bool] = match self {
            Batch::Text { targets: Targets::Tokens(trained), .. } => trained,
            Batch::Text { .. } | Batch::Image { .. } => &[],
        };
        trained.iter().enumerate().filter(|(_, trained)| **trained).map(|(token, _)| token)
    }

    pub fn rows(&self) -> usize {
        match self {
            Batch::Text { lengths, .. } => lengths.len(),
            Batch::Image { labels, .. } => labels.len(),
        }
    }

    /// Input tokens; an image counts as one.
    pub fn tokens(&self) -> u64 {
        match self {
            Batch::Text { input_ids, .. } => input_ids.len() as u64,
            Batch::Image { labels, .. } => labels.len() as u64,
        }
    }
}

/// What seeds the random draws of one micro-batch (dropout); the trainer adds the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    pub seed: u64,
    /// The step being computed.
    pub step: u64,
    /// The shard within the step.
    pub shard: u32,
    /// The micro-batch within the shard.
    pub micro_batch: u32,
}

impl Draw {
    /// Whether a shard begins with this micro-batch.
    pub fn is_first(&self) -> bool {
        self.micro_batch == 0
    }
}

/// Sums over the samples of a micro-batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Number of samples.
    pub samples: u64,
    /// What loss and gradient are divided by, as the objective counts it.
    pub divisor: u64,
    /// Sum of the losses of everything that `divisor` counts.
    pub loss: f64,
    /// Whether the gradient is finite, so far as this micro-batch changed it, and the loss too. True in evaluation.
    pub finite: bool,
    /// Input tokens; images count as one each.
    pub tokens: u64,
    /// Counts and further sums, as the objective orders them: see `headstart::message::Totals`.
    pub counts: Vec<u64>,
    pub measures: Vec<f64>,
}

/// Why a gradient could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// libtorch reported an error.
    #[error("libtorch: {0}")]
    Torch(String),
    /// There is no memory for a gradient.
    #[error("no memory for a gradient of {len} elements: {error}")]
    Memory {
        len: usize,
        /// What the system says.
        error: std::io::Error,
    },
    /// The weights cannot be read.
    #[error("the coordinator's weights cannot be read: {0}")]
    Weights(std::io::Error),
    /// The device is missing or unusable.
    #[error("{0}")]
    Device(String),
    /// The same gradient, computed twice, came out differently: this machine cannot keep the promise of equal bits.
    #[error("{0}")]
    Nondeterministic(String),
}

/// Which weights a probe computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Those that the trainer holds.
    First,
    /// Those that they are compared with: see [`Trainer::set_zero_line`].
    Zero,
}

/// Fills a slice with the trainable vector's elements from a number on.
pub type ReadWeights<'a> = dyn Fn(usize, &mut [f32]) -> std::io::Result<()> + Sync + 'a;

/// Takes note that the elements of a gradient (its third argument) from a number on are final; the numbers fall. The sums are those
/// of the micro-batch; whether all is finite is said so far as it was computed.
pub type Progress<'a> = dyn FnMut(&Sums, usize, &mut [f32]) + 'a;

/// Elements per copy.
pub const PIECE: usize = 1 << 16;

/// Computes gradients from weights and samples. Stateless but for the weights it was given.
///
/// One thread owns a trainer for its whole life.
pub trait Trainer: Send {
    /// What must be equal on another machine for equal bits.
    fn numeric_class(&self) -> NumericClass;

    /// Hash (XXH3-128) of gradients on seeded synthetic weights and inputs; does not disturb the weights.
    fn canary(&mut self) -> Result<u128, TrainError>;

    /// Number of elements of the trainable vector.
    fn trainable_len(&self) -> usize;

    /// Overwrites the trainable vector from element `offset` on.
    fn set_trainable(&mut self, offset: usize, values: &[f32]) -> Result<(), TrainError>;

    /// Overwrites the whole trainable vector with what `read` gives from an element on. `read` may be called
    /// concurrently.
    fn load_trainable(&mut self, read: &ReadWeights<'_>) -> Result<(), TrainError> {
        load_in_pieces(self, read)
    }

    /// The trainable vector on the host, in pieces to be written, each with the number of its first element, in any order.
    fn trainable_mut(&mut self) -> Result<Vec<Piece<'_>>, TrainError>;

    /// Threads for work on the trainable vector; without, the caller's.
    fn pool(&self) -> Option<Arc<rayon::ThreadPool>> {
        None
    }

    /// Computes a micro-batch's gradient, of the *summed* loss, into `gradient`, the flat trainable vector (f32).
    /// The first micro-batch of a shard overwrites what is there, whatever it is; later ones add to it.
    ///
    /// Calls `progress` whenever elements have become final. A trainer on a device calls it never, and leaves `gradient` as it is
    /// until [`Trainer::finish_shard`].
    fn gradient(
        &mut self,
        draw: Draw,
        batch: &Batch,
        gradient: &mut [f32],
        progress: &mut Progress<'_>,
    ) -> Result<Sums, TrainError>;

    /// Called after a shard's last micro-batch: a trainer that added its gradients up elsewhere writes their sum into `gradient`,
    /// whatever is there. Others have written it already.
    fn finish_shard(&mut self, _gradient: &mut [f32]) -> Result<(), TrainError> {
        Ok(())
    }

    /// Forward pass without dropout: loss and counts.
    fn evaluate(&mut self, batch: &Batch) -> Result<Sums, TrainError>;

    /// Negative log likelihoods, in nats, of the tokens that a batch predicts, in their order.
    fn nll(&self, batch: &Batch) -> Result<Vec<f32>, TrainError>;

    /// Takes over the values of all parameters, in the order of the table, that a probe compares the trainer's with. They are
    /// dropped with the first gradient.
    fn set_zero_line(&mut self, values: Vec<Values>) -> Result<(), TrainError>;

    /// Whether it has values to compare with.
    fn has_zero_line(&self) -> bool;

    /// What the network makes of one row, without dropout: of a classifier, `[hidden]`, the mean over a text's tokens of the last
    /// layer's output, or an image's class token, normalised where the network has a norm there; of a language model, what
    /// [`Trainer::nll`] gives.
    fn probe(&self, row: &Batch, line: Line) -> Result<Vec<f32>, TrainError>;
}

/// [`Trainer::load_trainable`] by [`Trainer::set_trainable`], piece by piece.
pub fn load_in_pieces<T: Trainer + ?Sized>(
    trainer: &mut T,
    read: &ReadWeights<'_>,
) -> Result<(), TrainError> {
    let len = trainer.trainable_len();
    let mut piece = vec![0.0; PIECE.min(len)];
    for start in (0..len).step_by(PIECE) {
        let values = &mut piece[..PIECE.min(len - start)];
        read(start, values).map_err(TrainError::Weights)?;
        trainer.set_trainable(start, values)?;
    }
    Ok(())
}
