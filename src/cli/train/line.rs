//! A status in words: two lines under a bar for a terminal, plain lines elsewhere. Pure functions of what they are given.

use std::time::Duration;

use headstart::checkpoint::Loading;
use headstart::client::{RunStatus, State};

use crate::cli::format;

/// Characters of a bar, and of the longest.
const SHORTEST_BAR: usize = 8;
const LONGEST_BAR: usize = 24;
/// Characters of a plain line, which another program may show at any width.
const WIDTH: usize = 80;

/// What is shown of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) status: &'a RunStatus,
    /// Time that the remaining steps take at the pace so far.
    pub(super) left: Option<Duration>,
    /// Workers that it needs; 0: unknown.
    pub(super) needed: u32,
}

/// A progress bar: what is done, what is not, and the words behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) done: String,
    pub(super) rest: String,
    pub(super) words: String,
}

impl View<'_> {
    /// The bar of a terminal that is `width` columns wide.
    pub(super) fn bar(&self, width: usize) -> Bar {
        let RunStatus { step, total_steps, .. } = *self.status;
        let mut words = format!("{step}/{total_steps} {:>3} %", self.percent());
        if let Some(left) = self.left {
            words.push_str(&format!("  {} left", format::duration(left)));
        }
        let room = width.saturating_sub(words.chars().count() + 1);
        if room < SHORTEST_BAR {
            return Bar { words: cut(&words, width), ..Bar::default() };
        }
        let cells = room.min(LONGEST_BAR);
        let done = (cells as u128 * u128::from(step) / u128::from(total_steps.max(1))) as usize;
        let done = done.min(cells);
        let head = if done < cells { "╸" } else { "" };
        let rest = "─".repeat(cells - done - head.chars().count());
        Bar { done: "━".repeat(done) + head, rest, words: format!(" {words}") }
    }

    /// What goes on, in lines of at most `width` columns.
    pub(super) fn activity(&self, width: usize) -> Vec<String> {
        let mut parts = self.numbers();
        parts.extend(self.waits_for());
        parts.extend(self.holdup());
        lines(&parts.join(", "), width)
    }

    /// What a file or a pipe is told: the numbers, and on a line of its own what holds the steps up.
    pub(super) fn plain(&self) -> Vec<String> {
        let RunStatus { step, total_steps, .. } = self.status;
        let mut parts = vec![format!("step {step}/{total_steps} ({} %)", self.percent())];
        parts.extend(self.numbers());
        parts.extend(self.left.map(|left| format!("{} left", format::duration(left))));
        parts.extend(self.waits_for());
        let mut told = lines(&parts.join(", "), WIDTH);
        told.extend(self.holdup().map(|holdup| cut(&format!("  {holdup}"), WIDTH)));
        told
    }

    /// What the run waits for, unless it is a step.
    pub(super) fn waits_for(&self) -> Option<String> {
        let status = self.status;
        match status.state {
            State::Waiting => {
                let mut waits = match self.needed {
                    0 => format!("waiting, {}", status.detail),
                    needed => format!("waiting for workers {}/{needed}", status.ready()),
                };
                if let Some(loading) = status.loading() {
                    waits.push_str(&format!(", {}", reading(loading)));
                }
                Some(waits)
            }
            State::Evaluating => Some(format!("evaluating {}/{}", status.eval_done, status.eval_total)),
            State::Probing => Some(format!("probing {}/{}", status.eval_done, status.eval_total)),
            State::Saving => Some("saving".to_owned()),
            State::Training if status.step == 0 => Some("computing the first step".to_owned()),
            State::Training | State::Finished | State::Failed | State::Stopped | State::Unknown => None,
        }
    }

    fn numbers(&self) -> Vec<String> {
        match self.status.loss.is_finite() {
            true => vec![format!("loss {}", format::loss(self.status.loss)), format::speed(self.status)],
            false => Vec::new(),
        }
    }

    fn holdup(&self) -> Option<String> {
        let training = self.status.state == State::Training;
        self.status.holdup.filter(|_| training).map(|holdup| holdup.to_string())
    }

    fn percent(&self) -> u128 {
        let RunStatus { step, total_steps, .. } = *self.status;
        100 * u128::from(step) / u128::from(total_steps.max(1))
    }
}

/// How far a checkpoint is read.
pub(super) fn reading(loading: Loading) -> String {
    format!("reading the checkpoint, {} of {}", format::bytes(loading.done), format::bytes(loading.total))
}

fn lines(text: &str, width: usize) -> Vec<String> {
    format::wrapped(text, width).lines().map(|line| cut(line, width)).collect()
}

/// The first `width` characters.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use headstart::client::{Cause, Holdup, WorkerStatus};

    use super::super::progress::tests::status;
    use super::*;

    fn training() -> RunStatus {
        RunStatus {
            loss: 0.69312,
            samples_per_second: 812.4,
            total_steps: 300,
            holdup: Some(Holdup { worker_id: 5, share: 0.38, cause: Cause::UploadBytesPerSecond(21.4e6) }),
            ..status(State::Training, 120)
        }
    }

    fn view(status: &RunStatus) -> View<'_> {
        View { status, left: Some(Duration::from_secs(185)), needed: 2 }
    }

    fn drawn(bar: &Bar) -> String {
        format!("{}{}{}", bar.done, bar.rest, bar.words)
    }

    #[test]
    fn a_terminal_of_80_columns_shows_everything_in_two_lines() {
        let status = training();
        let bar = drawn(&view(&status).bar(80));
        assert_eq!(bar, "━━━━━━━━━╸────────────── 120/300  40 %  3 min 5 s left");
        let lines = view(&status).activity(80);
        assert_eq!(lines, ["loss 0.6931, 812 samples/s, waiting 38 % for worker 5: upload 21 MB/s"]);
    }

    #[test]
    fn narrow_terminals_show_the_same_in_more_lines() {
        let status = training();
        for width in [40, 30, 12, 1] {
            let bar = drawn(&view(&status).bar(width));
            assert!(bar.chars().count() <= width, "{width}: {bar}");
            let lines = view(&status).activity(width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
        }
        assert_eq!(drawn(&view(&status).bar(40)), "━━━━╸───── 120/300  40 %  3 min 5 s left");
        let lines = view(&status).activity(40);
        assert_eq!(lines, ["loss 0.6931, 812 samples/s, waiting 38 %", "for worker 5: upload 21 MB/s"]);
    }

    #[test]
    fn plain_lines_fit_80_columns_and_say_what_holds_the_steps() {
        let status = training();
        let lines = view(&status).plain();
        let expected = [
            "step 120/300 (40 %), loss 0.6931, 812 samples/s, 3 min 5 s left",
            "  waiting 38 % for worker 5: upload 21 MB/s",
        ];
        assert_eq!(lines, expected);
        let evaluating = RunStatus { state: State::Evaluating, eval_done: 3, eval_total: 8, ..status };
        let lines = view(&evaluating).plain();
        assert!(lines[0].ends_with("evaluating 3/8") && lines.len() == 1, "nothing holds a step: {lines:?}");
    }

    #[test]
    fn workers_that_load_are_shown_with_their_bytes() {
        let worker = |worker_id, done| WorkerStatus {
            worker_id,
            name: "host".to_owned(),
            device: "cpu".to_owned(),
            shards: 0,
            ready: false,
            activity: "loading".to_owned(),
            shard_seconds: f64::NAN,
            compute_seconds: 0.0,
            transfer_seconds: 0.0,
            wait_seconds: 0.0,
            loading: Loading { done, total: 8_000_000_000 },
        };
        let workers = vec![worker(1, 4_000_000_000), worker(2, 1_200_000_000)];
        let status = RunStatus { workers, ..status(State::Waiting, 0) };
        let said = view(&status).waits_for();
        let expected = "waiting for workers 0/2, reading the checkpoint, 1.2 GB of 8.0 GB";
        assert_eq!(said.as_deref(), Some(expected), "of the slowest");
    }

    #[test]
    fn a_run_of_no_steps_and_a_finished_one_have_bars_too() {
        let none = RunStatus { total_steps: 0, ..status(State::Waiting, 0) };
        assert_eq!(view(&none).bar(80).done, "╸");
        let all = status(State::Finished, 90);
        let bar = View { left: None, ..view(&all) }.bar(80);
        assert_eq!(
            (bar.done.chars().count(), bar.rest.as_str(), bar.words.as_str()),
            (24, "", " 90/90 100 %")
        );
    }
}
