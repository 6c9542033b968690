//! Bytes of a gradient on the wire: its elements in the run's format, without the units of zeros that are left out.
//!
//! Gradients of embedding tables have a row for each token that was looked up, and zeros elsewhere. The number of different tokens is not
//! known without reading all rows; it is at most the number of tokens, and that is what is counted here.

use headstart::model::blueprint::{Blueprint, Table};
use headstart::rounding::BLOCK;
use headstart::run_file::Wire;

use super::memory::Weights;

/// Elements that one bit stands for.
const UNIT: f64 = 64.0;
const BITS_OF_BYTE: f64 = 8.0;

/// What the bytes of a gradient depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Traffic {
    pub(super) wire: Wire,
    /// Elements that train.
    pub(super) trainable: u64,
    /// Embedding tables among them.
    pub(super) tables: Vec<Sparse>,
    /// Whether sums come down to replicas; else weights do.
    pub(super) replicas: bool,
}

/// A table of which only looked-up rows have a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sparse {
    pub(super) rows: u64,
    /// Elements of a row.
    pub(super) width: u64,
    /// Rows that all samples of a step look up together, at most.
    pub(super) touched: f64,
    /// Whether a part of a step looks up as many: positions, of which every row has the same.
    pub(super) common: bool,
}

impl Sparse {
    /// The trained tables of a network. `tokens`: of a step; `longest`: of a row.
    pub(super) fn of(blueprint: &Blueprint, weights: &Weights<'_>, tokens: f64, longest: u64) -> Vec<Sparse> {
        let Some(text) = blueprint.text() else { return Vec::new() };
        let tied = blueprint.tied_table();
        // A head that shares the table gives every row a gradient.
        let trained = |table: &Table| {
            let name = table.weight();
            weights.trains(&name) && tied.as_ref() != Some(&name)
        };
        let sparse = |table: &Table, touched, common| {
            trained(table).then_some(Sparse { rows: table.rows, width: table.width, touched, common })
        };
        let positions = text.positions.as_ref();
        let positions = positions.and_then(|positions| sparse(&positions.table, longest as f64, true));
        sparse(&text.tokens, tokens, false).into_iter().chain(positions).collect()
    }

    /// Elements of its gradient over a share of a step's samples, zeros left out, at most.
    fn elements(&self, share: f64) -> f64 {
        let touched = if self.common { self.touched } else { self.touched * share };
        touched.min(self.rows as f64) * self.width as f64
    }
}

impl Traffic {
    /// Bytes of the gradient of a share of a step's samples, at most; 1 for the whole step.
    pub(super) fn gradient(&self, share: f64) -> f64 {
        let tables: u64 = self.tables.iter().map(|table| table.rows * table.width).sum();
        let touched: f64 = self.tables.iter().map(|table| table.elements(share)).sum();
        let elements = self.trainable.saturating_sub(tables) as f64 + touched;
        elements * element(self.wire) + self.trainable as f64 / UNIT / BITS_OF_BYTE
    }

    /// Bytes that every worker receives for a step.
    pub(super) fn down(&self) -> f64 {
        match self.replicas {
            true => self.gradient(1.0),
            false => element(Wire::F32) * self.trainable as f64,
        }
    }

    /// The same run if every row of a table were looked up.
    pub(super) fn dense(&self) -> Traffic {
        Traffic { tables: Vec::new(), ..self.clone() }
    }

    /// The same run with another format.
    pub(super) fn with(&self, wire: Wire) -> Traffic {
        Traffic { wire, ..self.clone() }
    }
}

/// Bytes of an element. Elements of int8 share a scale of a byte.
fn element(wire: Wire) -> f64 {
    match wire {
        Wire::F32 => 4.0,
        Wire::Bf16 => 2.0,
        Wire::Int8 => 1.0 + 1.0 / BLOCK as f64,
    }
}

#[cfg(test)]
mod tests {
    use headstart::wire::payload;

    use super::*;

    #[test]
    fn bytes_are_those_of_packed_gradients() {
        let (rows, width) = (1000, 256);
        let mut values = vec![0.5; 64 * 1024];
        values.resize(64 * 1024 + rows * width, 0.0);
        for row in 0..10 {
            values[64 * 1024 + 70 * row * width..][..width].fill(0.25);
        }
        let tokens = Sparse { rows: rows as u64, width: width as u64, touched: 10.0, common: false };
        for wire in [Wire::F32, Wire::Bf16, Wire::Int8] {
            let traffic =
                Traffic { wire, trainable: values.len() as u64, tables: vec![tokens], replicas: true };
            let packed: usize = payload::chunks(wire, &values).map(|(_, bytes)| bytes.len()).sum();
            let found = traffic.gradient(1.0);
            assert!((found / packed as f64 - 1.0).abs() < 1e-3, "{wire:?}: {found} bytes, not {packed}");
            assert_eq!(traffic.down(), found);
        }
    }

    #[test]
    fn a_part_of_a_step_looks_up_fewer_tokens_but_all_positions() {
        let [tokens, positions] = [(1000.0, false), (100.0, true)].map(|(touched, common)| Sparse {
            rows: 30_000,
            width: 10,
            touched,
            common,
        });
        assert_eq!((tokens.elements(0.5), positions.elements(0.5)), (5000.0, 1000.0));
        assert_eq!(Sparse { rows: 20, ..tokens }.elements(1.0), 200.0, "no more than there are");
        let traffic = Traffic { wire: Wire::Int8, trainable: 1 << 20, tables: Vec::new(), replicas: false };
        assert_eq!(traffic.down(), 4.0 * f64::from(1 << 20), "weights are never narrow");
    }
}
