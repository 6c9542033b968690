//! The last faults of a run in sentences, for those who watch it.

use std::collections::VecDeque;
use std::sync::Arc;

use headstart::client::Fault;
use serde_json::Value;

/// Faults that are kept; of more, the last ones.
const MOST: usize = 32;

/// The last faults, oldest first. Cheap to clone while nothing is added.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    last: Arc<VecDeque<Fault>>,
    counted: u64,
}

impl Faults {
    /// Adds a line of the event log, if it is one of a fault.
    pub(super) fn note(&mut self, line: &Value) {
        let Some(text) = sentence(line) else { return };
        self.counted += 1;
        let fault = Fault {
            number: self.counted,
            event: line["event"].as_str().unwrap_or_default().to_owned(),
            step: line["step"].as_u64().unwrap_or_default(),
            worker_id: line["worker"].as_u64().unwrap_or_default(),
            text,
        };
        let last = Arc::make_mut(&mut self.last);
        last.push_back(fault);
        if last.len() > MOST {
            last.pop_front();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.last.iter()
    }
}

/// What happened, in one sentence; `None` where nothing went wrong.
fn sentence(line: &Value) -> Option<String> {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let worker = match (line["worker"].as_u64(), text("name")) {
        (None, _) => String::new(),
        (Some(number), "") => format!("worker {number}"),
        (Some(number), name) => format!("worker {number} ({name})"),
    };
    let reason = text("reason");
    Some(match text("event") {
        "start" if line["epoch"].as_u64() > Some(1) => {
            format!("the coordinator was restarted (term {}): the run goes on", line["epoch"])
        }
        "leave" if line["expected"] == true => return None,
        "leave" => format!("{worker} has left: {reason}"),
        "silent" => format!("{worker} is not heard any more, and is given up"),
        "sent_away" => format!("{worker} was sent away: {reason}"),
        "lease_failed" => format!("{worker} could not compute its lease: {reason}"),
        "partial_refused" => format!("a partial was refused: {reason}"),
        "replica_differs" => {
            format!("{worker} keeps other weights than the run's: they are sent to it again")
        }
        "step_restarted" => "the step begins anew".to_owned(),
        "shard_skipped" => format!("shard {} is not finite, and is left out of its step", line["shard"]),
        "audit_disputed" => format!("two workers computed different gradients: {}", line["workers"]),
        "storage_outage" => format!("storage at {} does not answer: {reason}", text("host")),
        "storage_back" => format!("storage at {} answers again, after {} s", text("host"), line["seconds"]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_are_sentences_and_the_last_are_kept() {
        let mut faults = Faults::default();
        let leave = |worker: u64| json!({"event": "leave", "step": 3, "worker": worker, "name": "host-7", "reason": "its session ended"});
        faults.note(&json!({"event": "start", "step": 0, "epoch": 1}));
        faults.note(&json!({"event": "commit", "step": 1, "version": 1}));
        assert_eq!(faults.iter().count(), 0, "nothing went wrong");
        (1..=MOST as u64 + 1).for_each(|worker| faults.note(&leave(worker)));
        let kept: Vec<&Fault> = faults.iter().collect();
        assert_eq!((kept.len(), kept[0].number), (MOST, 2));
        assert_eq!(kept[0].text, "worker 2 (host-7) has left: its session ended");
        assert_eq!((kept[0].worker_id, kept[0].step), (2, 3));
        faults.note(&json!({"event": "start", "step": 9, "epoch": 2}));
        let said = faults.iter().last().map(|fault| fault.text.clone());
        assert_eq!(said.as_deref(), Some("the coordinator was restarted (term 2): the run goes on"));
    }
}
