//! What a task's sums mean: whether they can be right, and which metrics follow from them. A new task begins here.
//!
//! A worker's objective makes these sums, and the reduction adds them exactly along the canonical tree, so metrics do not
//! depend on the number of workers. Definitions: transformers, scikit-learn.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::message::{GoldenRow, Pass, ProbedRow, Totals};
use headstart::run_file::{Metric, Task};

/// How a run's sums are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// One label a sample. The divisor is the number of samples; `counts` holds the true positives of each label, then how
    /// often each was predicted, then how often it was right to.
    Classification { labels: usize },
    /// The next token. The divisor is the number of trained tokens; `counts` holds the tokens that were predicted right,
    /// `measures` the sums of negative log likelihoods and of entropies, in nats.
    CausalLm,
}

/// How far above 0 rounding may lift the logarithm of a probability of 1.
const ROUNDING: f32 = 1e-3;
/// Bytes of the longest text of a golden row: tokens can be long, but not all of them.
const LONGEST_PROMPT: usize = 1 << 20;

/// What is known of a pass's rows before they are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub rows: u64,
    /// Tokens of these rows; `None`: not known.
    pub tokens: Option<u64>,
    /// Those that are trained; `None`: not known.
    pub trained: Option<u64>,
}

impl Objective {
    /// The objective of a task over this many labels.
    pub fn new(task: Task, labels: usize) -> Objective {
        match task {
            Task::SequenceClassification | Task::ImageClassification => Objective::Classification { labels },
            Task::CausalLm => Objective::CausalLm,
        }
    }

    /// Judges the sums of a pass before any of them is added. The error completes "step 3, shards 0..2 …".
    pub fn check(&self, pass: Pass, expected: Expected, totals: &Totals) -> Result<(), String> {
        let Expected { rows, tokens: of_rows, trained } = expected;
        let Totals { samples, divisor, loss, counts, measures, tokens, golden, probed, compute: _ } = totals;
        if *samples != rows {
            return Err(format!("has {rows} samples, not {samples}"));
        }
        if golden.len() as u64 != if pass == Pass::Golden { rows } else { 0 } {
            return Err(format!("has {} rows with log probabilities", golden.len()));
        }
        if probed.len() as u64 != if pass == Pass::Probe { rows } else { 0 } {
            return Err(format!("has {} probed rows", probed.len()));
        }
        if pass == Pass::Probe {
            return probed.iter().try_for_each(|row| self.check_probed(row, of_rows));
        }
        if pass == Pass::Golden {
            let longest = of_rows.map_or(u64::MAX, |tokens| tokens.min(rows * GoldenRow::LONGEST as u64));
            if golden.iter().map(|row| row.token_ids.len() as u64).sum::<u64>() > longest {
                return Err(format!("has more than {longest} tokens"));
            }
            return golden.iter().try_for_each(check_golden);
        }
        if let Some(odd) = measures.iter().find(|_| pass == Pass::Train).filter(|value| !value.is_finite()) {
            return Err(format!("has the measure {odd}"));
        }
        if let Some(expected) = of_rows.filter(|expected| expected != tokens) {
            return Err(format!("has {expected} tokens, not {tokens}"));
        }
        let divisors = match self {
            Objective::Classification { .. } => rows..=rows,
            // A row's first token is never trained.
            Objective::CausalLm => {
                trained.map_or(0..=tokens.saturating_sub(rows), |trained| trained..=trained)
            }
        };
        if !divisors.contains(divisor) {
            return Err(format!("has the divisor {}, not {divisor}", divisors.end()));
        }
        let sizes = match *self {
            Objective::Classification { labels } => [if pass == Pass::Eval { 3 * labels } else { 0 }, 0],
            // A pass without rows has none.
            Objective::CausalLm if counts.is_empty() && measures.is_empty() && *divisor == 0 => [0, 0],
            Objective::CausalLm => [1, 2],
        };
        if [counts.len(), measures.len()] != sizes {
            let found = (counts.len(), measures.len());
            return Err(format!("has {} counts and {} measures, not {found:?}", sizes[0], sizes[1]));
        }
        let add_up = match *self {
            Objective::Classification { labels } => pass != Pass::Eval || add_up(counts, labels, rows),
            Objective::CausalLm => counts.iter().all(|right| right <= divisor),
        };
        if !add_up {
            return Err(format!("has counts that do not add up to its {divisor} samples or tokens"));
        }
        // An evaluation may report an infinite loss.
        match pass == Pass::Train && !loss.is_finite() {
            true => Err(format!("has the loss {loss}")),
            false => Ok(()),
        }
    }

    fn check_probed(&self, row: &ProbedRow, tokens: Option<u64>) -> Result<(), String> {
        let ProbedRow { values, token_ids, before, bytes: _ } = row;
        let of_tokens = match self {
            Objective::Classification { .. } => 0,
            Objective::CausalLm => values.len(),
        };
        if [token_ids.len(), before.len()] != [of_tokens; 2] {
            return Err(format!("has {} tokens in a row of {} values", token_ids.len(), values.len()));
        }
        match tokens.filter(|&tokens| of_tokens as u64 > tokens) {
            Some(tokens) => Err(format!("has more than {tokens} tokens")),
            None => Ok(()),
        }
    }

    /// Metrics from the sums over all evaluation rows, by name, without the `eval_` prefix.
    pub fn metrics(&self, totals: &Totals) -> BTreeMap<&'static str, f64> {
        match *self {
            Objective::Classification { labels } => classification(labels, totals),
            Objective::CausalLm => {
                let mut metrics = of_tokens(totals);
                metrics.insert(Metric::Loss.name(), totals.mean_loss());
                metrics
            }
        }
    }

    /// Metrics of a training step beside the loss.
    pub fn of_step(&self, totals: &Totals) -> BTreeMap<&'static str, f64> {
        match self {
            Objective::Classification { .. } => BTreeMap::new(),
            Objective::CausalLm => of_tokens(totals),
        }
    }
}

/// The name of a metric that an earlier coordinator wrote down, if an objective has it.
pub fn known(written: &str) -> Option<&'static str> {
    let tasks = [Task::SequenceClassification, Task::ImageClassification, Task::CausalLm];
    tasks.iter().flat_map(|task| Metric::of(*task)).map(|metric| metric.name()).find(|name| *name == written)
}

fn check_golden(row: &GoldenRow) -> Result<(), String> {
    let GoldenRow { prompt, token_ids, logprobs } = row;
    let tokens = token_ids.len();
    if tokens == 0 || tokens > GoldenRow::LONGEST || logprobs.len() != tokens - 1 {
        return Err(format!("has {} log probabilities for {tokens} tokens", logprobs.len()));
    }
    if let Some(odd) = logprobs.iter().find(|logprob| **logprob > ROUNDING) {
        return Err(format!("has the log probability {odd}"));
    }
    match prompt.len() > LONGEST_PROMPT {
        true => Err(format!("has a text of {} bytes for {tokens} tokens", prompt.len())),
        false => Ok(()),
    }
}

/// Perplexity, accuracy and entropy of tokens, as TRL defines them.
fn of_tokens(totals: &Totals) -> BTreeMap<&'static str, f64> {
    let mean = |sum: f64| sum / totals.divisor.max(1) as f64;
    let measure = |index: usize| mean(totals.measures.get(index).copied().unwrap_or_default());
    let right = totals.counts.first().copied().unwrap_or_default();
    BTreeMap::from([
        (Metric::Perplexity.name(), libm::exp(measure(0))),
        (Metric::MeanTokenAccuracy.name(), mean(right as f64)),
        (Metric::Entropy.name(), measure(1)),
    ])
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
        (Metric::Loss.name(), totals.mean_loss()),
        (Metric::Accuracy.name(), hits.iter().sum::<u64>() as f64 / totals.samples as f64),
        (Metric::F1.name(), f1.iter().sum::<f64>() / f1.len().max(1) as f64),
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

    fn rows(rows: u64) -> Expected {
        Expected { rows, tokens: None, trained: None }
    }

    #[test]
    fn metrics_are_scikit_learns() {
        // y_true 0 0 1 1 2, y_pred 0 1 1 1 1; label 3 never occurs. f1_score(average="macro") is 0.46666….
        let counts = vec![1, 2, 0, 0, /* predicted */ 1, 4, 0, 0, /* actual */ 2, 2, 1, 0];
        let totals = Totals { samples: 5, divisor: 5, loss: 2.5, counts, ..Totals::default() };
        let objective = Objective::new(Task::SequenceClassification, 4);
        assert_eq!(objective.check(Pass::Eval, rows(5), &totals), Ok(()));
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
            |pass, totals: Totals| objective.check(pass, rows(3), &totals).expect_err("it cannot be right");
        assert_eq!(objective.check(Pass::Train, rows(3), &good), Ok(()));
        assert_eq!(refused(Pass::Train, Totals { samples: 4, ..good.clone() }), "has 3 samples, not 4");
        assert_eq!(refused(Pass::Train, Totals { divisor: 30, ..good.clone() }), "has the divisor 3, not 30");
        assert_eq!(refused(Pass::Train, Totals { loss: f64::NAN, ..good.clone() }), "has the loss NaN");
        assert_eq!(refused(Pass::Eval, good.clone()), "has 6 counts and 0 measures, not (0, 0)");
        let counts = vec![2, 1, /* predicted */ 1, 2, /* actual */ 2, 1];
        assert!(refused(Pass::Eval, Totals { counts, ..good.clone() }).contains("do not add up"));
        let counts = vec![1, 1, /* predicted */ 1, 2, /* actual */ 2, 1];
        let unbounded = Totals { counts, loss: f64::INFINITY, ..good };
        assert_eq!(objective.check(Pass::Eval, rows(3), &unbounded), Ok(()), "an evaluation may diverge");
    }

    #[test]
    fn tokens_are_divided_by_their_number() {
        let totals = Totals {
            samples: 2,
            divisor: 4,
            loss: 6.0,
            counts: vec![3],
            measures: vec![4.0 * std::f64::consts::LN_2, 2.0],
            tokens: 9,
            ..Totals::default()
        };
        let objective = Objective::new(Task::CausalLm, 0);
        for trained in [None, Some(4)] {
            assert_eq!(
                objective.check(Pass::Train, Expected { rows: 2, tokens: None, trained }, &totals),
                Ok(())
            );
        }
        let found = objective.metrics(&totals);
        assert_eq!((found["loss"], found["mean_token_accuracy"], found["entropy"]), (1.5, 0.75, 0.5));
        assert!((found["perplexity"] - 2.0).abs() < 1e-12);
        assert!(found.keys().all(|name| known(name).is_some()));
        assert_eq!(objective.of_step(&totals).len(), 3);
        let refused = |trained, totals: &Totals| {
            objective
                .check(Pass::Train, Expected { rows: 2, tokens: None, trained }, totals)
                .expect_err("it cannot be right")
        };
        assert_eq!(refused(Some(5), &totals), "has the divisor 5, not 4");
        assert_eq!(refused(None, &Totals { tokens: 5, ..totals.clone() }), "has the divisor 3, not 4");
        assert!(refused(None, &Totals { counts: vec![5], ..totals.clone() }).contains("do not add up"));
        assert!(refused(None, &Totals { measures: vec![], ..totals }).contains("2 measures"));
    }
}
