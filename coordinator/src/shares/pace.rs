//! How fast a worker is, as measured, and as the search uses it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::id::WorkerId;

/// Shortest time of a shard, in seconds: a measured zero is an error of the clock.
const SHORTEST: f64 = 1e-6;
/// Longest time that is told apart from others, in seconds.
const LONGEST: f64 = 1e9;

/// What was measured of one worker, smoothed. Times are in seconds; `None` is not measured yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Computing one shard.
    pub shard: Option<f64>,
    /// What a step costs it whatever it computes: latency, and the way of the step's sums down to its replica.
    pub fixed: Option<f64>,
    /// The way of one partial, the sum over one node, to the coordinator over the worker's own link.
    pub partial: Option<f64>,
    /// Whether its partials use a link at all: a worker that hands memory over is not remote, and `partial` is then 0.
    pub remote: bool,
    /// Number of shards in the longest node that its memory allows, at least 1.
    pub longest: u32,
}

/// The paces of all workers of a run that can compute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paces {
    pub workers: BTreeMap<WorkerId, Pace>,
    /// Seconds for which one partial occupies the coordinator's own link, which all remote workers share; 0 if not known.
    pub shared: Option<f64>,
}

/// A pace without gaps.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) shard: f64,
    pub(super) fixed: f64,
    pub(super) partial: f64,
    pub(super) remote: bool,
    pub(super) longest: u32,
}

impl Paces {
    pub(super) fn shared(&self) -> f64 {
        self.shared.map_or(0.0, bounded)
    }

    /// The workers by ascending number. What is not known of one is taken to be the median of the others, of the remote ones
    /// for links, so that a newcomer is given a share and thereby measured. While no shard is known, each takes a second.
    pub(super) fn resolve(&self) -> Vec<Worker> {
        let typical = |of: fn(&Pace) -> Option<f64>| median(self.workers.values().filter_map(of).collect());
        let shard = typical(|pace| pace.shard).unwrap_or(1.0);
        let fixed = [false, true].map(|remote| {
            let of = self.workers.values().filter(|pace| pace.remote == remote);
            median(of.filter_map(|pace| pace.fixed).collect()).unwrap_or(0.0)
        });
        let partial = typical(|pace| pace.partial.filter(|_| pace.remote)).unwrap_or(0.0);
        let worker = |(&id, pace): (&WorkerId, &Pace)| Worker {
            id,
            shard: bounded(pace.shard.unwrap_or(shard)).max(SHORTEST),
            fixed: bounded(pace.fixed.unwrap_or(fixed[usize::from(pace.remote)])),
            partial: if pace.remote { bounded(pace.partial.unwrap_or(partial)) } else { 0.0 },
            remote: pace.remote,
            longest: pace.longest.max(1),
        };
        self.workers.iter().map(worker).collect()
    }
}

impl Worker {
    /// The longest node of a power of two of shards that its memory allows.
    pub(super) fn largest(&self) -> u32 {
        1 << self.longest.ilog2()
    }
}

/// The lower median.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// A time that can be added up and compared.
fn bounded(seconds: f64) -> f64 {
    if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, LONGEST) }
}
