//! AdamW and SGD as torch defines them, on slices of f32: the one update that the coordinator makes, and every replica of it.
//!
//! Only IEEE `+ − × ÷ √`, one rounding each and never a fused multiply-add, so the bits do not depend on the machine.
//! Scalars are computed in f64 and rounded to f32 once, as torch does.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Range;

use pulp::Arch;
use xxhash_rust::xxh3::Xxh3Default;

use crate::run_file::{Optimizer, RunSpec};
use crate::trainable::Trainable;

/// Lanes of a sum of squares. Fixed, because a sum's bits depend on its order.
const LANES: usize = 16;

/// The optimizer with its constants.
#[derive(Clone, Copy, Debug)]
pub enum OptimizerConfig {
    /// torch.optim.AdamW
    AdamW {
        /// Decay rates of the two moments.
        betas: (f64, f64),
        /// Added to the denominator.
        epsilon: f64,
        /// Decoupled weight decay.
        weight_decay: f64,
    },
    /// torch.optim.SGD
    Sgd {
        /// Momentum; 0 keeps no buffer in use.
        momentum: f64,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
    },
}

impl OptimizerConfig {
    /// The optimizer a run file asks for.
    pub fn new(spec: &RunSpec) -> OptimizerConfig {
        match spec.update.optim {
            Optimizer::AdamwTorch => OptimizerConfig::AdamW {
                betas: (spec.update.adam_beta1, spec.update.adam_beta2),
                epsilon: spec.update.adam_epsilon,
                weight_decay: spec.update.weight_decay,
            },
            Optimizer::Sgd => OptimizerConfig::Sgd {
                momentum: spec.update.momentum,
                weight_decay: spec.update.weight_decay,
            },
        }
    }

    /// Number of state vectors as long as the weights.
    pub fn moments(&self) -> usize {
        match self {
            OptimizerConfig::AdamW { .. } => 2,
            OptimizerConfig::Sgd { .. } => 1,
        }
    }
}

/// A stretch of a segment with one weight-decay rule.
#[derive(Clone, Debug, PartialEq)]
pub struct DecayRange {
    /// Elements of the segment.
    pub range: Range<usize>,
    /// Whether weight decay applies.
    pub decay: bool,
}

impl DecayRange {
    /// Those of a segment of the trainable vector, in order.
    pub fn of(layout: &Trainable, segment: usize) -> Vec<DecayRange> {
        let segment = layout.segment(segment);
        let mut ranges: Vec<DecayRange> = Vec::new();
        for slot in layout.slots() {
            let (start, end) = (slot.range.start.max(segment.start), slot.range.end.min(segment.end));
            if start >= end {
                continue;
            }
            let range = start - segment.start..end - segment.start;
            match ranges.last_mut() {
                Some(last) if last.decay == slot.decay => last.range.end = range.end,
                _ => ranges.push(DecayRange { range, decay: slot.decay }),
            }
        }
        ranges
    }
}

/// Elements that are worked on together, while they are in a core's cache.
const PIECE: usize = 1 << 14;

/// Hash (XXH3-128) of a segment's gradient sum, and its sum of squares (f64).
pub fn hash_and_squares(sum: &[f32]) -> (u128, f64) {
    let mut hash = Xxh3Default::new();
    let mut lanes = [0.0f64; LANES];
    for piece in sum.chunks(PIECE) {
        hash.update(bytemuck::cast_slice(piece));
        lanes = Arch::new().dispatch(|| add_squares(lanes, piece));
    }
    (hash.digest128(), lanes.iter().sum())
}

#[inline(always)]
fn add_squares(mut lanes: [f64; LANES], values: &[f32]) -> [f64; LANES] {
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(*value) * f64::from(*value);
    }
    lanes
}

/// The factor that brings a gradient of this norm down to `max_norm` (torch.nn.utils.clip_grad_norm_); 1 when
/// clipping is off.
pub fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    if max_norm <= 0.0 { 1.0 } else { (max_norm / (norm + 1e-6)).min(1.0) as f32 }
}

/// One update of the trainable vector.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub rule: OptimizerConfig,
    /// Number of this update, from 1.
    pub number: u64,
    pub learning_rate: f64,
    /// What the gradient sum is divided by; 0: nothing was counted, and nothing changes.
    pub divisor: u64,
    /// Factor on the gradient, from clipping.
    pub factor: f32,
}

/// Consecutive weights, and the number of the first of them in their segment.
pub type Piece<'a> = (usize, &'a mut [f32]);

impl Update {
    /// Applies the update to a segment, whose weights lie in `pieces`, in order and without a gap; `sum` (of gradients) and each
    /// of `moments` are as long as the segment. Returns the hash (XXH3-128) of the new weights.
    pub fn apply(
        &self,
        decays: &[DecayRange],
        pieces: &mut [Piece<'_>],
        sum: &[f32],
        moments: &mut [Vec<f32>],
    ) -> u128 {
        let mut hash = Xxh3Default::new();
        for (start, weights) in pieces {
            let end = *start + weights.len();
            if self.divisor == 0 {
                hash.update(bytemuck::cast_slice(weights));
                continue;
            }
            for DecayRange { range, decay } in decays {
                let kernel = self.kernel(*decay);
                for at in (range.start.max(*start)..range.end.min(end)).step_by(PIECE) {
                    let part = at..(at + PIECE).min(range.end).min(end);
                    let weights = &mut weights[part.start - *start..part.end - *start];
                    kernel.apply(part, weights, sum, moments);
                    hash.update(bytemuck::cast_slice(weights));
                }
            }
        }
        hash.digest128()
    }

    fn kernel(&self, decay: bool) -> Kernel {
        let mean = Mean { divisor: self.divisor as f32, factor: self.factor };
        match self.rule {
            OptimizerConfig::AdamW { betas: (beta1, beta2), epsilon, weight_decay } => {
                let correction1 = 1.0 - libm::pow(beta1, self.number as f64);
                let correction2 = 1.0 - libm::pow(beta2, self.number as f64);
                let keep = if decay { 1.0 - self.learning_rate * weight_decay } else { 1.0 };
                Kernel::AdamW(AdamW {
                    mean,
                    gain1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    gain2: (1.0 - beta2) as f32,
                    root_correction: correction2.sqrt() as f32,
                    epsilon: epsilon as f32,
                    step_size: (self.learning_rate / correction1) as f32,
                    keep: keep as f32,
                })
            }
            OptimizerConfig::Sgd { momentum, weight_decay } => Kernel::Sgd(Sgd {
                mean,
                momentum: momentum as f32,
                rate: self.learning_rate as f32,
                penalty: if decay { weight_decay as f32 } else { 0.0 },
            }),
        }
    }
}

/// One update of elements with equal decay, its scalars rounded to f32.
enum Kernel {
    AdamW(AdamW),
    Sgd(Sgd),
}

/// What makes the clipped mean of a gradient sum.
struct Mean {
    divisor: f32,
    factor: f32,
}

struct AdamW {
    mean: Mean,
    gain1: f32,
    beta2: f32,
    gain2: f32,
    root_correction: f32,
    epsilon: f32,
    step_size: f32,
    keep: f32,
}

struct Sgd {
    mean: Mean,
    momentum: f32,
    rate: f32,
    penalty: f32,
}

impl Kernel {
    /// Updates `weights`, which are the elements of `piece`. Wider registers apply the same operations to more elements at
    /// once, so the bits are equal.
    fn apply(&self, piece: Range<usize>, weights: &mut [f32], sum: &[f32], moments: &mut [Vec<f32>]) {
        let sum = &sum[piece.clone()];
        match self {
            Kernel::AdamW(kernel) => {
                let [first, second] = moments else { unreachable!("AdamW keeps two moments") };
                let (first, second) = (&mut first[piece.clone()], &mut second[piece]);
                Arch::new().dispatch(|| kernel.apply(weights, sum, first, second));
            }
            Kernel::Sgd(kernel) => {
                let [buffer] = moments else { unreachable!("SGD keeps one buffer") };
                let buffer = &mut buffer[piece];
                Arch::new().dispatch(|| kernel.apply(weights, sum, buffer));
            }
        }
    }
}

impl Mean {
    #[inline(always)]
    fn of(&self, sum: f32) -> f32 {
        self.factor * (sum / self.divisor)
    }
}

impl AdamW {
    #[inline(always)]
    fn apply(&self, weights: &mut [f32], sum: &[f32], first: &mut [f32], second: &mut [f32]) {
        let AdamW { mean, gain1, beta2, gain2, root_correction, epsilon, step_size, keep } = self;
        let elements = weights.iter_mut().zip(sum).zip(first.iter_mut().zip(second));
        for ((weight, sum), (first, second)) in elements {
            let gradient = mean.of(*sum);
            *first += gain1 * (gradient - *first);
            *second = beta2 * *second + gain2 * gradient * gradient;
            let denominator = second.sqrt() / root_correction + epsilon;
            *weight = keep * *weight - step_size * (*first / denominator);
        }
    }
}

impl Sgd {
    #[inline(always)]
    fn apply(&self, weights: &mut [f32], sum: &[f32], buffer: &mut [f32]) {
        let Sgd { mean, momentum, rate, penalty } = self;
        for ((weight, sum), buffer) in weights.iter_mut().zip(sum).zip(buffer) {
            let gradient = mean.of(*sum) + penalty * *weight;
            *buffer = momentum * *buffer + gradient;
            *weight -= rate * *buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: OptimizerConfig, decay: bool, steps: u64) -> Vec<f32> {
        let mut weights = vec![1.0f32, -2.0, 0.5];
        let mut moments = vec![vec![0.0; 3]; rule.moments()];
        for number in 1..=steps {
            let gradient: Vec<f32> = weights.iter().map(|weight| 2.0 * weight + 0.25).collect();
            let update = Update { rule, number, learning_rate: 0.1, divisor: 1, factor: 1.0 };
            let decays = [DecayRange { range: 0..3, decay }];
            let (first, rest) = weights.split_at_mut(1);
            let hash = update.apply(&decays, &mut [(0, first), (1, rest)], &gradient, &mut moments);
            assert_eq!(hash, crate::hash::segment(&weights));
        }
        weights
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 2e-6, "{found} is not {expected}");
        }
    }

    /// Expected values printed by torch 2.11: three steps on the same quadratic.
    #[test]
    fn adamw_is_torchs() {
        let rule = OptimizerConfig::AdamW { betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.1 };
        assert_close(&run(rule, true, 3), ADAMW_DECAYED);
        assert_close(&run(rule, false, 3), ADAMW);
    }

    #[test]
    fn sgd_is_torchs() {
        let rule = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.1 };
        assert_close(&run(rule, true, 3), SGD_DECAYED);
    }

    #[test]
    fn the_norm_of_a_mean() {
        let sum: Vec<f32> = (0..40).map(|index| index as f32 * 4.0).collect();
        let (_, squares) = hash_and_squares(&sum);
        assert_eq!(squares, (0..40).map(|index| 16.0 * f64::from(index * index)).sum::<f64>());
        assert_eq!(clip_factor(5.0, 0.0), 1.0);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
    }

    const ADAMW_DECAYED: &[f32] = &[0.674_812_3, -1.644_437_3, 0.191_699_01];
    const ADAMW: &[f32] = &[0.701_338_95, -1.700_676, 0.203_306_08];
    const SGD_DECAYED: &[f32] = &[-0.091_833_495, -0.164_790_48, -0.103_993];
}
