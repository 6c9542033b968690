//! LogME: the log evidence of the classes under a linear model of the features, maximised over its two precisions.
//!
//! You, Liu, Wang and Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (ICML 2021).
//! Per class, y is 1 for its rows and 0 for others, weights have the prior N(0, 1/α), and y is N(F·w, 1/β). The
//! evidence p(y | F, α, β) is maximised by the paper's fixed-point iteration. Differences from the published program:
//!
//! - The first α/β is the mean eigenvalue rather than 1, so that features times a constant have the same score.
//! - With fewer rows than features, the zero eigenvalues keep their terms, as in the paper's formula.
//! - A perfect fit may make the iteration jump to and fro; a step that turns back is halved.
//! - Where features do not help, α/β grows without end; the evidence is then its limit.

use std::f64::consts::PI;

use super::ProbeError;
use super::eigen;
use super::matrix::Matrix;
use super::sample::Sample;

/// Most rounds of the iteration.
const MOST_ROUNDS: usize = 100;

/// Relative change of α/β that ends the iteration.
const SETTLED: f64 = 1e-6;

/// Added to the residual, as the published program does, so that a perfect fit has a finite evidence.
const RESIDUAL: f64 = 1e-5;

/// α/β in units of the largest eigenvalue from which on features do not count any more.
const ENDLESS: f64 = 1e12;

/// Mean over the classes of log evidence per row, in nats. Larger is better.
pub fn logme(sample: &Sample<'_>) -> Result<f64, ProbeError> {
    let (rows, classes) = (sample.rows(), sample.counts().len());
    let features = sample.features(0..rows);
    let targets = one_hot(sample);
    let wide = sample.width() > rows;
    // FᵀF and FFᵀ have the same eigenvalues but for zeros; the smaller one is decomposed.
    let spectrum = match wide {
        false => eigen::spectrum(features.gram(), features.transposed_times(&targets))?,
        true => eigen::spectrum(features.transposed().gram(), targets)?,
    };
    let rank = eigen::rank(&spectrum.values, rows.max(sample.width()));
    let values = &spectrum.values[..rank];
    let mut sum = 0.0;
    for (class, &count) in sample.counts().iter().enumerate() {
        // (uᵀy)² for each left singular vector u of F.
        let seen = values.iter().enumerate().map(|(place, value)| {
            let seen = spectrum.projected.row(place)[class];
            if wide { seen * seen } else { seen * seen / value }
        });
        sum += Class { values, seen: seen.collect(), rows: rows as f64, count: count as f64 }.evidence();
    }
    Ok(sum / classes as f64)
}

/// `[rows, classes]`: 1 where the row is of the class.
fn one_hot(sample: &Sample<'_>) -> Matrix {
    let mut targets = Matrix::zeros(sample.rows(), sample.counts().len());
    for (row, &class) in sample.classes().iter().enumerate() {
        targets.row_mut(row)[class] = 1.0;
    }
    targets
}

/// One class in the basis of the features' singular vectors.
struct Class<'a> {
    /// Squared singular values of the features, without zeros.
    values: &'a [f64],
    /// Squared projections of y on the left singular vectors.
    seen: Vec<f64>,
    rows: f64,
    /// `yᵀy`: rows of the class.
    count: f64,
}

/// One round of the iteration.
struct Round {
    beta: f64,
    /// The next α/β.
    ratio: f64,
}

impl Class<'_> {
    /// The largest log evidence, per row.
    fn evidence(&self) -> f64 {
        let Some(largest) = self.values.first() else { return self.without_features() };
        let mut ratio = self.values.iter().sum::<f64>() / self.values.len() as f64;
        let (mut beta, mut rises) = (0.0, None);
        for _ in 0..MOST_ROUNDS {
            let Round { beta: next_beta, ratio: next } = self.round(ratio);
            if next.is_nan() || next > ENDLESS * largest {
                return self.without_features();
            }
            beta = next_beta;
            let settled = (next - ratio).abs() <= SETTLED * ratio;
            // Half a step on the logarithmic scale where it turns back.
            let turns = rises.replace(next > ratio).is_some_and(|rose| rose != (next > ratio));
            ratio = if turns { libm::sqrt(ratio * next) } else { next };
            if settled {
                break;
            }
        }
        // ½·log|A| without the part that ½·D·log α cancels. β·residual + α·mᵀm is the number of rows, by the
        // iteration.
        let logs: f64 = self.values.iter().map(|value| libm::log(1.0 + value / ratio)).sum();
        self.noise(beta) - logs / (2.0 * self.rows)
    }

    /// New precisions from the mean of the weights under the present ratio.
    fn round(&self, ratio: f64) -> Round {
        let rank = self.values.len() as f64;
        let (mut used, mut unused, mut weights) = (0.0, self.rows - rank, 0.0);
        let mut residual = self.unseen();
        for (value, seen) in self.values.iter().zip(&self.seen) {
            let (kept, lost) = (value / (value + ratio), ratio / (value + ratio));
            used += kept;
            unused += lost;
            weights += kept * seen / (value + ratio);
            residual += lost * lost * seen;
        }
        let (alpha, beta) = (used / weights, unused / (residual + RESIDUAL));
        Round { beta, ratio: alpha / beta }
    }

    /// Squares of y outside the span of the features.
    fn unseen(&self) -> f64 {
        (self.count - self.seen.iter().sum::<f64>()).max(0.0)
    }

    /// The limit for weights that are certainly zero.
    fn without_features(&self) -> f64 {
        self.noise(self.rows / (self.count + RESIDUAL))
    }

    fn noise(&self, beta: f64) -> f64 {
        0.5 * (libm::log(beta) - 1.0 - libm::log(2.0 * PI))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference::{self, Case};
    use proptest::prelude::*;

    fn score(features: &[f32], width: usize, labels: &[u32]) -> f64 {
        logme(&Sample::new(features, width, labels).expect("a sample")).expect("a score")
    }

    #[test]
    fn the_score_is_the_largest_evidence_that_a_general_optimiser_finds() {
        for (name, Case { features, width, labels, logme, .. }) in reference::samples() {
            let found = score(&features, width, &labels);
            assert!((found - logme).abs() < 2e-7, "{name}: {found} is not {logme}");
        }
    }

    #[test]
    fn features_that_tell_classes_apart_score_higher() {
        let labels: Vec<u32> = (0..60).map(|row| row % 3).collect();
        let features = |signal: f32| -> Vec<f32> {
            let noise = |row: u32, column: u32| reference::noise(u64::from(row * 8 + column)) as f32;
            let of =
                |row: u32, column: u32| noise(row, column) + if row % 3 == column { signal } else { 0.0 };
            (0..60).flat_map(|row| (0..8).map(move |column| of(row, column))).collect()
        };
        let scores = [0.0, 0.5, 1.0, 4.0, 1e3].map(|signal| score(&features(signal), 8, &labels));
        assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
        assert!(scores.iter().all(|score| score.is_finite()), "a perfect fit too: {scores:?}");
    }

    #[test]
    fn features_that_say_nothing_score_like_none() {
        let labels = [0, 1, 1, 0, 1, 0, 0, 1];
        let none = score(&[0.0; 8], 1, &labels);
        // A class of half the rows: variance 1/2 about zero.
        assert!((none - 0.5 * (libm::log(2.0) - 1.0 - libm::log(2.0 * PI))).abs() < 1e-5, "{none}");
        let orthogonal: Vec<f32> = (0..8).map(|row| if row % 4 < 2 { 1.0 } else { -1.0 }).collect();
        assert!((score(&orthogonal, 1, &labels) - none).abs() < 1e-12, "{none}");
        // A constant is the mean, which does help.
        assert!(score(&[3.0; 8], 1, &labels) > none);
    }

    proptest! {
        #[test]
        fn neither_the_unit_of_features_nor_the_numbers_of_classes_nor_the_order_of_features_matter(
            rows in 6usize..24,
            width in 1usize..30,
            seed: u64,
        ) {
            let features: Vec<f32> = (0..rows * width).map(|at| reference::noise(seed ^ at as u64) as f32).collect();
            let labels: Vec<u32> = (0..rows as u32).map(|row| row % 3).collect();
            let plain = score(&features, width, &labels);
            let near = |other: f64| (plain - other).abs() < 1e-6;
            let scaled: Vec<f32> = features.iter().map(|feature| feature * 1024.0).collect();
            prop_assert!(near(score(&scaled, width, &labels)));
            let renamed: Vec<u32> = labels.iter().map(|label| 70 - 30 * label).collect();
            prop_assert!(near(score(&features, width, &renamed)));
            let turned: Vec<f32> = features.chunks(width).flat_map(|row| row.iter().rev().copied()).collect();
            prop_assert!(near(score(&turned, width, &labels)));
            prop_assert_eq!(plain.to_bits(), score(&features, width, &labels).to_bits());
        }
    }
}
