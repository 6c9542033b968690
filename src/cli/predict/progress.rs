//! How many rows are done: a bar in a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::console::{self, Console};

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(5);
/// Time between two looks at the clock by the bar.
const REDRAW: Duration = Duration::from_millis(250);
const BAR: &str = "{bar:24} {pos}/{len} rows {percent:>3} %  {per_sec}  {eta} left";

/// Rows done, of all.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Whether the results themselves show in a terminal how far it is.
    seen: bool,
    told: Instant,
}

impl Progress {
    /// Of all `rows`, whose results go to a terminal if they are `seen`.
    pub(super) fn new(rows: u64, seen: bool) -> Progress {
        let bar = match std::io::stderr().is_terminal() && !seen {
            true => ProgressBar::new(rows),
            false => ProgressBar::hidden(),
        };
        bar.set_length(rows);
        let style = ProgressStyle::with_template(BAR).expect("the template is well-formed");
        bar.set_style(style.progress_chars("━╸─"));
        bar.enable_steady_tick(REDRAW);
        Progress { bar, seen, told: Instant::now() }
    }

    /// Prints lines above the bar.
    pub(super) fn console(&self) -> Console {
        Console::new(self.bar.clone())
    }

    /// Counts rows that were written.
    pub(super) fn add(&mut self, rows: u64) {
        self.bar.inc(rows);
        if self.bar.is_hidden() && !self.seen && self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            console::err(&format!("{done} of {all} rows ({} %)", 100 * done / all.max(1)));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
