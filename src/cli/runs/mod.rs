//! Runs as they are in storage, finished or not: what they measured, and what pins them.

mod files;
mod group;
mod metrics;
mod pins;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use headstart::exit::Exit;
use headstart::store::{Location, StoreError};

use super::console;

pub(super) use files::Files;
pub(super) use group::{Group, groups, spread};
pub(super) use metrics::Metrics;
pub(super) use pins::Pins;

/// Runs that are read at once.
const MOST_RUNS: usize = 100;
/// Times that a run is read anew at most because it went on meanwhile.
const ATTEMPTS: usize = 5;
/// Bytes of the largest text that is read: metrics of a million steps.
const LARGEST: u64 = 512 << 20;

/// A run that was read.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// What to call it.
    pub(super) name: String,
    /// Where its other files are.
    pub(super) files: Files,
    /// What it measured.
    pub(super) metrics: Metrics,
    /// What it is a function of, and how far it is.
    pub(super) pins: Pins,
    /// Other texts that were asked for and are there, by name.
    pub(super) texts: BTreeMap<&'static str, String>,
}

/// Why runs cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// As many names as runs, or none.
    #[error("--names has {names} names for {runs} runs; separate them by commas")]
    Names {
        /// Names given.
        names: usize,
        /// Runs given.
        runs: usize,
    },
    /// Too many for one picture.
    #[error("{0} runs; at most {MOST_RUNS} are read at once")]
    TooMany(usize),
    /// No run at all.
    #[error(
        "{url}: there is neither final/metrics.jsonl nor a commit log in manifests/: give the output_dir of a run, or the \
         final/ of a finished run"
    )]
    NoRun {
        /// The directory.
        url: String,
    },
    /// A run that has committed nothing that could be read.
    #[error(
        "{url}: the run has not committed anything yet: wait for its first commit, which save_strategy and save_steps decide, \
         or for its end"
    )]
    Uncommitted {
        /// The directory.
        url: String,
    },
    /// A file that does not hold what it should.
    #[error("{url}{place}: {reason}; `headstart verify` tells whether the run is still what it wrote")]
    Damaged {
        /// The file.
        url: String,
        /// `:line`, or nothing.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            RunError::Names { .. } | RunError::TooMany(_) => Exit::Usage,
            RunError::NoRun { .. } | RunError::Uncommitted { .. } | RunError::Damaged { .. } => Exit::Data,
            RunError::Store(error) => error.exit(),
        }
    }

    fn damaged(file: &Location, reason: impl ToString) -> RunError {
        RunError::Damaged { url: file.url().to_owned(), place: String::new(), reason: reason.to_string() }
    }
}

/// Reads the runs at `places`: each an output_dir, or the `final/` in it. `names`: what to call them, or empty. `texts`: names of
/// texts to read beside their metrics. Warns of whatever is left out.
pub(super) async fn read(
    places: &[String],
    names: &[String],
    texts: &[&'static str],
) -> Result<Vec<Run>, RunError> {
    if places.len() > MOST_RUNS {
        return Err(RunError::TooMany(places.len()));
    }
    if !names.is_empty() && names.len() != places.len() {
        return Err(RunError::Names { names: names.len(), runs: places.len() });
    }
    let mut runs = Vec::new();
    for (index, place) in places.iter().enumerate() {
        runs.push(Run::read(place, names.get(index).map(|name| name.trim()), texts).await?);
    }
    for run in &runs {
        for remark in run.remarks() {
            console::err(&console::printable(&format!("warning: {remark}")));
        }
    }
    Ok(if names.is_empty() { distinct(runs, places) } else { runs })
}

impl Run {
    /// Reads the run at `place`: all of it as of one commit.
    pub(super) async fn read(
        place: &str,
        name: Option<&str>,
        texts: &[&'static str],
    ) -> Result<Run, RunError> {
        for _ in 1..ATTEMPTS {
            let read = Run::attempt(place, name, texts).await;
            if !matches!(read, Err(RunError::Store(StoreError::NotFound { .. }))) {
                return read;
            }
        }
        Run::attempt(place, name, texts).await
    }

    async fn attempt(place: &str, name: Option<&str>, wanted: &[&'static str]) -> Result<Run, RunError> {
        let (files, metrics) = Files::find(place).await?;
        let pins = Pins::read(&files).await?;
        let mut texts = BTreeMap::new();
        for name in wanted {
            texts.extend(files.read(name).await?.map(|text| (*name, text)));
        }
        let name = name.map_or_else(|| name_of(files.directory().url()), str::to_owned);
        Ok(Run { name: console::printable(&name), files, metrics, pins, texts })
    }

    /// What was left out of what was read.
    pub(super) fn remarks(&self) -> Vec<String> {
        let cut_off = self.metrics.cut_off.map(|line| {
            format!(
                "{}/metrics.jsonl:{line}: the line is cut off and left out: copy the file again, whole",
                self.files.directory()
            )
        });
        cut_off.into_iter().collect()
    }

    /// How far it is: `finished`, or `not finished: its last commit is of step 40 of 90`.
    pub(super) fn progress(&self) -> String {
        match (self.files.is_final(), self.pins.total_steps) {
            (true, _) => "finished".to_owned(),
            (false, Some(total)) => {
                format!("not finished: its last commit is of step {} of {total}", self.pins.steps)
            }
            (false, None) => format!("not finished: its last commit is of step {}", self.pins.steps),
        }
    }

    /// Steps it was planned for, or has made where that is not known.
    pub(super) fn total_steps(&self) -> u64 {
        self.pins.total_steps.unwrap_or(self.pins.steps)
    }
}

/// Names that occur twice become the places the runs are at.
fn distinct(mut runs: Vec<Run>, places: &[String]) -> Vec<Run> {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, place) in runs.iter_mut().zip(places) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = console::printable(place);
        }
    }
    runs
}

/// The last part of a URL that is not `final`.
fn name_of(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/final").unwrap_or(url);
    url.rsplit('/').next().unwrap_or(url).to_owned()
}
