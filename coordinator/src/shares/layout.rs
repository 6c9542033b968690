//! From numbers of shards to nodes of the canonical tree.
//!
//! The tree over V shards is a row of complete trees, one for each binary digit of V, the largest first, and a spine that joins
//! them. Its nodes are therefore of two kinds: blocks, whose lengths are powers of two and which lie inside a complete tree,
//! and tails, which run to the last shard.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::tree::{Node, Tree};

use super::pace::Worker;

/// How many shards each worker computes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Split {
    /// One node that runs to the last shard, if any: who computes it, and its length.
    pub(super) tail: Option<(usize, u32)>,
    /// Shards of each worker besides the tail.
    pub(super) shards: Vec<u32>,
}

impl Split {
    /// The part of one worker, as if there were no others.
    pub(super) fn only(&self, index: usize) -> Split {
        Split { tail: self.tail.map(|(_, shards)| (0, shards)), shards: vec![self.shards[index]] }
    }
}

/// The tails of a tree, longest first.
pub(super) fn tails(tree: Tree) -> Vec<u32> {
    let mut tails = vec![tree.shards()];
    while let Some((_, right)) = tails.last().and_then(|&shards| Tree::children(Node { first: 0, shards })) {
        // In a complete tree the right half is a block like any other.
        if right.shards * 2 == tails[tails.len() - 1] {
            break;
        }
        tails.push(right.shards);
    }
    tails
}

/// The nodes of each worker, ascending. Each gets as few nodes as its shards and its memory allow. Large blocks lie as far right
/// as possible, so that a worker computes its small ones first and its link is in use early.
///
/// There is always room: blocks are laid in descending order, all lengths divide each other, and their sum is the length of the
/// complete trees before the tail.
pub(super) fn layout(workers: &[Worker], tree: Tree, split: &Split) -> Vec<Vec<Node>> {
    let mut nodes = vec![Vec::new(); workers.len()];
    let tail = split.tail.map_or(0, |(_, shards)| shards);
    let mut room = complete(tree.shards() - tail);
    for level in (0..32).rev() {
        let length = 1 << level;
        let mut order: Vec<usize> =
            (0..workers.len()).filter(|&index| split.shards[index] >= length).collect();
        // Those that have longer blocks come left of them, as far as there is room.
        order.sort_by_key(|&index| nodes[index].last().map(|node: &Node| std::cmp::Reverse(node.first)));
        for index in order {
            let worker = &workers[index];
            for _ in 0..blocks(split.shards[index], worker.largest(), length) {
                let free = room.iter_mut().rev().find(|(first, end)| end - first >= length);
                let (_, end) = free.expect("descending powers of two fill complete trees without gaps");
                *end -= length;
                nodes[index].push(Node { first: *end, shards: length });
            }
        }
    }
    for nodes in &mut nodes {
        nodes.sort_unstable();
    }
    if let Some((index, shards)) = split.tail {
        nodes[index].push(Node { first: tree.shards() - tail, shards });
    }
    nodes
}

/// How many blocks of `length` a worker computes for its `shards`, if blocks have at most `largest`.
fn blocks(shards: u32, largest: u32, length: u32) -> u32 {
    match length.cmp(&largest) {
        std::cmp::Ordering::Less => shards / length % 2,
        std::cmp::Ordering::Equal => shards / length,
        std::cmp::Ordering::Greater => 0,
    }
}

/// The complete trees over the first `shards` shards, each as its first shard and its end.
fn complete(shards: u32) -> Vec<(u32, u32)> {
    let mut trees = Vec::new();
    let mut first = 0;
    while first < shards {
        let length = 1 << (shards - first).ilog2();
        trees.push((first, first + length));
        first += length;
    }
    trees
}
