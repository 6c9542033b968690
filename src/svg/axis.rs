//! One axis of a chart: round ticks, and where values lie between its ends.

/// Ticks wanted, at most.
const MOST_TICKS: f64 = 8.0;

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// From 0 to `last`, which need not be a tick; ticks are whole numbers.
    pub fn of_steps(last: u64) -> Axis {
        let high = last.max(1) as f64;
        Axis { low: 0.0, high, step: round_step(high / MOST_TICKS).max(1.0) }
    }

    /// From the round number below all values to the one above them.
    pub fn around(values: impl Iterator<Item = f64> + Clone) -> Axis {
        let (low, high) =
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
        let span = match high - low {
            // All values alike: room around them.
            span if span <= 0.0 => (low.abs() / 10.0).max(0.01),
            span => span,
        };
        let step = round_step(span / MOST_TICKS);
        let (below, above) = ((low / step).floor() * step, (high / step).ceil() * step);
        let above = if above > below { above } else { below + step };
        Axis { low: below, high: above, step }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Ticks from low to high, with what to write there.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        // The slack is for sums of steps that end a hair above the last one.
        let count = ((self.high - self.low) / self.step + 1e-6).floor() as usize;
        (0..=count)
            .map(|index| {
                let value = self.low + index as f64 * self.step;
                // No "-0.0".
                let value = if value.abs() < self.step / 2.0 { 0.0 } else { value };
                (value, format!("{value:.decimals$}"))
            })
            .collect()
    }
}

/// The smallest of 1, 2, 5 and 10 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&step| step >= least)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let labels =
            |axis: &Axis| axis.ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(&Axis::of_steps(90)), "0 20 40 60 80");
        assert_eq!(labels(&Axis::of_steps(3)), "0 1 2 3");
        assert_eq!(labels(&Axis::of_steps(0)), "0 1");
        assert_eq!(labels(&Axis::around([21.3, 95.4].into_iter())), "20 30 40 50 60 70 80 90 100");
        assert_eq!(
            labels(&Axis::around([0.213, 0.29].into_iter())),
            "0.21 0.22 0.23 0.24 0.25 0.26 0.27 0.28 0.29"
        );
    }

    #[test]
    fn values_that_are_alike_have_an_axis_too() {
        for value in [0.0, 1e-9, 0.5, 100.0, 1e12] {
            let axis = Axis::around([value, value].into_iter());
            let place = axis.place(value);
            assert!((0.0..=1.0).contains(&place), "{value}: {axis:?}");
            assert!((2..=20).contains(&axis.ticks().len()), "{value}: {axis:?}");
        }
    }
}
