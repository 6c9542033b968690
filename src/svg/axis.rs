//! One axis of a chart: round ticks, and where values lie between its ends.

/// Largest absolute value on an axis. The span of larger ones could not be computed.
const LARGEST: f64 = 1e300;
/// Least span of an axis, as a share of its values: ticks that are closer could not be told apart.
const LEAST_SPAN: f64 = 1e-6;
/// What a quotient may be off by because numbers are rounded.
const SLACK: f64 = 1e-9;
/// Below this distance between ticks, labels have an exponent.
const SMALL: f64 = 1e-4;
/// From this value on, labels have an exponent.
const LARGE: f64 = 1e6;

/// From this ratio of the largest to the least value on, the smaller ones cannot be told apart on a linear axis.
const WIDE: f64 = 1000.0;

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its ends and the distance of its ticks; of a logarithmic axis, their decimal logarithms.
    low: f64,
    high: f64,
    step: f64,
    is_logarithmic: bool,
}

/// Whether a value has a place on an axis: it is finite, and not absurdly large.
pub fn is_drawn(value: f64) -> bool {
    value.is_finite() && value.abs() <= LARGEST
}

impl Axis {
    /// From 0 to `last`, which need not be a tick; at most `most` + 1 ticks, which are whole numbers.
    pub fn of_steps(last: u64, most: u32) -> Axis {
        let high = last.max(1) as f64;
        Axis { low: 0.0, high, step: round_step(high / f64::from(most)).max(1.0), is_logarithmic: false }
    }

    /// From the round number below all values to the one above them, in about `most` parts. Values that are not drawn do not
    /// count; without any others, from 0 to 1.
    pub fn around(values: impl Iterator<Item = f64>, most: u32) -> Axis {
        let (low, high) = values
            .filter(|value| is_drawn(*value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let span = match high - low {
            // All values alike: room around them.
            span if span <= 0.0 => (low.abs() / 10.0).max(0.01),
            span => span.max(low.abs().max(high.abs()) * LEAST_SPAN).max(f64::MIN_POSITIVE * 1e10),
        };
        let step = round_step(span / f64::from(most));
        let (below, above) = ((low / step + SLACK).floor() * step, (high / step - SLACK).ceil() * step);
        let above = if above > below { above } else { below + step };
        Axis { low: below, high: above, step, is_logarithmic: false }
    }

    /// As [`Axis::around`]; but where all values are positive and some are a thousand times others, with whole powers of ten,
    /// each as far from the next.
    pub fn around_decades(values: impl Iterator<Item = f64> + Clone, most: u32) -> Axis {
        let drawn = || values.clone().filter(|value| is_drawn(*value));
        let (low, high) = drawn()
            .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
        // Below the smallest normal number, ratios lose their meaning.
        if low < f64::MIN_POSITIVE || high / low < WIDE {
            return Axis::around(values, most);
        }
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Axis { low, high, step: ((high - low) / f64::from(most)).ceil(), is_logarithmic: true }
    }

    /// Whether ticks are powers of ten.
    pub fn is_logarithmic(&self) -> bool {
        self.is_logarithmic
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic { value.log10() } else { value };
        (value - self.low) / (self.high - self.low)
    }

    /// Ticks from low to high, with what to write there.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        // The slack is for sums of steps that end a hair above the last one.
        let count = ((self.high - self.low) / self.step + 1e-6).floor() as usize;
        (0..=count)
            .map(|index| {
                let value = self.low + index as f64 * self.step;
                if self.is_logarithmic {
                    return (10f64.powf(value), power(value));
                }
                // No "-0.0".
                let value = if value.abs() < self.step / 2.0 { 0.0 } else { value };
                (value, self.label(value))
            })
            .collect()
    }

    /// `0.25`, or with the exponent that all labels of the axis share: `2.5e-5`.
    fn label(&self, value: f64) -> String {
        let digits = |step: f64| (-step.log10().floor()).max(0.0) as usize;
        let largest = self.low.abs().max(self.high.abs());
        if self.step >= SMALL && largest < LARGE {
            return format!("{value:.*}", digits(self.step));
        }
        if value == 0.0 {
            return "0".to_owned();
        }
        let exponent = largest.log10().floor();
        let unit = 10f64.powf(exponent);
        format!("{:.*}e{exponent}", digits(self.step / unit), value / unit)
    }
}

/// A power of ten: `0.01`, `1000` or `1e9`.
fn power(exponent: f64) -> String {
    match exponent as i32 {
        0..6 => format!("{:.0}", 10f64.powf(exponent)),
        -4..0 => format!("{:.*}", -exponent as usize, 10f64.powf(exponent)),
        other => format!("1e{other}"),
    }
}

/// The smallest of 1, 2, 5 and 10 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&step| step >= least * (1.0 - SLACK))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> String {
        axis.ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::of_steps(90, 8)), "0 20 40 60 80");
        assert_eq!(labels(&Axis::of_steps(3, 8)), "0 1 2 3");
        assert_eq!(labels(&Axis::of_steps(0, 8)), "0 1");
        assert_eq!(labels(&Axis::of_steps(100_000, 5)), "0 20000 40000 60000 80000 100000");
        assert_eq!(labels(&Axis::around([21.3, 95.4].into_iter(), 8)), "20 30 40 50 60 70 80 90 100");
        assert_eq!(
            labels(&Axis::around([0.213, 0.29].into_iter(), 8)),
            "0.21 0.22 0.23 0.24 0.25 0.26 0.27 0.28 0.29"
        );
    }

    #[test]
    fn small_and_large_values_have_exponents() {
        assert_eq!(labels(&Axis::around([0.0, 2e-5].into_iter(), 4)), "0 0.5e-5 1.0e-5 1.5e-5 2.0e-5");
        assert_eq!(labels(&Axis::around([0.0, 3e9].into_iter(), 4)), "0 1e9 2e9 3e9");
        assert_eq!(
            labels(&Axis::around([0.0, 5e-4].into_iter(), 5)),
            "0.0000 0.0001 0.0002 0.0003 0.0004 0.0005"
        );
    }

    #[test]
    fn values_of_many_sizes_have_powers_of_ten() {
        let axis = Axis::around_decades([4.2, 82_000.0].into_iter(), 8);
        assert_eq!(labels(&axis), "1 10 100 1000 10000 100000");
        assert!((axis.place(1000.0) - 0.6).abs() < 1e-12);
        assert_eq!(labels(&Axis::around_decades([1e-5, 1e12].into_iter(), 4)), "1e-5 1 100000 1e10");
        assert_eq!(labels(&Axis::around_decades([0.004, 9.0].into_iter(), 8)), "0.001 0.01 0.1 1 10");
        for few in [[1.0, 900.0], [0.0, 1e9], [-1.0, 1e9], [1e-310, 1.0], [f64::NAN, 2.0]] {
            let axis = Axis::around_decades(few.into_iter(), 8);
            assert_eq!(axis, Axis::around(few.into_iter(), 8), "{few:?}");
        }
    }

    #[test]
    fn values_that_are_alike_or_extreme_have_an_axis_too() {
        for values in [
            [0.0, 0.0],
            [1e-9, 1e-9],
            [100.0, 100.0],
            [1e12, 1e12 + 1e-4],
            [-1e300, 1e300],
            [1e-310, 2e-310],
            [f64::NAN, 0.5],
            [f64::INFINITY, f64::NAN],
            [f64::MAX, 1.0],
        ] {
            let axis = Axis::around(values.into_iter(), 8);
            for value in values.into_iter().filter(|value| is_drawn(*value)) {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{value}: {axis:?}");
            }
            let ticks = axis.ticks();
            assert!((2..=20).contains(&ticks.len()), "{values:?}: {axis:?}");
            assert!(ticks.iter().all(|(_, label)| label.len() <= 14), "{values:?}: {ticks:?}");
        }
        assert_eq!(labels(&Axis::around(std::iter::empty(), 2)), "0.0 0.5 1.0");
    }
}
