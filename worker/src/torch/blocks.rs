//! A network as a chain of blocks: embed, layers, head.

use std::ops::Range;

use headstart::tree;
use tch::{Device, Kind, Tensor};

use super::dropout::DropoutRng;
use crate::trainer::{Batch, TrainError};

/// A forward pass in blocks, each a function of the one before, of parameters of its own, and of `rng` in training.
///
/// `network.rs` builds one from any blueprint; a family that a blueprint cannot describe would implement this itself.
pub(super) trait Blocks: Send {
    /// What the first block works on: images, or the sums of looked-up embeddings, `[rows, tokens, hidden]`.
    fn input(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError>;

    /// Embeddings, `[rows, tokens, hidden]`.
    fn embed(&self, input: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError>;

    fn layers(&self) -> usize;

    /// One layer: `[rows, tokens, hidden]` in and out. `mask`: see [`mask`].
    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        mask: Option<&Tensor>,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError>;

    /// Logits, `[rows, labels]`.
    fn head(&self, hidden: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError>;

    /// The tables that [`Blocks::input`] looked rows up in, as far as they train. Their gradient never becomes a tensor:
    /// it is the input's gradient, row by row, added to the rows that were looked up.
    fn lookups<'a>(&self, batch: &'a Batch) -> Vec<Lookup<'a>>;
}

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

/// `[rows, 1, 1, tokens]` bool: which tokens may be attended to; `None` when no row is padded.
pub(super) fn mask(batch: &Batch, device: Device) -> Result<Option<Tensor>, TrainError> {
    let Batch::Text { attention_mask, tokens, .. } = batch else { return Ok(None) };
    if attention_mask.iter().all(|&real| real == 1) {
        return Ok(None);
    }
    let mask = Tensor::f_from_slice(attention_mask)?.f_view([-1, 1, 1, *tokens as i64])?;
    Ok(Some(mask.f_to_kind(Kind::Bool)?.f_to_device(device)?))
}

/// Evaluation of a whole batch without dropout: logits, `[rows, labels]`, in host memory's order of rows.
pub(super) fn logits(blocks: &dyn Blocks, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
    let _guard = tch::no_grad_guard();
    let mask = mask(batch, device)?;
    let mut hidden = blocks.embed(&blocks.input(batch, device)?, None)?;
    for layer in 0..blocks.layers() {
        hidden = blocks.layer(layer, &hidden, mask.as_ref(), None)?;
    }
    blocks.head(&hidden, None)
}
