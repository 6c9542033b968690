//! The numbers of `metrics.jsonl`, by name and step.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::RunError;

/// What evaluations' names begin with.
pub(in crate::cli) const EVAL: &str = "eval_";
/// What is kept of a step, beside evaluations.
const OF_STEPS: [&str; 5] = ["loss", "grad_norm", "learning_rate", "samples_per_second", "tokens_per_second"];
/// Names of evaluations that are kept.
const MOST_NAMES: usize = 40;

/// What a run measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli) struct Metrics {
    series: BTreeMap<String, Vec<(u64, f64)>>,
    /// When the first and the last line were written, in seconds since 1970.
    pub(in crate::cli) written: Option<(f64, f64)>,
    /// Whether tokens are counted, as for a language model.
    pub(in crate::cli) has_tokens: bool,
    /// The number of the last line, if it is cut off.
    pub(in crate::cli) cut_off: Option<usize>,
}

impl Metrics {
    /// Reads the lines of the file at `url`. A step that was measured twice counts as it was measured last. The last line may
    /// be cut off.
    pub(super) fn parse(text: &str, url: &str) -> Result<Metrics, RunError> {
        let mut metrics = Metrics::default();
        let mut series: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
        let whole = text.ends_with('\n');
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
        while let Some((index, line)) = lines.next() {
            let damaged = |reason: String| {
                let place = format!(":{}", index + 1);
                RunError::Damaged { url: url.to_owned(), place, reason }
            };
            let line: Map<String, Value> = match serde_json::from_str(line) {
                Ok(line) => line,
                Err(_) if !whole && lines.peek().is_none() => {
                    metrics.cut_off = Some(index + 1);
                    break;
                }
                Err(error) => return Err(damaged(error.to_string())),
            };
            let step = line.get("step").and_then(Value::as_u64);
            let step = step.ok_or_else(|| damaged("there is no step".to_owned()))?;
            metrics.add(&mut series, step, &line);
        }
        metrics.series =
            series.into_iter().map(|(name, points)| (name, points.into_iter().collect())).collect();
        Ok(metrics)
    }

    fn add(
        &mut self,
        series: &mut BTreeMap<String, BTreeMap<u64, f64>>,
        step: u64,
        line: &Map<String, Value>,
    ) {
        for (name, value) in line.iter().filter(|(name, _)| is_kept(name)) {
            // A value that is not finite is written as null.
            let value = match value {
                Value::Null => f64::NAN,
                other => match other.as_f64() {
                    Some(value) => value,
                    None => continue,
                },
            };
            if let Some(points) = series.get_mut(name) {
                points.insert(step, value);
            } else if series.len() < MOST_NAMES {
                series.insert(name.clone(), BTreeMap::from([(step, value)]));
            }
        }
        self.has_tokens |= line.contains_key("num_tokens");
        if let Some(time) = line.get("time").and_then(Value::as_f64) {
            let first = self.written.map_or(time, |(first, _)| first);
            self.written = Some((first, time));
        }
    }

    /// Steps and values of a name, in order of steps; a value that was not finite is no number. Empty where there are none.
    pub(in crate::cli) fn series(&self, name: &str) -> &[(u64, f64)] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// The finite ones of these.
    pub(in crate::cli) fn finite(&self, name: &str) -> Vec<(u64, f64)> {
        self.series(name).iter().copied().filter(|(_, value)| value.is_finite()).collect()
    }

    /// What evaluations measured, without the prefix, in order of names.
    pub(in crate::cli) fn evaluated(&self) -> impl Iterator<Item = &str> {
        self.series.keys().filter_map(|name| name.strip_prefix(EVAL))
    }
}

fn is_kept(name: &str) -> bool {
    OF_STEPS.contains(&name) || (name.starts_with(EVAL) && name != "eval_samples")
}
