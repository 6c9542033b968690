//! What a task trains towards: the divisor of its loss and the counts of its evaluation, in plain host memory. Targets and loss
//! are tensors, in `torch/objective.rs`; the coordinator's objective reads the sums. A new task begins here.

use headstart::run_file::{RunSpec, Task};

use crate::trainer::{Batch, Sums};

/// The loss of a run, and the divisor of its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// One label a sample: cross-entropy, divided by the number of samples.
    Classification {
        /// Share of each target that is spread evenly over all labels, from 0 to 1.
        smoothing: f64,
    },
}

impl Objective {
    /// The objective of a run.
    pub fn new(spec: &RunSpec) -> Objective {
        match spec.task {
            Task::SequenceClassification | Task::ImageClassification => {
                Objective::Classification { smoothing: spec.update.label_smoothing_factor }
            }
        }
    }

    /// The sums of a training batch. `loss` is summed over what the divisor counts; `finite`: see [`Sums::finite`].
    pub fn trained(self, batch: &Batch, loss: f64, finite: bool) -> Sums {
        let samples = batch.labels().len() as u64;
        let divisor = match self {
            Objective::Classification { .. } => samples,
        };
        Sums { samples, divisor, loss, finite, tokens: batch.tokens(), counts: Vec::new() }
    }

    /// The sums of an evaluation batch in which these of `labels` labels were predicted, `[rows]`.
    pub fn evaluated(self, batch: &Batch, loss: f64, predicted: &[i64], labels: usize) -> Sums {
        let counts = match self {
            Objective::Classification { .. } => count(batch.labels(), predicted, labels),
        };
        Sums { counts, ..self.trained(batch, loss, true) }
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
