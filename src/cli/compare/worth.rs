//! What a head start was worth, in numbers: gains at two points, steps saved, and an honest verdict.
//!
//! A gain is positive when the first run is better, whichever way round the metric is.

use serde_json::{Value, json};

use super::curve::Line;
use crate::cli::format::MetricKind;

/// Mean gain, in fractions, that does not count: half a point. For other metrics the same share of their size.
const NOTHING: f64 = 0.005;

/// The first run against one other.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Worth {
    /// At the common evaluation nearest to a third of the steps; `None` without a common one.
    pub(in crate::cli) third: Option<Gain>,
    /// At the last evaluations.
    pub(in crate::cli) end: Gain,
    /// Reaching what the other ended with.
    pub(in crate::cli) to_final: Saved,
    /// Reaching the best the other ever had.
    pub(in crate::cli) to_best: Saved,
    /// Mean gain over the steps that both curves cover: the area between them.
    pub(in crate::cli) mean_gain: f64,
    /// What it amounts to.
    pub(in crate::cli) verdict: Verdict,
}

/// Both runs' values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct Gain {
    /// The first run's evaluated step.
    pub(in crate::cli) step: u64,
    /// The first run's value.
    pub(in crate::cli) first: f64,
    /// The other's.
    pub(in crate::cli) other: f64,
    /// How much better the first is.
    pub(in crate::cli) gain: f64,
}

/// When the first run reached a value of the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct Saved {
    /// The value.
    pub(in crate::cli) value: f64,
    /// The step at which the other had it.
    pub(in crate::cli) other_step: u64,
    /// The first evaluated step at which the first run was at least as good, if there was one.
    pub(in crate::cli) reached: Option<u64>,
}

impl Saved {
    /// Steps saved; negative when the first run was later.
    pub(in crate::cli) fn steps(&self) -> Option<i64> {
        self.reached.map(|reached| self.other_step as i64 - reached as i64)
    }

    /// Steps saved as a share of the other's.
    pub(in crate::cli) fn share(&self) -> Option<f64> {
        self.steps().filter(|_| self.other_step > 0).map(|steps| steps as f64 / self.other_step as f64)
    }
}

/// What the comparison amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Verdict {
    /// The first run is ahead.
    Ahead,
    /// Neither is.
    Nothing,
    /// The first run is behind.
    Negative,
}

impl Worth {
    /// Compares two curves.
    pub(in crate::cli) fn of(kind: MetricKind, first: &Line, other: &Line) -> Worth {
        let better =
            |first: f64, other: f64| if kind.lower_is_better { other - first } else { first - other };
        let gain = |step, first, other| Gain { step, first, other, gain: better(first, other) };
        let (end_step, end_value) = first.last();
        let end = gain(end_step, end_value, other.last().1);
        let third = common(first, other)
            .min_by_key(|(step, _, _)| (step.abs_diff(first.total_steps / 3), *step))
            .map(|(step, first, other)| gain(step, first, other));
        // Of equally good evaluations the earliest is the best: later ones saved nothing.
        let best = other
            .curve
            .iter()
            .copied()
            .reduce(|best, here| if better(here.1, best.1) > 0.0 { here } else { best })
            .expect("a run without evaluations is refused");
        let reach = |(other_step, value): (u64, f64)| Saved {
            value,
            other_step,
            reached: first.curve.iter().find(|(_, here)| better(*here, value) >= 0.0).map(|(step, _)| *step),
        };
        let (mean_first, mean_other) = means(&first.curve, &other.curve).unwrap_or((end.first, end.other));
        let mean_gain = better(mean_first, mean_other);
        let nothing = if kind.fraction { NOTHING } else { NOTHING * mean_other.abs() };
        let verdict = match mean_gain {
            gain if gain > nothing => Verdict::Ahead,
            gain if gain < -nothing => Verdict::Negative,
            _ => Verdict::Nothing,
        };
        Worth { third, end, to_final: reach(other.last()), to_best: reach(best), mean_gain, verdict }
    }

    /// For programs.
    pub(in crate::cli) fn as_json(&self, first: &str, other: &str) -> Value {
        let gain = |gain: &Gain| {
            let Gain { step, first, other, gain } = gain;
            json!({"step": step, "first": first, "other": other, "gain": gain})
        };
        let saved = |saved: &Saved| {
            json!({
                "value": saved.value,
                "other_step": saved.other_step,
                "reached_at": saved.reached,
                "steps_saved": saved.steps(),
                "share_saved": saved.share(),
            })
        };
        let verdict = match self.verdict {
            Verdict::Ahead => "ahead",
            Verdict::Nothing => "nothing",
            Verdict::Negative => "negative_transfer",
        };
        json!({
            "first": first,
            "other": other,
            "third": self.third.as_ref().map(gain),
            "end": gain(&self.end),
            "to_final": saved(&self.to_final),
            "to_best": saved(&self.to_best),
            "mean_gain": self.mean_gain,
            "verdict": verdict,
        })
    }
}

/// Steps at which both were evaluated.
fn common<'a>(first: &'a Line, other: &'a Line) -> impl Iterator<Item = (u64, f64, f64)> + 'a {
    first.curve.iter().filter_map(|&(step, value)| {
        let place = other.curve.binary_search_by_key(&step, |&(step, _)| step).ok()?;
        Some((step, value, other.curve[place].1))
    })
}

/// Mean heights of two curves (straight between evaluations) over the steps that both cover; `None` if there are none.
fn means(first: &[(u64, f64)], other: &[(u64, f64)]) -> Option<(f64, f64)> {
    let start = first.first()?.0.max(other.first()?.0);
    let end = first.last()?.0.min(other.last()?.0);
    match start.cmp(&end) {
        std::cmp::Ordering::Less => Some((mean(first, start, end), mean(other, start, end))),
        std::cmp::Ordering::Equal => Some((height(first, start), height(other, start))),
        std::cmp::Ordering::Greater => None,
    }
}

/// Mean height between two steps, by trapezoids.
fn mean(curve: &[(u64, f64)], start: u64, end: u64) -> f64 {
    let inside = curve.iter().map(|&(step, _)| step).filter(|step| (start + 1..end).contains(step));
    let mut from = (start, height(curve, start));
    let mut area = 0.0;
    for step in inside.chain([end]) {
        let to = (step, height(curve, step));
        area += (to.0 - from.0) as f64 * (from.1 + to.1) / 2.0;
        from = to;
    }
    area / (end - start) as f64
}

/// Height of a curve at a step it covers.
fn height(curve: &[(u64, f64)], step: u64) -> f64 {
    let after = curve.partition_point(|&(here, _)| here < step);
    match (after.checked_sub(1).and_then(|before| curve.get(before)), curve.get(after)) {
        (Some(&(s0, v0)), Some(&(s1, v1))) => v0 + (v1 - v0) * ((step - s0) as f64 / (s1 - s0) as f64),
        (_, Some(&(_, value))) | (Some(&(_, value)), None) => value,
        (None, None) => f64::NAN,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(name: &str, curve: &[(u64, f64)]) -> Line {
        Line { name: name.to_owned(), total_steps: 90, curve: curve.to_vec(), ..Line::default() }
    }

    fn accuracy() -> MetricKind {
        MetricKind::of("accuracy")
    }

    #[test]
    fn steps_saved_are_counted_from_the_first_evaluation_that_is_as_good() {
        let first = run("a", &[(0, 0.2), (30, 0.9), (60, 0.94), (90, 0.95)]);
        let other = run("b", &[(0, 0.1), (30, 0.4), (60, 0.92), (90, 0.9)]);
        let worth = Worth::of(accuracy(), &first, &other);
        assert_eq!(worth.to_final, Saved { value: 0.9, other_step: 90, reached: Some(30) });
        assert_eq!((worth.to_final.steps(), worth.to_final.share()), (Some(60), Some(60.0 / 90.0)));
        assert_eq!(worth.to_best, Saved { value: 0.92, other_step: 60, reached: Some(60) });
        assert_eq!(worth.to_best.steps(), Some(0));
        let third = worth.third.unwrap();
        assert_eq!((third.step, third.first, third.other), (30, 0.9, 0.4));
        assert!((worth.end.gain - 0.05).abs() < 1e-12);
        assert_eq!(worth.verdict, Verdict::Ahead);
    }

    #[test]
    fn a_run_that_is_behind_is_called_negative_transfer() {
        let first = run("a", &[(0, 0.1), (30, 0.2), (90, 0.6)]);
        let other = run("b", &[(0, 0.1), (30, 0.5), (90, 0.8)]);
        let worth = Worth::of(accuracy(), &first, &other);
        assert_eq!(worth.verdict, Verdict::Negative);
        assert_eq!((worth.to_final.reached, worth.to_final.steps()), (None, None));
        assert!(worth.mean_gain < 0.0 && worth.end.gain < 0.0);
    }

    #[test]
    fn half_a_point_is_nothing() {
        let other = run("b", &[(0, 0.5), (90, 0.7)]);
        for (shift, verdict) in [
            (0.004, Verdict::Nothing),
            (-0.004, Verdict::Nothing),
            (0.006, Verdict::Ahead),
            (-0.006, Verdict::Negative),
        ] {
            let first = run("a", &[(0, 0.5 + shift), (90, 0.7 + shift)]);
            assert_eq!(Worth::of(accuracy(), &first, &other).verdict, verdict, "{shift}");
        }
    }

    #[test]
    fn a_lower_loss_is_better() {
        let first = run("a", &[(10, 1.0), (50, 0.4), (90, 0.2)]);
        let other = run("b", &[(10, 2.0), (50, 0.9), (90, 0.5)]);
        let worth = Worth::of(MetricKind::of("loss"), &first, &other);
        assert_eq!(worth.verdict, Verdict::Ahead);
        assert_eq!(worth.to_final, Saved { value: 0.5, other_step: 90, reached: Some(50) });
        assert!((worth.end.gain - 0.3).abs() < 1e-12);
        assert_eq!(Worth::of(MetricKind::of("loss"), &other, &first).verdict, Verdict::Negative);
    }

    #[test]
    fn curves_of_other_steps_are_compared_where_both_are() {
        // Over steps 20 to 40 the first is 0.6, the other rises from 0.2 to 0.4.
        let first = run("a", &[(20, 0.6), (40, 0.6)]);
        let other = run("b", &[(0, 0.0), (60, 0.6)]);
        let worth = Worth::of(accuracy(), &first, &other);
        assert!((worth.mean_gain - 0.3).abs() < 1e-12, "{}", worth.mean_gain);
        assert_eq!(worth.third, None, "no step was evaluated in both");
        let apart = Worth::of(accuracy(), &run("a", &[(80, 0.6)]), &run("b", &[(10, 0.5)]));
        assert!((apart.mean_gain - 0.1).abs() < 1e-12, "no overlap: the last evaluations");
    }
}
