//! The state of a run as the page takes it. `docs/dashboard.md` describes what is made of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headstart::run_file::hide_secrets;
use prometheus::Histogram;
use serde_json::{Map, Value, json};

use super::why::{self, Parts, Seen};
use super::window::{Shares, Window};
use crate::actor::Status;
use crate::machine::{Activity, Counts, Snapshot, WorkerLine};
use crate::serve::Serving;
use crate::status::in_words;

/// Workers that are sent at most; the page has a row for each.
const MOST_WORKERS: usize = 256;

/// Before there is a run.
pub(super) fn loading() -> Value {
    json!({"state": "loading"})
}

/// The run at this moment. Numbers that do not exist yet are null. Times are in seconds, bytes are totals of this coordinator.
pub(super) fn describe(serving: &Serving, status: &Status, window: &Window) -> Value {
    let Status { snapshot, speed, ended, kept: _, told } = status;
    let Snapshot {
        activity,
        step,
        total_steps,
        epoch,
        loss,
        grad_norm,
        learning_rate,
        eval,
        workers,
        counts,
    } = snapshot;
    let now = serving.clock.elapsed();
    let (state, detail) = in_words(status);
    let traffic = serving.handle.traffic();
    let parts = parts(&serving.handle.meter().step, &serving.handle.meter().parts);
    let metrics: Map<String, Value> =
        eval.1.iter().map(|(name, value)| (format!("eval_{name}"), (*value).into())).collect();
    let mut described = json!({
        "state": state,
        "detail": detail,
        "exit_code": ended.as_ref().map(|(exit, _)| *exit as i32),
        "elapsed": now.as_secs_f64(),
        "step": step,
        "total_steps": total_steps,
        "epoch": epoch,
        "loss": loss,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
        "samples_per_second": speed.samples,
        "tokens_per_second": speed.tokens,
        "eval_step": eval.0.0,
        "eval": metrics,
        "phase": phase(activity),
        "bytes_up": traffic.up.load(Ordering::Relaxed),
        "bytes_down": traffic.down.load(Ordering::Relaxed),
        "counts": totals(counts),
        "workers_total": workers.len(),
        "workers": workers.iter().take(MOST_WORKERS).map(|line| worker(line, window, now)).collect::<Vec<_>>(),
        "probe": told.probe.as_ref().map(|probe| json!({"verdict": probe.verdict, "text": probe.text})),
        "why": why::explain(Seen { snapshot, window, parts, holdup: told.holdup, now }),
    });
    hide_secrets(&mut described);
    described
}

/// How far an evaluation or a probe is; null for what has no parts.
fn phase(activity: &Activity) -> Value {
    match activity {
        Activity::Evaluating { done, total } | Activity::Probing { done, total } => {
            json!({"done": done, "total": total})
        }
        Activity::Waiting { .. } | Activity::Training | Activity::Saving | Activity::Ended => Value::Null,
    }
}

fn totals(counts: &Counts) -> Value {
    let Counts {
        leases_granted,
        leases_released,
        partials: [train, eval],
        refused,
        not_finite,
        commits,
        shards: _,
        compute: _,
    } = counts;
    json!({
        "leases_granted": leases_granted,
        "leases_released": leases_released,
        "partials": train + eval,
        "refused": refused,
        "not_finite": not_finite,
        "commits": commits,
    })
}

fn worker(line: &WorkerLine, window: &Window, now: Duration) -> Value {
    let WorkerLine {
        worker,
        name,
        device,
        ready,
        shards,
        activity,
        shard_seconds,
        spent: _,
        leased_since,
        loading,
    } = line;
    let share =
        |Shares { compute, transfer, wait }| json!({"compute": compute, "transfer": transfer, "wait": wait});
    json!({
        "worker": worker.0,
        "name": name,
        "device": device,
        "ready": ready,
        "rests": why::rests(line),
        "shards": shards,
        "shard_seconds": shard_seconds,
        "activity": activity,
        "loaded_bytes": loading.done,
        "total_bytes": loading.total,
        "time": window.shares(line).map(share),
        "lease_age": leased_since.map(|since| now.saturating_sub(since).as_secs_f64()),
    })
}

fn parts(step: &Histogram, parts: &[(&'static str, Histogram)]) -> Option<Parts> {
    let mean = |histogram: &Histogram| {
        let count = histogram.get_sample_count();
        (count > 0).then(|| histogram.get_sample_sum() / count as f64)
    };
    let (_, update) = parts.iter().find(|(name, _)| *name == "update")?;
    Some(Parts { step: mean(step)?, update: mean(update)? })
}
