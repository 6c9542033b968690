//! Why a run is as fast as it is, in words.

use std::time::Duration;

use headstart::client::Holdup;
use headstart::message::IDLES;

use super::window::{Shares, Window};
use crate::machine::{Activity, Snapshot, WorkerLine};

/// Sentences at most: with many workers, those of the rest say the same.
const MOST: usize = 6;
/// Workers that compute this much of their time are not held up.
const BUSY: f64 = 0.85;
/// What is below this part of a worker's time is not worth a sentence.
const WORTH: f64 = 0.2;
/// Transfer that is the same for all is worth one from here on.
const MUCH: f64 = 0.4;
/// A lease of this age is mentioned, unless shards take long.
const OLD: Duration = Duration::from_secs(10);
/// How many times its usual time for a shard a lease may last, unmentioned.
const SHARDS: f64 = 20.0;

/// What a step's parts took, in mean seconds since this coordinator began; `None` before the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts {
    /// From one step to the next.
    pub(super) step: f64,
    /// The update alone, between the last partial and the next step.
    pub(super) update: f64,
}

/// What is known of a run at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) window: &'a Window,
    pub(super) parts: Option<Parts>,
    /// The worker that makes steps longer, if one does.
    pub(super) holdup: Option<Holdup>,
    /// Time since the run began.
    pub(super) now: Duration,
}

/// What a reader should know of the pace, the most important first.
pub(super) fn explain(Seen { snapshot, window, parts, holdup, now }: Seen<'_>) -> Vec<String> {
    let mut said = Vec::new();
    match snapshot.activity {
        Activity::Ended => return said,
        Activity::Waiting { ready, needed } => {
            said.push(format!("The run waits: {ready} of {needed} workers are ready (cluster.min_workers)."))
        }
        Activity::Saving => said.push("The weights are being written.".to_owned()),
        Activity::Evaluating { .. } | Activity::Probing { .. } | Activity::Training => {}
    }
    said.extend(snapshot.workers.iter().filter_map(|line| overdue(line, now)));
    let working = snapshot.workers.iter().filter(|line| line.ready && !rests(line));
    let working: Vec<Shares> = working.filter_map(|line| window.shares(line)).collect();
    if !working.is_empty() {
        pace(&working, parts, holdup, &mut said);
    }
    said.extend(snapshot.workers.iter().filter(|line| rests(line)).map(|line| sentence(&line.activity)));
    let loading = snapshot.workers.iter().filter(|line| !line.ready).count();
    match loading {
        0 => {}
        1 => said.push("1 worker is loading.".to_owned()),
        _ => said.push(format!("{loading} workers are loading.")),
    }
    said.truncate(MOST);
    said
}

/// What holds up the workers that take part.
fn pace(working: &[Shares], parts: Option<Parts>, holdup: Option<Holdup>, said: &mut Vec<String>) {
    let mean = |part: fn(&Shares) -> f64| working.iter().map(part).sum::<f64>() / working.len() as f64;
    let (compute, transfer, wait) = (mean(|s| s.compute), mean(|s| s.transfer), mean(|s| s.wait));
    match holdup {
        Some(Holdup { worker_id, share, cause }) => said.push(format!(
            "For {} of a step the others wait for worker {worker_id}: {cause}.",
            percent(share)
        )),
        None if compute >= BUSY => {
            let all = if working.len() == 1 { "The worker computes" } else { "The workers compute" };
            said.push(format!("{all} {} of the time: nothing holds the run up.", percent(compute)));
        }
        None if wait >= WORTH => said.push(waiting(wait, working.len(), parts)),
        None => {}
    }
    if transfer >= MUCH {
        said.push(format!(
            "{} of the time goes to transfer: wire: int8 or an adapter would send fewer bytes.",
            percent(transfer)
        ));
    }
    if said.is_empty() {
        said.push(format!(
            "Computing takes {} of the workers' time, transfer {}, waiting {}.",
            percent(compute),
            percent(transfer),
            percent(wait)
        ));
    }
}

/// Workers wait, though none of them is slow.
fn waiting(wait: f64, workers: usize, parts: Option<Parts>) -> String {
    let wait = percent(wait);
    match parts {
        Some(Parts { step, update }) if update >= WORTH * step => format!(
            "{wait} of the time goes to waiting: the coordinator's update takes {} of a step of {}.",
            seconds(update),
            seconds(step)
        ),
        _ if workers > 1 => {
            format!("{wait} of the workers' time goes to waiting for each other and for the coordinator.")
        }
        _ => format!("{wait} of the worker's time goes to waiting for the coordinator."),
    }
}

/// A worker that holds its lease for unusually long.
fn overdue(line: &WorkerLine, now: Duration) -> Option<String> {
    let age = now.saturating_sub(line.leased_since?);
    let usual = if line.shard_seconds.is_finite() { line.shard_seconds * SHARDS } else { f64::INFINITY };
    (age >= OLD && age.as_secs_f64() >= usual)
        .then(|| format!("{} has not delivered its lease for {}.", capital(line), seconds(age.as_secs_f64())))
}

/// Whether steps are shorter without it.
pub(super) fn rests(line: &WorkerLine) -> bool {
    line.activity.strip_prefix(&line.worker.to_string()).is_some_and(|rest| rest.starts_with(IDLES))
}

fn capital(line: &WorkerLine) -> String {
    format!("Worker {}", line.worker.0)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.1 => format!("{:.0} ms", 1e3 * seconds),
        0.1..10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headstart::client::Cause;
    use headstart::id::Version;

    use super::super::window::tests::line;
    use super::*;
    use crate::machine::Counts;

    fn snapshot(workers: Vec<WorkerLine>) -> Snapshot {
        Snapshot {
            activity: Activity::Training,
            step: 3,
            total_steps: 9,
            epoch: 0.5,
            loss: 1.0,
            grad_norm: 1.0,
            learning_rate: 0.1,
            eval: (Version(0), BTreeMap::new()),
            workers,
            counts: Counts::default(),
        }
    }

    fn told(snapshot: &Snapshot, parts: Option<Parts>, holdup: Option<Holdup>) -> String {
        let (window, now) = (&Window::default(), Duration::from_secs(100));
        explain(Seen { snapshot, window, parts, holdup, now }).join("\n")
    }

    fn said(workers: Vec<WorkerLine>) -> String {
        told(&snapshot(workers), None, None)
    }

    #[test]
    fn busy_workers_are_not_held_up() {
        let text = said(vec![line(1, [95, 3, 2]), line(2, [93, 4, 3])]);
        assert_eq!(text, "The workers compute 94 % of the time: nothing holds the run up.");
    }

    #[test]
    fn the_worker_that_the_others_wait_for_is_named_with_numbers() {
        let run = snapshot(vec![line(1, [40, 5, 55]), line(3, [90, 5, 5])]);
        let holdup = Holdup { worker_id: 3, share: 0.38, cause: Cause::UploadBytesPerSecond(21.4e6) };
        let text = told(&run, None, Some(holdup));
        assert_eq!(text, "For 38 % of a step the others wait for worker 3: upload 21 MB/s.");
    }

    #[test]
    fn much_transfer_has_a_cure() {
        let text = said(vec![line(1, [40, 50, 10]), line(2, [40, 50, 10])]);
        assert!(text.starts_with("50 % of the time goes to transfer: wire: int8"), "{text}");
    }

    #[test]
    fn a_slow_coordinator_is_named() {
        let parts = Some(Parts { step: 0.5, update: 0.2 });
        let text = told(&snapshot(vec![line(1, [50, 10, 40])]), parts, None);
        assert_eq!(
            text,
            "40 % of the time goes to waiting: the coordinator's update takes 0.20 s of a step of 0.50 s."
        );
    }

    #[test]
    fn leases_that_last_workers_that_rest_and_workers_that_load_are_told_of() {
        let held = WorkerLine { leased_since: Some(Duration::from_secs(70)), ..line(1, [95, 3, 2]) };
        let resting = "worker 2 idles: its link would make a step 7.3 s, the others take 0.4 s".to_owned();
        let resting = WorkerLine { activity: resting.clone(), ..line(2, [0, 10, 90]) };
        let loading = WorkerLine { ready: false, activity: "loading".to_owned(), ..line(3, [0, 0, 0]) };
        let text = said(vec![held, resting, loading]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Worker 1 has not delivered its lease for 30 s.");
        assert_eq!(lines[2], "Worker 2 idles: its link would make a step 7.3 s, the others take 0.4 s.");
        assert_eq!(lines[3], "1 worker is loading.");
    }

    #[test]
    fn a_run_that_waits_says_for_what() {
        let waiting =
            Snapshot { activity: Activity::Waiting { ready: 1, needed: 2 }, ..snapshot(Vec::new()) };
        assert_eq!(
            told(&waiting, None, None),
            "The run waits: 1 of 2 workers are ready (cluster.min_workers)."
        );
    }
}
