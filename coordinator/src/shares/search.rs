//! The search for the shortest step: given a deadline, can all shards be computed by then?
//!
//! Blocks are handed out from the longest to the shortest. As the worker computes its short blocks first, one more block goes
//! in front of those it has: all of them are computed later by that block's time, and none later than that.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::tree::Tree;

use super::layout::{self, Split};
use super::pace::Worker;
use super::time;

/// Halvings of the interval in which the shortest deadline lies.
const HALVINGS: u32 = 24;
/// The interval is narrow enough when it is this part of the deadline.
const NARROW: f64 = 1e-3;
/// Deadlines that are tried below the shortest found, since whether one can be met isn't quite monotone.
const BELOW: u32 = 12;
/// Number of splits that are kept to improve on.
const KEPT: usize = 8;
/// Rounding errors that a deadline forgives, as a part of it.
const ROUNDING: f64 = 1e-9;

/// A split of the shards, and when its step ends, in seconds.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) split: Split,
    pub(super) end: f64,
}

/// What one worker has been given so far.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    shards: u32,
    nodes: u32,
    /// When its last partial is there, without `fixed`.
    sent: f64,
}

/// Finds splits that are about as short as any, the shortest first, to improve on.
pub(super) fn search(workers: &[Worker], tree: Tree, shared: f64) -> Vec<Found> {
    let mut found = vec![alone(workers, tree, shared)];
    let (mut low, mut high) = (0.0, found[0].end);
    for _ in 0..HALVINGS {
        if high - low <= NARROW * high {
            break;
        }
        let deadline = low + (high - low) / 2.0;
        let by = by(workers, tree, shared, deadline);
        let end = by.iter().map(|found| found.end).fold(f64::INFINITY, f64::min);
        // A later end than the deadline is the shared link's doing, which fewer partials would relieve.
        if end <= deadline * (1.0 + ROUNDING) {
            high = end
        } else {
            low = deadline
        }
        add(&mut found, by);
    }
    for below in 1..=BELOW {
        let deadline = found[0].end * (1.0 - 0.02 * f64::from(below));
        let by = by(workers, tree, shared, deadline);
        add(&mut found, by);
    }
    found
}

/// Keeps the shortest few of all.
fn add(found: &mut Vec<Found>, more: Vec<Found>) {
    found.extend(more);
    found.sort_by(|one, other| one.end.total_cmp(&other.end));
    found.dedup_by(|one, other| one.split == other.split);
    found.truncate(KEPT);
}

/// The best worker computes everything.
fn alone(workers: &[Worker], tree: Tree, shared: f64) -> Found {
    let all = |index: usize| {
        let whole = workers[index].longest >= tree.shards();
        let mut split =
            Split { tail: whole.then_some((index, tree.shards())), shards: vec![0; workers.len()] };
        split.shards[index] = if whole { 0 } else { tree.shards() };
        let nodes = &layout::layout(&workers[index..=index], tree, &split.only(index))[0];
        let mut starts = Vec::new();
        let sent = time::pipeline(&workers[index], nodes, &mut starts);
        let end = sent.max(time::line(starts.into_iter(), shared));
        Found { split, end }
    };
    let shorter = |one: Found, other: Found| if other.end < one.end { other } else { one };
    (0..workers.len()).map(all).reduce(shorter).expect("a step has a worker")
}

/// The splits that the deadline leads to; they may end later, if that is due to the shared link.
fn by(workers: &[Worker], tree: Tree, shared: f64, deadline: f64) -> Vec<Found> {
    let mut deadlines = vec![vec![deadline * (1.0 + ROUNDING); workers.len()]];
    if shared > 0.0 {
        deadlines.push(staggered(workers, shared, deadline));
    }
    let tails = layout::tails(tree);
    let tails = || tails.iter().copied().map(Some).chain([None]);
    let each = deadlines.iter().flat_map(|each| tails().map(move |tail| (each, tail)));
    let splits = each.filter_map(|(each, tail)| deal(workers, tree, each, tail));
    splits.map(|split| timed(workers, tree, shared, split)).collect()
}

pub(super) fn timed(workers: &[Worker], tree: Tree, shared: f64, split: Split) -> Found {
    let end = time::timing(workers, &layout::layout(workers, tree, &split), shared).end;
    Found { split, end }
}

/// Deadlines for a shared link, on which one worker sends after the other: those with the fastest processors last, since they
/// compute the most until then.
fn staggered(workers: &[Worker], shared: f64, deadline: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..workers.len()).filter(|&index| workers[index].remote).collect();
    order.sort_by(|&a, &b| workers[a].shard.total_cmp(&workers[b].shard));
    let mut deadlines = vec![deadline * (1.0 + ROUNDING); workers.len()];
    let mut after = 1.0;
    for index in order {
        let worker = &workers[index];
        let own = deadline.min(deadline + worker.partial - shared * after);
        deadlines[index] = own * (1.0 + ROUNDING);
        if worker.fixed + worker.shard + worker.partial <= deadlines[index] {
            after += 1.0;
        }
    }
    deadlines
}

/// Deals all shards out so that every worker meets its deadline, with as few nodes as possible.
fn deal(workers: &[Worker], tree: Tree, deadlines: &[f64], tail: Option<u32>) -> Option<Split> {
    let mut loads = vec![Load::default(); workers.len()];
    let mut left = tree.shards();
    let mut owner = None;
    if let Some(tail) = tail {
        let able = |&index: &usize| {
            tail <= workers[index].longest && loads[index].fits(&workers[index], tail, deadlines[index]) > 0
        };
        let able: Vec<usize> = (0..workers.len()).filter(able).collect();
        let longest = 1 << (tree.shards() - tail).max(1).ilog2();
        let first = ranked(workers, &loads, deadlines, (tail, longest), able).into_iter().next()?;
        loads[first] = loads[first].and(&workers[first], tail, 1);
        left -= tail;
        owner = Some((first, tail));
    }
    for level in (0..=left.checked_ilog2().unwrap_or(0)).rev() {
        let length = 1 << level;
        let fits = |index: usize| match length.cmp(&workers[index].largest()) {
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Equal => loads[index].fits(&workers[index], length, deadlines[index]),
            std::cmp::Ordering::Less => loads[index].fits(&workers[index], length, deadlines[index]).min(1),
        };
        let able: Vec<(usize, u32)> = (0..workers.len()).map(|index| (index, fits(index))).collect();
        let mut able: Vec<(usize, u32)> = able.into_iter().filter(|&(_, most)| most > 0).collect();
        let wanted = left / length;
        if able.iter().map(|&(_, most)| u64::from(most)).sum::<u64>() > u64::from(wanted) {
            let order = able.iter().map(|&(index, _)| index).collect();
            let order = ranked(workers, &loads, deadlines, (length, length / 2), order);
            able = order.into_iter().map(|index| (index, fits(index))).collect();
        }
        for (index, most) in able {
            let count = most.min(left / length);
            loads[index] = loads[index].and(&workers[index], length, count);
            left -= count * length;
        }
    }
    let shards = |(index, load): (usize, &Load)| {
        load.shards - owner.filter(|&(owner, _)| owner == index).map_or(0, |(_, tail)| tail)
    };
    (left == 0).then(|| Split { tail: owner, shards: loads.iter().enumerate().map(shards).collect() })
}

/// Workers that could all take a node of `length`, in the order in which they should: first those that could compute the least
/// without it, if later blocks have at most `later` shards.
fn ranked(
    workers: &[Worker],
    loads: &[Load],
    deadlines: &[f64],
    (length, later): (u32, u32),
    mut able: Vec<usize>,
) -> Vec<usize> {
    let keys: Vec<(u32, bool, f64)> = (0..workers.len())
        .map(|index| {
            let (worker, load) = (&workers[index], loads[index]);
            let more = load.and(worker, length, 1);
            let without = load.most(worker, later, deadlines[index]);
            let with = length + more.most(worker, later, deadlines[index]);
            (with.saturating_sub(without), worker.remote, worker.fixed + more.sent)
        })
        .collect();
    able.sort_by(|&a, &b| {
        let ((gain, remote, sent), (other_gain, other_remote, other_sent)) = (keys[a], keys[b]);
        other_gain.cmp(&gain).then(remote.cmp(&other_remote)).then(sent.total_cmp(&other_sent))
    });
    able
}

impl Load {
    /// The load with `count` more blocks of `length` in front.
    fn and(self, worker: &Worker, length: u32, count: u32) -> Load {
        if count == 0 {
            return self;
        }
        let block = worker.shard * f64::from(length);
        let (blocks, nodes) = (f64::from(count), f64::from(self.nodes));
        let first = block + (nodes + blocks) * worker.partial;
        let last = blocks * block + (nodes + 1.0) * worker.partial;
        let sent = (self.sent + blocks * block).max(first).max(last);
        Load { shards: self.shards + count * length, nodes: self.nodes + count, sent }
    }

    /// How many blocks of `length` can go in front, without regard to memory.
    fn fits(self, worker: &Worker, length: u32, deadline: f64) -> u32 {
        let block = worker.shard * f64::from(length);
        let time = deadline - worker.fixed;
        let nodes = f64::from(self.nodes);
        if block + (nodes + 1.0) * worker.partial > time || self.sent + block > time {
            return 0;
        }
        let computed = (time - (nodes + 1.0) * worker.partial).min(time - self.sent) / block;
        let sent = if worker.partial > 0.0 { (time - block) / worker.partial - nodes } else { f64::INFINITY };
        // A cast saturates.
        (computed.min(sent) as u32).max(1)
    }

    /// How many shards blocks of at most `longest` shards can add.
    fn most(mut self, worker: &Worker, longest: u32, deadline: f64) -> u32 {
        let before = self.shards;
        let mut length = longest.min(worker.largest());
        while length > 0 {
            let limit = if length == worker.largest() { u32::MAX / length } else { 1 };
            let count = self.fits(worker, length, deadline).min(limit);
            self = self.and(worker, length, count);
            length /= 2;
        }
        self.shards - before
    }
}
