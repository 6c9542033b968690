//! The status of a run in protobuf's words.

use headstart::client::ProbeSummary;
use headstart::message::TimeBreakdown;
use headstart::wire::pb;
use headstart::wire::pb::run_status::State;

use crate::actor::{Status, Told};
use crate::machine::{Activity, Snapshot, WorkerLine};
use crate::services::Facts;
use headstart::exit::Exit;
use headstart::id::Version;

/// Translates a status.
pub fn describe(facts: &Facts, status: &Status) -> pb::RunStatus {
    let Status { snapshot, speed, ended, kept, told } = status;
    let Told { holdup, faults, probe } = told;
    let Snapshot { activity, step, total_steps, epoch, loss, learning_rate, eval, workers, .. } = snapshot;
    let (Version(eval_step), metrics) = eval;
    let (state, detail) = state(activity, ended, kept);
    let (eval_done, eval_total) = match activity {
        Activity::Evaluating { done, total } | Activity::Probing { done, total } => {
            (u64::from(*done), u64::from(*total))
        }
        _ => (0, 0),
    };
    pb::RunStatus {
        run_id: facts.run_id.clone(),
        state: state.into(),
        detail,
        step: *step,
        total_steps: *total_steps,
        epoch: *epoch,
        loss: *loss,
        learning_rate: *learning_rate,
        samples_per_second: speed.samples,
        tokens_per_second: speed.tokens,
        workers: workers.iter().map(worker).collect(),
        eval: metrics.iter().map(|(name, value)| (format!("eval_{name}"), *value)).collect(),
        output_dir: facts.output_dir.clone(),
        eval_done,
        eval_total,
        eval_step: *eval_step,
        coordinator_epoch: facts.epoch.0,
        exit_code: ended.as_ref().map_or(0, |(exit, _)| *exit as i32),
        holdup: holdup.map(pb::Holdup::from),
        faults: faults.iter().cloned().map(pb::Fault::from).collect(),
        probe: probe.clone().map(|ProbeSummary { verdict, text }| pb::ProbeSummary { verdict, text }),
    }
}

/// The state's name, as metrics have it.
pub fn name(status: &Status) -> &'static str {
    in_words(status).0
}

/// The state's name, and what there is to say of it.
pub fn in_words(status: &Status) -> (&'static str, String) {
    let (state, detail) = state(&status.snapshot.activity, &status.ended, &status.kept);
    let name = match state {
        State::Waiting => "waiting",
        State::Training => "training",
        State::Evaluating => "evaluating",
        State::Probing => "probing",
        State::Saving => "saving",
        State::Finished => "finished",
        State::Stopped => "stopped",
        State::Failed => "failed",
        State::Unspecified => "loading",
    };
    (name, detail)
}

fn state(activity: &Activity, ended: &Option<(Exit, String)>, kept: &Option<String>) -> (State, String) {
    match (ended, activity) {
        (Some((Exit::Ok, detail)), _) => (State::Finished, detail.clone()),
        (Some((Exit::Interrupted | Exit::Terminated, detail)), _) => {
            let kept = kept.as_deref().map(|kept| format!("; kept: {kept}")).unwrap_or_default();
            (State::Stopped, format!("{detail}{kept}"))
        }
        (Some((_, detail)), _) => (State::Failed, detail.clone()),
        (None, Activity::Waiting { ready, needed }) => {
            (State::Waiting, format!("{ready} of {needed} workers are ready (cluster.min_workers)"))
        }
        (None, Activity::Training) => (State::Training, String::new()),
        (None, Activity::Evaluating { .. }) => (State::Evaluating, String::new()),
        (None, Activity::Probing { .. }) => (State::Probing, String::new()),
        (None, Activity::Saving | Activity::Ended) => (State::Saving, String::new()),
    }
}

fn worker(line: &WorkerLine) -> pb::WorkerStatus {
    let WorkerLine { worker, name, device, ready, shards, activity, shard_seconds, spent, loading, .. } =
        line.clone();
    let TimeBreakdown { compute, transfer, wait } = spent;
    pb::WorkerStatus {
        worker_id: worker.0,
        name,
        device,
        shards,
        ready,
        activity,
        shard_seconds,
        compute_seconds: compute.as_secs_f64(),
        transfer_seconds: transfer.as_secs_f64(),
        wait_seconds: wait.as_secs_f64(),
        loaded_bytes: loading.done,
        total_bytes: loading.total,
    }
}
