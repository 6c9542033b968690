//! Consecutive rows that are fetched together.

use std::ops::Range;
use std::sync::Arc;

use super::RowIndex;

/// A block takes rows until it holds this number of bytes …
const FULL: u64 = 8 << 20;
/// … and no row that would bring it above this number, except its first.
const MOST: u64 = 16 << 20;

/// The rows of an index in blocks of 8 to 16 MiB, derived from it alone; a block of large images may be larger, the last
/// one smaller. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Per block, the number of rows up to and including its own.
    ends: Arc<[u64]>,
}

impl Blocks {
    /// The blocks of an index.
    pub fn of(index: &RowIndex) -> Blocks {
        Blocks::cut(index.lengths())
    }

    /// Blocks over rows of these lengths, in bytes.
    pub(crate) fn cut(lengths: &[u32]) -> Blocks {
        let (mut ends, mut held) = (Vec::new(), 0);
        for (row, &length) in (0..).zip(lengths) {
            if held > 0 && (held >= FULL || held + u64::from(length) > MOST) {
                ends.push(row);
                held = 0;
            }
            held += u64::from(length);
        }
        if !lengths.is_empty() {
            ends.push(lengths.len() as u64);
        }
        Blocks { ends: ends.into() }
    }

    /// Number of blocks.
    pub fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows of a block; panics when there is no such block.
    pub fn rows(&self, block: u64) -> Range<u64> {
        let block = block as usize;
        let start = if block == 0 { 0 } else { self.ends[block - 1] };
        start..self.ends[block]
    }

    /// The block of a row of the index.
    pub fn of_row(&self, row: u64) -> u64 {
        self.ends.partition_point(|&end| end <= row) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u32 = 1 << 20;

    proptest! {
        #[test]
        fn every_row_is_in_one_block_of_the_right_size(lengths in prop::collection::vec(1..20 * MIB, 1..80)) {
            let blocks = Blocks::cut(&lengths);
            let mut next = 0;
            for block in 0..blocks.len() {
                let rows = blocks.rows(block);
                prop_assert_eq!(rows.start, next);
                prop_assert!(rows.clone().all(|row| blocks.of_row(row) == block));
                next = rows.end;
                let held: u64 = lengths[rows.start as usize..rows.end as usize].iter().map(|&length| u64::from(length)).sum();
                prop_assert!(held <= MOST || rows.end - rows.start == 1);
                let following = lengths.get(rows.end as usize).map_or(u64::MAX, |&length| u64::from(length));
                prop_assert!(held >= FULL || following.saturating_add(held) > MOST);
            }
            prop_assert_eq!(next, lengths.len() as u64);
        }
    }
}
