//! The updates against torch's, and what a treatment does to them.

use super::*;

fn run(rule: OptimizerConfig, decay: bool, steps: u64) -> Vec<f32> {
    let mut weights = vec![1.0f32, -2.0, 0.5];
    let mut moments = vec![vec![0.0; 3]; rule.moments()];
    for number in 1..=steps {
        let gradient: Vec<f32> = weights.iter().map(|weight| 2.0 * weight + 0.25).collect();
        let update = Update { rule, number, learning_rate: 0.1, divisor: 1, factor: 1.0 };
        let segment = SegmentTreatment::new([(0..3, Treatment::plain(decay))]);
        let (first, rest) = weights.split_at_mut(1);
        let hash = update.apply(&segment, &mut [(0, first), (1, rest)], &gradient, &mut moments);
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
    assert_close(&run(ADAMW_RULE, true, 3), ADAMW_DECAYED);
    assert_close(&run(ADAMW_RULE, false, 3), ADAMW);
}

#[test]
fn sgd_is_torchs() {
    assert_close(&run(SGD_RULE, true, 3), SGD_DECAYED);
}

const ADAMW_RULE: OptimizerConfig =
    OptimizerConfig::AdamW { betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.1 };
const SGD_RULE: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.1 };

/// Weights and moments after updates of these numbers, each with a gradient of its own.
fn treated(
    rule: OptimizerConfig,
    treatment: Treatment,
    learning_rate: f64,
    numbers: std::ops::RangeInclusive<u64>,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut weights = vec![1.0f32, -2.0, 0.5, 3.0];
    let mut segment = SegmentTreatment::new([(0..4, treatment)]);
    segment.begin_from(&weights);
    let mut moments = vec![vec![0.0; 4]; rule.moments()];
    let first = *numbers.start();
    for number in numbers {
        let gradient: Vec<f32> =
            weights.iter().map(|weight| 2.0 * weight + 0.25 * (1 + number - first) as f32).collect();
        let update = Update { rule, number, learning_rate, divisor: 3, factor: 0.5 };
        let hash = update.apply(&segment, &mut [(0, &mut weights)], &gradient, &mut moments);
        assert_eq!(hash, crate::hash::segment(&weights));
    }
    (weights, moments)
}

#[test]
fn what_trains_later_has_the_updates_of_a_run_that_begins_then() {
    for rule in [ADAMW_RULE, SGD_RULE] {
        let plain = Treatment::plain(true);
        let later = Treatment { first: 8, ..plain };
        assert_eq!(treated(rule, later, 0.1, 8..=11), treated(rule, plain, 0.1, 1..=4), "{rule:?}");
        let (weights, moments) = treated(rule, later, 0.1, 1..=7);
        assert_eq!(weights, [1.0, -2.0, 0.5, 3.0], "{rule:?}: neither gradient nor decay");
        assert!(moments.iter().flatten().all(|&moment| moment == 0.0), "{rule:?}");
    }
}

#[test]
fn a_rate_is_a_factor_of_the_learning_rate_and_of_the_decay_with_it() {
    for rule in [ADAMW_RULE, SGD_RULE] {
        let slow = Treatment { rate: 0.25, ..Treatment::plain(true) };
        let expected = treated(rule, Treatment::plain(true), 0.25 * 0.1, 1..=5);
        assert_eq!(treated(rule, slow, 0.1, 1..=5), expected, "{rule:?}");
    }
}

#[test]
fn a_pull_goes_before_the_optimizers_step() {
    for rule in [ADAMW_RULE, SGD_RULE] {
        let pulled = Treatment { pull: 0.75, rate: 0.5, ..Treatment::plain(true) };
        let (found, _) = treated(rule, pulled, 0.2, 1..=2);
        // By hand: the weights of the first update, then the second on weights that were pulled before.
        let (mut weights, mut moments) = treated(rule, Treatment { pull: 0.0, ..pulled }, 0.2, 1..=1);
        let gradient: Vec<f32> = weights.iter().map(|weight| 2.0 * weight + 0.5).collect();
        for (weight, first) in weights.iter_mut().zip([1.0f32, -2.0, 0.5, 3.0]) {
            *weight -= (0.2 * 0.5 * 0.75) as f32 * (*weight - first);
        }
        let update = Update { rule, number: 2, learning_rate: 0.1, divisor: 3, factor: 0.5 };
        let segment = SegmentTreatment::new([(0..4, Treatment::plain(true))]);
        update.apply(&segment, &mut [(0, &mut weights)], &gradient, &mut moments);
        assert_eq!(found, weights, "{rule:?}");
    }
}

#[test]
fn a_treatment_ends_where_its_parameter_ends_whatever_the_pieces() {
    let (slow, late) = (
        Treatment { rate: 0.5, ..Treatment::plain(false) },
        Treatment { first: 2, ..Treatment::plain(true) },
    );
    let pulled = Treatment { pull: 0.5, ..Treatment::plain(true) };
    let mut segment = SegmentTreatment::new([(0..5, slow), (5..6, late), (6..11, pulled)]);
    let first: Vec<f32> = (0..11).map(|element| 0.3 * element as f32 - 1.0).collect();
    segment.begin_from(&first);
    let mut expected: Option<(u128, Vec<f32>)> = None;
    for cut in 0..=11 {
        let (mut weights, mut moments) = (first.clone(), vec![vec![0.0; 11]; 2]);
        let mut hash = 0;
        for number in 1..=3 {
            let sum: Vec<f32> = (0..11).map(|element| ((element * 5 + number) % 7) as f32 - 3.0).collect();
            let update = Update { rule: ADAMW_RULE, number, learning_rate: 0.1, divisor: 4, factor: 1.0 };
            let (left, right) = weights.split_at_mut(cut);
            hash = update.apply(&segment, &mut [(0, left), (cut, right)], &sum, &mut moments);
        }
        let found = (hash, weights);
        assert_eq!(&found, expected.get_or_insert(found.clone()), "cut at {cut}");
    }
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
