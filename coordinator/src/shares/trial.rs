//! When an idle worker is tried again.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::id::WorkerId;

use super::Shares;

/// The most that trials may cost, as a part of the run's time.
pub const COST: f64 = 0.02;

/// What is known when a trial is considered. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Predicted time of a step in which the worker computes a shard.
    pub with: f64,
    /// Predicted time of a step without it.
    pub without: f64,
    /// Time since it last computed a shard, or `None` if it never has.
    pub since: Option<f64>,
    /// Number of idle workers, which share what trials may cost.
    pub idle: usize,
}

impl Trial {
    /// What the trial costs, in seconds: a whole step at least, because its worker may have to pull the weights first. So a
    /// worker for which there is no shard is tried now and then only.
    pub fn cost(&self) -> f64 {
        (self.with - self.without).max(self.without)
    }

    /// Whether the trial is due: at once if the worker has never computed, else once it costs no more than its share of
    /// [`COST`] of the time that has passed.
    pub fn is_due(&self) -> bool {
        self.since.is_none_or(|since| self.cost() * self.idle as f64 <= COST * since)
    }
}

/// The idle worker to try in the next step with [`super::with`]: of those that are due, the one with the cheapest trial. At
/// most one is tried at a time. `since` is the time in seconds since each worker last computed a shard; it lacks those that
/// never have.
///
/// What a trial measures should replace what was known of the worker, which is old, rather than be averaged with it.
pub fn due(shares: &Shares, since: &BTreeMap<WorkerId, f64>) -> Option<WorkerId> {
    let trial = |(&worker, &with): (&WorkerId, &f64)| {
        let since = since.get(&worker).copied();
        (worker, Trial { with, without: shares.time, since, idle: shares.idle.len() })
    };
    let due = shares.idle.iter().map(trial).filter(|(_, trial)| trial.is_due());
    due.min_by(|(_, one), (_, other)| one.cost().total_cmp(&other.cost())).map(|(worker, _)| worker)
}
