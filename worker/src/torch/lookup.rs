//! Rows of embedding tables that a batch looked up.

use std::ops::Range;

use headstart::tree;

/// A table whose rows were looked up, one per token of a batch, in row-major order.
pub(super) struct Lookup<'a> {
    /// The table's place in the trainable vector.
    pub(super) place: Range<usize>,
    /// The row of each token; `None` for rows that get no gradient.
    pub(super) rows: Box<dyn Iterator<Item = Option<usize>> + 'a>,
}

impl Lookup<'_> {
    /// Adds the gradient of the looked-up sums, `[tokens, hidden]`, to the trainable vector's, in the order of tokens.
    /// Whether all that it changed is finite.
    pub(super) fn scatter(self, hidden: usize, of_input: &[f32], gradient: &mut [f32]) -> bool {
        let table = &mut gradient[self.place];
        let mut finite = true;
        for (row, token) in self.rows.zip(of_input.chunks_exact(hidden)) {
            if let Some(row) = row {
                let sum = &mut table[row * hidden..(row + 1) * hidden];
                tree::add(sum, token);
                finite &= tree::all_finite(sum);
            }
        }
        finite
    }
}
