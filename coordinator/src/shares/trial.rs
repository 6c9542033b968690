//! When an idle worker is tried again.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// The most that trials of one worker may cost, as a part of the time between them.
pub const COST: f64 = 0.02;

/// What is known when one is considered. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Predicted time of a step in which the worker computes a shard.
    pub with: f64,
    /// Predicted time of a step without it.
    pub without: f64,
    /// Time since its last step, or `None` if it has never computed a shard.
    pub since: Option<f64>,
}

impl Trial {
    /// Whether the worker should be tried in the next step: at once if it never was, else if what the step costs is at most
    /// [`COST`] of the time that has passed. The number of idle workers multiplies that, so try one at a time, and count `since`
    /// from the last trial of any.
    pub fn is_due(&self) -> bool {
        self.since.is_none_or(|since| self.with - self.without <= COST * since)
    }
}
