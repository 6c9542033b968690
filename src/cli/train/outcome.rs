//! What a finished run left behind, read back from where it was written.

use std::time::Duration;

use headstart::store::{Location, StoreError};
use serde_json::{Map, Value, json};

use super::summary::{Summary, evaluated};
use crate::cli::format;

/// Bytes of the files read here, at most.
const LARGEST: u64 = 512 << 20;

/// The end of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    directory: String,
    /// Weight files and their SHA-256.
    weights: Vec<(String, String)>,
    /// The last line of metrics with an evaluation.
    eval: Option<Map<String, Value>>,
    summary: Summary,
    took: Duration,
}

impl Outcome {
    /// Reads `final/` below the run's `output_dir`.
    pub(super) async fn read(output_dir: &str, took: Duration) -> Result<Outcome, StoreError> {
        let directory = Location::parse(output_dir)?.join("final")?;
        let sums = directory.join("SHA256SUMS")?.read(LARGEST).await?;
        let weights = String::from_utf8_lossy(&sums)
            .lines()
            .filter_map(|line| line.split_once("  "))
            .filter(|(_, name)| name.ends_with(".safetensors"))
            .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
            .collect();
        let metrics = directory.join("metrics.jsonl")?.read(LARGEST).await?;
        let metrics = String::from_utf8_lossy(&metrics);
        let events = match directory.join("events.jsonl")?.read(LARGEST).await {
            Ok(events) => events,
            // A run that an older version has finished.
            Err(StoreError::NotFound { .. }) => Default::default(),
            Err(error) => return Err(error),
        };
        let summary = Summary::of(&String::from_utf8_lossy(&events), &metrics);
        let eval = metrics.lines().rev().find_map(evaluation);
        let directory = format!("{}/final", output_dir.trim_end_matches('/'));
        Ok(Outcome { directory, weights, eval, summary, took })
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let mut lines = vec![format!("final weights: {}", self.directory)];
        lines.extend(self.weights.iter().map(|(name, sum)| format!("sha256 {sum}  {name}")));
        if let Some(eval) = &self.eval {
            let step = eval.get("step").unwrap_or(&Value::Null);
            lines.push(format!("last evaluation, after step {step}: {}", evaluated(eval)));
        }
        let last = self.eval.as_ref().and_then(|eval| eval.get("step")?.as_u64());
        lines.extend(self.summary.lines(last));
        lines.push(format!("took {}", format::duration(self.took)));
        lines.join("\n")
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let sums: Map<String, Value> =
            self.weights.iter().map(|(name, sum)| (name.clone(), sum.clone().into())).collect();
        json!({
            "event": "end",
            "final": self.directory,
            "sha256": sums,
            "last_evaluation": self.eval,
            "summary": self.summary.as_json(),
            "seconds": self.took.as_secs_f64(),
        })
    }
}

fn evaluation(line: &str) -> Option<Map<String, Value>> {
    let line: Map<String, Value> = serde_json::from_str(line).ok()?;
    line.keys().any(|key| key.starts_with("eval_")).then_some(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_names_weights_and_the_last_evaluation() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().to_str().unwrap();
        let last = directory.path().join("final");
        std::fs::create_dir(&last).unwrap();
        std::fs::write(last.join("SHA256SUMS"), "aa  README.md\nbb  model.safetensors\n").unwrap();
        let metrics = "{\"step\":10,\"eval_accuracy\":0.5,\"eval_samples\":7}\n{\"step\":11,\"loss\":1.0}\n";
        std::fs::write(last.join("metrics.jsonl"), metrics).unwrap();
        let outcome = Outcome::read(&format!("{output}/"), Duration::from_secs(75)).await.unwrap();
        let expected = format!(
            "final weights: {output}/final\nsha256 bb  model.safetensors\n\
             last evaluation, after step 10: accuracy 50.0 %\ntook 1 min 15 s"
        );
        assert_eq!(outcome.describe(), expected);
        assert_eq!(outcome.as_json()["sha256"]["model.safetensors"], "bb");
    }
}
