//! How long a step takes whose nodes are shared out.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::tree::Node;

use super::pace::Worker;

/// Halvings of the interval in which the least time lies.
const HALVINGS: u32 = 24;

/// When a step ends, and what one partial more would do to it. Times are in seconds since the step's beginning.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    /// When the last partial is there.
    pub(super) end: f64,
    /// When remote workers begin to send each partial, ascending.
    starts: Vec<f64>,
}

/// When a worker's last partial is there, if its own link were the only one. It computes its nodes in order, after `fixed`; a
/// partial is sent once its node is computed and the partial before it is sent. Pushes when each begins to be sent.
pub(super) fn pipeline(worker: &Worker, nodes: &[Node], starts: &mut Vec<f64>) -> f64 {
    let (mut computed, mut sent) = (worker.fixed, 0.0);
    for node in nodes {
        computed += worker.shard * f64::from(node.shards);
        let start = if computed > sent { computed } else { sent };
        sent = start + worker.partial;
        if worker.remote {
            starts.push(start);
        }
    }
    sent
}

/// Times a plan. The coordinator's link takes `shared` seconds a partial, one after the other, in the order in which they are
/// sent, and none before it is sent: the least time that the link needs, whatever it does about several at once.
pub(super) fn timing(workers: &[Worker], nodes: &[Vec<Node>], shared: f64) -> Timing {
    let mut starts = Vec::new();
    let of = |(worker, nodes): (&Worker, &Vec<Node>)| pipeline(worker, nodes, &mut starts);
    let slowest = workers.iter().zip(nodes).map(of).fold(0.0, f64::max);
    starts.sort_by(f64::total_cmp);
    let end = slowest.max(line(starts.iter().copied(), shared));
    Timing { end, starts }
}

/// A time below which no step can be: every worker computes whole shards and sends one partial at least.
pub(super) fn least(workers: &[Worker], shards: u32) -> f64 {
    let room = |time: f64| {
        let of = |worker: &Worker| ((time - worker.fixed - worker.partial) / worker.shard).max(0.0) as u64;
        workers.iter().map(of).fold(0, u64::saturating_add)
    };
    let alone = |worker: &Worker| worker.fixed + worker.partial + worker.shard * f64::from(shards);
    let (mut low, mut high) = (0.0, workers.iter().map(alone).fold(f64::INFINITY, f64::min));
    for _ in 0..HALVINGS {
        let time = low + (high - low) / 2.0;
        if room(time) < u64::from(shards) { low = time } else { high = time }
    }
    low
}

impl Timing {
    /// The time of the step if one worker more computes one shard, at most: what it takes from another is not counted.
    pub(super) fn with(&self, worker: &Worker, shared: f64) -> f64 {
        let start = worker.fixed + worker.shard;
        let end = self.end.max(start + worker.partial);
        if !worker.remote || shared == 0.0 {
            return end;
        }
        let after = self.starts.partition_point(|&other| other < start);
        let starts = self.starts[..after].iter().chain([&start]).chain(&self.starts[after..]);
        end.max(line(starts.copied(), shared))
    }
}

/// When a link that serves one partial at a time is done with all.
pub(super) fn line(starts: impl Iterator<Item = f64>, shared: f64) -> f64 {
    if shared == 0.0 {
        return 0.0;
    }
    starts.fold(0.0, |free: f64, start| free.max(start) + shared)
}
