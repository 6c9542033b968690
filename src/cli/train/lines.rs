//! What child processes write to standard error, line by line: which lines are logs, and which are a last error.

/// Longest line passed on, in bytes; the rest of it is cut.
pub(super) const LONGEST: usize = 16 << 10;
/// Lines of an error kept back.
const MOST_HELD: usize = 200;

/// Sorts lines. An error is kept back until the next log line, or the end: then it was why the process ended.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    held: Vec<String>,
}

impl Sorter {
    /// Takes a line; returns those to show now.
    pub(super) fn take(&mut self, line: &str) -> Vec<String> {
        match entry(line) {
            Some(("ERROR", message)) => {
                let before = std::mem::take(&mut self.held);
                self.held.push(message.to_owned());
                before
            }
            Some((level, message)) => {
                let mut lines = std::mem::take(&mut self.held);
                lines.push(format!("{level} {message}"));
                lines
            }
            // Errors can have several lines.
            None if !self.held.is_empty() && self.held.len() < MOST_HELD => {
                self.held.push(line.to_owned());
                Vec::new()
            }
            None => vec![line.to_owned()],
        }
    }

    /// The error that ended the process.
    pub(super) fn last_error(self) -> Option<String> {
        (!self.held.is_empty()).then(|| self.held.join("\n"))
    }
}

/// Level and message of a log line: `2026-11-24T16:26:01.123456Z ERROR message`.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, message) = rest.trim_start().split_once(' ')?;
    let a_time =
        time.ends_with('Z') && time.contains('T') && time.starts_with(|first: char| first.is_ascii_digit());
    (a_time && ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level))
        .then_some((level, message.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-24T16:26:01.123456Z";

    #[test]
    fn a_last_error_is_kept_with_all_its_lines() {
        let mut sorter = Sorter::default();
        assert_eq!(sorter.take(&format!("{TIME}  WARN lease failed")), ["WARN lease failed"]);
        assert_eq!(sorter.take("libtorch: something"), ["libtorch: something"]);
        assert!(sorter.take(&format!("{TIME} ERROR run.yaml:3:1: unknown key")).is_empty());
        assert!(sorter.take("  help: use another").is_empty());
        assert_eq!(sorter.last_error().as_deref(), Some("run.yaml:3:1: unknown key\n  help: use another"));
    }

    #[test]
    fn an_error_that_was_not_the_last_is_shown_in_its_place() {
        let mut sorter = Sorter::default();
        assert!(sorter.take(&format!("{TIME} ERROR one")).is_empty());
        assert_eq!(sorter.take(&format!("{TIME}  INFO two")), ["one", "INFO two"]);
        assert_eq!(sorter.last_error(), None);
    }
}
