//! Small changes to a split: what the search by deadlines leaves on the table.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::tree::Tree;

use super::layout::{self, Split};
use super::pace::Worker;
use super::search::{Found, timed};
use super::time;

/// Most splits that are timed, as each costs about as much as there are workers.
const TRIES: u32 = 4096;
/// Most workers that are timed, over all splits.
const WORK: u32 = 1 << 14;
/// Idle workers, one after the other, that find nothing to do before the others are not asked.
const PATIENCE: u32 = 16;
/// Rounding errors that a longer step is forgiven when idle workers are given shares, as a part of it.
const ROUNDING: f64 = 1e-9;

/// Moves shards between workers while that makes the step shorter; then gives shares to idle workers where that costs nothing.
pub(super) fn improve(workers: &[Worker], tree: Tree, shared: f64, found: Vec<Found>) -> Found {
    let mut tries = TRIES.min(WORK / workers.len() as u32);
    let improved = found.into_iter().map(|mut best| {
        while let Some(better) = moved(workers, tree, shared, &best, &mut tries) {
            best = better;
        }
        best
    });
    let best = improved.min_by(|one, other| one.end.total_cmp(&other.end));
    spread(workers, tree, shared, best.expect("a search finds something"))
}

/// A shorter split that differs from `best` in one move of shards from one worker to another.
fn moved(workers: &[Worker], tree: Tree, shared: f64, best: &Found, tries: &mut u32) -> Option<Found> {
    let mut shortest: Option<Found> = None;
    for split in neighbours(workers, tree, &best.split) {
        if *tries == 0 {
            break;
        }
        *tries -= 1;
        let found = timed(workers, tree, shared, split);
        let bound = shortest.as_ref().map_or(best.end * (1.0 - ROUNDING), |shortest| shortest.end);
        if found.end < bound {
            shortest = Some(found);
        }
    }
    shortest
}

/// All splits one move away: any number of a worker's shards that is a power of two, or all of them, to another worker; two
/// workers' shares for each other; the tail to another worker, or made longer or shorter.
fn neighbours<'a>(workers: &'a [Worker], tree: Tree, split: &'a Split) -> impl Iterator<Item = Split> + 'a {
    let pairs = (0..workers.len()).flat_map(|from| (0..workers.len()).map(move |to| (from, to)));
    let pairs = pairs.filter(|&(from, to)| from != to && split.shards[from] > 0);
    let moves = pairs.flat_map(move |(from, to)| {
        let all = split.shards[from];
        let powers = (0..32).map(|level| 1u32 << level).take_while(move |&amount| amount < all);
        powers.chain([all]).map(move |amount| {
            let mut split = split.clone();
            split.shards[from] -= amount;
            split.shards[to] += amount;
            split
        })
    });
    moves.chain(swaps(workers, split)).chain(other_tails(workers, tree, split))
}

/// The splits in which two workers compute each other's share.
fn swaps<'a>(workers: &'a [Worker], split: &'a Split) -> impl Iterator<Item = Split> + 'a {
    let pairs = (0..workers.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    pairs.filter_map(|(one, other)| {
        let mut split = split.clone();
        split.shards.swap(one, other);
        let (owner, tail) = split.tail.unwrap_or_default();
        if let Some((index, _)) = split.tail.as_mut().filter(|_| owner == one || owner == other) {
            *index = one + other - owner;
        }
        let fits = split.tail.is_none_or(|(owner, _)| tail <= workers[owner].longest);
        fits.then_some(split)
    })
}

/// The splits with another tail, or with none. What a tail takes from blocks is taken from its owner first.
fn other_tails<'a>(workers: &'a [Worker], tree: Tree, split: &Split) -> impl Iterator<Item = Split> + 'a {
    let mut loose = split.clone();
    if let Some((owner, tail)) = loose.tail.take() {
        loose.shards[owner] += tail;
    }
    let none = split.tail.map(|_| loose.clone());
    let each =
        layout::tails(tree).into_iter().flat_map(|tail| (0..workers.len()).map(move |owner| (owner, tail)));
    let fitting = each.filter(|&(owner, tail)| tail <= workers[owner].longest);
    none.into_iter().chain(fitting.map(move |(owner, tail)| {
        let mut split = loose.clone();
        let mut owed = tail;
        for from in std::iter::once(owner).chain((0..workers.len()).rev()) {
            let taken = owed.min(split.shards[from]);
            split.shards[from] -= taken;
            owed -= taken;
        }
        Split { tail: Some((owner, tail)), ..split }
    }))
}

/// Gives idle workers a part of the share of the one that finishes last, as long as the step gets no longer and the worker
/// finishes before that one did: of two equal plans, the one with more members loses less when one of them is slow once.
fn spread(workers: &[Worker], tree: Tree, shared: f64, mut best: Found) -> Found {
    let end = best.end * (1.0 + ROUNDING);
    let mut nodes = layout::layout(workers, tree, &best.split);
    let mut timing = time::timing(workers, &nodes, shared);
    let mut misses = 0;
    for idle in 0..workers.len() {
        if misses == PATIENCE {
            break;
        }
        if !nodes[idle].is_empty() || timing.with(&workers[idle], shared) > end {
            continue;
        }
        let finish = |index: usize| time::pipeline(&workers[index], &nodes[index], &mut Vec::new());
        let splittable = (0..workers.len()).filter(|&index| best.split.shards[index] > 1);
        let Some(last) = splittable.max_by(|&a, &b| finish(a).total_cmp(&finish(b))) else { break };
        let finish = finish(last);
        let half = best.split.shards[last] / 2;
        misses += 1;
        for amount in (0..=half.ilog2()).rev().map(|level| 1 << level) {
            let mut split = best.split.clone();
            split.shards[last] -= amount;
            split.shards[idle] += amount;
            let then = layout::layout(workers, tree, &split);
            let timed = time::timing(workers, &then, shared);
            if timed.end <= end && time::pipeline(&workers[idle], &then[idle], &mut Vec::new()) < finish {
                best = Found { split, end: timed.end };
                (nodes, timing) = (then, timed);
                misses = 0;
                break;
            }
        }
    }
    best
}
