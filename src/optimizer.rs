//! AdamW and SGD as torch defines them, on slices of f32: the one update that the coordinator makes, and every replica of it.
//!
//! Only IEEE `+ − × ÷ √`, one rounding each and never a fused multiply-add, so the bits do not depend on the machine.
//! Scalars are computed in f64 and rounded to f32 once, as torch does.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod segment;
#[cfg(test)]
mod tests;

use std::ops::Range;

use pulp::Arch;
pub use segment::SegmentTreatment;
use xxhash_rust::xxh3::Xxh3Default;

use crate::run_file::{Optimizer, RunSpec};
use crate::trainable::Treatment;

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
        segment: &SegmentTreatment,
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
            for (range, treatment) in segment.ranges() {
                let kernel = self.kernel(treatment);
                let pull = self.pull(treatment);
                for at in (range.start.max(*start)..range.end.min(end)).step_by(PIECE) {
                    let part = at..(at + PIECE).min(range.end).min(end);
                    let weights = &mut weights[part.start - *start..part.end - *start];
                    // What does not train yet keeps its weights and its moments of zero.
                    if let Some(kernel) = &kernel {
                        if let Some(pull) = pull {
                            let first = segment.first_values(part.clone());
                            Arch::new().dispatch(|| pull_back(pull, weights, first));
                        }
                        kernel.apply(part, weights, sum, moments);
                    }
                    hash.update(bytemuck::cast_slice(weights));
                }
            }
        }
        hash.digest128()
    }

    /// What the update does to parameters that are treated alike; `None` if they do not train yet.
    fn kernel(&self, treatment: &Treatment) -> Option<Kernel> {
        let number = treatment.own_number(self.number)?;
        let learning_rate = self.learning_rate * treatment.rate;
        let mean = Mean { divisor: self.divisor as f32, factor: self.factor };
        Some(match self.rule {
            OptimizerConfig::AdamW { betas: (beta1, beta2), epsilon, weight_decay } => {
                let correction1 = 1.0 - libm::pow(beta1, number as f64);
                let correction2 = 1.0 - libm::pow(beta2, number as f64);
                let keep = if treatment.decay { 1.0 - learning_rate * weight_decay } else { 1.0 };
                Kernel::AdamW(AdamW {
                    mean,
                    gain1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    gain2: (1.0 - beta2) as f32,
                    root_correction: correction2.sqrt() as f32,
                    epsilon: epsilon as f32,
                    step_size: (learning_rate / correction1) as f32,
                    keep: keep as f32,
                })
            }
            OptimizerConfig::Sgd { momentum, weight_decay } => Kernel::Sgd(Sgd {
                mean,
                momentum: momentum as f32,
                rate: learning_rate as f32,
                penalty: if treatment.decay { weight_decay as f32 } else { 0.0 },
            }),
        })
    }

    /// The part of the way to their first values that weights go before the optimizer's own step (L2-SP, Li et al., 2018,
    /// decoupled from the gradient as AdamW's weight decay is); `None`: they stay.
    fn pull(&self, treatment: &Treatment) -> Option<f32> {
        (treatment.pull > 0.0).then_some((self.learning_rate * treatment.rate * treatment.pull) as f32)
    }
}

/// `w ← w − pull · (w − w₀)`
#[inline(always)]
fn pull_back(pull: f32, weights: &mut [f32], first: &[f32]) {
    for (weight, first) in weights.iter_mut().zip(first) {
        *weight -= pull * (*weight - first);
    }
}

/// One update of elements that are treated alike, its scalars rounded to f32.
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
