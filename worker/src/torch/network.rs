//! One network built from any blueprint, as a chain of blocks: embed, layers, head.
//!
//! Each block is a function of the one before, of parameters of its own, and of `rng` in training.

use std::ops::Range;

use headstart::model::{Block, Blueprint};
use tch::{Device, Kind, Tensor};

use super::bus;
use super::dropout::DropoutRng;
use super::lookup::Lookup;
use super::parameters::Parameters;
use super::parts::{Embedding, Head, Layer, Rope, Vocabulary};
use super::rows::Rows;
use crate::trainer::{Batch, TrainError};

/// The forward pass of a network.
pub(super) struct Transformer {
    embedding: Embedding,
    layers: Vec<Layer>,
    head: Head,
    /// Each kind of rotary positions that its layers have.
    ropes: Vec<Rope>,
    /// Tokens of an image.
    image: usize,
}

/// What a forward pass computes from, beside the blocks' parameters.
pub(super) struct Inputs {
    /// What the first block works on: images, or the sums of looked-up embeddings, `[tokens, width]`.
    pub(super) first: Tensor,
    pub(super) rows: Rows,
    /// `[positions]` i64: the tokens whose vectors predict the next one.
    pub(super) places: Tensor,
}

impl Transformer {
    /// The network of a blueprint over these parameters, which are those of its table.
    pub(super) fn new(blueprint: &Blueprint, parameters: &Parameters) -> Transformer {
        let mut ropes = Vec::new();
        for rope in blueprint.layers.iter().filter_map(|layer| layer.attention.rope.as_ref()) {
            if !ropes.contains(&rope) {
                ropes.push(rope);
            }
        }
        let layers = blueprint.layers.iter().map(|layer| Layer::new(layer, &ropes, parameters));
        Transformer {
            embedding: Embedding::new(blueprint, parameters),
            layers: layers.collect(),
            head: Head::new(blueprint, parameters),
            ropes: ropes.iter().map(|rope| Rope::new(rope, parameters.device())).collect(),
            image: blueprint.image().map_or(0, |image| image.tokens() as usize),
        }
    }

    /// The blocks, in order.
    pub(super) fn chain(&self) -> impl DoubleEndedIterator<Item = Block> + use<> {
        let layers = (0..self.layers.len() as u32).map(Block::Layer);
        std::iter::once(Block::Embed).chain(layers).chain(std::iter::once(Block::Head))
    }

    pub(super) fn inputs(&self, batch: &Batch, device: Device) -> Result<Inputs, TrainError> {
        let places: Vec<i64> = batch.predicted().map(|token| token as i64 - 1).collect();
        Ok(Inputs {
            first: self.embedding.input(batch, device)?,
            rows: Rows::of(batch, self.image, &self.ropes, device)?,
            places: bus::input(&places, device)?,
        })
    }

    /// One block. Between blocks: `[tokens, hidden]`; the head gives what [`Head::forward`] does.
    pub(super) fn block(
        &self,
        block: Block,
        input: &Tensor,
        inputs: &Inputs,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let Inputs { rows, places, .. } = inputs;
        match block {
            Block::Embed => self.embedding.forward(input, rng),
            Block::Layer(layer) => self.layers[layer as usize].forward(input, rows, rng),
            Block::Head => self.head.forward(input, rows, places, rng),
        }
    }

    /// What the head gives for a whole batch, without dropout or a graph.
    pub(super) fn evaluate(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        let _guard = tch::no_grad_guard();
        let inputs = self.inputs(batch, device)?;
        let mut hidden = inputs.first.shallow_clone();
        for block in self.chain() {
            hidden = self.block(block, &hidden, &inputs, None)?;
        }
        Ok(hidden)
    }

    /// What a classifier's network makes of one row, `[hidden]` f32, without dropout or a graph: the mean over a text's tokens of the
    /// last layer's output, or an image's class token, after the last norm where there is one.
    pub(super) fn features(&self, row: &Batch, device: Device) -> Result<Tensor, TrainError> {
        let _guard = tch::no_grad_guard();
        let inputs = self.inputs(row, device)?;
        let mut hidden = inputs.first.shallow_clone();
        for block in self.chain().filter(|block| *block != Block::Head) {
            hidden = self.block(block, &hidden, &inputs, None)?;
        }
        let chosen = match row {
            Batch::Text { .. } => hidden,
            Batch::Image { .. } => inputs.rows.first(&hidden)?,
        };
        let chosen = self.head.normalised(chosen)?.f_to_kind(Kind::Float)?;
        Ok(chosen.f_mean_dim(0, false, Kind::Float)?)
    }

    /// The scores of tokens, in a language model.
    pub(super) fn vocabulary(&self) -> Option<&Vocabulary> {
        self.head.vocabulary()
    }

    /// The tables that [`Transformer::inputs`] looked rows up in, as far as they train. Their gradient never becomes a tensor:
    /// it is the input's gradient, row by row, added to the rows that were looked up.
    pub(super) fn lookups<'a>(&self, batch: &'a Batch) -> Vec<Lookup<'a>> {
        self.embedding.lookups(batch)
    }

    /// Places of the trainable vector whose gradients no graph gives: looked-up tables, and the weight of a vocabulary.
    pub(super) fn outside_graphs(&self, batch: &Batch) -> Vec<Range<usize>> {
        let tables = self.lookups(batch).into_iter().map(|lookup| lookup.place);
        let mut places: Vec<_> = tables.chain(self.vocabulary().and_then(Vocabulary::place)).collect();
        // A tied head shares its table.
        places.sort_by_key(|place| place.start);
        places.dedup();
        places
    }
}
