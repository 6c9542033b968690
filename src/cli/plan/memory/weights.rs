//! A network's tensors as a worker holds them.

use std::collections::BTreeMap;

use headstart::model::{Block, Parameter};
use headstart::network::Network;

use super::F32;

/// Bytes of a number in 16 bits.
const NARROW: u64 = 2;
/// Of one in 32.
const WIDE: u64 = 4;

/// The parameters of a network: which of them train, and how the others are stored.
#[derive(Clone, Debug)]
pub(in crate::cli::plan) struct Weights<'a> {
    table: &'a [Parameter],
    index: BTreeMap<&'a str, usize>,
    trains: Vec<bool>,
    /// Bytes of a number in the checkpoint; of fresh values, in memory.
    stored: Vec<u64>,
}

impl<'a> Weights<'a> {
    /// Those of a network.
    pub(in crate::cli::plan) fn of(network: &'a Network) -> Weights<'a> {
        let places = network.trainable.places(network.table.len());
        let stored = |index| if network.is_stored_in_16_bits(index) { NARROW } else { WIDE };
        Weights::new(
            &network.table,
            places.iter().map(Option::is_some).collect(),
            (0..network.table.len()).map(stored).collect(),
        )
    }

    /// Of a table of which all train, from fresh values.
    pub(super) fn fresh(table: &'a [Parameter]) -> Weights<'a> {
        Weights::new(table, vec![true; table.len()], vec![WIDE; table.len()])
    }

    /// Of these parameters: whether each trains, and bytes of a number as it is read.
    pub(super) fn new(table: &'a [Parameter], trains: Vec<bool>, stored: Vec<u64>) -> Weights<'a> {
        let index = table.iter().enumerate().map(|(index, parameter)| (parameter.name.as_str(), index));
        Weights { table, index: index.collect(), trains, stored }
    }

    /// Whether a parameter is there and trains.
    pub(in crate::cli::plan) fn trains(&self, name: &str) -> bool {
        self.index.get(name).is_some_and(|&index| self.trains[index])
    }

    /// Elements of a parameter; 0 if there is none of this name.
    pub(super) fn elements(&self, name: &str) -> u64 {
        self.index.get(name).map_or(0, |&index| self.table[index].len() as u64)
    }

    /// Whether a parameter is held in 16 bits.
    pub(super) fn is_narrow(&self, name: &str) -> bool {
        self.index.get(name).is_some_and(|&index| self.held(index) == NARROW)
    }

    /// Bytes of all parameters as a worker holds them.
    pub(super) fn bytes(&self) -> f64 {
        self.sum(|_| true, |index| self.held(index))
    }

    /// Bytes of all parameters as they are read.
    pub(super) fn read(&self) -> f64 {
        self.sum(|_| true, |index| self.stored[index])
    }

    /// Bytes of those that train.
    pub(super) fn trained(&self) -> f64 {
        self.sum(|index| self.trains[index], |_| WIDE)
    }

    /// Bytes of the largest that trains.
    pub(super) fn largest_trained(&self) -> f64 {
        let trained = (0..self.table.len()).filter(|&index| self.trains[index]);
        F32 * trained.map(|index| self.table[index].len()).max().unwrap_or_default() as f64
    }

    /// Bytes of the largest matrix held in 16 bits, once it is widened. Those of embedding and head are widened in parts.
    pub(super) fn widened(&self) -> f64 {
        let narrow = (0..self.table.len()).filter(|&index| {
            matches!(self.table[index].block, Block::Layer(_)) && self.held(index) == NARROW
        });
        F32 * narrow.map(|index| self.table[index].len()).max().unwrap_or_default() as f64
    }

    /// The block from which on activations are kept: the first with a parameter that trains.
    pub(super) fn first_kept(&self) -> Option<Block> {
        (0..self.table.len()).filter(|&index| self.trains[index]).map(|index| self.table[index].block).min()
    }

    /// Bytes of the gradients of one layer's parameters, which exist at once.
    pub(super) fn largest_gradients(&self) -> f64 {
        let mut of_layer: BTreeMap<u32, u64> = BTreeMap::new();
        for (index, parameter) in self.table.iter().enumerate() {
            if let (Block::Layer(layer), true) = (parameter.block, self.trains[index]) {
                *of_layer.entry(layer).or_default() += parameter.len() as u64;
            }
        }
        F32 * of_layer.into_values().max().unwrap_or_default() as f64
    }

    /// What trains is held in 32 bits, and so are vectors.
    fn held(&self, index: usize) -> u64 {
        match self.trains[index] || self.table[index].shape.len() != 2 {
            true => WIDE,
            false => self.stored[index],
        }
    }

    fn sum(&self, of: impl Fn(usize) -> bool, bytes: impl Fn(usize) -> u64) -> f64 {
        let counted = (0..self.table.len()).filter(|&index| of(index));
        counted.map(|index| (self.table[index].len() as u64 * bytes(index)) as f64).sum()
    }
}
