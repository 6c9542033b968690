//! Does a checkpoint know more of a task than its zero line?
//!
//! Both are compared by what the same rows cost them: 1 for each held-out row that is classified wrongly, or bits of text.
//! A gain counts where it is large in two units: the zero line's own spread, which says how much of it is chance, and the
//! zero line's cost, which says how much there was to gain.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Classified, ProbeError};
use crate::draw;

/// Samples of rows with replacement, from which the spread is computed. Its own relative error is then about 2 %.
const REPLICATES: u64 = 1000;

/// What a comparison amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Fine-tuning from here is expected to be far ahead of random weights.
    #[serde(rename = "head start")]
    HeadStart,
    /// Somewhat ahead.
    #[serde(rename = "small")]
    Small,
    /// Not ahead.
    #[serde(rename = "none")]
    None,
}

impl Verdict {
    /// In two or three words.
    pub fn short(self) -> &'static str {
        match self {
            Verdict::HeadStart => "a head start",
            Verdict::Small => "a small one",
            Verdict::None => "none",
        }
    }

    /// In words, with what follows from it. The zero line of an `adapter` is its base.
    pub fn words(self, adapter: bool) -> &'static str {
        match (self, adapter) {
            (Verdict::None, false) => {
                "none: this checkpoint knows no more of this task than random weights; the tasks are too far apart: \
                 train from random weights or choose another"
            }
            (Verdict::None, true) => {
                "none: this adapter knows no more of this task than its base without it; the tasks are too far apart: \
                 start from the base or choose another"
            }
            _ => self.short(),
        }
    }
}

/// What each row costs a model, and the unit that the cost is for: one row, or bytes of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs(Vec<(f64, f64)>);

impl Costs {
    /// Pairs of cost and unit, row after row; neither is negative.
    pub fn new(rows: Vec<(f64, f64)>) -> Costs {
        Costs(rows)
    }

    /// 1 for each held-out row that is classified wrongly.
    pub fn of_errors(correct: &[bool]) -> Costs {
        Costs(correct.iter().map(|&correct| (if correct { 0.0 } else { 1.0 }, 1.0)).collect())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// Cost of a unit over all rows. `None` without units.
    pub fn mean(&self) -> Option<f64> {
        ratio(self.0.iter())
    }

    /// Standard deviation of the mean over samples of the rows, drawn with replacement.
    fn spread(&self, seed: u64) -> f64 {
        let key = xxh3_64_with_seed(b"probe bootstrap", seed);
        let rows = self.0.len() as u64;
        let any = |counter| {
            let place = (u128::from(draw::bits(key, counter)) * u128::from(rows)) >> 64;
            &self.0[place as usize]
        };
        let sample = |replicate: u64| ratio((replicate * rows..(replicate + 1) * rows).map(any));
        let means: Vec<f64> = (0..REPLICATES).filter_map(sample).collect();
        let count = means.len().max(1) as f64;
        let centre = means.iter().sum::<f64>() / count;
        let squares: f64 = means.iter().map(|mean| (mean - centre) * (mean - centre)).sum();
        libm::sqrt(squares / count)
    }
}

fn ratio<'a>(rows: impl Iterator<Item = &'a (f64, f64)>) -> Option<f64> {
    let (cost, units) = rows.fold((0.0, 0.0), |sums, row| (sums.0 + row.0, sums.1 + row.1));
    (units > 0.0).then(|| cost / units)
}

/// How large a gain must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Least gain of a small head start, in spreads of the zero line.
    small_spreads: f64,
    /// Least share of the zero line's cost that a small head start saves.
    small_share: f64,
    /// The same of a head start.
    head_start_spreads: f64,
    /// The same of a head start.
    head_start_share: f64,
    /// Least gain in score of a small head start, where the zero line leaves too little to gain.
    small_score: f64,
}

/// Errors of the ridge probe on held-out rows.
///
/// Two spreads are exceeded by chance by one in fifty zero lines; a twentieth of the errors is what reseeding a small network's
/// random weights changes. Five spreads are 8 points at an accuracy of a half and 1,000 held-out rows, and 16 points at 250. The score is LogME: 0.05 nats a row are a residual that is a tenth smaller.
pub const ERRORS: Thresholds = Thresholds {
    small_spreads: 2.0,
    small_share: 0.05,
    head_start_spreads: 5.0,
    head_start_share: 0.15,
    small_score: 0.05,
};

/// Bits per byte of text. Thousands of tokens make the spread small, so that the shares decide: a network adapts to a text
/// of noise and saves a few per cent of a unigram model's bits, and one that knows the language saves half of them.
pub const BITS: Thresholds = Thresholds {
    small_spreads: 2.0,
    small_share: 0.05,
    head_start_spreads: 5.0,
    head_start_share: 0.2,
    small_score: 0.1,
};

/// A checkpoint beside its zero line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Cost of the zero line, per unit.
    pub zero: f64,
    /// How much less the checkpoint costs, per unit. Negative where it costs more.
    pub gain: f64,
    /// Spread of the zero line's cost over samples of rows; not below the cost of one average row.
    pub spread: f64,
    /// How much larger the checkpoint's score is.
    pub score_gain: f64,
}

impl Evidence {
    /// Compares costs of the same rows, in the same order. Fails where these are not as many.
    pub fn of(own: &Costs, zero: &Costs, score_gain: f64, seed: u64) -> Result<Evidence, ProbeError> {
        let rows = zero.rows();
        if own.rows() != rows {
            return Err(ProbeError::Unequal { own: own.rows(), zero: rows });
        }
        let no_text = ProbeError::NoText { rows };
        let (own_cost, cost) = own.mean().zip(zero.mean()).ok_or(no_text)?;
        // Rows that are all wrong have no spread, though one more row might have been right.
        let spread = zero.spread(seed).max(cost / rows as f64);
        Ok(Evidence { zero: cost, gain: cost - own_cost, spread, score_gain })
    }

    /// Compares two classifications of the same rows.
    pub fn of_classified(own: &Classified, zero: &Classified, seed: u64) -> Result<Evidence, ProbeError> {
        let costs = |classified: &Classified| Costs::of_errors(&classified.ridge.correct);
        Evidence::of(&costs(own), &costs(zero), own.score - zero.score, seed)
    }

    /// The gain in spreads of the zero line.
    pub fn spreads(&self) -> f64 {
        if self.spread > 0.0 { self.gain / self.spread } else { 0.0 }
    }

    /// The share of the zero line's cost that the checkpoint saves.
    pub fn share(&self) -> f64 {
        if self.zero > 0.0 { self.gain / self.zero } else { 0.0 }
    }

    /// Whether not even a checkpoint without any cost would be a head start: the zero line solves the task.
    pub fn is_saturated(&self, thresholds: &Thresholds) -> bool {
        self.zero < thresholds.head_start_spreads * self.spread || self.zero == 0.0
    }

    /// What it amounts to.
    ///
    /// Where the zero line is saturated, errors are too few to tell, and the score decides between a small head start and none.
    pub fn verdict(&self, thresholds: &Thresholds) -> Verdict {
        let at_least = |spreads, share| self.spreads() >= spreads && self.share() >= share;
        if at_least(thresholds.head_start_spreads, thresholds.head_start_share) {
            Verdict::HeadStart
        } else if at_least(thresholds.small_spreads, thresholds.small_share)
            || (self.is_saturated(thresholds) && self.score_gain >= thresholds.small_score)
        {
            Verdict::Small
        } else {
            Verdict::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `right` of `rows` rows classified rightly.
    fn errors(right: usize, rows: usize) -> Costs {
        Costs::of_errors(&(0..rows).map(|row| row < right).collect::<Vec<_>>())
    }

    fn judged(own: usize, zero: usize, rows: usize, score_gain: f64) -> Verdict {
        let evidence =
            Evidence::of(&errors(own, rows), &errors(zero, rows), score_gain, 3).expect("evidence");
        evidence.verdict(&ERRORS)
    }

    #[test]
    fn the_spread_is_that_of_a_share() {
        for (right, rows) in [(500, 1000), (100, 1000), (30, 60)] {
            let share = right as f64 / rows as f64;
            let expected = libm::sqrt(share * (1.0 - share) / rows as f64);
            let found = errors(right, rows).spread(1);
            assert!((found / expected - 1.0).abs() < 0.1, "{right} of {rows}: {found}, not {expected}");
            assert_eq!(found.to_bits(), errors(right, rows).spread(1).to_bits());
            assert_ne!(found, errors(right, rows).spread(2));
        }
        // Rows weigh as much as they have units.
        let costs = Costs::new(vec![(1.0, 1.0), (30.0, 10.0), (0.0, 0.0)]);
        assert_eq!(costs.mean(), Some(31.0 / 11.0));
        assert!(costs.spread(1) > 0.0);
    }

    #[test]
    fn a_large_gain_is_a_head_start_and_a_doubtful_one_is_none() {
        assert_eq!(judged(750, 400, 1000, 0.0), Verdict::HeadStart);
        assert_eq!(judged(450, 400, 1000, 0.0), Verdict::Small);
        assert_eq!(judged(420, 400, 1000, 0.0), Verdict::None);
        assert_eq!(judged(300, 400, 1000, 0.0), Verdict::None, "worse than random weights");
        assert_eq!(judged(400, 400, 1000, 1.0), Verdict::None, "errors decide where they can tell");
    }

    #[test]
    fn few_rows_need_a_larger_gain() {
        assert_eq!(judged(28, 22, 50, 0.0), Verdict::None);
        assert_eq!(judged(33, 22, 50, 0.0), Verdict::Small);
        assert_eq!(judged(48, 22, 50, 0.0), Verdict::HeadStart);
    }

    #[test]
    fn where_random_features_solve_the_task_the_score_decides() {
        for (own, zero) in [(100, 100), (100, 99), (98, 99)] {
            assert_eq!(judged(own, zero, 100, 0.0), Verdict::None);
            assert_eq!(judged(own, zero, 100, 0.2), Verdict::Small);
        }
    }

    #[test]
    fn a_zero_line_that_is_always_wrong_has_a_spread_too() {
        // 200 classes: random features find none.
        assert_eq!(judged(1, 0, 400, 0.0), Verdict::None);
        assert_eq!(judged(100, 0, 400, 0.0), Verdict::HeadStart);
    }

    #[test]
    fn rows_are_compared_with_the_same_rows() {
        let error = Evidence::of(&errors(1, 5), &errors(1, 6), 0.0, 1).expect_err("other rows");
        assert_eq!(error.to_string(), "a checkpoint was probed on 5 rows, its zero line on 6");
    }

    #[test]
    fn verdicts_have_words_and_names() {
        let names = [Verdict::HeadStart, Verdict::Small, Verdict::None].map(|verdict| {
            let name = serde_json::to_string(&verdict).expect("a string");
            assert_eq!(serde_json::from_str::<Verdict>(&name).expect("a verdict"), verdict);
            name
        });
        assert_eq!(names, ["\"head start\"", "\"small\"", "\"none\""]);
        assert_eq!(Verdict::HeadStart.words(false), "a head start");
        assert_eq!(Verdict::Small.words(true), "a small one");
        assert_eq!(
            Verdict::None.words(false),
            "none: this checkpoint knows no more of this task than random weights; the tasks are too far apart: train \
             from random weights or choose another"
        );
        assert!(
            Verdict::None
                .words(true)
                .starts_with("none: this adapter knows no more of this task than its base")
        );
    }
}
