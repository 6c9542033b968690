//! Rounding of gradient sums to the numbers that travel.
//!
//! With a narrow [`Wire`] format every node of the canonical tree is rounded once: a shard's sum when it is complete, an inner
//! node after its addition, the root too. Whoever computes a node rounds it with this code, so a node has the same bits on any
//! worker and on the coordinator. What is rounded stays in f32, as a number that the format holds exactly; [`crate::wire::payload`]
//! packs it without a further loss.
//!
//! Rounding is stochastic: a number between two that the format holds becomes one of them with a probability that makes the mean
//! right. Errors of many shards and steps then cancel instead of adding up. The draw is a function of (seed, step, node,
//! element), so the result does not depend on who draws it. Rounding what is rounded changes nothing.
//!
//! The definition, which every version must keep:
//! * Block `b` holds the elements `256·b ..` of the trainable vector. Its key is `draw::bits(node key, b)`; the node key is
//!   XXH3-64 of (step, first shard, number of shards) seeded by the run's seed.
//! * Elements `j` and `j + 128` of a block take the low and the high 16 bits of one 32-bit hash of (key, `j`).
//! * bf16: the 16 bits are added to the magnitude's bits, and the low half is cut off. What would become infinite is cut instead.
//! * int8: the block's scale is the smallest power of two, from 2⁻¹²⁶ to 2¹²¹, that brings its largest magnitude to 127 or below.
//!   An element becomes ⌊element ÷ scale + draw ÷ 2¹⁶ + 128⌋ − 128, computed in f32, from −127 to 127, times the scale.
//! * Zero is +0 in both.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use pulp::Arch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::draw;
use crate::id::Step;
use crate::run_file::{RunSpec, Wire};
use crate::tree::Node;

/// Elements that share a scale. Blocks begin at multiples of it in the trainable vector.
pub const BLOCK: usize = 256;
/// Elements that share a hash: two of them.
const HALF: usize = BLOCK / 2;
/// Largest magnitude of an int8 code.
const LARGEST: f32 = 127.0;
/// Smallest exponent of a scale: a code times its scale is never a denormal number.
pub(crate) const SMALLEST_EXPONENT: i32 = -126;
/// Largest exponent of a scale: a code times its scale is never infinite.
pub(crate) const LARGEST_EXPONENT: i32 = 121;
/// All bits but the sign.
const MAGNITUDE: u32 = 0x7FFF_FFFF;
/// The bits of infinity; those of NaN are larger.
const INFINITE: u32 = 0x7F80_0000;

/// How the sums of a run are rounded.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    wire: Wire,
    seed: u64,
}

/// A sum that is to be rounded has a value that is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value is not finite")]
pub struct NotFinite;

impl Rounding {
    /// As the run file asks.
    pub fn of(spec: &RunSpec) -> Rounding {
        Rounding::new(spec.wire, spec.seed)
    }

    /// To the numbers of a format, with the draws of a seed.
    pub fn new(wire: Wire, seed: u64) -> Rounding {
        Rounding { wire, seed }
    }

    /// The numbers that are rounded to.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Rounds part of a node's sum: the elements of the trainable vector from `first` on, a multiple of [`BLOCK`]. Blocks before
    /// one that is not finite are rounded already when it fails. With f32, does nothing and looks at nothing.
    pub fn round(&self, step: Step, node: Node, first: usize, values: &mut [f32]) -> Result<(), NotFinite> {
        debug_assert!(first.is_multiple_of(BLOCK), "blocks have their places in the vector");
        let key = self.key(step, node);
        match self.wire {
            Wire::F32 => Ok(()),
            Wire::Bf16 => Arch::new().dispatch(|| each_block(key, first, values, bf16)),
            Wire::Int8 => Arch::new().dispatch(|| each_block(key, first, values, int8)),
        }
    }

    fn key(&self, step: Step, node: Node) -> u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&step.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&node.first.to_le_bytes());
        bytes[12..].copy_from_slice(&node.shards.to_le_bytes());
        xxh3_64_with_seed(&bytes, self.seed)
    }
}

/// The hashes of a block.
#[inline(always)]
fn hashes(key: u64) -> [u32; HALF] {
    let (low, high) = (key as u32, (key >> 32) as u32);
    std::array::from_fn(|element| {
        let mut hash = low.wrapping_add((element as u32).wrapping_mul(0x9E37_79B9));
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
        (hash ^ (hash >> 16)) ^ high
    })
}

/// Calls `round` with each element and its 16 random bits.
#[inline(always)]
fn with_draws(key: u64, block: &mut [f32], round: impl Fn(f32, u32) -> f32) {
    let hashes = hashes(key);
    let (low, high) = block.split_at_mut(block.len().min(HALF));
    for (value, hash) in low.iter_mut().zip(&hashes) {
        *value = round(*value, hash & 0xFFFF);
    }
    for (value, hash) in high.iter_mut().zip(&hashes) {
        *value = round(*value, hash >> 16);
    }
}

/// Bits of the largest magnitude.
#[inline(always)]
pub(crate) fn largest(block: &[f32]) -> u32 {
    block.iter().map(|value| value.to_bits() & MAGNITUDE).fold(0, u32::max)
}

/// Rounds the blocks of a node's sum, from element `first` on. `round` is given a block's key and the bits of its largest
/// magnitude, which is finite and not 0.
#[inline(always)]
fn each_block(
    key: u64,
    first: usize,
    values: &mut [f32],
    round: impl Fn(u64, u32, &mut [f32]),
) -> Result<(), NotFinite> {
    for (number, block) in (first / BLOCK..).zip(values.chunks_mut(BLOCK)) {
        match largest(block) {
            INFINITE.. => return Err(NotFinite),
            // There may be a −0 among them.
            0 => block.fill(0.0),
            largest => round(draw::bits(key, number as u64), largest, block),
        }
    }
    Ok(())
}

#[inline(always)]
fn bf16(key: u64, _largest: u32, block: &mut [f32]) {
    with_draws(key, block, |value, draw| {
        let bits = value.to_bits();
        let up = bits.wrapping_add(draw) & 0xFFFF_0000;
        let kept = if up & MAGNITUDE >= INFINITE { bits & 0xFFFF_0000 } else { up };
        f32::from_bits(if kept & MAGNITUDE == 0 { 0 } else { kept })
    });
}

#[inline(always)]
fn int8(key: u64, largest: u32, block: &mut [f32]) {
    let exponent = exponent(largest);
    let (scale, inverse) = (power(exponent), power(-exponent));
    with_draws(key, block, |value, draw| {
        let raised = value * inverse + draw as f32 * (1.0 / 65_536.0);
        // Above 0 for every code, so cutting off rounds down.
        let code = ((raised + 128.0) as i32).wrapping_sub(128);
        code.clamp(-127, 127) as f32 * scale
    });
}

/// The exponent of a block's scale, from the bits of its largest magnitude, which is finite and not 0.
#[inline(always)]
pub(crate) fn exponent(largest: u32) -> i32 {
    // 127 = 1.984375 · 2⁶
    let above = i32::from(largest & 0x007F_FFFF > LARGEST.to_bits() & 0x007F_FFFF);
    ((largest >> 23) as i32 - 127 - 6 + above).clamp(SMALLEST_EXPONENT, LARGEST_EXPONENT)
}

/// 2 to the power of an exponent from −126 to 127.
#[inline(always)]
pub(crate) fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: Node = Node { first: 2, shards: 3 };

    fn rounding(wire: Wire) -> Rounding {
        Rounding { wire, seed: 42 }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// The definition, element by element.
    fn by_definition(wire: Wire, first: usize, values: &[f32]) -> Vec<f32> {
        let key = rounding(wire).key(Step(7), NODE);
        let mut rounded = Vec::new();
        for (number, block) in values.chunks(BLOCK).enumerate() {
            let key = draw::bits(key, (first / BLOCK + number) as u64);
            let largest = block.iter().fold(0.0f64, |most, value| most.max(f64::from(value.abs())));
            let mut scale = libm::exp2(-126.0);
            while largest > 127.0 * scale && scale < libm::exp2(121.0) {
                scale *= 2.0;
            }
            for (element, value) in block.iter().enumerate() {
                let hash = hashes(key)[element % HALF];
                let draw = if element < HALF { hash & 0xFFFF } else { hash >> 16 };
                rounded.push(match wire {
                    Wire::F32 => *value,
                    Wire::Bf16 => {
                        let up = (value.abs().to_bits() + draw) & 0xFFFF_0000;
                        let up = if up >= INFINITE { value.abs().to_bits() & 0xFFFF_0000 } else { up };
                        let found = f32::from_bits(up).copysign(*value);
                        if found == 0.0 { 0.0 } else { found }
                    }
                    Wire::Int8 => {
                        let raised = (f64::from(*value) / scale) as f32 + draw as f32 / 65_536.0;
                        (f64::from(((raised + 128.0).floor() - 128.0).clamp(-127.0, 127.0)) * scale) as f32
                            + 0.0
                    }
                });
            }
        }
        rounded
    }

    fn numbers() -> impl Strategy<Value = Vec<f32>> {
        let one = prop_oneof![
            -1.0f32..1.0,
            -1e-30f32..1e-30,
            prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO
        ];
        prop::collection::vec(one, 1..700)
    }

    proptest! {
        #[test]
        fn rounding_follows_its_definition_and_changes_nothing_twice(values in numbers(), block in 0usize..9) {
            for wire in [Wire::Bf16, Wire::Int8] {
                let mut rounded = values.clone();
                rounding(wire).round(Step(7), NODE, block * BLOCK, &mut rounded).expect("all are finite");
                let expected = by_definition(wire, block * BLOCK, &values);
                prop_assert_eq!(bits(&rounded), bits(&expected), "{:?}", wire);
                prop_assert!(rounded.iter().all(|value| value.is_finite() && value.to_bits() != 1 << 31));
                let mut again = rounded.clone();
                let elsewhere = Node { first: 0, shards: 1 };
                rounding(wire).round(Step(8), elsewhere, block * BLOCK, &mut again).expect("all are finite");
                prop_assert_eq!(bits(&again), bits(&rounded), "{:?} twice", wire);
            }
        }

        #[test]
        fn parts_of_a_vector_round_as_the_whole(values in numbers(), cut in 0usize..3) {
            let cut = (cut * BLOCK).min(values.len() / BLOCK * BLOCK);
            for wire in [Wire::Bf16, Wire::Int8] {
                let (mut whole, mut parts) = (values.clone(), values.clone());
                rounding(wire).round(Step(1), NODE, 0, &mut whole).expect("all are finite");
                rounding(wire).round(Step(1), NODE, 0, &mut parts[..cut]).expect("all are finite");
                rounding(wire).round(Step(1), NODE, cut, &mut parts[cut..]).expect("all are finite");
                prop_assert_eq!(bits(&whole), bits(&parts));
            }
        }
    }

    #[test]
    fn the_mean_of_many_draws_is_the_number() {
        let values: Vec<f32> = (0..BLOCK).map(|element| (element as f32 * 0.37).sin() * 1e-3).collect();
        for (wire, step) in [(Wire::Bf16, 1e-3 / 256.0), (Wire::Int8, 1e-3 / 64.0)] {
            let mut sums = vec![0.0f64; BLOCK];
            let draws = 4000;
            for number in 0..draws {
                let mut rounded = values.clone();
                rounding(wire).round(Step(number), NODE, 0, &mut rounded).expect("all are finite");
                sums.iter_mut().zip(&rounded).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            for (sum, value) in sums.iter().zip(&values) {
                let error = (sum / draws as f64 - f64::from(*value)).abs();
                // Five standard deviations of a mean of so many draws, each at most one step away.
                assert!(
                    error < 5.0 * 0.5 * step / (draws as f64).sqrt(),
                    "{wire:?}: {value} is off by {error}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_an_error_and_not_a_code() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 300];
            values[270] = bad;
            for wire in [Wire::Bf16, Wire::Int8] {
                let mut rounded = values.clone();
                assert_eq!(rounding(wire).round(Step(0), NODE, 0, &mut rounded), Err(NotFinite));
            }
            assert_eq!(rounding(Wire::F32).round(Step(0), NODE, 0, &mut values), Ok(()));
        }
        let mut largest = vec![f32::MAX; 600];
        rounding(Wire::Bf16).round(Step(0), NODE, 0, &mut largest).expect("all are finite");
        assert!(largest.iter().all(|&value| value == f32::from_bits(0x7F7F_0000)));
    }

    #[test]
    fn every_node_step_and_element_draws_for_itself() {
        let round = |step, node, first| {
            let mut values = vec![0.3; BLOCK];
            values[0] = 1.0;
            rounding(Wire::Int8).round(Step(step), node, first, &mut values).expect("all are finite");
            values
        };
        let first = round(1, NODE, 0);
        assert_eq!(first, round(1, NODE, 0));
        for other in [
            round(2, NODE, 0),
            round(1, Node { first: 2, shards: 2 }, 0),
            round(1, Node { first: 3, shards: 3 }, 0),
            round(1, NODE, BLOCK),
        ] {
            assert_ne!(first, other);
        }
    }
}
