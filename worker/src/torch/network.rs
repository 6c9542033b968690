//! One network built from any blueprint, in blocks.

use headstart::model::Blueprint;
use tch::{Device, Tensor};

use super::blocks::{Blocks, Lookup};
use super::dropout::DropoutRng;
use super::parameters::Parameters;
use super::parts::{Embedding, Head, Layer};
use crate::trainer::{Batch, TrainError};

/// The forward pass of a network over these parameters, which are those of the blueprint's table.
pub(super) fn build(blueprint: &Blueprint, parameters: &Parameters) -> Box<dyn Blocks> {
    Box::new(Transformer {
        embedding: Embedding::new(blueprint, parameters),
        layers: blueprint.layers.iter().map(|layer| Layer::new(layer, parameters)).collect(),
        head: Head::new(blueprint, parameters),
    })
}

struct Transformer {
    embedding: Embedding,
    layers: Vec<Layer>,
    head: Head,
}

impl Blocks for Transformer {
    fn input(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        self.embedding.input(batch, device)
    }

    fn embed(&self, input: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        self.embedding.forward(input, rng)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        mask: Option<&Tensor>,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        self.layers[layer].forward(hidden, mask, rng)
    }

    fn head(&self, hidden: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        self.head.forward(hidden, rng)
    }

    fn lookups<'a>(&self, batch: &'a Batch) -> Vec<Lookup<'a>> {
        self.embedding.lookups(batch)
    }
}
