//! What happens to a run beside its numbers: who joins and leaves, what fails, what is committed, and how workers spend time.
//!
//! Like spans, events are taken from what goes into the machine and what comes out of it, so that the machine knows nothing of
//! them. They are lines of JSON, committed with the metrics. They depend on time, so nothing that is hashed may name them.

mod faults;
mod log;
mod probe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headstart::client::ProbeSummary;
use headstart::id::{Step, WorkerId};
use headstart::message::{Failure, StopReason, TimeBreakdown, ToWorker};
use headstart::store::Outage;
use serde_json::{Map, Value, json};

use crate::event::{Effect, Event, Record, Refused, SegmentUse, Unfit, describe};

pub use faults::Faults;
pub use log::EventLog;

/// Workers whose time is written at a commit; of more, those with the lowest numbers.
const MOST_WORKERS: usize = 256;
/// Rows of a skipped shard that are named.
const MOST_ROWS: usize = 32;
/// Characters of a text that came from outside.
const LONGEST_TEXT: usize = 300;

/// Turns the machine's events and effects into lines of an [`EventLog`].
#[derive(Debug)]
pub struct Events {
    log: Arc<EventLog>,
    /// Updates applied.
    version: u64,
    /// The step that is being reduced.
    open: Option<Step>,
    /// The version that is being committed.
    committing: u64,
    /// Leases that a second worker has computed since the last commit.
    audits: u64,
    workers: BTreeMap<WorkerId, Seen>,
    /// Those who were told to rest.
    resting: BTreeSet<WorkerId>,
    cause: Cause,
    faults: Faults,
    probe: Option<ProbeSummary>,
}

/// A worker that is here.
#[derive(Debug)]
struct Seen {
    name: String,
    device: String,
    spent: TimeBreakdown,
    /// Whether it was admitted.
    joined: bool,
    /// Why its session is about to be closed.
    sent_away: Option<String>,
    /// It was told to go: that it goes is no news.
    dismissed: bool,
}

/// What the machine is answering: it tells why a session is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cause {
    Join,
    Tick,
    PushEnded,
    #[default]
    Other,
}

impl Events {
    /// Events of the coordinator's term `epoch`, which begins at a version; `now` is in seconds since 1970, here and below.
    pub fn new(log: Arc<EventLog>, epoch: u64, version: u64, now: f64) -> Events {
        let probe = probe::remembered(&log.text());
        let mut events = Events {
            log,
            version,
            open: None,
            committing: version,
            audits: 0,
            workers: BTreeMap::new(),
            resting: BTreeSet::new(),
            cause: Cause::Other,
            faults: Faults::default(),
            probe,
        };
        events.write(now, "start", json!({"epoch": epoch}));
        events
    }

    /// Takes note of what the machine is about to be told.
    pub fn event(&mut self, event: &Event, now: f64) {
        self.cause = match event {
            Event::Joined(..) => Cause::Join,
            Event::Tick => Cause::Tick,
            Event::PushEnded(..) => Cause::PushEnded,
            _ => Cause::Other,
        };
        match event {
            Event::Joined(worker, join) => {
                let (name, device) = (clip(&join.name), clip(&join.device));
                let spent = TimeBreakdown::default();
                let seen = Seen { name, device, spent, joined: false, sent_away: None, dismissed: false };
                self.workers.insert(*worker, seen);
            }
            Event::Heard(worker, spent) => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    seen.spent = *spent;
                }
            }
            Event::LeaseFailed(worker, lease, failure) => {
                let facts = json!({"lease": lease.0, "reason": clip(&in_words(failure))});
                self.of_worker(now, "lease_failed", *worker, facts);
            }
            Event::PushBroke(partial, Unfit::NotFinite) => {
                let facts = json!({"lease": partial.lease.0, "reason": "its sum is not finite"});
                self.of_worker(now, "lease_failed", partial.worker, facts);
            }
            Event::Left(worker, reason) => self.leave(now, *worker, reason),
            Event::Committed | Event::Concluded | Event::Exported => self.committed(now),
            Event::Judged(judged) => match judged.as_ref() {
                Ok(probed) => {
                    self.probe = Some(probe::summary(probed));
                    self.write(now, "probe", json!(probed));
                }
                Err(reason) => self.probe_left_out(&format!("no probe: {reason}"), now),
            },
            Event::StopRequested { reason, .. } => {
                self.write(now, "stop_requested", json!({"reason": clip(reason)}));
            }
            _ => {}
        }
    }

    /// A run has no probe though one might be expected, for this reason.
    pub fn probe_left_out(&mut self, reason: &str, now: f64) {
        let reason = clip(reason);
        self.probe = Some(probe::left_out(&reason));
        self.write(now, "probe_left_out", json!({"reason": reason}));
    }

    /// Servers that do not answer, or answer again.
    pub fn outages(&mut self, outages: Vec<Outage>, now: f64) {
        for outage in outages {
            match outage {
                Outage::Began { host, why } => {
                    self.write(now, "storage_outage", json!({"host": clip(&host), "reason": clip(&why)}));
                }
                Outage::Ended { host, after } => {
                    let seconds = after.as_millis() as f64 / 1e3;
                    self.write(now, "storage_back", json!({"host": clip(&host), "seconds": seconds}));
                }
            }
        }
    }

    /// The last faults.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// What the probe says, or why there was none.
    pub fn probe(&self) -> Option<&ProbeSummary> {
        self.probe.as_ref()
    }

    /// Takes note of what the machine wants done.
    pub fn effect(&mut self, effect: &Effect, now: f64) {
        match effect {
            Effect::Send(worker, command) => self.command(now, *worker, command),
            Effect::Close(worker) => self.closed(now, *worker),
            Effect::Answer(Ok(SegmentUse::Hash)) if self.cause == Cause::PushEnded => self.audits += 1,
            Effect::Answer(Err(refused)) => self.refused(now, refused),
            Effect::OpenStep(step, _) => {
                if self.open.replace(*step) == Some(*step) {
                    self.write(now, "step_restarted", json!({}));
                }
            }
            Effect::Disputed { work, workers } => {
                self.write(now, "audit_disputed", json!({"work": describe(work), "workers": workers}));
            }
            Effect::Record(record) => self.record(now, record),
            Effect::KeepBest(version) => self.write(now, "best", json!({"version": version.0})),
            Effect::Commit(standing) | Effect::Export(standing) | Effect::Conclude { standing, .. } => {
                self.committing = standing.version;
                self.times(now);
            }
            Effect::Answer(Ok(_))
            | Effect::Update { .. }
            | Effect::Finish(_)
            | Effect::Judge(_)
            | Effect::End(..) => {}
        }
    }

    fn command(&mut self, now: f64, worker: WorkerId, command: &ToWorker) {
        match command {
            ToWorker::Welcome(_) => {
                let Some(seen) = self.workers.get_mut(&worker) else { return };
                seen.joined = true;
                let facts = json!({"device": seen.device});
                self.of_worker(now, "join", worker, facts);
            }
            ToWorker::Stop { reason, detail } => {
                let faulty =
                    !matches!(reason, StopReason::Finished | StopReason::Stopped | StopReason::Failed);
                if faulty {
                    self.of_worker(now, "sent_away", worker, json!({"reason": clip(detail)}));
                }
                if let Some(seen) = self.workers.get_mut(&worker) {
                    seen.sent_away = Some(clip(detail));
                    seen.dismissed = true;
                }
            }
            ToWorker::Rest { reason } => {
                self.resting.insert(worker);
                self.of_worker(now, "rest", worker, json!({"reason": clip(reason)}));
            }
            ToWorker::Follow { anew: true } => self.of_worker(now, "replica_differs", worker, json!({})),
            ToWorker::Follow { anew: false } | ToWorker::Lease { .. } if self.resting.remove(&worker) => {
                self.of_worker(now, "called_back", worker, json!({}));
            }
            _ => {}
        }
    }

    /// The machine ends a session, unless its worker has left before.
    fn closed(&mut self, now: f64, worker: WorkerId) {
        let Some(seen) = self.workers.get_mut(&worker) else { return };
        // That it leaves follows from its silence.
        if self.cause == Cause::Tick && seen.sent_away.is_none() {
            seen.dismissed = true;
            self.of_worker(now, "silent", worker, json!({}));
        }
        let Some(seen) = self.workers.get_mut(&worker) else { return };
        let silent = match self.cause {
            Cause::Join => "it has reconnected",
            Cause::Tick => "it was not heard any more",
            Cause::PushEnded | Cause::Other => "its session was closed",
        };
        let reason = seen.sent_away.take().unwrap_or_else(|| silent.to_owned());
        self.leave(now, worker, &reason);
    }

    fn leave(&mut self, now: f64, worker: WorkerId, reason: &str) {
        self.resting.remove(&worker);
        if let Some(seen) = self.workers.get(&worker).filter(|seen| seen.joined) {
            let mut facts = json!({"reason": clip(reason), "expected": seen.dismissed});
            add_time(&mut facts, &seen.spent);
            self.of_worker(now, "leave", worker, facts);
        }
        self.workers.remove(&worker);
    }

    /// A partial that cannot be right. That a lease has ended meanwhile is nobody's fault.
    fn refused(&mut self, now: f64, refused: &Refused) {
        match refused {
            Refused::NotLeased { .. } | Refused::OtherRun { .. } => {}
            Refused::OtherWork { .. } | Refused::OtherWeights { .. } | Refused::Implausible(_) => {
                self.write(now, "partial_refused", json!({"reason": clip(&refused.to_string())}));
            }
        }
    }

    fn record(&mut self, now: f64, record: &Record) {
        match record {
            Record::Step { step, skipped, .. } => {
                (self.open, self.version) = (None, step.0 + 1);
                for (shard, rows) in skipped {
                    let named: Vec<u64> = rows.iter().take(MOST_ROWS).copied().collect();
                    let facts = json!({"shard": shard, "rows": named, "rows_total": rows.len()});
                    self.write(now, "shard_skipped", facts);
                }
            }
            Record::Eval { metrics, samples, .. } => {
                let mut facts = Map::new();
                facts.extend(metrics.iter().map(|(name, value)| (format!("eval_{name}"), (*value).into())));
                facts.insert("eval_samples".into(), (*samples).into());
                self.write(now, "evaluation", Value::Object(facts));
            }
        }
    }

    fn committed(&mut self, now: f64) {
        let audits = std::mem::take(&mut self.audits);
        self.write(now, "commit", json!({"version": self.committing, "audits": audits}));
    }

    /// How the workers have spent their time so far.
    fn times(&self, now: f64) {
        for (&worker, seen) in self.workers.iter().take(MOST_WORKERS) {
            let mut facts = json!({});
            add_time(&mut facts, &seen.spent);
            self.append(now, "worker_time", self.with_name(worker, facts));
        }
    }

    fn of_worker(&mut self, now: f64, event: &str, worker: WorkerId, facts: Value) {
        self.write(now, event, self.with_name(worker, facts));
    }

    fn with_name(&self, worker: WorkerId, facts: Value) -> Value {
        let name = self.workers.get(&worker).map(|seen| seen.name.as_str());
        let mut line = json!({"worker": worker.0, "name": name});
        extend(&mut line, facts);
        line
    }

    /// Writes a line, and tells people of it if it is a fault.
    fn write(&mut self, now: f64, event: &str, facts: Value) {
        let line = self.append(now, event, facts);
        self.faults.note(&line);
    }

    fn append(&self, now: f64, event: &str, facts: Value) -> Value {
        let mut line = json!({"time": now, "step": self.version, "event": event});
        extend(&mut line, facts);
        self.log.push(line.to_string());
        line
    }
}

fn extend(line: &mut Value, facts: Value) {
    if let (Value::Object(line), Value::Object(facts)) = (line, facts) {
        line.extend(facts);
    }
}

/// Seconds since the worker was ready, by what it did.
fn add_time(facts: &mut Value, spent: &TimeBreakdown) {
    let TimeBreakdown { compute, transfer, wait } = spent;
    let [compute, transfer, wait] = [compute, transfer, wait].map(|time| time.as_millis() as f64 / 1e3);
    extend(facts, json!({"compute": compute, "transfer": transfer, "wait": wait}));
}

fn in_words(failure: &Failure) -> String {
    match failure {
        Failure::Error(text) | Failure::Data(text) | Failure::Storage(text) => text.clone(),
        Failure::NotFinite { shard } => format!("loss or gradient of shard {shard} is not finite"),
        Failure::SumNotFinite => "its sum is not finite, though each shard is".to_owned(),
    }
}

/// At most [`LONGEST_TEXT`] characters.
fn clip(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}
