//! What a task trains towards: the divisor of its loss and the counts beside it, in plain host memory. Targets and loss are
//! tensors, in `torch/objective.rs`; the coordinator's objective reads the sums. A new task begins here.

use headstart::run_file::{RunSpec, Task};

use crate::trainer::{Batch, Sums};

/// The loss of a run, and the divisor of its mean. Of each target a share, `smoothing` from 0 to 1, is spread evenly over all
/// classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// One label a sample: cross-entropy, divided by the number of samples.
    Classification { smoothing: f64 },
    /// The next token: cross-entropy, divided by the number of trained tokens.
    CausalLm { smoothing: f64 },
}

/// Sums over the trained tokens of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenSums {
    /// Of the loss, smoothed.
    pub loss: f64,
    /// Of the negative log likelihoods, in nats.
    pub nll: f64,
    /// Of the entropies of the predicted distributions, in nats.
    pub entropy: f64,
    /// Tokens that were the most likely ones.
    pub right: u64,
}

impl Objective {
    /// The objective of a run.
    pub fn new(spec: &RunSpec) -> Objective {
        let smoothing = spec.update.label_smoothing_factor;
        match spec.task {
            Task::SequenceClassification | Task::ImageClassification => {
                Objective::Classification { smoothing }
            }
            Task::CausalLm => Objective::CausalLm { smoothing },
        }
    }

    /// What loss and gradient of a batch are divided by.
    fn divisor(self, batch: &Batch) -> u64 {
        match self {
            Objective::Classification { .. } => batch.rows() as u64,
            Objective::CausalLm { .. } => batch.predicted().count() as u64,
        }
    }

    /// The sums of a batch. `loss` is summed over what the divisor counts; `finite`: see [`Sums::finite`].
    pub fn trained(self, batch: &Batch, loss: f64, finite: bool) -> Sums {
        let (samples, divisor) = (batch.rows() as u64, self.divisor(batch));
        Sums { samples, divisor, loss, finite, tokens: batch.tokens(), ..Sums::default() }
    }

    /// The sums of an evaluation batch in which these of `labels` labels were predicted, `[rows]`.
    pub fn evaluated(self, batch: &Batch, loss: f64, predicted: &[i64], labels: usize) -> Sums {
        let counts = count(batch.labels(), predicted, labels);
        Sums { counts, ..self.trained(batch, loss, true) }
    }

    /// The sums of a batch whose tokens were predicted.
    pub fn predicted(self, batch: &Batch, sums: TokenSums, finite: bool) -> Sums {
        let TokenSums { loss, nll, entropy, right } = sums;
        Sums { counts: vec![right], measures: vec![nll, entropy], ..self.trained(batch, loss, finite) }
    }
}

/// Per label true positives, then predictions, then actual rows: `3 × labels` numbers.
fn count(actual: &[i64], predicted: &[i64], labels: usize) -> Vec<u64> {
    let mut counts = vec![0; 3 * labels];
    for (&actual, &predicted) in actual.iter().zip(predicted) {
        let (actual, predicted) = (actual as usize, predicted as usize);
        counts[predicted] += u64::from(predicted == actual);
        counts[labels + predicted] += 1;
        counts[2 * labels + actual] += 1;
    }
    counts
}
