//! Lines for people: past the progress bar, free of control characters, and never a reason to panic.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;

/// Whether standard error has objects of JSON, as standard output then does.
static SPEAKS_JSON: AtomicBool = AtomicBool::new(false);

/// Maximum error texts remembered for suppressing repetitions.
const MOST_REMEMBERED: usize = 1000;

/// Writes a line to standard output; a closed output is not an error.
pub(super) fn out(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(super) fn err(line: &str) {
    let line = match SPEAKS_JSON.load(Ordering::Relaxed) {
        true => &serde_json::json!({"event": "message", "text": line}).to_string(),
        false => line,
    };
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// From now on, lines on standard error are objects of JSON.
pub(super) fn speak_json() {
    SPEAKS_JSON.store(true, Ordering::Relaxed);
}

/// Colours, where a terminal shows them: not with NO_COLOR (no-color.org), and not on a terminal that has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Of what is written to `stream`.
    pub(super) fn of(stream: &impl IsTerminal) -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        Paint(stream.is_terminal() && !refused && !dumb)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn with(self, colour: &str, text: &str) -> String {
        match self.0 && !text.is_empty() {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
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
    fn colours_are_for_terminals_only() {
        let file = tempfile::tempfile().expect("a temporary file");
        assert_eq!(Paint::of(&file).warning("careful"), "careful");
        assert_eq!(Paint(true).warning("careful"), "\u{1b}[33mcareful\u{1b}[0m");
    }

    #[test]
    fn an_error_is_news_once() {
        let console = Console::new(ProgressBar::hidden());
        assert!(console.is_news("no space left on the device"));
        assert!(!console.is_news("no space left on the device\n"));
        assert!(console.is_news("something else"));
    }
}
