//! How a run is going, as it goes: a bar in a terminal, a line every few seconds elsewhere, or JSON objects.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ::console::Term;
use headstart::checkpoint::Loading;
use headstart::client::{ClientError, RunStatus};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::line::{Bar, View, reading};
use super::news::{Item, News};
use super::{LogFormat, outcome::Outcome};
use crate::cli::console::{Console, Paint, printable};
use crate::cli::format;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(5);
/// Time between two looks at the clock by the bar.
const REDRAW: Duration = Duration::from_millis(250);

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// Shows a run.
pub(in crate::cli) struct Progress {
    console: Console,
    bar: ProgressBar,
    format: LogFormat,
    needed: u32,
    /// The evaluation shown last.
    eval: Option<(u64, BTreeMap<String, f64>)>,
    news: News,
    /// Colours of results and of the bar.
    paint: [Paint; 2],
    last_line: Instant,
    first_step: Option<(u64, Instant)>,
}

impl Progress {
    /// A display for a run that needs `needed` workers (0: unknown), and a console that prints lines above it. Faults with the
    /// events `told_elsewhere` are left out of its text.
    pub(in crate::cli) fn new(
        needed: u32,
        format: LogFormat,
        told_elsewhere: &'static [&'static str],
    ) -> (Progress, Console) {
        let bar = match format != LogFormat::Json && std::io::stderr().is_terminal() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well-formed"));
        bar.set_message("reading data and checkpoint");
        bar.enable_steady_tick(REDRAW);
        let console = Console::new(bar.clone());
        let progress = Progress {
            console: console.clone(),
            bar,
            format,
            needed,
            eval: None,
            news: News::new(told_elsewhere),
            paint: [Paint::of(&std::io::stdout()), Paint::of(&std::io::stderr())],
            last_line: Instant::now(),
            first_step: None,
        };
        (progress, console)
    }

    /// Says what begins.
    pub(in crate::cli) fn begin(&self, status: &RunStatus, workers: u32, coordinator: &str) {
        let RunStatus { run_id, total_steps, output_dir, .. } = status;
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
        for item in self.news.of(status) {
            self.tell(&item);
        }
        // The pace is that of steps: loading and the first evaluation do not count.
        if status.step > 0 && self.first_step.is_none() {
            self.first_step = Some((status.step, now));
        }
        let left = self
            .first_step
            .and_then(|(step, since)| time_left(status, step, now.saturating_duration_since(since)));
        let view = View { status, left, needed: self.needed };
        match self.bar.is_hidden() {
            false => self.draw(&view),
            true if self.is_due(now) && !status.ended() => {
                self.say(|| as_json(&view), || printable(&view.plain().join("\n")));
            }
            true => {}
        }
    }

    /// Whatever has gone wrong before is not told.
    pub(in crate::cli) fn skip_faults(&mut self, status: &RunStatus) {
        self.news.skip_faults(status);
    }

    /// Takes note of how much of the checkpoint the coordinator has read.
    pub(super) fn loading(&mut self, loading: Loading, now: Instant) {
        self.bar.set_message(reading(loading));
        if self.bar.is_hidden() && self.is_due(now) {
            let Loading { done, total } = loading;
            self.say(
                || json!({"event": "loading", "bytes": done, "total_bytes": total}),
                || reading(loading),
            );
        }
    }

    /// Says that the coordinator no longer answers.
    pub(in crate::cli) fn silent(&self, error: &ClientError, patience: Duration) {
        let seconds = patience.as_secs();
        self.say(
            || json!({"event": "silent", "reason": error.to_string(), "patience_seconds": seconds}),
            || printable(&format!("{error}; trying again for {seconds} s")),
        );
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

    fn tell(&self, item: &Item) {
        if item.is_told() && self.format == LogFormat::Text {
            return;
        }
        let [paint, _] = self.paint;
        self.say(
            || item.as_json(),
            || {
                let line = printable(&item.to_string());
                let line =
                    if std::io::stdout().is_terminal() { format::wrapped(&line, width()) } else { line };
                if item.warns() { paint.warning(&line) } else { line }
            },
        );
    }

    /// Whether it is time for the next line; takes note that there is one.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.last_line) >= EVERY;
        if due {
            self.last_line = now;
        }
        due
    }

    fn draw(&self, view: &View<'_>) {
        let (width, [_, paint]) = (width(), self.paint);
        let Bar { done, rest, words } = view.bar(width);
        let lines = view.activity(width).join("\n");
        self.bar.set_message(printable_with(&paint.good(&done), &format!("{rest}{words}\n{lines}")));
    }

    fn say(&self, json: impl Fn() -> Value, text: impl Fn() -> String) {
        match self.format {
            LogFormat::Text => self.console.out(&text()),
            LogFormat::Json => self.console.out(&json().to_string()),
            LogFormat::Bar => {}
        }
    }
}

/// The first part is ours, and may have colours; the rest has words from elsewhere.
fn printable_with(ours: &str, rest: &str) -> String {
    format!("{ours}{}", printable(rest))
}

fn width() -> usize {
    Term::stderr().size_checked().map_or(USUAL_WIDTH, |(_, columns)| columns.into())
}

fn as_json(view: &View<'_>) -> Value {
    let status = view.status;
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
        "seconds_left": view.left.map(|left| left.as_secs()),
        "waits_for": view.waits_for(),
        "holdup": status.holdup,
        "loading": status.loading(),
    })
}

/// Time that the remaining steps take at the pace so far.
fn time_left(status: &RunStatus, first: u64, took: Duration) -> Option<Duration> {
    let done = status.step.checked_sub(first).filter(|done| *done > 0)?;
    let left = status.total_steps.checked_sub(status.step).filter(|left| *left > 0)?;
    Duration::try_from_secs_f64(took.as_secs_f64() * (left as f64 / done as f64)).ok()
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use headstart::client::State;

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
            holdup: None,
            faults: Vec::new(),
            probe: None,
        }
    }

    #[test]
    fn the_pace_so_far_tells_the_time_left() {
        let left = |step, first| time_left(&status(State::Training, step), first, Duration::from_secs(10));
        assert_eq!(left(30, 0), Some(Duration::from_secs(20)));
        assert_eq!(left(0, 0), None);
        assert_eq!(left(90, 0), None);
    }
}
