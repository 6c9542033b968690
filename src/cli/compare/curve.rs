//! What is compared: the curve of one metric, of a run or as the mean of several.

use headstart::svg::chart::Curve;

use super::CompareError;
use crate::cli::runs::{Group, Run, spread};

/// A curve of evaluations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli) struct Line {
    /// What to call it.
    pub(in crate::cli) name: String,
    /// Runs that it is the mean of, when there are several.
    pub(in crate::cli) seeds: Option<usize>,
    /// Steps it was planned for.
    pub(in crate::cli) total_steps: u64,
    /// Evaluated steps and values, in order; never empty. Of several seeds, their means.
    pub(in crate::cli) curve: Vec<(u64, f64)>,
    /// Of several seeds, the least and the largest value at each of these steps; else empty.
    pub(in crate::cli) range: Vec<(f64, f64)>,
}

impl Line {
    /// The curve of a group of runs.
    pub(in crate::cli) fn of(group: &Group, runs: &[Run], metric: &str) -> Result<Line, CompareError> {
        let members: Vec<&Run> = group.members.iter().map(|&place| &runs[place]).collect();
        let curves = members.iter().map(|run| evaluated(run, metric)).collect::<Result<Vec<_>, _>>()?;
        let total_steps = members.iter().map(|run| run.total_steps()).max().unwrap_or_default();
        let name = group.name.clone();
        if let [curve] = curves.as_slice() {
            return Ok(Line { name, seeds: None, total_steps, curve: curve.clone(), range: Vec::new() });
        }
        let spread = spread(&curves.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if spread.is_empty() {
            let names: Vec<&str> = members.iter().map(|run| run.name.as_str()).collect();
            return Err(CompareError::StepsApart { names: names.join(", ") });
        }
        let curve = spread.iter().map(|here| (here.step, here.mean)).collect();
        let range = spread.iter().map(|here| (here.low, here.high)).collect();
        Ok(Line { name, seeds: Some(members.len()), total_steps, curve, range })
    }

    /// Its name, and of how many runs it is.
    pub(in crate::cli) fn title(&self) -> String {
        match self.seeds {
            Some(seeds) => format!("{} ({seeds} seeds)", self.name),
            None => self.name.clone(),
        }
    }

    /// The last evaluation.
    pub(in crate::cli) fn last(&self) -> (u64, f64) {
        *self.curve.last().expect("a run without evaluations is refused")
    }

    /// The value at an evaluated step, and its range over seeds where there are several.
    pub(in crate::cli) fn at(&self, step: u64) -> Option<(f64, Option<(f64, f64)>)> {
        let place = self.curve.binary_search_by_key(&step, |point| point.0).ok()?;
        Some((self.curve[place].1, self.range.get(place).copied()))
    }

    /// The curve to draw, with all values times `scale`.
    pub(in crate::cli) fn drawn(&self, scale: f64) -> Curve {
        let band = self.curve.iter().zip(&self.range);
        Curve {
            name: self.title(),
            points: self.curve.iter().map(|&(step, value)| (step, scale * value)).collect(),
            band: band.map(|(&(step, _), &(low, high))| (step, scale * low, scale * high)).collect(),
            marks: Vec::new(),
        }
    }
}

/// A run's finite values of a metric: there is nothing to compare where one is not finite.
pub(super) fn evaluated(run: &Run, metric: &str) -> Result<Vec<(u64, f64)>, CompareError> {
    let curve = run.metrics.finite(&format!("eval_{metric}"));
    if !curve.is_empty() {
        return Ok(curve);
    }
    let url = run.files.directory().url().to_owned();
    let known: Vec<&str> = run.metrics.evaluated().collect();
    match known.is_empty() || known.contains(&metric) {
        true => Err(CompareError::NotEvaluated { url }),
        false => Err(CompareError::UnknownMetric { url, metric: metric.to_owned(), known: known.join(", ") }),
    }
}
