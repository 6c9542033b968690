//! AdamW and SGD as torch defines them, on slices of f32.
//!
//! Only IEEE `+ − × ÷ √`, one rounding each and never a fused multiply-add, so the bits do not depend on the machine.
//! Scalars are computed in f64 and rounded to f32 once, as torch does.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Range;

use headstart::spec::{Optimizer, RunSpec};

/// Lanes of a sum of squares. Fixed, because a sum's bits depend on its order.
const LANES: usize = 16;

/// The optimizer with its constants.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
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

impl Rule {
    /// The optimizer a run file asks for.
    pub fn new(spec: &RunSpec) -> Rule {
        match spec.optim {
            Optimizer::AdamwTorch => Rule::AdamW {
                betas: (spec.adam_beta1, spec.adam_beta2),
                epsilon: spec.adam_epsilon,
                weight_decay: spec.weight_decay,
            },
            Optimizer::Sgd => Rule::Sgd { momentum: spec.momentum, weight_decay: spec.weight_decay },
        }
    }

    /// Number of state vectors as long as the weights.
    pub fn moments(&self) -> usize {
        match self {
            Rule::AdamW { .. } => 2,
            Rule::Sgd { .. } => 1,
        }
    }
}

/// A stretch of a segment with one weight-decay rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Elements of the segment.
    pub range: Range<usize>,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// Divides the gradient sum by the number of samples, in place, and returns the sum of squares (f64).
///
/// `gradient`: `[elements of the segment]`, summed over samples on entry, their mean on return.
pub fn mean_and_squares(gradient: &mut [f32], samples: u64) -> f64 {
    let count = samples as f32;
    let mut lanes = [0.0f64; LANES];
    let mut chunks = gradient.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *value /= count;
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(chunks.into_remainder()) {
        *value /= count;
        *lane += f64::from(*value) * f64::from(*value);
    }
    lanes.iter().sum()
}

/// The factor that brings a gradient of this norm down to `max_norm` (torch.nn.utils.clip_grad_norm_); 1 when
/// clipping is off.
pub fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    if max_norm <= 0.0 { 1.0 } else { (max_norm / (norm + 1e-6)).min(1.0) as f32 }
}

/// One update of one segment.
pub struct Update<'a> {
    /// The rule.
    pub rule: Rule,
    /// Number of this update, from 1.
    pub number: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Factor on the gradient, from clipping.
    pub factor: f32,
    /// Where weight decay applies.
    pub stretches: &'a [Stretch],
}

impl Update<'_> {
    /// Applies the update: `weights`, `gradient` (mean over samples) and each of `moments` are of equal length.
    pub fn apply(&self, weights: &mut [f32], gradient: &[f32], moments: &mut [Vec<f32>]) {
        match (self.rule, moments) {
            (Rule::AdamW { betas, epsilon, weight_decay }, [first, second]) => {
                let adam = AdamScalars::new(betas, epsilon, self.learning_rate, self.number);
                for Stretch { range, decay } in self.stretches.iter().cloned() {
                    let keep = if decay { (1.0 - self.learning_rate * weight_decay) as f32 } else { 1.0 };
                    let elements = weights[range.clone()]
                        .iter_mut()
                        .zip(&gradient[range.clone()])
                        .zip(first[range.clone()].iter_mut().zip(&mut second[range]));
                    for ((weight, gradient), (first, second)) in elements {
                        adam.step(keep, self.factor * gradient, weight, first, second);
                    }
                }
            }
            (Rule::Sgd { momentum, weight_decay }, [buffer]) => {
                let (momentum, rate) = (momentum as f32, self.learning_rate as f32);
                for Stretch { range, decay } in self.stretches.iter().cloned() {
                    let penalty = if decay { weight_decay as f32 } else { 0.0 };
                    let elements = weights[range.clone()]
                        .iter_mut()
                        .zip(&gradient[range.clone()])
                        .zip(&mut buffer[range]);
                    for ((weight, gradient), buffer) in elements {
                        let gradient = self.factor * gradient + penalty * *weight;
                        *buffer = momentum * *buffer + gradient;
                        *weight -= rate * *buffer;
                    }
                }
            }
            (rule, moments) => unreachable!("{rule:?} was given {} moments", moments.len()),
        }
    }
}

struct AdamScalars {
    gain1: f32,
    beta2: f32,
    gain2: f32,
    root_correction: f32,
    epsilon: f32,
    step_size: f32,
}

impl AdamScalars {
    fn new((beta1, beta2): (f64, f64), epsilon: f64, learning_rate: f64, number: u64) -> AdamScalars {
        let correction1 = 1.0 - libm::pow(beta1, number as f64);
        let correction2 = 1.0 - libm::pow(beta2, number as f64);
        AdamScalars {
            gain1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            gain2: (1.0 - beta2) as f32,
            root_correction: correction2.sqrt() as f32,
            epsilon: epsilon as f32,
            step_size: (learning_rate / correction1) as f32,
        }
    }

    #[inline]
    fn step(&self, keep: f32, gradient: f32, weight: &mut f32, first: &mut f32, second: &mut f32) {
        *first += self.gain1 * (gradient - *first);
        *second = self.beta2 * *second + self.gain2 * gradient * gradient;
        let denominator = second.sqrt() / self.root_correction + self.epsilon;
        *weight = keep * *weight - self.step_size * (*first / denominator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: Rule, decay: bool, steps: u64) -> Vec<f32> {
        let mut weights = vec![1.0f32, -2.0, 0.5];
        let mut moments = vec![vec![0.0; 3]; rule.moments()];
        for number in 1..=steps {
            let gradient: Vec<f32> = weights.iter().map(|weight| 2.0 * weight + 0.25).collect();
            let stretches = [Stretch { range: 0..3, decay }];
            Update { rule, number, learning_rate: 0.1, factor: 1.0, stretches: &stretches }.apply(
                &mut weights,
                &gradient,
                &mut moments,
            );
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
        let rule = Rule::AdamW { betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.1 };
        assert_close(&run(rule, true, 3), ADAMW_DECAYED);
        assert_close(&run(rule, false, 3), ADAMW);
    }

    #[test]
    fn sgd_is_torchs() {
        let rule = Rule::Sgd { momentum: 0.9, weight_decay: 0.1 };
        assert_close(&run(rule, true, 3), SGD_DECAYED);
    }

    #[test]
    fn the_norm_of_a_mean() {
        let mut gradient: Vec<f32> = (0..40).map(|index| index as f32 * 4.0).collect();
        let squares = mean_and_squares(&mut gradient, 4);
        assert_eq!(gradient[39], 39.0);
        assert_eq!(squares, (0..40).map(|index| f64::from(index * index)).sum::<f64>());
        assert_eq!(clip_factor(5.0, 0.0), 1.0);
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
    }

    const ADAMW_DECAYED: &[f32] = &[0.674_812_3, -1.644_437_3, 0.191_699_01];
    const ADAMW: &[f32] = &[0.701_338_95, -1.700_676, 0.203_306_08];
    const SGD_DECAYED: &[f32] = &[-0.091_833_495, -0.164_790_48, -0.103_993];
}
