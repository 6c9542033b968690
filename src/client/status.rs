//! A run at a glance, as clients see it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::checkpoint::Loading;
use crate::id::WorkerId;
use crate::message::IDLES;
use crate::wire::pb;

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Too few workers are ready.
    Waiting,
    /// Computing steps.
    Training,
    /// Finding out what the first weights know of the task.
    Probing,
    /// Judging the weights.
    Evaluating,
    /// Writing the weights.
    Saving,
    /// Over, with a result.
    Finished,
    /// Over, without one.
    Failed,
    /// Over because a client or a signal asked for it.
    Stopped,
    /// Something that only a newer coordinator does.
    Unknown,
}

/// A run at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunStatus {
    pub run_id: String,
    /// What it is doing.
    pub state: State,
    /// What it waits for, or why it ended.
    pub detail: String,
    /// Updates applied.
    pub step: u64,
    /// Updates to apply.
    pub total_steps: u64,
    /// Passes over the data.
    pub epoch: f64,
    /// Mean loss of the last step; NaN before the first.
    pub loss: f64,
    /// Learning rate of the step in flight.
    pub learning_rate: f64,
    /// Training speed of the last step.
    pub samples_per_second: f64,
    /// The same in tokens; 0 where samples say it.
    pub tokens_per_second: f64,
    /// Workers with a session.
    pub workers: Vec<WorkerStatus>,
    /// Metrics of the last evaluation, with the `eval_` prefix.
    pub eval: BTreeMap<String, f64>,
    /// Updates that the evaluated weights had seen.
    pub eval_step: u64,
    /// URL under which everything is written.
    pub output_dir: String,
    /// Shards done of the running evaluation.
    pub eval_done: u64,
    /// All of its shards; 0 when none is running.
    pub eval_total: u64,
    /// The coordinator's exit code, once the run is over.
    pub exit_code: i32,
    /// The coordinator's term: raised by one whenever another takes the run over.
    pub coordinator_epoch: u64,
    /// The worker that makes steps longer, if one does.
    pub holdup: Option<Holdup>,
    /// The last faults of this term, oldest first.
    pub faults: Vec<Fault>,
    /// What the probe says of the first weights; `None` before it has ended, and without one.
    pub probe: Option<ProbeSummary>,
}

/// A worker at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker_id: u64,
    /// What it calls itself.
    pub name: String,
    /// What it computes on.
    pub device: String,
    /// Shards that became part of a result.
    pub shards: u64,
    /// Whether it can compute.
    pub ready: bool,
    /// What it computes, in words.
    pub activity: String,
    /// Seconds of compute for one shard; NaN before the first.
    pub shard_seconds: f64,
    /// Seconds since it was ready that it spent computing, sending and receiving, and without a lease.
    pub compute_seconds: f64,
    pub transfer_seconds: f64,
    pub wait_seconds: f64,
    /// Bytes of the checkpoint, until it is ready.
    pub loading: Loading,
}

/// A worker that the others of a step wait for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Holdup {
    pub worker_id: u64,
    /// The part of a step's time in which only this worker was not done, from 0 to 1, smoothed over steps.
    pub share: f64,
    #[serde(flatten)]
    pub cause: Cause,
}

/// What such a worker spends the time on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Sending its sums: bytes a second.
    UploadBytesPerSecond(f64),
    /// Computing: seconds a shard.
    ShardSeconds(f64),
    /// Waiting for weights and data: seconds until it computes.
    WeightsSeconds(f64),
}

/// Something that went wrong, and that the run survived.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Counts the faults of a coordinator's term, from 1.
    pub number: u64,
    /// The event's name in `events.jsonl`.
    pub event: String,
    /// Updates applied when it happened.
    pub step: u64,
    /// The worker it is about; 0 if it is about none.
    pub worker_id: u64,
    /// What happened, in one sentence.
    pub text: String,
}

/// What a probe says, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeSummary {
    /// `head start`, `small` or `none`, or empty if there was no probe.
    pub verdict: String,
    /// In one line.
    pub text: String,
}

impl ProbeSummary {
    /// Whether the checkpoint is no help.
    pub fn warns(&self) -> bool {
        self.verdict == "none"
    }
}

impl WorkerStatus {
    /// Why it rests, with the cure, if the run goes on faster without it.
    pub fn rests(&self) -> Option<&str> {
        let who = WorkerId(self.worker_id).to_string();
        self.activity.strip_prefix(&who)?.strip_prefix(IDLES)
    }
}

impl RunStatus {
    /// Whether the run is over.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Finished | State::Failed | State::Stopped)
    }

    /// Workers that can compute.
    pub fn ready(&self) -> usize {
        self.workers.iter().filter(|worker| worker.ready).count()
    }

    /// How far the worker is that has most of the checkpoint still to read, if one is loading it.
    pub fn loading(&self) -> Option<Loading> {
        let loading = self.workers.iter().filter(|worker| !worker.ready).map(|worker| worker.loading);
        loading.filter(|loading| loading.is_underway()).max_by_key(|loading| loading.total - loading.done)
    }
}

impl fmt::Display for Holdup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holdup { worker_id, share, cause } = self;
        write!(f, "waiting {:.0} % for {}: {cause}", 100.0 * share, WorkerId(*worker_id))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Cause::UploadBytesPerSecond(rate) if rate >= 1e9 => write!(f, "upload {:.1} GB/s", rate / 1e9),
            Cause::UploadBytesPerSecond(rate) if rate >= 1e7 => write!(f, "upload {:.0} MB/s", rate / 1e6),
            Cause::UploadBytesPerSecond(rate) => write!(f, "upload {:.1} MB/s", rate / 1e6),
            Cause::ShardSeconds(seconds) => write!(f, "{} a shard", Seconds(seconds)),
            Cause::WeightsSeconds(seconds) => write!(f, "weights and data after {}", Seconds(seconds)),
        }
    }
}

/// A short time.
struct Seconds(f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            short if short < 0.1 => write!(f, "{:.0} ms", 1e3 * short),
            seconds => write!(f, "{seconds:.2} s"),
        }
    }
}

impl From<pb::RunStatus> for RunStatus {
    #[rustfmt::skip]
    fn from(status: pb::RunStatus) -> Self {
        let pb::RunStatus {
            run_id, state: number, detail, step, total_steps, epoch, loss, learning_rate, samples_per_second, workers,
            eval, eval_step, output_dir, eval_done, eval_total, exit_code, coordinator_epoch, tokens_per_second,
            holdup, faults, probe,
        } = status;
        RunStatus {
            run_id, state: state(number), detail, step, total_steps, epoch, loss, learning_rate, samples_per_second,
            tokens_per_second,
            workers: workers.into_iter().map(WorkerStatus::from).collect(),
            eval: eval.into_iter().collect(),
            eval_step, output_dir, eval_done, eval_total, exit_code, coordinator_epoch,
            holdup: holdup.and_then(of_wire),
            faults: faults.into_iter().map(Fault::from).collect(),
            probe: probe.map(|pb::ProbeSummary { verdict, text }| ProbeSummary { verdict, text }),
        }
    }
}

impl From<pb::WorkerStatus> for WorkerStatus {
    #[rustfmt::skip]
    fn from(worker: pb::WorkerStatus) -> Self {
        let pb::WorkerStatus {
            worker_id, name, device, shards, ready, activity, shard_seconds,
            compute_seconds, transfer_seconds, wait_seconds, loaded_bytes, total_bytes,
        } = worker;
        WorkerStatus {
            worker_id, name, device, shards, ready, activity, shard_seconds,
            compute_seconds, transfer_seconds, wait_seconds,
            loading: Loading { done: loaded_bytes, total: total_bytes },
        }
    }
}

impl From<pb::Fault> for Fault {
    fn from(fault: pb::Fault) -> Self {
        let pb::Fault { number, event, step, worker_id, text } = fault;
        Fault { number, event, step, worker_id, text }
    }
}

impl From<Fault> for pb::Fault {
    fn from(fault: Fault) -> Self {
        let Fault { number, event, step, worker_id, text } = fault;
        pb::Fault { number, event, step, worker_id, text }
    }
}

impl From<Holdup> for pb::Holdup {
    fn from(Holdup { worker_id, share, cause }: Holdup) -> Self {
        use pb::holdup::Cause as Wire;
        let cause = match cause {
            Cause::UploadBytesPerSecond(rate) => Wire::UploadBytesPerSecond(rate),
            Cause::ShardSeconds(seconds) => Wire::ShardSeconds(seconds),
            Cause::WeightsSeconds(seconds) => Wire::WeightsSeconds(seconds),
        };
        pb::Holdup { worker_id, share, cause: Some(cause) }
    }
}

/// `None` where only a newer program knows the cause.
fn of_wire(pb::Holdup { worker_id, share, cause }: pb::Holdup) -> Option<Holdup> {
    use pb::holdup::Cause as Wire;
    let cause = match cause? {
        Wire::UploadBytesPerSecond(rate) => Cause::UploadBytesPerSecond(rate),
        Wire::ShardSeconds(seconds) => Cause::ShardSeconds(seconds),
        Wire::WeightsSeconds(seconds) => Cause::WeightsSeconds(seconds),
    };
    Some(Holdup { worker_id, share, cause })
}

fn state(number: i32) -> State {
    use pb::run_status::State as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Waiting) => State::Waiting,
        Ok(Wire::Training) => State::Training,
        Ok(Wire::Evaluating) => State::Evaluating,
        Ok(Wire::Probing) => State::Probing,
        Ok(Wire::Saving) => State::Saving,
        Ok(Wire::Finished) => State::Finished,
        Ok(Wire::Failed) => State::Failed,
        Ok(Wire::Stopped) => State::Stopped,
        Ok(Wire::Unspecified) | Err(_) => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_step_is_said_in_one_line() {
        let said = |share, cause| Holdup { worker_id: 5, share, cause }.to_string();
        let upload = Cause::UploadBytesPerSecond(21.4e6);
        assert_eq!(said(0.38, upload), "waiting 38 % for worker 5: upload 21 MB/s");
        assert_eq!(Cause::UploadBytesPerSecond(1.25e6).to_string(), "upload 1.2 MB/s");
        assert_eq!(said(0.5, Cause::ShardSeconds(0.5)), "waiting 50 % for worker 5: 0.50 s a shard");
        assert_eq!(Cause::ShardSeconds(0.0068).to_string(), "7 ms a shard");
        assert_eq!(Cause::WeightsSeconds(1.25).to_string(), "weights and data after 1.25 s");
    }

    #[test]
    fn what_holds_a_step_survives_the_wire() {
        for cause in [Cause::UploadBytesPerSecond(1.0), Cause::ShardSeconds(2.0), Cause::WeightsSeconds(3.0)]
        {
            let holdup = Holdup { worker_id: 1, share: 0.5, cause };
            assert_eq!(of_wire(holdup.into()), Some(holdup));
        }
    }
}
