//! Lines for people: past the progress bar, free of control characters, and never a reason to panic.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;

/// Maximum error texts remembered for suppressing repetitions.
const MOST_REMEMBERED: usize = 1000;

/// Writes a line to standard output; a closed output is not an error.
pub(super) fn out(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(super) fn err(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A text from elsewhere, without characters that would move the cursor or change colours.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            control if control.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect()
}

/// Where the lines of a run go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Console {
    bar: ProgressBar,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Console {
    /// Lines appear above `bar`.
    pub(super) fn new(bar: ProgressBar) -> Console {
        Console { bar, told: Arc::default() }
    }

    /// A result.
    pub(super) fn out(&self, line: &str) {
        self.bar.suspend(|| out(line));
    }

    /// A remark.
    pub(super) fn err(&self, line: &str) {
        self.bar.suspend(|| err(line));
    }

    /// Records that an error was shown, so that it is not repeated. Returns whether it is new.
    pub(super) fn is_news(&self, text: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MOST_REMEMBERED && told.insert(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mred\r\u{7}\tb"), "a\u{fffd}[31mred\u{fffd}\u{fffd}\tb");
    }

    #[test]
    fn an_error_is_news_once() {
        let console = Console::new(ProgressBar::hidden());
        assert!(console.is_news("no space left on the device"));
        assert!(!console.is_news("no space left on the device\n"));
        assert!(console.is_news("something else"));
    }
}
