//! How many bytes of a checkpoint have been read, for people who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read, of those that are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Loading {
    pub done: u64,
    pub total: u64,
}

impl Loading {
    /// Both sums, of two checkpoints.
    pub fn plus(self, other: Loading) -> Loading {
        Loading { done: self.done.saturating_add(other.done), total: self.total.saturating_add(other.total) }
    }

    /// Whether some of it is still to come.
    pub fn is_underway(self) -> bool {
        self.done < self.total
    }
}

/// Counts what is read of a checkpoint, also while others look. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<[AtomicU64; 2]>);

impl Progress {
    /// Adds bytes that are to be read.
    pub(super) fn expect(&self, bytes: u64) {
        self.0[1].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds bytes that have been read.
    pub(super) fn advance(&self, bytes: u64) {
        self.0[0].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes read so far, and in all.
    pub fn now(&self) -> Loading {
        let [done, total] = self.0.each_ref().map(|sum| sum.load(Ordering::Relaxed));
        Loading { done, total }
    }
}
