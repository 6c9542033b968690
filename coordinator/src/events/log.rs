//! The lines of a run's events: the first and the last ones, and how many were left out between them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// Bytes of the first lines that are kept.
const HEAD: usize = 1 << 20;
/// Bytes of the last lines that are kept. Each commit writes all lines, so this is what events cost at most.
const TAIL: usize = 3 << 20;
/// Stands for the lines that were left out.
const LEFT_OUT: &str = "left_out";
/// Newest lines that are kept apart for those who follow a run.
const RECENT: usize = 512;
/// What a line has in it that is written for every worker at every commit; a run that is followed shows that at any time.
/// Quotes inside a text are escaped, so no text looks like this.
const ROUTINE: &str = "\"event\":\"worker_time\"";

/// Lines of JSON, each an event. Shared by whoever writes them and whoever shows them.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    head: String,
    tail: VecDeque<String>,
    /// Bytes of the tail.
    held: usize,
    left_out: u64,
    /// The newest lines, without routine ones.
    recent: VecDeque<String>,
    /// The number of the line that will be the next of those.
    next: u64,
}

impl EventLog {
    /// Goes on from what [`EventLog::text`] said.
    pub fn resume(text: &str) -> EventLog {
        let mut lines = Lines::default();
        for line in text.lines() {
            match left_out(line) {
                Some(count) => lines.left_out += count,
                None => lines.push(line.to_owned()),
            }
        }
        EventLog(Mutex::new(lines))
    }

    /// Adds a line.
    pub fn push(&self, line: String) {
        self.lines().push(line);
    }

    /// All lines that are kept, each with its line break.
    pub fn text(&self) -> String {
        let lines = self.lines();
        let mut text = String::with_capacity(lines.head.len() + lines.held + 64);
        text.push_str(&lines.head);
        if lines.left_out > 0 {
            text.push_str(&json!({"event": LEFT_OUT, "count": lines.left_out}).to_string());
            text.push('\n');
        }
        for line in &lines.tail {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Lines from number `from` on, of the newest ones, and the number of the next. What is routine has no number.
    pub fn since(&self, from: u64) -> (u64, Vec<String>) {
        let lines = self.lines();
        let oldest = lines.next - lines.recent.len() as u64;
        let skipped = usize::try_from(from.saturating_sub(oldest)).unwrap_or(usize::MAX);
        (lines.next, lines.recent.iter().skip(skipped).cloned().collect())
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, line: String) {
        let bytes = line.len() + 1;
        if !line.contains(ROUTINE) {
            self.next += 1;
            self.recent.push_back(line.clone());
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        // Once a line has gone to the tail, all do.
        if self.tail.is_empty() && self.left_out == 0 && self.head.len() + bytes <= HEAD {
            self.head.push_str(&line);
            self.head.push('\n');
            return;
        }
        self.held += bytes;
        self.tail.push_back(line);
        while self.held > TAIL {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.held -= oldest.len() + 1;
            self.left_out += 1;
        }
    }
}

/// How many lines a line stands for, if it is not an event itself.
fn left_out(line: &str) -> Option<u64> {
    let known = line.contains(LEFT_OUT).then(|| serde_json::from_str::<Value>(line).ok()).flatten()?;
    (known["event"] == LEFT_OUT).then(|| known["count"].as_u64()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> String {
        json!({"event": "lease_failed", "number": number, "reason": "x".repeat(200)}).to_string()
    }

    #[test]
    fn a_run_with_a_million_faults_keeps_the_first_and_the_last_and_counts_the_others() {
        let log = EventLog::default();
        let all = 100_000;
        (0..all).for_each(|number| log.push(line(number)));
        let text = log.text();
        assert!(text.len() <= HEAD + TAIL + 64, "{}", text.len());
        let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(kept[0]["number"], 0);
        assert_eq!(kept[kept.len() - 1]["number"], all - 1);
        let left_out: Vec<&Value> = kept.iter().filter(|line| line["event"] == LEFT_OUT).collect();
        assert_eq!(left_out.len(), 1);
        assert_eq!(left_out[0]["count"].as_u64(), Some((all + 1 - kept.len()) as u64));
    }

    #[test]
    fn a_resumed_run_goes_on_with_the_lines_that_were_committed() {
        for count in [0, 3, 30_000] {
            let log = EventLog::default();
            (0..count).for_each(|number| log.push(line(number)));
            let again = EventLog::resume(&log.text());
            assert_eq!(again.text(), log.text(), "{count} lines");
            again.push(line(count));
            log.push(line(count));
            assert_eq!(again.text(), log.text(), "{count} lines and one more");
        }
    }

    #[test]
    fn whoever_follows_gets_what_is_new_without_what_is_routine() {
        let log = EventLog::default();
        log.push(line(1));
        log.push(json!({"event": "worker_time", "worker": 1}).to_string());
        assert_eq!(log.since(0), (1, vec![line(1)]));
        assert_eq!(log.since(1), (1, Vec::new()));
        (0..2 * RECENT).for_each(|number| log.push(line(number)));
        let (next, lines) = log.since(1);
        assert_eq!((next, lines.len()), (1 + 2 * RECENT as u64, RECENT), "the newest");
        assert_eq!(lines.last(), Some(&line(2 * RECENT - 1)));
        let said = json!({"event": "lease_failed", "reason": "\"event\":\"worker_time\""}).to_string();
        log.push(said.clone());
        assert_eq!(log.since(next).1, [said], "a text that speaks of routine is none");
    }
}
