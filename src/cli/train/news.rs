//! What is new in a status: faults, the probe's verdict, and workers that rest or are called back. Each is told once.

use std::collections::BTreeSet;
use std::fmt;

use headstart::client::{Fault, ProbeSummary, RunStatus};
use serde_json::{Value, json};

/// What has been told so far.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Faults that this program tells of in another way.
    told_elsewhere: &'static [&'static str],
    /// Workers that rest.
    resting: BTreeSet<u64>,
    /// The coordinator's term, and the number of its last fault.
    last: (u64, u64),
    probe: Option<ProbeSummary>,
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// The whole sentence.
    Rests {
        worker: u64,
        reason: String,
    },
    CalledBack {
        worker: u64,
        catching_up: bool,
    },
    /// `told`: text need not tell of it again.
    Fault {
        fault: Fault,
        told: bool,
    },
    /// So many faults are not known any more.
    FaultsMissed(u64),
    Probe(ProbeSummary),
}

impl News {
    /// Faults with these events are left out of text, because it has them already.
    pub(super) fn new(told_elsewhere: &'static [&'static str]) -> News {
        News { told_elsewhere, ..News::default() }
    }

    /// Whatever has gone wrong before is not news.
    pub(super) fn skip_faults(&mut self, status: &RunStatus) {
        let last = status.faults.last().map_or(0, |fault| fault.number);
        self.last = (status.coordinator_epoch, last);
    }

    /// What is new in a status; takes note of it.
    pub(super) fn of(&mut self, status: &RunStatus) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(probe) = status.probe.as_ref().filter(|probe| self.probe.as_ref() != Some(probe)) {
            self.probe = Some(probe.clone());
            items.push(Item::Probe(probe.clone()));
        }
        self.faults(status, &mut items);
        if !status.ended() {
            self.rests(status, &mut items);
        }
        items
    }

    fn faults(&mut self, status: &RunStatus, items: &mut Vec<Item>) {
        if status.coordinator_epoch != self.last.0 {
            self.last = (status.coordinator_epoch, 0);
        }
        for fault in &status.faults {
            if fault.number <= self.last.1 {
                continue;
            }
            let missed = fault.number - self.last.1 - 1;
            items.extend((missed > 0).then_some(Item::FaultsMissed(missed)));
            self.last.1 = fault.number;
            let told = self.told_elsewhere.contains(&fault.event.as_str());
            items.push(Item::Fault { fault: fault.clone(), told });
        }
    }

    /// Of a worker that has left, a fault tells.
    fn rests(&mut self, status: &RunStatus, items: &mut Vec<Item>) {
        for worker in &status.workers {
            let id = worker.worker_id;
            match worker.rests() {
                Some(_) if self.resting.insert(id) => {
                    items.push(Item::Rests { worker: id, reason: worker.activity.clone() });
                }
                None if self.resting.remove(&id) => {
                    let catching_up = worker.activity == "catching up";
                    items.push(Item::CalledBack { worker: id, catching_up });
                }
                _ => {}
            }
        }
        self.resting.retain(|&id| status.workers.iter().any(|worker| worker.worker_id == id));
    }
}

impl Item {
    pub(super) fn as_json(&self) -> Value {
        match self {
            Item::Rests { worker, reason } => json!({"event": "rest", "worker_id": worker, "reason": reason}),
            Item::CalledBack { worker, catching_up } => {
                json!({"event": "called_back", "worker_id": worker, "catching_up": catching_up})
            }
            Item::Fault { fault: Fault { number: _, event, step, worker_id, text }, told: _ } => json!({
                "event": "fault", "fault": event, "step": step, "worker_id": worker_id, "text": text,
            }),
            Item::FaultsMissed(count) => json!({"event": "faults_missed", "count": count}),
            Item::Probe(ProbeSummary { verdict, text }) => {
                json!({"event": "probe", "verdict": verdict, "text": text})
            }
        }
    }

    /// Whether people are warned.
    pub(super) fn warns(&self) -> bool {
        match self {
            Item::Fault { .. } | Item::FaultsMissed(_) => true,
            Item::Probe(probe) => probe.warns(),
            Item::Rests { .. } | Item::CalledBack { .. } => false,
        }
    }

    /// Whether people have read of it in another line.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Item::Fault { told: true, .. })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Rests { reason, .. } => f.write_str(reason),
            Item::CalledBack { worker, catching_up: false } => write!(f, "worker {worker} was called back"),
            Item::CalledBack { worker, catching_up: true } => {
                write!(f, "worker {worker} was called back, and is catching up")
            }
            Item::Fault { fault, .. } => write!(f, "step {}: {}", fault.step, fault.text),
            Item::FaultsMissed(count) => write!(f, "{count} more faults"),
            Item::Probe(probe) => f.write_str(&probe_line(probe)),
        }
    }
}

/// The probe's verdict, or why there is none, in one line.
pub(in crate::cli) fn probe_line(probe: &ProbeSummary) -> String {
    match probe.verdict.as_str() {
        "" => probe.text.clone(),
        _ => format!("probe: {}", probe.text),
    }
}

#[cfg(test)]
mod tests {
    use headstart::checkpoint::Loading;
    use headstart::client::{State, WorkerStatus};

    use super::super::progress::tests::status;
    use super::*;

    fn fault(number: u64, event: &str) -> Fault {
        let text = format!("fault {number}");
        Fault { number, event: event.to_owned(), step: 3, worker_id: 1, text }
    }

    fn told(news: &mut News, status: &RunStatus) -> Vec<String> {
        news.of(status).iter().filter(|item| !item.is_told()).map(ToString::to_string).collect()
    }

    #[test]
    fn a_worker_s_rest_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut news = News::default();
        let mut told = |activities: &[&str]| {
            let worker = |(worker_id, activity): (u64, &&str)| WorkerStatus {
                worker_id,
                name: String::new(),
                device: "cpu".to_owned(),
                shards: 0,
                ready: true,
                activity: (*activity).to_owned(),
                shard_seconds: f64::NAN,
                compute_seconds: 0.0,
                transfer_seconds: 0.0,
                wait_seconds: 0.0,
                loading: Loading::default(),
            };
            let workers = (1..).zip(activities).map(worker).collect();
            told(&mut news, &RunStatus { workers, ..status(State::Training, 3) })
        };
        let rests = "worker 2 idles: its link is slow; LoRA would change that";
        assert_eq!(told(&["idle", "idle"]), [""; 0]);
        assert_eq!(told(&["idle", rests]), [rests]);
        assert_eq!(told(&["idle", rests]), [""; 0]);
        assert_eq!(told(&["idle", "catching up"]), ["worker 2 was called back, and is catching up"]);
        assert_eq!(told(&["idle", rests]), [rests]);
        assert_eq!(told(&["idle", "idle"]), ["worker 2 was called back"]);
        assert_eq!(told(&["idle", rests]), [rests]);
        assert_eq!(told(&["idle"]), [""; 0], "it has left");
        assert_eq!(told(&["idle", "idle"]), [""; 0]);
    }

    #[test]
    fn each_fault_is_told_once_also_after_a_restart() {
        let mut news = News::new(&["leave"]);
        let of = |epoch, faults| RunStatus { faults, coordinator_epoch: epoch, ..status(State::Training, 3) };
        let first = of(1, vec![fault(1, "silent"), fault(2, "leave")]);
        assert_eq!(told(&mut news, &first), ["step 3: fault 1"], "of the other one, another line tells");
        assert_eq!(told(&mut news, &first), [""; 0]);
        let more = of(1, vec![fault(8, "silent")]);
        assert_eq!(told(&mut news, &more), ["5 more faults", "step 3: fault 8"]);
        let restarted = of(2, vec![fault(1, "start")]);
        assert_eq!(told(&mut news, &restarted), ["step 3: fault 1"]);
        let mut late = News::default();
        late.skip_faults(&more);
        assert_eq!(told(&mut late, &more), [""; 0], "that was before");
        assert_eq!(told(&mut late, &restarted), ["step 3: fault 1"]);
    }

    #[test]
    fn a_verdict_is_told_once_and_none_is_a_warning() {
        let mut news = News::default();
        let of = |verdict: &str, text: &str| {
            let probe = ProbeSummary { verdict: verdict.to_owned(), text: text.to_owned() };
            RunStatus { probe: Some(probe), ..status(State::Training, 3) }
        };
        let none = of("none", "none: train from random weights");
        let items = news.of(&none);
        assert_eq!(items[0].to_string(), "probe: none: train from random weights");
        assert!(items[0].warns());
        assert_eq!(news.of(&none), []);
        let left_out = news.of(&of("", "no probe of the checkpoint: too few rows"));
        assert_eq!(left_out[0].to_string(), "no probe of the checkpoint: too few rows");
        assert!(!left_out[0].warns());
    }
}
