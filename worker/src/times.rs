//! Where a worker's time goes, and how far it has loaded the checkpoint: what its heartbeats say.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart::checkpoint::{Loading, Progress};
use headstart::message::{FromWorker, TimeBreakdown};

/// How a worker has spent its time since it was ready, in microseconds.
#[derive(Debug, Default)]
pub struct Times {
    compute: AtomicU64,
    transfer: AtomicU64,
    wait: AtomicU64,
    /// What counts the bytes of the checkpoint, once its files are known.
    loading: OnceLock<Vec<Progress>>,
}

impl Times {
    /// Time without a lease. `sending`: while a partial is on its way.
    pub fn wait(&self, took: Duration, sending: bool) {
        let sum = if sending { &self.transfer } else { &self.wait };
        add(sum, took);
    }

    /// Time spent pushing and pulling.
    pub(crate) fn transfer(&self, took: Duration) {
        add(&self.transfer, took);
    }

    /// Time spent computing.
    pub(crate) fn compute(&self, took: Duration) {
        add(&self.compute, took);
    }

    /// From here on, heartbeats say how much of these is read.
    pub(crate) fn follow_loading(&self, progress: Vec<Progress>) {
        // A session loads one network.
        let _ = self.loading.set(progress);
    }

    /// The sums so far, as a heartbeat.
    pub fn heartbeat(&self) -> FromWorker {
        let read = |sum: &AtomicU64| Duration::from_micros(sum.load(Ordering::Relaxed));
        let spent = TimeBreakdown {
            compute: read(&self.compute),
            transfer: read(&self.transfer),
            wait: read(&self.wait),
        };
        let parts = self.loading.get().into_iter().flatten().map(Progress::now);
        FromWorker::Heartbeat(spent, parts.fold(Loading::default(), Loading::plus))
    }
}

fn add(sum: &AtomicU64, took: Duration) {
    sum.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
}
