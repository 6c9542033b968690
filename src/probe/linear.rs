//! A linear classifier of features: ridge regression of one indicator per class, in closed form.
//!
//! The penalty minimises generalised cross-validation (Golub, Heath and Wahba, Technometrics 21, 1979) over a fixed
//! grid, for all classes together.

use super::ProbeError;
use super::eigen::{self, Spectrum};
use super::matrix::{Factor, Matrix, add, dot};
use super::sample::Sample;

/// Smallest penalty, per row.
const LEAST_PENALTY: f64 = 1e-6;

/// From one penalty of the grid to the next: the square root of ten.
const PENALTY_STEP: f64 = 3.162_277_660_168_379_5;

/// Penalties of the grid: up to 10,000 per row.
const PENALTIES: usize = 21;

/// A feature whose deviation is smaller than this share of its mean is constant: f32 tells no more.
const CONSTANT: f64 = 1e-6;

/// Centre and deviation of the features that vary.
pub(super) struct Scale {
    /// Column, mean, deviation.
    columns: Vec<(usize, f64, f64)>,
}

impl Scale {
    pub(super) fn of(features: &Matrix) -> Scale {
        let rows = features.rows() as f64;
        let mut means = vec![0.0; features.columns()];
        for row in 0..features.rows() {
            add(&mut means, 1.0, features.row(row));
        }
        means.iter_mut().for_each(|mean| *mean /= rows);
        let mut squares = vec![0.0; features.columns()];
        for row in 0..features.rows() {
            for ((sum, value), mean) in squares.iter_mut().zip(features.row(row)).zip(&means) {
                *sum += (value - mean) * (value - mean);
            }
        }
        let deviations = squares.iter().map(|sum| libm::sqrt(sum / rows));
        let columns =
            means.iter().zip(deviations).enumerate().map(|(at, (&mean, deviation))| (at, mean, deviation));
        let varies = |&(_, mean, deviation): &(usize, f64, f64)| deviation > CONSTANT * mean.abs();
        Scale { columns: columns.filter(varies).collect() }
    }

    /// The features that vary, centred, with deviation 1.
    pub(super) fn apply(&self, features: &Matrix) -> Matrix {
        self.each(features, |value, mean, deviation| (value - mean) / deviation)
    }

    /// The features that vary, centred.
    pub(super) fn centre(&self, features: &Matrix) -> Matrix {
        self.each(features, |value, mean, _| value - mean)
    }

    fn each(&self, features: &Matrix, place: impl Fn(f64, f64, f64) -> f64) -> Matrix {
        let mut scaled = Matrix::zeros(features.rows(), self.columns.len());
        for row in 0..features.rows() {
            let from = features.row(row);
            for (to, &(column, mean, deviation)) in scaled.row_mut(row).iter_mut().zip(&self.columns) {
                *to = place(from[column], mean, deviation);
            }
        }
        scaled
    }
}

/// Indicators of the classes, and their means over the fitted rows.
pub(super) struct Targets {
    /// `[rows, classes]`, centred.
    centred: Matrix,
    /// Share of each class among the fitted rows.
    means: Vec<f64>,
}

impl Targets {
    pub(super) fn of(sample: &Sample<'_>, fitted: &[usize]) -> Targets {
        let mut means = vec![0.0; sample.counts().len()];
        for &row in fitted {
            means[sample.classes()[row]] += 1.0;
        }
        means.iter_mut().for_each(|mean| *mean /= fitted.len() as f64);
        let mut centred = Matrix::zeros(fitted.len(), means.len());
        for (place, &row) in fitted.iter().enumerate() {
            centred.row_mut(place)[sample.classes()[row]] = 1.0;
            add(centred.row_mut(place), -1.0, &means);
        }
        Targets { centred, means }
    }

    /// The model's value of each class.
    pub(super) fn values(&self, features: &[f64], weights: &Matrix) -> Vec<f64> {
        let mut values = self.means.clone();
        for (place, &feature) in features.iter().enumerate() {
            add(&mut values, feature, weights.row(place));
        }
        values
    }

    /// The class with the largest value; of equal ones the first. Classes without a fitted row are never predicted.
    pub(super) fn predict(&self, features: &[f64], weights: &Matrix) -> usize {
        let values = self.values(features, weights);
        let known = (0..values.len()).filter(|&class| self.means[class] > 0.0);
        known
            .reduce(|best, class| if values[class] > values[best] { class } else { best })
            .expect("a half has rows")
    }
}

/// The system whose solution is the fit, and its eigenvalues. (ZᵀZ + λ)⁻¹ZᵀY and Zᵀ(ZZᵀ + λ)⁻¹Y are equal; the
/// smaller system is taken.
pub(super) struct System<'a> {
    /// Z: `[rows, features]`, scaled.
    features: &'a Matrix,
    /// Y.
    targets: &'a Targets,
    wide: bool,
    gram: Matrix,
    right: Matrix,
    /// Squared singular values of Z, without zeros.
    values: Vec<f64>,
    /// Squared projections of Y on the left singular vectors, over all classes.
    seen: Vec<f64>,
    rows: f64,
    /// Squares of Y.
    total: f64,
}

impl<'a> System<'a> {
    pub(super) fn of(features: &'a Matrix, targets: &'a Targets) -> Result<System<'a>, ProbeError> {
        let (rows, width) = (features.rows(), features.columns());
        let wide = width > rows;
        let (gram, right) = match wide {
            false => (features.gram(), features.transposed_times(&targets.centred)),
            true => (features.transposed().gram(), targets.centred.clone()),
        };
        let Spectrum { values, projected } = eigen::spectrum(gram.clone(), right.clone())?;
        // Z is centred, so that one dimension of the rows is never used.
        let rank = eigen::rank(&values, rows.max(width)).min(rows - 1);
        let seen = (0..rank).map(|place| {
            let squares = dot(projected.row(place), projected.row(place));
            if wide { squares } else { squares / values[place] }
        });
        let (seen, values) = (seen.collect(), values[..rank].to_vec());
        let total = dot(targets.centred.values(), targets.centred.values());
        Ok(System { features, targets, wide, gram, right, values, seen, rows: rows as f64, total })
    }

    /// The penalty of the grid with the smallest error; of equal ones the largest.
    pub(super) fn best_penalty(&self) -> f64 {
        let least = LEAST_PENALTY * self.rows;
        let (mut penalty, mut best) = (least, (f64::INFINITY, least));
        for _ in 0..PENALTIES {
            let error = self.error(penalty);
            if error <= best.0 {
                best = (error, penalty);
            }
            penalty *= PENALTY_STEP;
        }
        best.1
    }

    /// Generalised cross-validation of all classes together: the mean squared residual over the square of the share of
    /// unused degrees of freedom. The centre has used one.
    pub(super) fn error(&self, penalty: f64) -> f64 {
        let mut residual = (self.total - self.seen.iter().sum::<f64>()).max(0.0);
        let mut unused = self.rows - 1.0 - self.values.len() as f64;
        for (value, seen) in self.values.iter().zip(&self.seen) {
            let lost = penalty / (value + penalty);
            residual += lost * lost * seen;
            unused += lost;
        }
        let share = unused / self.rows;
        residual / self.rows / (share * share)
    }

    /// The model with this penalty: weights `[features, classes]`.
    pub(super) fn weights(&self, penalty: f64) -> Result<Matrix, ProbeError> {
        let solved = self.factor(penalty)?.solve(self.right.clone());
        Ok(if self.wide { self.features.transposed_times(&solved) } else { solved })
    }

    /// For each row the squared error, over all classes, of the model that is fitted to all other rows: its residual
    /// in the whole model over the share of the row that the model does not take from itself (Allen's PRESS,
    /// Technometrics 16, 1974).
    pub(super) fn left_out(&self, penalty: f64) -> Result<Vec<f64>, ProbeError> {
        let factor = self.factor(penalty)?;
        let solved = factor.solve(self.right.clone());
        let shares = self.own_shares(&factor, penalty);
        let error = |row: usize| {
            let mut residual = self.targets.centred.row(row).to_vec();
            if self.wide {
                residual.copy_from_slice(solved.row(row));
                residual.iter_mut().for_each(|value| *value *= penalty);
            } else {
                for (place, &feature) in self.features.row(row).iter().enumerate() {
                    add(&mut residual, -feature, solved.row(place));
                }
            }
            // The centre takes one part in all rows.
            let kept = (shares[row] - 1.0 / self.rows).max(f64::EPSILON);
            dot(&residual, &residual) / (kept * kept)
        };
        Ok((0..self.features.rows()).map(error).collect())
    }

    /// `1 - hᵢᵢ` of the hat matrix H = Z(ZᵀZ + λ)⁻¹Zᵀ = 1 - λ(ZZᵀ + λ)⁻¹.
    fn own_shares(&self, factor: &Factor, penalty: f64) -> Vec<f64> {
        let mut halves =
            if self.wide { Matrix::identity(self.features.rows()) } else { self.features.transposed() };
        factor.solve_lower(&mut halves);
        let mut squares = vec![0.0; self.features.rows()];
        for row in 0..halves.rows() {
            for (sum, value) in squares.iter_mut().zip(halves.row(row)) {
                *sum += value * value;
            }
        }
        squares.into_iter().map(|sum| if self.wide { penalty * sum } else { 1.0 - sum }).collect()
    }

    fn factor(&self, penalty: f64) -> Result<Factor, ProbeError> {
        let mut system = self.gram.clone();
        system.add_to_diagonal(penalty);
        let size = system.rows();
        system.factor().ok_or(ProbeError::NoSpectrum { size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference::{self, Case};

    #[test]
    fn fit_penalty_and_predictions_are_scikit_learns() {
        for (name, Case { features, width, labels, ridge, .. }) in reference::samples() {
            let sample = Sample::new(&features, width, &labels).expect("a sample");
            let half = |first: usize| (first..labels.len()).step_by(2).collect::<Vec<_>>();
            let (fitted, held_out) = (half(0), half(1));
            let raw = sample.features(fitted.iter().copied());
            let scale = Scale::of(&raw);
            let (features, targets) = (scale.apply(&raw), Targets::of(&sample, &fitted));
            let system = System::of(&features, &targets).expect("a spectrum");
            let penalty = system.best_penalty();
            assert!(
                (penalty / ridge.penalty - 1.0).abs() < 1e-9,
                "{name}: {penalty} is not {}",
                ridge.penalty
            );
            let weights = system.weights(penalty).expect("a fit");
            let tested = scale.apply(&sample.features(held_out.iter().copied()));
            let mut right = 0;
            for (place, expected) in ridge.predicted.iter().enumerate() {
                let found = targets.values(tested.row(place), &weights);
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-9, "{name}: {found} is not {expected}");
                }
                let class = targets.predict(tested.row(place), &weights);
                right += usize::from(class == sample.classes()[held_out[place]]);
            }
            assert_eq!(right as f64 / held_out.len() as f64, ridge.accuracy, "{name}");
        }
    }

    #[test]
    fn cross_validation_is_that_of_the_hat_matrix() {
        for (name, Case { features, width, labels, ridge, .. }) in reference::samples() {
            let sample = Sample::new(&features, width, &labels).expect("a sample");
            let fitted: Vec<usize> = (0..labels.len()).step_by(2).collect();
            let raw = sample.features(fitted.iter().copied());
            let (features, targets) = (Scale::of(&raw).apply(&raw), Targets::of(&sample, &fitted));
            let system = System::of(&features, &targets).expect("a spectrum");
            let mut penalty = LEAST_PENALTY * fitted.len() as f64;
            for expected in ridge.errors {
                let found = system.error(penalty);
                assert!(
                    (found / expected - 1.0).abs() < 1e-6,
                    "{name}: {found} is not {expected} at {penalty}"
                );
                penalty *= PENALTY_STEP;
            }
        }
    }
}
