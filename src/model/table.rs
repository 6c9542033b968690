//! Building parameter tables, and their hash.

use sha2::{Digest, Sha256};

use super::{Block, Init, ModelError, Parameter};
use crate::hash;

/// Most elements of a network; beyond it a configuration is taken for damaged.
const MOST_ELEMENTS: u64 = 1 << 40;

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

/// A table under construction.
pub(super) struct ParameterTable {
    std: f64,
    rows: Vec<Parameter>,
}

impl ParameterTable {
    /// An empty table; matrices begin with draws of standard deviation `std`.
    pub(super) fn new(std: f64) -> ParameterTable {
        ParameterTable { std, rows: Vec::new() }
    }

    /// A tensor that begins with normal draws and decays.
    pub(super) fn weight(&mut self, block: Block, name: String, shape: &[u64]) {
        let init = Init::Normal { std: self.std };
        self.push(block, name, shape, init, true);
    }

    /// An embedding of which one row, if any, stays zero.
    pub(super) fn embedding(&mut self, block: Block, name: String, shape: [u64; 2], zero: Option<u64>) {
        let init = match zero {
            Some(row) => Init::NormalWithZeroRow { std: self.std, row },
            None => Init::Normal { std: self.std },
        };
        self.push(block, name, &shape, init, true);
    }

    /// A bias vector.
    pub(super) fn bias(&mut self, block: Block, name: String, len: u64) {
        self.push(block, name, &[len], Init::Zeros, false);
    }

    /// `y = x·Wᵀ + b`: weight `[to, from]`, then bias `[to]`.
    pub(super) fn linear(&mut self, block: Block, name: &str, from: u64, to: u64, bias: bool) {
        self.weight(block, format!("{name}.weight"), &[to, from]);
        if bias {
            self.bias(block, format!("{name}.bias"), to);
        }
    }

    /// A layer normalisation's scale and shift.
    pub(super) fn norm(&mut self, block: Block, name: &str, len: u64) {
        self.push(block, format!("{name}.weight"), &[len], Init::Ones, false);
        self.bias(block, format!("{name}.bias"), len);
    }

    /// The task's classifier, `[labels, from]`: the part a checkpoint of another task has in another shape.
    pub(super) fn classifier(&mut self, from: u64, labels: u64) {
        let first = self.rows.len();
        self.linear(Block::Head, "classifier", from, labels, true);
        for row in &mut self.rows[first..] {
            row.head = true;
        }
    }

    /// The finished table.
    pub(super) fn finish(self) -> Vec<Parameter> {
        self.rows
    }

    fn push(&mut self, block: Block, name: String, shape: &[u64], init: Init, decay: bool) {
        self.rows.push(Parameter { name, shape: shape.to_vec(), block, init, decay, head: false });
    }
}

/// Refuses a network with more elements than any machine holds. Dimensions are at most 2^24, layers at most 2^12.
pub(super) fn check_size(outside_layers: u64, of_a_layer: u64, layers: u64) -> Result<(), ModelError> {
    of_a_layer
        .checked_mul(layers)
        .and_then(|inside| inside.checked_add(outside_layers))
        .filter(|&elements| elements <= MOST_ELEMENTS)
        .map(|_| ())
        .ok_or(ModelError::TooLarge)
}
