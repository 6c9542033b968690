//! How each worker spent its time lately: differences of the totals that its heartbeats report.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headstart::id::WorkerId;
use headstart::message::TimeBreakdown;

use crate::machine::WorkerLine;

/// How far back it looks.
const SPAN: Duration = Duration::from_secs(30);
/// Time between two looks. Heartbeats are rarer than events.
const EVERY: Duration = Duration::from_secs(2);

/// Totals of the last half minute, looked at every two seconds.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<(Duration, BTreeMap<WorkerId, TimeBreakdown>)>);

/// Parts of a worker's time, which are 1 together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    pub(super) compute: f64,
    pub(super) transfer: f64,
    pub(super) wait: f64,
}

impl Window {
    /// Takes note of the totals at the time `now`.
    pub(super) fn note(&mut self, now: Duration, workers: &[WorkerLine]) {
        if self.0.back().is_some_and(|(last, _)| now.saturating_sub(*last) < EVERY) {
            return;
        }
        self.0.push_back((now, workers.iter().map(|line| (line.worker, line.spent)).collect()));
        while self.0.front().is_some_and(|(first, _)| now.saturating_sub(*first) > SPAN) {
            self.0.pop_front();
        }
    }

    /// The parts of a worker's time since the window's first look or, where nothing has come in since, since it was ready;
    /// `None` before its first heartbeat with work.
    pub(super) fn shares(&self, line: &WorkerLine) -> Option<Shares> {
        let first = self.0.iter().find_map(|(_, spent)| spent.get(&line.worker));
        let lately = first.and_then(|first| {
            let since = |now: Duration, then: Duration| now.saturating_sub(then);
            shares(TimeBreakdown {
                compute: since(line.spent.compute, first.compute),
                transfer: since(line.spent.transfer, first.transfer),
                wait: since(line.spent.wait, first.wait),
            })
        });
        lately.or_else(|| shares(line.spent))
    }
}

fn shares(TimeBreakdown { compute, transfer, wait }: TimeBreakdown) -> Option<Shares> {
    let [compute, transfer, wait] = [compute, transfer, wait].map(|time| time.as_secs_f64());
    let total = compute + transfer + wait;
    (total > 0.0).then(|| Shares { compute: compute / total, transfer: transfer / total, wait: wait / total })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ready worker with these seconds of compute, transfer and wait.
    pub(in crate::dashboard) fn line(worker: u64, [compute, transfer, wait]: [u64; 3]) -> WorkerLine {
        let [compute, transfer, wait] = [compute, transfer, wait].map(Duration::from_secs);
        WorkerLine {
            loading: headstart::checkpoint::Loading::default(),
            worker: WorkerId(worker),
            name: format!("host-{worker}"),
            device: "cpu".to_owned(),
            ready: true,
            shards: 4,
            activity: "step 3: shards 0..4".to_owned(),
            shard_seconds: 0.5,
            spent: TimeBreakdown { compute, transfer, wait },
            leased_since: None,
        }
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let at = Duration::from_secs;
        let mut window = Window::default();
        assert_eq!(window.shares(&line(1, [0, 0, 0])), None);
        let all = window.shares(&line(1, [6, 2, 2]));
        assert_eq!(all, Some(Shares { compute: 0.6, transfer: 0.2, wait: 0.2 }), "all there is");
        window.note(at(10), &[line(1, [6, 2, 2])]);
        window.note(at(11), &[line(1, [7, 2, 2])]);
        assert_eq!(window.0.len(), 1, "too soon");
        let lately = window.shares(&line(1, [7, 5, 2]));
        assert_eq!(lately, Some(Shares { compute: 0.25, transfer: 0.75, wait: 0.0 }));
        window.note(at(30), &[line(1, [7, 12, 2])]);
        window.note(at(45), &[line(1, [7, 20, 2])]);
        let lately = window.shares(&line(1, [7, 22, 12]));
        assert_eq!(lately, Some(Shares { compute: 0.0, transfer: 0.5, wait: 0.5 }));
    }
}
