//! A finished run's evaluation curve, from what it left in `final/`.

use std::collections::{BTreeMap, BTreeSet};

use headstart::store::{Location, StoreError};
use serde_json::{Map, Value};

use super::CompareError;
use crate::cli::console;

/// Largest metrics file that is read, in bytes: a million steps.
const LARGEST: u64 = 512 << 20;
const PREFIX: &str = "eval_";

/// A run's curve.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// What to call it.
    pub(super) name: String,
    /// Steps it was planned for.
    pub(super) total_steps: u64,
    /// Evaluated steps and values, in order; never empty.
    pub(super) curve: Vec<(u64, f64)>,
}

impl Run {
    /// The last evaluation.
    pub(super) fn last(&self) -> (u64, f64) {
        *self.curve.last().expect("a run without evaluations is refused")
    }
}

/// Reads the run at `place`: its output_dir, or the `final/` in it.
pub(super) async fn run(place: &str, name: Option<&str>, metric: &str) -> Result<Run, CompareError> {
    let (directory, metrics) = open(place).await?;
    let curve = curve(&metrics, &directory, metric)?;
    let file = directory.join("run.json")?;
    let damaged =
        |reason: String| CompareError::Damaged { url: file.url().to_owned(), place: String::new(), reason };
    let described: Value = match file.read(LARGEST).await {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?,
        Err(StoreError::NotFound { .. }) => return Err(not_finished(place)),
        Err(error) => return Err(error.into()),
    };
    let total_steps =
        described["total_steps"].as_u64().ok_or_else(|| damaged("total_steps is missing".to_owned()))?;
    let name = name.map_or_else(|| name_of(directory.url()), str::to_owned);
    Ok(Run { name: console::printable(&name), total_steps, curve })
}

/// Names that occur twice become the places the runs are at.
pub(super) fn distinct(mut runs: Vec<Run>, places: &[String]) -> Vec<Run> {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, place) in runs.iter_mut().zip(places) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = console::printable(place);
        }
    }
    runs
}

async fn open(place: &str) -> Result<(Location, String), CompareError> {
    let given = Location::parse(place.trim_end_matches('/'))?;
    for directory in [given.join("final")?, given] {
        let file = directory.join("metrics.jsonl")?;
        match file.read(LARGEST).await {
            Ok(bytes) => return Ok((directory, String::from_utf8_lossy(&bytes).into_owned())),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(not_finished(place))
}

fn not_finished(place: &str) -> CompareError {
    CompareError::NotFinished { url: place.to_owned() }
}

/// The values of one metric. A step that was evaluated twice counts as it was evaluated last.
fn curve(metrics: &str, directory: &Location, metric: &str) -> Result<Vec<(u64, f64)>, CompareError> {
    let url = || directory.url().to_owned();
    let mut curve = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (number, line) in metrics.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let damaged = |reason: String| CompareError::Damaged {
            url: format!("{}/metrics.jsonl", url()),
            place: format!(":{}", number + 1),
            reason,
        };
        let line: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| damaged(error.to_string()))?;
        let measured = line.keys().filter_map(|key| key.strip_prefix(PREFIX));
        known.extend(measured.filter(|name| *name != "samples").map(str::to_owned));
        let Some(value) = line.get(&format!("{PREFIX}{metric}")) else { continue };
        let step = line.get("step").and_then(Value::as_u64).ok_or_else(|| damaged("no step".to_owned()))?;
        // A value that is not finite is written as null: there is nothing to draw at that step.
        if let Some(value) = value.as_f64().filter(|value| value.is_finite()) {
            curve.insert(step, value);
        }
    }
    if !curve.is_empty() {
        return Ok(curve.into_iter().collect());
    }
    match known.is_empty() || known.contains(metric) {
        true => Err(CompareError::NoEvaluations { url: url() }),
        false => {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            Err(CompareError::NoMetric { url: url(), metric: metric.to_owned(), known })
        }
    }
}

/// The last part of a URL that is not `final`.
fn name_of(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/final").unwrap_or(url);
    url.rsplit('/').next().unwrap_or(url).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METRICS: &str = r#"{"step":0,"epoch":0.0,"eval_accuracy":0.1,"eval_loss":2.3,"eval_samples":100}
{"step":1,"loss":2.0}
{"step":10,"epoch":1.0,"eval_accuracy":0.5,"eval_loss":null,"eval_samples":100}
"#;

    #[test]
    fn a_curve_begins_with_the_evaluation_before_the_first_step() {
        let here = Location::memory("run");
        assert_eq!(curve(METRICS, &here, "accuracy").unwrap(), [(0, 0.1), (10, 0.5)]);
        assert_eq!(curve(METRICS, &here, "loss").unwrap(), [(0, 2.3)], "null is no value");
    }

    #[test]
    fn what_is_missing_is_named() {
        let here = Location::memory("run");
        let said = |metrics, metric| curve(metrics, &here, metric).unwrap_err().to_string();
        assert!(said(METRICS, "f1").contains("there are: accuracy, loss"));
        assert!(said("{\"step\":1,\"loss\":2.0}\n", "f1").contains("never evaluated"));
        assert!(said("{\"step\":1}\n{", "f1").contains("metrics.jsonl:2: "));
    }

    proptest! {
        /// Whoever wrote the file: no panic, and a curve is of finite values in order of steps.
        #[test]
        fn any_file_is_read_or_refused(
            lines in prop::collection::vec(prop_oneof![
                "\\PC{0,20}",
                (any::<Option<u64>>(), any::<Option<f64>>())
                    .prop_map(|(step, loss)| serde_json::json!({"step": step, "eval_loss": loss}).to_string()),
            ], 0..6),
        ) {
            if let Ok(curve) = curve(&lines.join("\n"), &Location::memory("run"), "loss") {
                prop_assert!(curve.is_sorted_by(|one, next| one.0 < next.0));
                prop_assert!(!curve.is_empty() && curve.iter().all(|(_, value)| value.is_finite()));
            }
        }
    }

    #[tokio::test]
    async fn a_run_is_found_by_its_output_dir_or_its_final() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("pets");
        std::fs::create_dir_all(place.join("final")).unwrap();
        let at = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let error = run(&at(&place), None, "accuracy").await.unwrap_err();
        assert!(error.to_string().contains("finished run"), "{error}");
        std::fs::write(place.join("final/metrics.jsonl"), METRICS).unwrap();
        std::fs::write(place.join("final/run.json"), r#"{"total_steps": 90}"#).unwrap();
        for path in [place.clone(), place.join("final")] {
            let run = run(&at(&path), None, "accuracy").await.unwrap();
            assert_eq!((run.name.as_str(), run.total_steps, run.curve.len()), ("pets", 90, 2));
        }
    }
}
