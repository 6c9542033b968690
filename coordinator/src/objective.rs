//! What a task's sums mean: whether they can be right, and which metrics follow from them. A new task begins here.
//!
//! A worker's objective makes these sums, and the reduction adds them exactly along the canonical tree, so metrics do not
//! depend on the number of workers. Definitions: transformers, scikit-learn.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::message::{Pass, Totals};
use headstart::run_file::{Metric, Task};

/// How a run's sums are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// One label a sample. The divisor is the number of samples; `counts` holds the true positives of each label, then how
    /// often each was predicted, then how often it was right to.
    Classification { labels: usize },
}

impl Objective {
    /// The objective of a task over this many labels.
    pub fn new(task: Task, labels: usize) -> Objective {
        match task {
            Task::SequenceClassification | Task::ImageClassification | Task::CausalLm => {
                Objective::Classification { labels }
            }
        }
    }

    /// Judges the sums of a pass over `rows` rows before any of them is added. The error completes "step 3, shards 0..2 …".
    pub fn check(&self, pass: Pass, rows: u64, totals: &Totals) -> Result<(), String> {
        let Totals { samples, divisor, loss, counts, measures: _, tokens: _, compute: _ } = totals;
        if *samples != rows {
            return Err(format!("has {rows} samples, not {samples}"));
        }
        let Objective::Classification { labels } = *self;
        if *divisor != rows {
            return Err(format!("has the divisor {rows}, not {divisor}"));
        }
        let expected = if pass == Pass::Eval { 3 * labels } else { 0 };
        if counts.len() != expected {
            return Err(format!("has {expected} counts, not {}", counts.len()));
        }
        if pass == Pass::Eval && !add_up(counts, labels, rows) {
            return Err(format!("has counts that do not add up to its {rows} samples"));
        }
        // An evaluation may report an infinite loss.
        match pass == Pass::Train && !loss.is_finite() {
            true => Err(format!("has the loss {loss}")),
            false => Ok(()),
        }
    }

    /// Metrics from the sums over all evaluation rows, by name, without the `eval_` prefix.
    pub fn metrics(&self, totals: &Totals) -> BTreeMap<&'static str, f64> {
        match *self {
            Objective::Classification { labels } => classification(labels, totals),
        }
    }
}

/// The name of a metric in records, without the `eval_` prefix.
pub fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Loss => "loss",
        Metric::Accuracy => "accuracy",
        Metric::F1 => "f1",
    }
}

/// The name of a metric that an earlier coordinator wrote down, if an objective has it.
pub fn known(written: &str) -> Option<&'static str> {
    [Metric::Loss, Metric::Accuracy, Metric::F1].map(name).into_iter().find(|name| *name == written)
}

/// Loss, accuracy and macro F1. F1 is averaged with equal weight over the labels that occur or are predicted.
fn classification(labels: usize, totals: &Totals) -> BTreeMap<&'static str, f64> {
    let (hits, rest) = totals.counts.split_at(labels);
    let (predicted, actual) = rest.split_at(labels);
    let f1: Vec<f64> = hits
        .iter()
        .zip(predicted.iter().zip(actual))
        .filter(|(_, (predicted, actual))| **predicted + **actual > 0)
        .map(|(&hits, (&predicted, &actual))| 2.0 * hits as f64 / (predicted + actual) as f64)
        .collect();
    BTreeMap::from([
        (name(Metric::Loss), totals.mean_loss()),
        (name(Metric::Accuracy), hits.iter().sum::<u64>() as f64 / totals.samples as f64),
        (name(Metric::F1), f1.iter().sum::<f64>() / f1.len().max(1) as f64),
    ])
}

/// Whether counts of `rows` samples can be right: every row has one actual and one predicted label.
fn add_up(counts: &[u64], labels: usize, rows: u64) -> bool {
    let (hits, rest) = counts.split_at(labels);
    let (predicted, actual) = rest.split_at(labels);
    let sum = |counts: &[u64]| counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    let most = predicted.iter().zip(actual).map(|(predicted, actual)| predicted.min(actual));
    sum(predicted) == Some(rows)
        && sum(actual) == Some(rows)
        && hits.iter().zip(most).all(|(hits, most)| hits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_scikit_learns() {
        // y_true 0 0 1 1 2, y_pred 0 1 1 1 1; label 3 never occurs. f1_score(average="macro") is 0.46666….
        let counts = vec![1, 2, 0, 0, /* predicted */ 1, 4, 0, 0, /* actual */ 2, 2, 1, 0];
        let totals = Totals { samples: 5, divisor: 5, loss: 2.5, counts, ..Totals::default() };
        let objective = Objective::new(Task::SequenceClassification, 4);
        assert_eq!(objective.check(Pass::Eval, 5, &totals), Ok(()));
        let found = objective.metrics(&totals);
        assert_eq!((found["loss"], found["accuracy"]), (0.5, 0.6));
        assert!((found["f1"] - (2.0 / 3.0 + 2.0 / 3.0 + 0.0) / 3.0).abs() < 1e-12);
        assert!(
            found.keys().all(|name| known(name).is_some()),
            "a resumed run must know its metrics: {found:?}"
        );
    }

    #[test]
    fn sums_that_cannot_be_right_are_named() {
        let objective = Objective::Classification { labels: 2 };
        let good = Totals { samples: 3, divisor: 3, loss: 1.0, ..Totals::default() };
        let refused =
            |pass, totals: Totals| objective.check(pass, 3, &totals).expect_err("it cannot be right");
        assert_eq!(objective.check(Pass::Train, 3, &good), Ok(()));
        assert_eq!(refused(Pass::Train, Totals { samples: 4, ..good.clone() }), "has 3 samples, not 4");
        assert_eq!(refused(Pass::Train, Totals { divisor: 30, ..good.clone() }), "has the divisor 3, not 30");
        assert_eq!(refused(Pass::Train, Totals { loss: f64::NAN, ..good.clone() }), "has the loss NaN");
        assert_eq!(refused(Pass::Eval, good.clone()), "has 6 counts, not 0");
        let counts = vec![2, 1, /* predicted */ 1, 2, /* actual */ 2, 1];
        assert!(refused(Pass::Eval, Totals { counts, ..good.clone() }).contains("do not add up"));
        let counts = vec![1, 1, /* predicted */ 1, 2, /* actual */ 2, 1];
        let unbounded = Totals { counts, loss: f64::INFINITY, ..good };
        assert_eq!(objective.check(Pass::Eval, 3, &unbounded), Ok(()), "an evaluation may diverge");
    }
}
