//! What NumPy, SciPy and scikit-learn computed of small samples (`tests/reference/make_probe.py`), for tests.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::draw;

/// One sample.
#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) features: Vec<f32>,
    pub(super) width: usize,
    pub(super) labels: Vec<u32>,
    /// Of the Gram matrix of all rows, largest first.
    pub(super) eigenvalues: Vec<f64>,
    pub(super) logme: f64,
    pub(super) ridge: RidgeCase,
    /// Squared error of each row under the classifier of all others.
    pub(super) left_out: Vec<f64>,
}

/// Even rows fitted, odd rows held out.
#[derive(Deserialize)]
pub(super) struct RidgeCase {
    /// Generalised cross-validation by penalty of the grid.
    pub(super) errors: Vec<f64>,
    pub(super) penalty: f64,
    /// `[held out, classes]`
    pub(super) predicted: Vec<Vec<f64>>,
    pub(super) accuracy: f64,
}

/// Losses of a language model.
#[derive(Deserialize)]
pub(super) struct LanguageCase {
    pub(super) nats: Vec<Vec<f32>>,
    pub(super) before: Vec<Vec<u32>>,
    pub(super) bytes: Vec<u64>,
    pub(super) bits_per_byte: f64,
    pub(super) context: BTreeMap<u32, f64>,
}

#[derive(Deserialize)]
struct Reference {
    samples: BTreeMap<String, Case>,
    language: LanguageCase,
}

fn read() -> Reference {
    let text = include_str!("../../tests/reference/probe/reference.json");
    serde_json::from_str(text).expect("it was written by make_probe.py")
}

pub(super) fn samples() -> BTreeMap<String, Case> {
    read().samples
}

pub(super) fn language() -> LanguageCase {
    read().language
}

/// A draw from -1 to 1.
pub(super) fn noise(counter: u64) -> f64 {
    2.0 * draw::unit(16, "noise", counter) - 1.0
}
