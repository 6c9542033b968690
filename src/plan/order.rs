//! Orders of rows: seeded permutations, of all rows or in blocks.

use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::data::Blocks;

/// A seeded permutation of `0..len` in constant memory: a Feistel network over the next even power of two, walked
/// until it lands inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    key: u64,
}

const ROUNDS: u64 = 6;

impl Permutation {
    /// The permutation of `0..len` for one epoch of a seed.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Permutation {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        let key = xxh3_64_with_seed(&epoch.to_le_bytes(), seed);
        Permutation { len, half_bits: bits.div_ceil(2).max(1), key }
    }

    /// Where position `index` goes; panics outside `0..len`.
    pub fn at(&self, index: u64) -> u64 {
        assert!(index < self.len, "position {index} of a permutation of {}", self.len);
        let mut value = self.encrypt(index);
        while value >= self.len {
            value = self.encrypt(value);
        }
        value
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..ROUNDS {
            let mixed = xxh3_64_with_seed(&right.to_le_bytes(), self.key.wrapping_add(round)) & mask;
            (left, right) = (right, left ^ mixed);
        }
        (left << self.half_bits) | right
    }
}

/// Blocks whose rows are mixed with each other: about half a gigabyte.
pub(super) const WINDOW: u64 = 64;

/// The rows of one epoch in blocks: the blocks are permuted, then the rows of each window of [`WINDOW`] blocks. It takes
/// memory by the number of blocks, and any position is found by two binary searches.
#[derive(Debug)]
pub(super) struct BlockOrder {
    seed: u64,
    epoch: u64,
    /// Per place in the epoch, the block that comes there, and the number of rows up to and including its own.
    order: Vec<(u64, u64)>,
}

impl BlockOrder {
    fn new(blocks: &Blocks, seed: u64, epoch: u64) -> BlockOrder {
        let permutation = Permutation::new(blocks.len(), seed, epoch);
        let mut rows = 0;
        let place = |place| {
            let block = permutation.at(place);
            let held = blocks.rows(block);
            rows += held.end - held.start;
            (block, rows)
        };
        BlockOrder { seed, epoch, order: (0..blocks.len()).map(place).collect() }
    }

    /// Rows before a place in the epoch.
    fn before(&self, place: usize) -> u64 {
        if place == 0 { 0 } else { self.order[place - 1].1 }
    }

    /// The row that position `index` of the epoch gets; panics outside the epoch.
    pub(super) fn at(&self, blocks: &Blocks, index: u64) -> u64 {
        let place = |index| self.order.partition_point(|&(_, end)| end <= index);
        let window = place(index) as u64 / WINDOW;
        let first = (window * WINDOW) as usize;
        let last = (first + WINDOW as usize).min(self.order.len());
        let (start, end) = (self.before(first), self.before(last));
        // A key of its own for every window of every epoch.
        let key = xxh3_64_with_seed(b"window", self.seed).wrapping_add(window);
        let index = start + Permutation::new(end - start, key, self.epoch).at(index - start);
        let place = place(index);
        blocks.rows(self.order[place].0).start + (index - self.before(place))
    }
}

/// The blocks of the training rows, and the epoch asked for last: its successors ask for the same.
#[derive(Clone, Debug)]
pub(super) struct InBlocks {
    pub(super) blocks: Blocks,
    latest: Arc<Mutex<Option<Arc<BlockOrder>>>>,
}

impl InBlocks {
    pub(super) fn new(blocks: Blocks) -> InBlocks {
        InBlocks { blocks, latest: Arc::default() }
    }

    /// The order of one epoch.
    pub(super) fn epoch(&self, seed: u64, epoch: u64) -> Arc<BlockOrder> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some(order) if order.epoch == epoch => order.clone(),
            _ => latest.insert(Arc::new(BlockOrder::new(&self.blocks, seed, epoch))).clone(),
        }
    }
}
