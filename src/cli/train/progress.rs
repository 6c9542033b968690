//! How a run is going, as it goes: a bar in a terminal, a line every few seconds elsewhere, or JSON objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use headstart::client::{RunStatus, State};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::{LogFormat, outcome::Outcome};
use crate::cli::console::{Console, printable};
use crate::cli::format;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(5);
/// Time between two looks at the clock by the bar.
const REDRAW: Duration = Duration::from_millis(250);

/// Before the number of steps is known.
const PREPARING: &str = "{wide_msg}";
const RUNNING: &str = "{bar:24} {pos}/{len} {percent:>3} %  {wide_msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed").progress_chars("━╸─")
}

/// Shows a run.
pub(in crate::cli) struct Progress {
    console: Console,
    bar: ProgressBar,
    format: LogFormat,
    needed: u32,
    /// The evaluation shown last.
    eval: Option<(u64, BTreeMap<String, f64>)>,
    /// Workers that rest, as was shown last.
    resting: BTreeSet<u64>,
    last_line: Instant,
    first_step: Option<(u64, Instant)>,
}

impl Progress {
    /// A display for a run that needs `needed` workers (0: unknown), and a console that prints lines above it.
    pub(in crate::cli) fn new(needed: u32, format: LogFormat) -> (Progress, Console) {
        let bar = match format != LogFormat::Json && std::io::stderr().is_terminal() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        bar.set_style(style(PREPARING));
        bar.set_message("reading data and checkpoint");
        bar.enable_steady_tick(REDRAW);
        let console = Console::new(bar.clone());
        let progress = Progress {
            console: console.clone(),
            bar,
            format,
            needed,
            eval: None,
            resting: BTreeSet::new(),
            last_line: Instant::now(),
            first_step: None,
        };
        (progress, console)
    }

    /// Says what begins.
    pub(in crate::cli) fn begin(&self, status: &RunStatus, workers: u32, coordinator: &str) {
        let RunStatus { run_id, total_steps, output_dir, .. } = status;
        self.bar.set_length(*total_steps);
        self.bar.set_style(style(RUNNING));
        self.say(
            || {
                json!({
                    "event": "start", "run_id": run_id, "total_steps": total_steps, "workers": workers,
                    "output_dir": output_dir, "coordinator": coordinator,
                })
            },
            || {
                let workers = format::workers(workers as usize);
                printable(&format!("run {run_id}: {total_steps} steps on {workers}, output in {output_dir}"))
            },
        );
    }

    /// Takes note of a status, and shows what is new and due.
    pub(in crate::cli) fn update(&mut self, status: &RunStatus, now: Instant) {
        let eval = (status.eval_step, status.eval.clone());
        if !status.eval.is_empty() && self.eval.as_ref() != Some(&eval) {
            self.eval = Some(eval);
            self.evaluation(status);
        }
        for change in changes(&mut self.resting, status) {
            self.say(|| change.as_json(), || printable(&change.to_string()));
        }
        // The pace is that of steps: loading and the first evaluation do not count.
        if status.step > 0 && self.first_step.is_none() {
            self.first_step = Some((status.step, now));
        }
        let left = self
            .first_step
            .and_then(|(step, since)| time_left(status, step, now.saturating_duration_since(since)));
        self.bar.set_length(status.total_steps);
        self.bar.set_position(status.step);
        self.bar.set_message(printable(&self.describe(status, left)));
        if self.bar.is_hidden() && now.saturating_duration_since(self.last_line) >= EVERY && !status.ended() {
            self.last_line = now;
            self.say(
                || self.as_json(status, left),
                || {
                    let RunStatus { step, total_steps, .. } = status;
                    let percent = 100 * step / (*total_steps).max(1);
                    printable(&format!(
                        "step {step}/{total_steps} ({percent} %), {}",
                        self.describe(status, left)
                    ))
                },
            );
        }
    }

    /// Says what a stopped run leaves behind.
    pub(super) fn kept(&self, kept: &str) {
        self.say(|| json!({"event": "stopped", "kept": kept}), || printable(&format!("kept: {kept}")));
    }

    /// Says how a run ended.
    pub(super) fn end(&self, outcome: &Outcome) {
        self.say(|| outcome.as_json(), || printable(&outcome.describe()));
    }

    /// Says how a run ended that others started.
    pub(in crate::cli) fn over(&self, status: &RunStatus) {
        let RunStatus { run_id, state, detail, step, total_steps, output_dir, exit_code, .. } = status;
        self.say(
            || {
                json!({
                    "event": "end", "state": state, "detail": detail, "step": step, "total_steps": total_steps,
                    "output_dir": output_dir, "exit_code": exit_code,
                })
            },
            || printable(&format!("run {run_id} ended at step {step}/{total_steps}: {detail}; output in {output_dir}")),
        );
    }

    /// Takes the bar away.
    pub(in crate::cli) fn close(&self) {
        self.bar.finish_and_clear();
    }

    fn evaluation(&self, status: &RunStatus) {
        let step = status.eval_step;
        self.say(
            || {
                let mut line =
                    Map::from_iter([("event".into(), "evaluation".into()), ("step".into(), step.into())]);
                line.extend(status.eval.iter().map(|(name, value)| (name.clone(), (*value).into())));
                Value::Object(line)
            },
            || printable(&format!("step {step}/{}: {}", status.total_steps, format::metrics(&status.eval))),
        );
    }

    fn say(&self, json: impl Fn() -> Value, text: impl Fn() -> String) {
        match self.format {
            LogFormat::Text => self.console.out(&text()),
            LogFormat::Json => self.console.out(&json().to_string()),
            LogFormat::Bar => {}
        }
    }

    fn describe(&self, status: &RunStatus, left: Option<Duration>) -> String {
        let mut parts = Vec::new();
        if status.loss.is_finite() {
            parts.push(format!("loss {}", format::loss(status.loss)));
            parts.push(format::speed(status));
        }
        parts.extend(left.map(|left| format!("{} left", format::duration(left))));
        parts.extend(self.activity(status));
        parts.join(", ")
    }

    /// What the run waits for, unless it is a step.
    fn activity(&self, status: &RunStatus) -> Option<String> {
        match status.state {
            State::Waiting if self.needed == 0 => Some(format!("waiting, {}", status.detail)),
            State::Waiting => Some(format!("waiting for workers {}/{}", status.ready(), self.needed)),
            State::Evaluating => Some(format!("evaluating {}/{}", status.eval_done, status.eval_total)),
            State::Probing => Some(format!("probing {}/{}", status.eval_done, status.eval_total)),
            State::Saving => Some("saving".to_owned()),
            State::Training if status.step == 0 => Some("computing the first step".to_owned()),
            State::Training | State::Finished | State::Failed | State::Stopped | State::Unknown => None,
        }
    }

    fn as_json(&self, status: &RunStatus, left: Option<Duration>) -> Value {
        json!({
            "event": "progress",
            "state": status.state,
            "step": status.step,
            "total_steps": status.total_steps,
            "epoch": status.epoch,
            "loss": status.loss,
            "learning_rate": status.learning_rate,
            "samples_per_second": status.samples_per_second,
            "tokens_per_second": status.tokens_per_second,
            "seconds_left": left.map(|left| left.as_secs()),
            "waits_for": self.activity(status),
        })
    }
}

/// A worker that begins to rest, or no longer does.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    /// The whole sentence.
    Rests {
        worker: u64,
        reason: String,
    },
    CalledBack {
        worker: u64,
        catching_up: bool,
    },
}

/// What of that is new in a status; takes note of it. Of a worker that has left, the coordinator tells.
fn changes(resting: &mut BTreeSet<u64>, status: &RunStatus) -> Vec<Change> {
    if status.ended() {
        return Vec::new();
    }
    let mut changes = Vec::new();
    for worker in &status.workers {
        let id = worker.worker_id;
        match worker.rests() {
            Some(_) if resting.insert(id) => {
                changes.push(Change::Rests { worker: id, reason: worker.activity.clone() });
            }
            None if resting.remove(&id) => {
                let catching_up = worker.activity == "catching up";
                changes.push(Change::CalledBack { worker: id, catching_up });
            }
            _ => {}
        }
    }
    resting.retain(|&id| status.workers.iter().any(|worker| worker.worker_id == id));
    changes
}

impl Change {
    fn as_json(&self) -> Value {
        match self {
            Change::Rests { worker, reason } => {
                json!({"event": "rest", "worker_id": worker, "reason": reason})
            }
            Change::CalledBack { worker, catching_up } => {
                json!({"event": "called_back", "worker_id": worker, "catching_up": catching_up})
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Rests { reason, .. } => f.write_str(reason),
            Change::CalledBack { worker, catching_up: false } => write!(f, "worker {worker} was called back"),
            Change::CalledBack { worker, catching_up: true } => {
                write!(f, "worker {worker} was called back, and is catching up")
            }
        }
    }
}

/// Time that the remaining steps take at the pace so far.
fn time_left(status: &RunStatus, first: u64, took: Duration) -> Option<Duration> {
    let done = status.step.checked_sub(first).filter(|done| *done > 0)?;
    let left = status.total_steps.checked_sub(status.step).filter(|left| *left > 0)?;
    Duration::try_from_secs_f64(took.as_secs_f64() * (left as f64 / done as f64)).ok()
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use headstart::client::WorkerStatus;

    use super::*;

    pub(in crate::cli) fn status(state: State, step: u64) -> RunStatus {
        RunStatus {
            run_id: "r".into(),
            state,
            detail: String::new(),
            step,
            total_steps: 90,
            epoch: step as f64 / 25.0,
            loss: f64::NAN,
            learning_rate: 0.0,
            samples_per_second: 0.0,
            tokens_per_second: 0.0,
            workers: Vec::new(),
            eval: BTreeMap::new(),
            eval_step: 0,
            output_dir: "o".into(),
            eval_done: 0,
            eval_total: 0,
            exit_code: 0,
            coordinator_epoch: 1,
        }
    }

    #[test]
    fn the_pace_so_far_tells_the_time_left() {
        let left = |step, first| time_left(&status(State::Training, step), first, Duration::from_secs(10));
        assert_eq!(left(30, 0), Some(Duration::from_secs(20)));
        assert_eq!(left(0, 0), None);
        assert_eq!(left(90, 0), None);
    }

    #[test]
    fn a_worker_s_rest_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut resting = BTreeSet::new();
        let mut changes = |activities: &[&str]| {
            let worker = |(worker_id, activity): (u64, &&str)| WorkerStatus {
                worker_id,
                name: String::new(),
                device: "cpu".to_owned(),
                shards: 0,
                ready: true,
                activity: (*activity).to_owned(),
                shard_seconds: f64::NAN,
            };
            let workers = (1..).zip(activities).map(worker).collect();
            let changes = changes(&mut resting, &RunStatus { workers, ..status(State::Training, 3) });
            changes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let rests = "worker 2 idles: its link is slow; LoRA would change that";
        assert_eq!(changes(&["idle", "idle"]), [""; 0]);
        assert_eq!(changes(&["idle", rests]), [rests]);
        assert_eq!(changes(&["idle", rests]), [""; 0]);
        assert_eq!(changes(&["idle", "catching up"]), ["worker 2 was called back, and is catching up"]);
        assert_eq!(changes(&["idle", rests]), [rests]);
        assert_eq!(changes(&["idle", "idle"]), ["worker 2 was called back"]);
        assert_eq!(changes(&["idle", rests]), [rests]);
        assert_eq!(changes(&["idle"]), [""; 0], "it has left");
        assert_eq!(changes(&["idle", "idle"]), [""; 0]);
    }
}
