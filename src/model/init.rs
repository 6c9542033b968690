//! First values of parameters that no checkpoint provides: draws that depend on (seed, name, element) alone.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::f64::consts::TAU;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Init, Parameter};

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

/// Draw `counter` of a uniform distribution over (0, 1]: 53 bits of a SplitMix64 stream (Steele et al., 2014).
fn uniform(key: u64, counter: u64) -> f64 {
    let mut bits = key.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}
