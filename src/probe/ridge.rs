//! How well a linear classifier of the features does: fitted to one half of the rows and tested on the other, and on each
//! row when it is fitted to all others.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ProbeError;
use super::linear::{Scale, System, Targets};
use super::sample::Sample;
use crate::plan::Permutation;

/// Penalty of a row's squared error, in units of a feature's square: weights whose features vary by less than this are hardly used.
const PENALTY: f64 = 1.0;

/// How well the classifier does.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    /// Share of held-out rows that are classified rightly.
    pub accuracy: f64,
    /// The penalty chosen, for features of deviation 1.
    pub penalty: f64,
    /// Rows of the sample that were held out, ascending.
    pub held_out: Vec<usize>,
    /// Whether each of them was classified rightly.
    pub correct: Vec<bool>,
}

/// Fits and tests. Which half is held out depends on `seed` and the classes only, so networks are tested on the same rows.
pub fn ridge(sample: &Sample<'_>, seed: u64) -> Result<Ridge, ProbeError> {
    let (fitted, held_out) = halves(sample, seed);
    let raw = sample.features(fitted.iter().copied());
    let scale = Scale::of(&raw);
    let (features, targets) = (scale.apply(&raw), Targets::of(sample, &fitted));
    let system = System::of(&features, &targets)?;
    let penalty = system.best_penalty();
    let weights = system.weights(penalty)?;
    let tested = scale.apply(&sample.features(held_out.iter().copied()));
    let correct: Vec<bool> = held_out
        .iter()
        .enumerate()
        .map(|(place, &row)| targets.predict(tested.row(place), &weights) == sample.classes()[row])
        .collect();
    let right = correct.iter().filter(|&&right| right).count();
    Ok(Ridge { accuracy: right as f64 / correct.len() as f64, penalty, held_out, correct })
}

/// The squared error of each row, over all classes, under the classifier that is fitted to all other rows, of features at their own
/// scale with a fixed penalty.
///
/// It tells more than right or wrong on half of the rows, so that verdicts need fewer of them. Nothing is scaled, because steps of
/// training aren't either: they first learn what features say loudly. Random weights say much about a row, but whisper it, so that
/// any number of fitted weights finds it, and training only after many steps.
pub fn left_out(sample: &Sample<'_>) -> Result<Vec<f64>, ProbeError> {
    let rows: Vec<usize> = (0..sample.rows()).collect();
    let raw = sample.features(rows.iter().copied());
    let (features, targets) = (Scale::of(&raw).centre(&raw), Targets::of(sample, &rows));
    System::of(&features, &targets)?.left_out(PENALTY * sample.rows() as f64)
}

/// The mean squared error of a row without any feature, over all classes: the shares of the classes among all other rows are its
/// prediction.
pub fn uninformed(sample: &Sample<'_>) -> f64 {
    let rows = sample.rows() as f64;
    // Σ (y − mean)² over rows and classes; leaving the row itself out of the mean makes each difference n ÷ (n − 1) of it.
    let squares: f64 = sample.counts().iter().map(|&count| count as f64 * (1.0 - count as f64 / rows)).sum();
    let left_out = rows / (rows - 1.0);
    squares / rows * left_out * left_out
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
    fn left_out_errors_are_those_of_scikit_learn_fitted_to_the_other_rows() {
        for (name, Case { features, width, labels, left_out, .. }) in reference::samples() {
            let found =
                self::left_out(&Sample::new(&features, width, &labels).expect("a sample")).expect("errors");
            assert_eq!(found.len(), labels.len());
            for (row, (found, expected)) in found.iter().zip(left_out).enumerate() {
                assert!((found - expected).abs() < 1e-8, "{name}, row {row}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn a_row_that_is_left_out_without_any_feature_is_the_mean_of_the_others() {
        let labels = [0, 1, 0, 1, 0, 0];
        let sample = Sample::new(&[2.5; 6], 1, &labels).expect("a sample");
        let found = left_out(&sample).expect("errors");
        // Of the other five, two or one are of class 1: it is missed by 2/5 or 4/5, and so is the other class.
        for (found, label) in found.iter().zip(labels) {
            let miss = if label == 0 { 0.4 } else { 0.8 };
            assert!((found - 2.0 * miss * miss).abs() < 1e-12, "{found}");
        }
        assert!((uninformed(&sample) - found.iter().sum::<f64>() / 6.0).abs() < 1e-12);
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
