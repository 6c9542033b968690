//! A linear classifier of the features, fitted to one half of the rows and tested on the other.
//!
//! Ridge regression of the classes' indicators, in closed form. Features are centred and scaled by the fitted half. The
//! penalty minimises generalised cross-validation (Golub, Heath and Wahba, Technometrics 21, 1979) over a fixed grid.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ProbeError;
use super::eigen::{self, Spectrum};
use super::matrix::{Matrix, add, dot};
use super::sample::Sample;
use crate::plan::Permutation;

/// Smallest penalty, per fitted row.
const LEAST_PENALTY: f64 = 1e-6;

/// From one penalty of the grid to the next: the square root of ten.
const PENALTY_STEP: f64 = 3.162_277_660_168_379_5;

/// Penalties of the grid: up to 10,000 per fitted row.
const PENALTIES: usize = 21;

/// A feature whose deviation is smaller than this share of its mean is constant: f32 tells no more.
const CONSTANT: f64 = 1e-6;

/// How well the classifier does.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    /// Share of held-out rows that are classified rightly.
    pub accuracy: f64,
    /// The penalty chosen, for features of deviation 1. 0 where no feature varies.
    pub penalty: f64,
    /// Rows of the sample that were held out, ascending.
    pub held_out: Vec<usize>,
    /// Whether each of them was classified rightly.
    pub correct: Vec<bool>,
}

/// Fits and tests. Which half is held out depends on `seed` and the classes only, so networks are tested on the same rows.
pub fn ridge(sample: &Sample<'_>, seed: u64) -> Result<Ridge, ProbeError> {
    let (fitted, held_out) = halves(sample, seed);
    let mut features = sample.features(fitted.iter().copied());
    let scale = Scale::of(&features);
    features = scale.apply(&features);
    let targets = Targets::of(sample, &fitted);
    let Fit { weights, penalty } = fit(&features, &targets)?;
    let tested = scale.apply(&sample.features(held_out.iter().copied()));
    let correct: Vec<bool> = held_out
        .iter()
        .enumerate()
        .map(|(place, &row)| targets.predict(tested.row(place), &weights) == sample.classes()[row])
        .collect();
    let right = correct.iter().filter(|&&right| right).count();
    Ok(Ridge { accuracy: right as f64 / correct.len() as f64, penalty, held_out, correct })
}

/// Rows to fit and rows to hold out, both ascending. Rows are shuffled by the seed, sorted by class, and dealt in turn: the
/// halves differ by at most one row, and so do their shares of any class.
fn halves(sample: &Sample<'_>, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let rows = sample.rows();
    let shuffle = Permutation::new(rows as u64, xxh3_64_with_seed(b"probe halves", seed), 0);
    let mut order: Vec<usize> = (0..rows).map(|place| shuffle.at(place as u64) as usize).collect();
    order.sort_by_key(|&row| sample.classes()[row]);
    let deal = |turn: usize| {
        let mut half: Vec<usize> = order.iter().skip(turn).step_by(2).copied().collect();
        half.sort_unstable();
        half
    };
    (deal(0), deal(1))
}

/// Centre and deviation of the features that vary.
struct Scale {
    /// Column, mean, deviation.
    columns: Vec<(usize, f64, f64)>,
}

impl Scale {
    fn of(features: &Matrix) -> Scale {
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

    fn apply(&self, features: &Matrix) -> Matrix {
        let mut scaled = Matrix::zeros(features.rows(), self.columns.len());
        for row in 0..features.rows() {
            let from = features.row(row);
            for (to, &(column, mean, deviation)) in scaled.row_mut(row).iter_mut().zip(&self.columns) {
                *to = (from[column] - mean) / deviation;
            }
        }
        scaled
    }
}

/// Indicators of the classes, and their means over the fitted rows.
struct Targets {
    /// `[rows, classes]`, centred.
    centred: Matrix,
    /// Share of each class among the fitted rows.
    means: Vec<f64>,
}

impl Targets {
    fn of(sample: &Sample<'_>, fitted: &[usize]) -> Targets {
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
    fn values(&self, features: &[f64], weights: &Matrix) -> Vec<f64> {
        let mut values = self.means.clone();
        for (place, &feature) in features.iter().enumerate() {
            add(&mut values, feature, weights.row(place));
        }
        values
    }

    /// The class with the largest value; of equal ones the first. Classes without a fitted row are never predicted.
    fn predict(&self, features: &[f64], weights: &Matrix) -> usize {
        let values = self.values(features, weights);
        let known = (0..values.len()).filter(|&class| self.means[class] > 0.0);
        known
            .reduce(|best, class| if values[class] > values[best] { class } else { best })
            .expect("a half has rows")
    }
}

/// A linear model of centred targets.
struct Fit {
    /// `[features, classes]`
    weights: Matrix,
    penalty: f64,
}

/// Fits scaled features `[rows, features]`.
fn fit(features: &Matrix, targets: &Targets) -> Result<Fit, ProbeError> {
    if features.columns() == 0 {
        return Ok(Fit { weights: Matrix::zeros(0, targets.means.len()), penalty: 0.0 });
    }
    let decomposed = Decomposed::of(features, targets)?;
    let penalty = decomposed.best_penalty();
    let Decomposed { wide, gram, right, .. } = decomposed;
    let solved = gram.solve_with(penalty, right)?;
    let weights = if wide { features.transposed_times(&solved) } else { solved };
    Ok(Fit { weights, penalty })
}

/// The system whose solution is the fit, and its eigenvalues: (ZᵀZ + λ)⁻¹ZᵀY = Zᵀ(ZZᵀ + λ)⁻¹Y, whichever is smaller.
struct Decomposed {
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

impl Decomposed {
    fn of(features: &Matrix, targets: &Targets) -> Result<Decomposed, ProbeError> {
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
        Ok(Decomposed { wide, gram, right, values, seen, rows: rows as f64, total })
    }

    /// The penalty of the grid with the smallest error; of equal ones the largest.
    fn best_penalty(&self) -> f64 {
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
    fn error(&self, penalty: f64) -> f64 {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference::{self, Case, noise};

    /// Features of a class that points along one axis, in noise.
    fn features(rows: usize, width: usize, classes: usize, signal: f64) -> (Vec<f32>, Vec<u32>) {
        let labels: Vec<u32> = (0..rows).map(|row| (row % classes) as u32).collect();
        let of = |row: usize, column: usize| {
            noise((row * width + column) as u64) + if row % classes == column { signal } else { 0.0 }
        };
        let features =
            (0..rows).flat_map(|row| (0..width).map(move |column| of(row, column) as f32)).collect();
        (features, labels)
    }

    fn probed(features: &[f32], width: usize, labels: &[u32]) -> Ridge {
        ridge(&Sample::new(features, width, labels).expect("a sample"), 7).expect("a fit")
    }

    #[test]
    fn fit_penalty_and_predictions_are_scikit_learns() {
        for (name, Case { features, width, labels, ridge, .. }) in reference::samples() {
            let sample = Sample::new(&features, width, &labels).expect("a sample");
            let half = |first: usize| (first..labels.len()).step_by(2).collect::<Vec<_>>();
            let (fitted, held_out) = (half(0), half(1));
            let raw = sample.features(fitted.iter().copied());
            let scale = Scale::of(&raw);
            let targets = Targets::of(&sample, &fitted);
            let Fit { weights, penalty } = fit(&scale.apply(&raw), &targets).expect("a fit");
            assert!(
                (penalty / ridge.penalty - 1.0).abs() < 1e-9,
                "{name}: {penalty} is not {}",
                ridge.penalty
            );
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
            let decomposed = Decomposed::of(&features, &targets).expect("a spectrum");
            let mut penalty = LEAST_PENALTY * fitted.len() as f64;
            for expected in ridge.errors {
                let found = decomposed.error(penalty);
                assert!(
                    (found / expected - 1.0).abs() < 1e-6,
                    "{name}: {found} is not {expected} at {penalty}"
                );
                penalty *= PENALTY_STEP;
            }
        }
    }

    #[test]
    fn halves_are_equal_in_every_class_and_depend_on_the_seed() {
        let labels: Vec<u32> = (0..103).map(|row| [0, 0, 0, 1, 2, 2, 3][row % 7]).collect();
        let numbers = vec![0.0; labels.len()];
        let sample = Sample::new(&numbers, 1, &labels).expect("a sample");
        let (fitted, held_out) = halves(&sample, 1);
        assert_eq!((fitted.len(), held_out.len()), (52, 51));
        let mut all = [fitted.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>(), "each row is in one half");
        for class in 0..4 {
            let of = |half: &[usize]| half.iter().filter(|&&row| sample.classes()[row] == class).count();
            assert!(of(&fitted).abs_diff(of(&held_out)) <= 1, "class {class}");
        }
        assert_eq!(halves(&sample, 1), (fitted.clone(), held_out));
        assert_ne!(halves(&sample, 2).0, fitted);
    }

    #[test]
    fn a_class_that_shows_is_found_and_noise_is_not() {
        // Fewer rows than features tell less.
        for (rows, width, least) in [(120, 10, 0.9), (40, 90, 0.6)] {
            let (shown, labels) = features(rows, width, 4, 6.0);
            let found = probed(&shown, width, &labels);
            assert!(found.accuracy > least, "{rows} rows of {width}: {}", found.accuracy);
            let (hidden, labels) = features(rows, width, 4, 0.0);
            let noise = probed(&hidden, width, &labels);
            assert!(noise.accuracy < 0.5, "{rows} rows of {width}: {}", noise.accuracy);
            assert_eq!(found.held_out, noise.held_out, "both are tested on the same rows");
            let right = found.correct.iter().filter(|&&correct| correct).count();
            assert_eq!(found.accuracy, right as f64 / found.held_out.len() as f64);
        }
    }

    #[test]
    fn features_that_do_not_vary_leave_the_largest_class() {
        let labels: Vec<u32> = (0..30).map(|row| u32::from(row % 3 == 0)).collect();
        for constant in [0.0, 0.1, -1e30, 1e-30] {
            let found = probed(&[constant; 60], 2, &labels);
            assert_eq!(found.accuracy, 2.0 / 3.0);
        }
        // The last bit of an f32 is no feature.
        let almost: Vec<f32> =
            labels.iter().map(|&label| if label == 1 { 1.0 } else { 1.0f32.next_up() }).collect();
        assert_eq!(probed(&almost, 1, &labels).accuracy, 2.0 / 3.0);
    }

    #[test]
    fn units_and_places_of_features_and_numbers_of_classes_do_not_matter() {
        let (plain, labels) = features(60, 7, 3, 0.8);
        let found = probed(&plain, 7, &labels);
        let moved: Vec<f32> =
            plain.iter().enumerate().map(|(at, x)| x * [1e-3, 8.0, 1e5][at % 7 % 3] + 0.5).collect();
        assert_eq!(probed(&moved, 7, &labels).accuracy, found.accuracy);
        let renamed: Vec<u32> = labels.iter().map(|label| 5 + 9 * label).collect();
        assert_eq!(probed(&plain, 7, &renamed), found);
    }

    #[test]
    fn few_rows_of_many_classes_are_judged() {
        // Four rows of three classes: one class has no held-out row, another no fitted one.
        let found = probed(&[1.0, 2.0, 3.0, 4.0], 1, &[0, 1, 2, 2]);
        assert_eq!(found.correct.len(), 2);
        let labels: Vec<u32> = (0..20).collect();
        let found = probed(&features(20, 5, 20, 1.0).0, 5, &labels);
        assert_eq!(found.accuracy, 0.0, "no class has a row in both halves");
    }
}
