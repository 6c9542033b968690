//! Which weights are best, and when improvement has ended. Definitions: transformers.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::id::Version;
use headstart::run_file::{Metric, RunSpec};

/// The best evaluation so far.
#[derive(Clone, Debug)]
pub struct Best {
    metric: Metric,
    greater: bool,
    patience: Option<u32>,
    threshold: f64,
    best: Option<(Version, f64)>,
    without_improvement: u32,
}

/// What an evaluation means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// These weights are the best so far.
    pub best: bool,
    /// Patience is exhausted.
    pub stop: bool,
}

impl Best {
    /// No evaluation yet.
    pub fn new(spec: &RunSpec) -> Best {
        Best {
            metric: spec.evaluation.metric_for_best_model,
            greater: spec.evaluation.greater_is_better,
            patience: spec.evaluation.early_stopping_patience,
            threshold: spec.evaluation.early_stopping_threshold,
            best: None,
            without_improvement: 0,
        }
    }

    /// Judges one evaluation. Patience is lost by an evaluation that does not beat the best by the threshold.
    pub fn judge(&mut self, version: Version, metrics: &BTreeMap<&'static str, f64>) -> Verdict {
        let value = metrics[self.metric.name()];
        let beats = |best: f64| if self.greater { value > best } else { value < best };
        let (better, enough) = match self.best {
            None => (true, true),
            Some((_, best)) => (beats(best), beats(best) && (value - best).abs() > self.threshold),
        };
        if better {
            self.best = Some((version, value));
        }
        self.without_improvement = if enough { 0 } else { self.without_improvement + 1 };
        let stop = self.patience.is_some_and(|patience| self.without_improvement >= patience);
        Verdict { best: better, stop }
    }

    /// Goes on from what [`Best::best`] and [`Best::without_improvement`] said.
    pub fn resume(&mut self, best: Option<(Version, f64)>, without_improvement: u32) {
        self.best = best;
        self.without_improvement = without_improvement;
    }

    /// Evaluations since the last improvement.
    pub fn without_improvement(&self) -> u32 {
        self.without_improvement
    }

    /// The best version and its value.
    pub fn best(&self) -> Option<(Version, f64)> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_a_run_that_no_longer_improves() {
        let mut best = Best {
            metric: Metric::Accuracy,
            greater: true,
            patience: Some(2),
            threshold: 0.01,
            best: None,
            without_improvement: 0,
        };
        let mut judge =
            |version, accuracy| best.judge(Version(version), &BTreeMap::from([("accuracy", accuracy)]));
        assert_eq!(judge(1, 0.5), Verdict { best: true, stop: false });
        assert_eq!(judge(2, 0.505), Verdict { best: true, stop: false }, "better, but below the threshold");
        assert_eq!(judge(3, 0.6), Verdict { best: true, stop: false }, "patience is restored");
        assert_eq!(judge(4, 0.6), Verdict { best: false, stop: false });
        assert_eq!(judge(5, 0.4), Verdict { best: false, stop: true });
        assert_eq!(best.best(), Some((Version(3), 0.6)));
    }
}
