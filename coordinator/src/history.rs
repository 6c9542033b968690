//! A run's metrics for those who look at it while it goes on: every line of a short run, some of a long one.
//!
//! The record keeps all lines as one text, which each commit writes. What is shown has a bound: when a series has
//! [`MOST`] lines, every second one is left out, and from then on every second new one too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines of steps that are kept at most, and as many of evaluations. Half as many are always there of a long run.
pub const MOST: usize = 4096;

/// Lines of `metrics.jsonl`, each with a number that grows by one. Shared by whoever records and whoever shows them.
#[derive(Debug, Default)]
pub struct History(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    steps: Series,
    evals: Series,
    /// The number of the next line.
    next: u64,
}

/// Lines of one kind, evenly spaced.
#[derive(Debug)]
struct Series {
    kept: Vec<Line>,
    /// Of so many lines one is kept.
    stride: u64,
    count: u64,
    /// The newest line, where it is not among those that are kept.
    newest: Option<Line>,
}

/// Number and text.
type Line = (u64, Arc<str>);

impl History {
    /// The history of a text of metrics.
    pub fn of(text: &str) -> History {
        let history = History::default();
        history.extend(text);
        history
    }

    /// Adds each line of a text.
    pub fn extend(&self, text: &str) {
        let mut both = self.both();
        text.lines().filter(|line| !line.is_empty()).for_each(|line| both.push(line));
    }

    /// The number that the next line will have.
    pub fn next(&self) -> u64 {
        self.both().next
    }

    /// The lines that are kept from number `from` on, in order, and the number of the next one.
    pub fn since(&self, from: u64) -> (u64, Vec<Arc<str>>) {
        let both = self.both();
        let mut lines: Vec<Line> = both.steps.since(from).chain(both.evals.since(from)).cloned().collect();
        let next = both.next;
        drop(both);
        lines.sort_unstable_by_key(|(number, _)| *number);
        (next, lines.into_iter().map(|(_, line)| line).collect())
    }

    /// All lines that are kept, as `metrics.jsonl` has them.
    pub fn text(&self) -> String {
        let (_, lines) = self.since(0);
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn both(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Both {
    fn push(&mut self, line: &str) {
        let of_evaluation = line.contains("\"eval_samples\":");
        let series = if of_evaluation { &mut self.evals } else { &mut self.steps };
        series.push((self.next, line.into()));
        self.next += 1;
    }
}

impl Default for Series {
    fn default() -> Series {
        Series { kept: Vec::new(), stride: 1, count: 0, newest: None }
    }
}

impl Series {
    fn push(&mut self, line: Line) {
        if self.kept.len() >= MOST {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
        let due = self.count.is_multiple_of(self.stride);
        self.count += 1;
        match due {
            true => {
                self.kept.push(line);
                self.newest = None;
            }
            false => self.newest = Some(line),
        }
    }

    fn since(&self, from: u64) -> impl Iterator<Item = &Line> {
        let start = self.kept.partition_point(|(number, _)| *number < from);
        self.kept[start..].iter().chain(self.newest.iter().filter(move |(number, _)| *number >= from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: usize) -> String {
        format!("{{\"step\":{number},\"loss\":1.0}}\n")
    }

    #[test]
    fn a_short_run_is_kept_whole_and_in_order() {
        let text = format!("{}{{\"step\":1,\"eval_samples\":9}}\n{}", step(1), step(2));
        let history = History::of(&text);
        assert_eq!(history.text(), text);
        assert_eq!(history.next(), 3);
        let (next, lines) = history.since(2);
        assert_eq!((next, lines.len()), (3, 1));
        assert!(history.since(3).1.is_empty());
    }

    #[test]
    fn a_long_run_is_thinned_out_evenly_and_ends_with_its_newest_line() {
        let history = History::default();
        let all = 10 * MOST + 7;
        for number in 0..all {
            history.extend(&step(number));
        }
        let text = history.text();
        let steps: Vec<usize> = text
            .lines()
            .map(|line| line["{\"step\":".len()..].split(',').next().and_then(|step| step.parse().ok()))
            .map(|step| step.expect("a step"))
            .collect();
        assert!((MOST / 2..=MOST + 1).contains(&steps.len()), "{}", steps.len());
        assert_eq!((steps[0], steps.last()), (0, Some(&(all - 1))));
        let gaps: Vec<usize> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[..gaps.len() - 1].iter().all(|gap| *gap == gaps[0]), "evenly");
        assert_eq!(history.since(all as u64 - 1).1.len(), 1, "a reader that follows gets the newest line");
    }

    #[test]
    fn many_steps_do_not_displace_evaluations() {
        let history = History::of("{\"step\":0,\"eval_loss\":2.0,\"eval_samples\":9}\n");
        for number in 0..3 * MOST {
            history.extend(&step(number));
        }
        assert!(history.text().starts_with("{\"step\":0,\"eval_loss\""));
    }
}
