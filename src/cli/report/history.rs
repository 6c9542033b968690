//! What happened to a run beside its numbers: from `events.jsonl` and `workers.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use headstart::probe::Probed;
use headstart::run_file::{hide_secrets, without_secrets};
use headstart::verify::{EVENTS, WORKERS};
use serde_json::Value;

use crate::cli::runs::Run;

/// What a history is read from.
pub(super) const TEXTS: &[&str] = &[EVENTS, WORKERS];

/// Characters of a reason.
const LONGEST_REASON: usize = 400;

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// Whether there is a file of events.
    pub(super) is_told: bool,
    /// In order.
    pub(super) faults: Vec<Fault>,
    /// Sessions of workers.
    pub(super) joins: u64,
    pub(super) commits: u64,
    /// Leases that a second worker has computed too.
    pub(super) audits: u64,
    /// Audits in which two workers computed different gradients.
    pub(super) disputes: u64,
    /// By the coordinator's term and the worker's number.
    pub(super) workers: BTreeMap<(u64, u64), Worker>,
    /// What the first weights were found to know of the task.
    pub(super) probed: Option<Probed>,
    /// Why that was not found out.
    pub(super) not_probed: Option<String>,
    /// Events in the middle of a long run that were not kept, and lines that cannot be read.
    pub(super) left_out: u64,
    /// Seconds that the run took, where it is finished.
    runtime: Option<f64>,
}

/// Something that went wrong, or changed who takes part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// Seconds since the run's first event.
    pub(super) after: f64,
    /// Updates applied.
    pub(super) step: u64,
    /// Number and name.
    pub(super) worker: Option<(u64, String)>,
    pub(super) what: String,
}

/// A worker's session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) device: String,
    /// Shards that became part of a sum; known of the last coordinator's workers.
    pub(super) shards: Option<u64>,
    /// Seconds of computing, transfer and waiting, as of the last commit or its end.
    pub(super) spent: Option<[f64; 3]>,
}

impl History {
    /// What a run left in [`TEXTS`]; a run without them has no history.
    pub(super) fn of_run(run: &Run) -> History {
        let mut history = run.texts.get(EVENTS).map_or_else(History::default, |events| History::of(events));
        if let Some(workers) = run.texts.get(WORKERS) {
            history.add_workers(workers);
        }
        history
    }

    /// What lines of events say.
    fn of(events: &str) -> History {
        let mut history = History { is_told: true, ..History::default() };
        let (mut began, mut term) = (None, 1);
        for line in events.lines().filter(|line| !line.trim().is_empty()) {
            let Ok(mut event) = serde_json::from_str::<Value>(line) else {
                history.left_out += 1;
                continue;
            };
            hide_secrets(&mut event);
            let time = event["time"].as_f64().unwrap_or_default();
            let after = time - *began.get_or_insert(time);
            term = match event["event"].as_str() {
                Some("start") => event["epoch"].as_u64().unwrap_or(term),
                _ => term,
            };
            history.add(term, after, &event);
        }
        history
    }

    fn add(&mut self, term: u64, after: f64, event: &Value) {
        let count = |name: &str| event[name].as_u64().unwrap_or_default();
        let worker = event["worker"].as_u64();
        let name = || event["name"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap_or_default() {
            "join" => {
                self.joins += 1;
                let device = event["device"].as_str().unwrap_or_default().to_owned();
                let joined = Worker { name: name(), device, ..Worker::default() };
                self.workers.insert((term, worker.unwrap_or_default()), joined);
            }
            "commit" => {
                self.commits += 1;
                self.audits += count("audits");
            }
            "audit_disputed" => self.disputes += 1,
            "left_out" => self.left_out += count("count"),
            "probe" => self.probed = serde_json::from_value(event.clone()).ok(),
            "probe_left_out" => self.not_probed = Some(reason(event)),
            _ => {}
        }
        let times = ["compute", "transfer", "wait"].map(|name| event[name].as_f64());
        if let ([Some(compute), Some(transfer), Some(wait)], Some(number)) = (times, worker) {
            let session = self.workers.entry((term, number)).or_default();
            (session.name, session.spent) = (name(), Some([compute, transfer, wait]));
        }
        if let Some(what) = fault(event) {
            let worker = worker.map(|number| (number, name()));
            self.faults.push(Fault { after, step: count("step"), worker, what });
        }
    }

    fn add_workers(&mut self, text: &str) {
        let Ok(told) = serde_json::from_str::<Value>(text) else { return };
        self.runtime = told["train_runtime"].as_f64().filter(|seconds| *seconds >= 0.0);
        let term = self.workers.keys().map(|(term, _)| *term).max().unwrap_or(1);
        for worker in told["workers"].as_array().into_iter().flatten() {
            let number = worker["worker_id"].as_u64().unwrap_or_default();
            let session = self.workers.entry((term, number)).or_default();
            session.name = worker["name"].as_str().unwrap_or_default().to_owned();
            session.shards = worker["shards"].as_u64();
        }
    }

    /// How long a run took; of one that is not finished, up to its last line.
    pub(super) fn seconds(&self, run: &Run) -> Option<Duration> {
        let written = run.metrics.written.map(|(first, last)| last - first);
        Duration::try_from_secs_f64(self.runtime.or(written)?).ok()
    }
}

/// A fault in words; `None` for what happens in every run.
fn fault(event: &Value) -> Option<String> {
    let because = |what: &str| format!("{what}: {}", reason(event));
    Some(match event["event"].as_str()? {
        "start" => match event["epoch"].as_u64()? {
            0 | 1 => return None,
            term => format!("another coordinator, number {term}, took the run over"),
        },
        "leave" if event["expected"] == true => return None,
        "leave" => because("it left"),
        "sent_away" => because("it was sent away"),
        "silent" => "it was not heard any more".to_owned(),
        "storage_outage" => {
            because(&format!("storage at {} did not answer", event["host"].as_str().unwrap_or("a server")))
        }
        "storage_back" => format!("storage answered again, after {} s", event["seconds"]),
        "rest" => because("it rests"),
        "called_back" => "it was called back".to_owned(),
        "lease_failed" => because("it could not compute a lease"),
        "partial_refused" => because("a partial was refused"),
        "replica_differs" => "its replica was not the run's weights, and was made anew".to_owned(),
        "step_restarted" => "the step began anew".to_owned(),
        "shard_skipped" => format!(
            "shard {} was left out of the step: {} rows, the first {}",
            event["shard"], event["rows_total"], event["rows"][0]
        ),
        "audit_disputed" => {
            let workers = event["workers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let workers = workers.collect::<Vec<_>>().join(" and ");
            format!(
                "{workers} computed different gradients of {}",
                event["work"].as_str().unwrap_or("a lease")
            )
        }
        "stop_requested" => because("the run was asked to end"),
        _ => return None,
    })
}

fn reason(event: &Value) -> String {
    let reason = event["reason"].as_str().unwrap_or("no reason is recorded");
    let reason: String = reason.chars().take(LONGEST_REASON).collect();
    without_secrets(&reason)
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
