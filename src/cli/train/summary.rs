//! What a finished run was like, from its events and metrics: who spent time on what, which faults it survived, and its best
//! evaluation.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

use crate::cli::format::{self, MetricKind};

/// Columns of the table.
const WIDTH: u16 = 80;
/// Workers with a row of their own; the others share one.
const MOST_ROWS: usize = 16;

/// A finished run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Seconds by worker.
    times: BTreeMap<String, Times>,
    /// How often each kind of fault happened, in words.
    faults: BTreeMap<&'static str, u64>,
    /// The line of metrics of the best evaluation.
    pub(super) best: Option<Map<String, Value>>,
}

/// Seconds spent computing, sending and receiving, and without a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Times {
    compute: f64,
    transfer: f64,
    wait: f64,
}

impl Times {
    fn plus(self, other: Times) -> Times {
        Times {
            compute: self.compute + other.compute,
            transfer: self.transfer + other.transfer,
            wait: self.wait + other.wait,
        }
    }

    fn all(self) -> f64 {
        self.compute + self.transfer + self.wait
    }
}

impl Summary {
    /// From the lines of `events.jsonl` and `metrics.jsonl`; a line that is not understood is passed over.
    pub(super) fn of(events: &str, metrics: &str) -> Summary {
        let mut summary = Summary::default();
        let mut best = None;
        // Workers are counted anew by each coordinator.
        let (mut term, mut latest) = (0, BTreeMap::new());
        for event in events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let kind = event["event"].as_str().unwrap_or_default();
            match kind {
                "start" => term = event["epoch"].as_u64().unwrap_or_default(),
                "best" => best = event["version"].as_u64(),
                "worker_time" | "leave" => {
                    let name = event["name"].as_str().unwrap_or("?").to_owned();
                    latest.insert((term, event["worker"].as_u64()), (name, times(&event)));
                }
                _ => {}
            }
            if let Some(fault) = fault(&event, term) {
                *summary.faults.entry(fault).or_default() += 1;
            }
        }
        for (name, times) in latest.into_values().filter(|(_, times)| times.all() > 0.0) {
            let sum = summary.times.entry(name).or_default();
            *sum = sum.plus(times);
        }
        summary.best = best_line(metrics, best);
        summary
    }

    /// For people, in lines of at most 80 columns. `last`: the step of the evaluation that was told of before.
    pub(super) fn lines(&self, last: Option<u64>) -> Vec<String> {
        let mut lines = Vec::new();
        let step = |line: &Map<String, Value>| line.get("step").and_then(Value::as_u64);
        if let Some(best) = self.best.as_ref().filter(|best| step(best) != last) {
            let at = best.get("step").unwrap_or(&Value::Null);
            lines.push(format!("best evaluation, after step {at}: {}", evaluated(best)));
        }
        if !self.times.is_empty() {
            lines.extend(self.table().to_string().lines().map(str::to_owned));
        }
        if !self.faults.is_empty() {
            let faults: Vec<String> =
                self.faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
            lines.push(format::wrapped(&format!("faults survived: {}", faults.join(", ")), WIDTH.into()));
        }
        lines
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let times = self.times.iter().map(|(name, Times { compute, transfer, wait })| {
            json!({"name": name, "compute": compute, "transfer": transfer, "wait": wait})
        });
        json!({"workers": times.collect::<Vec<_>>(), "faults": self.faults, "best_evaluation": self.best})
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(["worker", "time", "compute", "transfer", "wait"]);
        for (name, times) in self.times.iter().take(MOST_ROWS) {
            table.add_row(row(crate::cli::console::printable(name), *times));
        }
        let others = self.times.values().skip(MOST_ROWS);
        if self.times.len() > MOST_ROWS {
            let count = self.times.len() - MOST_ROWS;
            let sum = others.fold(Times::default(), |sum, times| sum.plus(*times));
            table.add_row(row(format!("{count} others"), sum));
        }
        table
    }
}

fn row(name: String, times: Times) -> [String; 5] {
    let share = |part: f64| format!("{:.0} %", 100.0 * part / times.all());
    let took = std::time::Duration::try_from_secs_f64(times.all()).unwrap_or_default();
    [name, format::duration(took), share(times.compute), share(times.transfer), share(times.wait)]
}

fn times(event: &Value) -> Times {
    let seconds = |key: &str| event[key].as_f64().filter(|seconds| seconds.is_finite()).unwrap_or_default();
    Times { compute: seconds("compute"), transfer: seconds("transfer"), wait: seconds("wait") }
}

/// What went wrong, if an event says that something did.
fn fault(event: &Value, term: u64) -> Option<&'static str> {
    Some(match event["event"].as_str()? {
        "start" if term > 1 => "restarts of the coordinator",
        "leave" if event["expected"] == true => return None,
        "leave" | "silent" => "workers lost",
        "sent_away" => "workers sent away",
        "lease_failed" => "leases failed",
        "partial_refused" => "partials refused",
        "replica_differs" => "replicas made anew",
        "step_restarted" => "steps begun anew",
        "shard_skipped" => "shards skipped",
        "audit_disputed" => "disputed gradients",
        "storage_outage" => "outages of storage",
        _ => return None,
    })
}

/// The evaluation of the version that the run calls the best; if it names none, the one with the lowest loss.
fn best_line(metrics: &str, best: Option<u64>) -> Option<Map<String, Value>> {
    let lines = metrics.lines().filter(|line| line.contains("\"eval_"));
    let lines = lines.filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let loss = |line: &Map<String, Value>| line.get("eval_loss").and_then(Value::as_f64);
    match best {
        Some(version) => {
            lines.into_iter().find(|line| line.get("step").and_then(Value::as_u64) == Some(version))
        }
        None => lines
            .filter(|line| loss(line).is_some_and(f64::is_finite))
            .min_by(|one, other| loss(one).unwrap_or(f64::MAX).total_cmp(&loss(other).unwrap_or(f64::MAX))),
    }
}

/// The metrics of a line, in words.
pub(super) fn evaluated(line: &Map<String, Value>) -> String {
    let shown = line.iter().filter(|(name, _)| *name != "eval_samples").filter_map(|(name, value)| {
        let name = name.strip_prefix("eval_")?;
        Some(format!("{name} {}", MetricKind::of(name).value(value.as_f64()?)))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = r#"
{"time":1,"step":0,"event":"start","epoch":1}
{"time":2,"step":0,"event":"join","worker":1,"name":"host 71","device":"cpu"}
{"time":3,"step":4,"event":"worker_time","worker":1,"name":"host 71","compute":1.0,"transfer":0.5,"wait":0.5}
{"time":3,"step":5,"event":"leave","worker":2,"name":"host 72","reason":"its session broke","expected":false,"compute":3.0,"transfer":0.0,"wait":1.0}
{"time":3,"step":5,"event":"sent_away","worker":3,"name":"host 73","reason":"it hangs"}
{"time":3,"step":5,"event":"leave","worker":3,"name":"host 73","reason":"it hangs","expected":true,"compute":0.0,"transfer":0.0,"wait":0.0}
{"time":3,"step":6,"event":"lease_failed","worker":1,"name":"host 71","lease":3,"reason":"no memory"}
{"time":4,"step":8,"event":"worker_time","worker":1,"name":"host 71","compute":8.0,"transfer":1.0,"wait":1.0}
not JSON
{"time":5,"step":8,"event":"start","epoch":2}
{"time":6,"step":9,"event":"worker_time","worker":1,"name":"host 71","compute":9.0,"transfer":0.5,"wait":0.5}
"#;
    const METRICS: &str = r#"
{"step":4,"loss":1.0}
{"step":4,"eval_loss":0.7,"eval_accuracy":0.5,"eval_samples":9}
{"step":8,"eval_loss":0.4,"eval_accuracy":0.75,"eval_samples":9}
{"step":12,"eval_loss":0.6,"eval_accuracy":0.8,"eval_samples":9}
"#;

    #[test]
    fn a_run_is_summed_up_over_all_its_coordinators() {
        let lines = Summary::of(EVENTS, METRICS).lines(Some(12));
        let expected = [
            "best evaluation, after step 8: loss 0.4000, accuracy 75.0 %",
            "┌─────────┬───────┬─────────┬──────────┬──────┐",
            "│ worker  ┆ time  ┆ compute ┆ transfer ┆ wait │",
            "╞═════════╪═══════╪═════════╪══════════╪══════╡",
            "│ host 71 ┆ 20 s  ┆ 85 %    ┆ 8 %      ┆ 8 %  │",
            "│ host 72 ┆ 4.0 s ┆ 75 %    ┆ 0 %      ┆ 25 % │",
            "└─────────┴───────┴─────────┴──────────┴──────┘",
            "faults survived: leases failed 1, restarts of the coordinator 1, workers lost 1,\nworkers sent away 1",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_run_s_own_choice_of_the_best_counts_and_is_not_told_twice() {
        let events = r#"{"step":12,"event":"best","version":12}"#;
        let summary = Summary::of(events, METRICS);
        assert_eq!(summary.best.as_ref().and_then(|best| best["step"].as_u64()), Some(12));
        assert_eq!(summary.lines(Some(12)), [""; 0]);
    }

    #[test]
    fn many_workers_with_long_names_fit_80_columns() {
        let line = |worker: usize| {
            let name = format!("a-very-long-name-of-a-host.in.some.cluster.of.a.company {worker}");
            json!({"event": "worker_time", "worker": worker, "name": name, "compute": 1, "transfer": 1, "wait": 1})
        };
        let events: Vec<String> = (0..40).map(|worker| line(worker).to_string()).collect();
        let lines = Summary::of(&events.join("\n"), "").lines(None);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("24 others")), "{lines:#?}");
    }
}
