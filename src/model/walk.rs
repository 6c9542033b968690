//! From a blueprint to its parameter table: one walk, in the order in which transformers declares the parts.
//!
//! The order decides how the trainable vector is laid out, and with it the order in which squares are summed for clipping:
//! it is part of a run's bits.

use sha2::{Digest, Sha256};

use super::blueprint::{Blueprint, Head, ImageInput, Input, Layer, Linear, Norm, NormKind, Table, TextInput};
use super::{Block, Init, ModelError, Parameter, Part};
use crate::hash;

/// Maximum number of elements of a network; a configuration that exceeds it is considered damaged.
const MOST_ELEMENTS: u128 = 1 << 40;

/// SHA-256, in hex, of a table's names and shapes: equal for programs that mean the same tensors.
pub fn hash(parameters: &[Parameter]) -> String {
    let mut sha = Sha256::new();
    for parameter in parameters {
        sha.update((parameter.name.len() as u64).to_le_bytes());
        sha.update(parameter.name.as_bytes());
        sha.update((parameter.shape.len() as u64).to_le_bytes());
        for dimension in &parameter.shape {
            sha.update(dimension.to_le_bytes());
        }
    }
    hash::hex(&sha.finalize())
}

impl Blueprint {
    /// The parameter table: names and shapes exactly as transformers saves them.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut walk =
            Walk { std: self.initializer_range, block: Block::Embed, part: Part::Body, rows: Vec::new() };
        match &self.input {
            Input::Text(text) => walk.text(text),
            Input::Image(image) => walk.image(image, self.hidden),
        }
        walk.norm(self.embedding.norm.as_ref());
        walk.linear(self.embedding.projection.as_ref());
        for (number, layer) in (0..).zip(&self.layers) {
            walk.block = Block::Layer(number);
            walk.layer(layer);
        }
        walk.block = Block::Head;
        walk.norm(self.final_norm.as_ref());
        match &self.head {
            Head::Classifier(classifier) => {
                walk.part = Part::Pooler;
                walk.linear(classifier.dense.as_ref().map(|(dense, _)| dense));
                walk.part = Part::Classifier;
                walk.linear(Some(&classifier.output));
            }
            Head::Language(language) => walk.linear(Some(&language.output).filter(|_| !language.tied)),
        }
        walk.rows
    }

    /// Refuses a network with more elements than any machine holds. No dimension may be above 2^24.
    pub(super) fn check_size(&self) -> Result<(), ModelError> {
        if self.fits() { Ok(()) } else { Err(ModelError::TooLarge) }
    }

    /// Whether it has at most 2^40 elements.
    pub(crate) fn fits(&self) -> bool {
        let elements = |parameter: &Parameter| -> u128 {
            parameter.shape.iter().map(|&side| u128::from(side)).product()
        };
        self.parameters().iter().map(elements).sum::<u128>() <= MOST_ELEMENTS
    }
}

/// A table under construction.
struct Walk {
    /// Standard deviation of fresh matrices.
    std: f64,
    block: Block,
    part: Part,
    rows: Vec<Parameter>,
}

impl Walk {
    fn text(&mut self, text: &TextInput) {
        self.table(&text.tokens);
        if let Some(positions) = &text.positions {
            self.table(&positions.table);
        }
        if let Some(token_types) = &text.token_types {
            self.table(token_types);
        }
    }

    fn image(&mut self, image: &ImageInput, hidden: u64) {
        let [height, width] = image.patch;
        for token in &image.own_tokens {
            self.matrix(token.clone(), &[1, 1, hidden]);
        }
        self.matrix(image.positions.clone(), &[1, image.tokens(), hidden]);
        self.matrix(image.projection_weight(), &[hidden, image.channels, height, width]);
        self.vector(image.projection_bias(), hidden, Init::Zeros);
    }

    /// Norms of inputs come last, as modules are declared.
    fn layer(&mut self, layer: &Layer) {
        let Layer { attention, around_attention, mlp, around_mlp } = layer;
        for linear in [&attention.query, &attention.key, &attention.value, &attention.output] {
            self.linear(Some(linear));
        }
        for norm in [&attention.query_norm, &attention.key_norm, &around_attention.sum] {
            self.norm(norm.as_ref());
        }
        for linear in [mlp.gate.as_ref(), Some(&mlp.inner), Some(&mlp.outer)] {
            self.linear(linear);
        }
        for norm in [
            &around_mlp.sum,
            &around_attention.before,
            &around_attention.after,
            &around_mlp.before,
            &around_mlp.after,
        ] {
            self.norm(norm.as_ref());
        }
    }

    fn table(&mut self, table: &Table) {
        let init = match table.padding {
            Some(row) => Init::NormalWithZeroRow { std: self.std, row },
            None => Init::Normal { std: self.std },
        };
        self.push(table.weight(), &[table.rows, table.width], init, true);
    }

    fn linear(&mut self, linear: Option<&Linear>) {
        let Some(linear) = linear else { return };
        self.matrix(linear.weight(), &[linear.to, linear.from]);
        if let Some(bias) = linear.bias() {
            self.vector(bias, linear.to, Init::Zeros);
        }
        if let Some(adapter) = &linear.adapter {
            let part = std::mem::replace(&mut self.part, Part::Adapter);
            let bound = 1.0 / (linear.from as f64).sqrt();
            self.push(linear.lora_a(), &[adapter.rank, linear.from], Init::Uniform { bound }, true);
            self.push(linear.lora_b(), &[linear.to, adapter.rank], Init::Zeros, true);
            self.part = part;
        }
    }

    fn norm(&mut self, norm: Option<&Norm>) {
        let Some(norm) = norm else { return };
        let one = match norm.kind {
            NormKind::Rms { offset } if offset != 0.0 => Init::Zeros,
            _ => Init::Ones,
        };
        self.vector(norm.weight(), norm.width, one);
        if let Some(bias) = norm.bias() {
            self.vector(bias, norm.width, Init::Zeros);
        }
    }

    fn matrix(&mut self, name: String, shape: &[u64]) {
        self.push(name, shape, Init::Normal { std: self.std }, true);
    }

    /// A bias, or a norm's scale or shift: weight decay leaves it alone.
    fn vector(&mut self, name: String, len: u64, init: Init) {
        self.push(name, &[len], init, false);
    }

    fn push(&mut self, name: String, shape: &[u64], init: Init, decay: bool) {
        let (block, part) = (self.block, self.part);
        self.rows.push(Parameter { name, shape: shape.to_vec(), block, init, decay, part });
    }
}
