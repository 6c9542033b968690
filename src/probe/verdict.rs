//! Does a checkpoint know more of a task than its zero line?
//!
//! Both are compared by what the same rows cost them: the squared error of each row when a classifier is fitted to
//! all others, or bits of text. A gain counts where it is large in two units: its spread over samples of rows, which
//! says how much of it is chance, and the zero line's cost, which says how much there was to gain.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ProbeError;
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

    /// One cost for each row, of one unit.
    pub fn of_rows(costs: &[f64]) -> Costs {
        Costs(costs.iter().map(|&cost| (cost, 1.0)).collect())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// Cost of a unit over all rows. `None` without units.
    pub fn mean(&self) -> Option<f64> {
        ratio(self.0.iter())
    }
}

fn ratio<'a>(rows: impl Iterator<Item = &'a (f64, f64)>) -> Option<f64> {
    let (cost, units) = rows.fold((0.0, 0.0), |sums, row| (sums.0 + row.0, sums.1 + row.1));
    (units > 0.0).then(|| cost / units)
}

/// Standard deviation, over samples of the rows that are drawn with replacement, of the mean cost or of the gain,
/// whichever is larger.
fn spread(own: &Costs, zero: &Costs, seed: u64) -> f64 {
    let key = xxh3_64_with_seed(b"probe bootstrap", seed);
    let rows = zero.rows() as u64;
    let place = |counter| ((u128::from(draw::bits(key, counter)) * u128::from(rows)) >> 64) as usize;
    let (mut costs, mut gains) = (Vec::new(), Vec::new());
    for replicate in 0..REPLICATES {
        let places = (replicate * rows..(replicate + 1) * rows).map(place);
        let zero = ratio(places.clone().map(|place| &zero.0[place]));
        let own = ratio(places.map(|place| &own.0[place]));
        if let Some((zero, own)) = zero.zip(own) {
            costs.push(zero);
            gains.push(zero - own);
        }
    }
    deviation(&costs).max(deviation(&gains))
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let centre = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - centre) * (value - centre)).sum();
    libm::sqrt(squares / count)
}

/// How large a gain must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Least gain of a small head start, in spreads.
    pub small_spreads: f64,
    /// Least share of the zero line's cost that a small head start saves.
    pub small_share: f64,
    /// Least gain of a head start, in spreads.
    pub head_start_spreads: f64,
    /// Least share of the zero line's cost that a head start saves.
    pub head_start_share: f64,
}

/// Squared errors of left-out rows.
///
/// Two spreads are exceeded by chance once in forty samples of rows. What decides above some hundred rows are the
/// shares: on digits moved about in noise, random weights of another seed, and weights trained on shuffled labels, on
/// shuffled pixels or on brightness, saved at most 0.027 of the zero line's squared error; weights trained on other
/// digits saved 0.05 to 0.11 on 256 rows, and 0.14 to 0.2 on 1,000.
pub const SQUARED_ERRORS: Thresholds =
    Thresholds { small_spreads: 2.0, small_share: 0.04, head_start_spreads: 4.0, head_start_share: 0.12 };

/// Bits per byte of text.
///
/// A sample has thousands of tokens, so that the shares decide. SmolLM2 saved 64 % of a unigram model's bits on conversations about
/// packages, 21 % on paragraphs of English, and 16 % on lines of a few words; with the paragraphs' bytes shuffled it needed 8 %
/// more than that model. A network that adapts to the frequencies within a row may save a few per cent without knowing the language.
pub const BITS: Thresholds =
    Thresholds { small_spreads: 2.0, small_share: 0.05, head_start_spreads: 4.0, head_start_share: 0.12 };

/// A checkpoint beside its zero line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Cost of the zero line, per unit.
    pub zero: f64,
    /// How much less the checkpoint costs, per unit. Negative where it costs more.
    pub gain: f64,
    /// How far another sample of rows would move the zero line or the gain, whichever is more; not below the cost of one
    /// average row.
    pub spread: f64,
}

impl Evidence {
    /// Compares costs of the same rows, in the same order. Fails where these are not as many.
    pub fn of(own: &Costs, zero: &Costs, seed: u64) -> Result<Evidence, ProbeError> {
        let rows = zero.rows();
        if own.rows() != rows {
            return Err(ProbeError::Unequal { own: own.rows(), zero: rows });
        }
        let (own_cost, cost) = own.mean().zip(zero.mean()).ok_or(ProbeError::NoText { rows })?;
        // Rows that are all alike have no spread, though the next one may differ.
        let spread = spread(own, zero, seed).max(cost / rows as f64);
        Ok(Evidence { zero: cost, gain: cost - own_cost, spread })
    }

    /// The gain in spreads.
    pub fn spreads(&self) -> f64 {
        if self.spread > 0.0 { self.gain / self.spread } else { 0.0 }
    }

    /// The share of the zero line's cost that the checkpoint saves.
    pub fn share(&self) -> f64 {
        if self.zero > 0.0 { self.gain / self.zero } else { 0.0 }
    }

    /// What it amounts to.
    pub fn verdict(&self, thresholds: &Thresholds) -> Verdict {
        let at_least = |spreads, share| self.spreads() >= spreads && self.share() >= share;
        if at_least(thresholds.head_start_spreads, thresholds.head_start_share) {
            Verdict::HeadStart
        } else if at_least(thresholds.small_spreads, thresholds.small_share) {
            Verdict::Small
        } else {
            Verdict::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference::noise;

    /// Rows that cost `mean` on average, each up to `width` more or less, by draws of `stream`.
    fn costs(rows: u64, mean: f64, width: f64, stream: u64) -> Costs {
        let draws: Vec<f64> = (0..rows).map(|row| noise(stream << 32 | row)).collect();
        let centre = draws.iter().sum::<f64>() / rows as f64;
        Costs::of_rows(&draws.iter().map(|draw| mean + width * (draw - centre)).collect::<Vec<_>>())
    }

    fn judged(rows: u64, own: f64, zero: f64) -> Verdict {
        let evidence = Evidence::of(&costs(rows, own, 0.3, 1), &costs(rows, zero, 0.3, 2), 3);
        evidence.expect("evidence").verdict(&SQUARED_ERRORS)
    }

    #[test]
    fn the_spread_is_that_of_a_mean() {
        for rows in [50, 400] {
            let zero = costs(rows, 1.0, 1.0, 1);
            // Equal draws: the gain does not vary.
            let found = Evidence::of(&costs(rows, 0.5, 1.0, 1), &zero, 1).expect("evidence");
            let expected =
                deviation(&zero.0.iter().map(|row| row.0).collect::<Vec<_>>()) / libm::sqrt(rows as f64);
            assert!(
                (found.spread / expected - 1.0).abs() < 0.1,
                "{rows} rows: {}, not {expected}",
                found.spread
            );
            assert!((found.gain - 0.5).abs() < 1e-12);
            assert_eq!(Ok(found), Evidence::of(&costs(rows, 0.5, 1.0, 1), &zero, 1));
            let reseeded = Evidence::of(&costs(rows, 0.5, 1.0, 1), &zero, 2).expect("evidence");
            assert_ne!(found.spread, reseeded.spread);
            // A zero line that knows nothing costs each row the same; the gain varies with the checkpoint.
            let flat = Evidence::of(&zero, &costs(rows, 1.0, 0.0, 1), 1).expect("evidence");
            assert!(
                (flat.spread / expected - 1.0).abs() < 0.1,
                "{rows} rows: {}, not {expected}",
                flat.spread
            );
        }
    }

    #[test]
    fn rows_weigh_as_much_as_they_have_units() {
        let own = Costs::new(vec![(1.0, 1.0), (30.0, 10.0), (0.0, 0.0)]);
        assert_eq!(own.mean(), Some(31.0 / 11.0));
        let zero = Costs::new(vec![(2.0, 1.0), (60.0, 10.0), (0.0, 0.0)]);
        let found = Evidence::of(&own, &zero, 1).expect("evidence");
        assert_eq!((found.share(), found.zero), (0.5, 62.0 / 11.0));
        assert!(found.spread.is_finite());
    }

    #[test]
    fn a_large_gain_is_a_head_start_and_a_doubtful_one_is_none() {
        assert_eq!(judged(1000, 0.6, 0.8), Verdict::HeadStart);
        assert_eq!(judged(1000, 0.75, 0.8), Verdict::Small);
        assert_eq!(judged(1000, 0.78, 0.8), Verdict::None, "more than chance, and next to nothing");
        assert_eq!(judged(1000, 0.9, 0.8), Verdict::None, "worse than random weights");
    }

    #[test]
    fn few_rows_need_a_larger_gain() {
        assert_eq!(judged(20, 0.75, 0.8), Verdict::None);
        assert_eq!(judged(20, 0.66, 0.8), Verdict::Small);
        assert_eq!(judged(20, 0.3, 0.8), Verdict::HeadStart);
    }

    #[test]
    fn a_zero_line_that_nearly_solves_the_task_can_still_be_beaten() {
        let (zero, own) = (costs(300, 0.05, 0.05, 1), costs(300, 0.02, 0.02, 2));
        let evidence = Evidence::of(&own, &zero, 1).expect("evidence");
        assert_eq!(evidence.verdict(&SQUARED_ERRORS), Verdict::HeadStart);
        let solved = Costs::of_rows(&[0.0; 30]);
        assert_eq!(
            Evidence::of(&solved, &solved, 1).expect("evidence").verdict(&SQUARED_ERRORS),
            Verdict::None
        );
    }

    #[test]
    fn rows_are_compared_with_the_same_rows() {
        let error = Evidence::of(&costs(5, 1.0, 0.0, 1), &costs(6, 1.0, 0.0, 1), 1).expect_err("other rows");
        assert_eq!(error.to_string(), "a checkpoint was probed on 5 rows, its zero line on 6");
        assert_eq!(
            Evidence::of(&Costs::of_rows(&[]), &Costs::of_rows(&[]), 1),
            Err(ProbeError::NoText { rows: 0 })
        );
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
