//! Numbers of a run that are worth a table: the last, the best, the usual.

use std::collections::BTreeSet;

use crate::cli::compare::CompareError;
use crate::cli::format::MetricKind;
use crate::cli::runs::{Metrics, Run};

/// Metrics that are looked for first, of those that were evaluated.
const FIRST: [&str; 2] = ["accuracy", "loss"];
/// Metrics in tables and charts.
const MOST: usize = 8;

/// The metric that decides: the one asked for, which must have been measured, or the first of those that were.
pub(super) fn metric(runs: &[Run], asked: Option<&str>) -> Result<Option<String>, CompareError> {
    let known = metrics(runs, None);
    let Some(asked) = asked else { return Ok(known.into_iter().next()) };
    let all: BTreeSet<&str> = runs.iter().flat_map(|run| run.metrics.evaluated()).collect();
    match (all.contains(asked), runs.first()) {
        (false, Some(run)) => {
            let url = run.files.directory().url().to_owned();
            Err(match all.is_empty() {
                true => CompareError::NotEvaluated { url },
                false => {
                    let known = all.into_iter().collect::<Vec<_>>().join(", ");
                    CompareError::UnknownMetric { url, metric: asked.to_owned(), known }
                }
            })
        }
        _ => Ok(Some(asked.to_owned())),
    }
}

/// Everything that evaluations measured, `first` and the most telling ones first.
pub(super) fn metrics(runs: &[Run], first: Option<&str>) -> Vec<String> {
    let all: BTreeSet<&str> = runs.iter().flat_map(|run| run.metrics.evaluated()).collect();
    let order = first.into_iter().chain(FIRST).filter(|name| all.contains(name));
    let mut names: Vec<String> = Vec::new();
    for name in order.chain(all.iter().copied()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names.truncate(MOST);
    names
}

/// The last finite value, and its step.
pub(super) fn last(metrics: &Metrics, name: &str) -> Option<(u64, f64)> {
    metrics.series(name).iter().rev().find(|(_, value)| value.is_finite()).copied()
}

/// The best evaluation of a metric, the earliest of equal ones, and its step.
pub(super) fn best(metrics: &Metrics, metric: &str) -> Option<(u64, f64)> {
    let lower = MetricKind::of(metric).lower_is_better;
    let better = |one: f64, other: f64| if lower { one < other } else { one > other };
    let evaluated = metrics.finite(&format!("eval_{metric}"));
    evaluated.into_iter().reduce(|best, here| if better(here.1, best.1) { here } else { best })
}

/// The median of a step's finite values.
pub(super) fn median(metrics: &Metrics, name: &str) -> Option<f64> {
    let mut values: Vec<f64> = metrics.finite(name).into_iter().map(|(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What a run's speed is counted in: the name of its series, and the unit.
pub(super) fn speed(metrics: &Metrics) -> (&'static str, &'static str) {
    match metrics.has_tokens {
        true => ("tokens_per_second", "tokens/s"),
        false => ("samples_per_second", "samples/s"),
    }
}

/// What a run's training begins from.
pub(super) fn start(run: &Run) -> Start {
    let adapter = run.pins.keys.get("adapter").filter(|adapter| adapter.is_object());
    let continued = adapter.and_then(|adapter| adapter["lora_model_dir"].as_str());
    match (run.pins.key("init"), continued) {
        ("random", _) => Start::Random,
        ("pretrained", Some(place)) => Start::Pretrained(place.to_owned()),
        ("pretrained", None) => Start::Pretrained(run.pins.key("base_model").to_owned()),
        _ => Start::Unknown,
    }
}

/// Where a run's weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Random,
    /// A checkpoint, or an adapter on one.
    Pretrained(String),
    /// No run file tells.
    Unknown,
}
