//! First values of parameters that no checkpoint provides: draws that depend on (seed, name, element) alone.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::f64::consts::TAU;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Init, Parameter};
use crate::draw;

/// A parameter's first values, row-major.
///
/// Element `i` is a function of the seed, the parameter's name and `i`, whatever else is drawn, in arithmetic that
/// every machine does alike: integer hashing and crate `libm`. Normal draws are Box and Muller's (1958).
pub fn initial_values(parameter: &Parameter, seed: u64) -> Vec<f32> {
    let len = parameter.len();
    let key = xxh3_64_with_seed(parameter.name.as_bytes(), seed);
    match parameter.init {
        Init::Zeros => vec![0.0; len],
        Init::Ones => vec![1.0; len],
        Init::Normal { std } => normal(key, std, len),
        Init::Uniform { bound } => {
            (0..len as u64).map(|index| ((2.0 * uniform(key, index) - 1.0) * bound) as f32).collect()
        }
        Init::NormalWithZeroRow { std, row } => {
            let mut values = normal(key, std, len);
            let width = len / parameter.shape.first().map_or(1, |&rows| rows.max(1) as usize);
            let from = (row as usize).saturating_mul(width).min(len);
            values[from..(from + width).min(len)].fill(0.0);
            values
        }
    }
}

/// `len` draws of a normal distribution; draws `2i` and `2i + 1` share one pair of uniform numbers.
fn normal(key: u64, std: f64, len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len + 1);
    for pair in 0..len.div_ceil(2) as u64 {
        let radius = std * libm::sqrt(-2.0 * libm::log(uniform(key, 2 * pair)));
        let angle = TAU * uniform(key, 2 * pair + 1);
        values.push((radius * libm::cos(angle)) as f32);
        values.push((radius * libm::sin(angle)) as f32);
    }
    values.truncate(len);
    values
}

/// Draw `counter` of a uniform distribution over (0, 1], of 53 bits.
fn uniform(key: u64, counter: u64) -> f64 {
    ((draw::bits(key, counter) >> 11) + 1) as f64 / (1u64 << 53) as f64
}
