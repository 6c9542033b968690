//! Is what a run left behind still what it wrote? Everything that is hashed is hashed again.
//!
//! `SHA256SUMS` names every file of `final/` with its hash, but for [`WORKERS`] and [`EVENTS`]. `run.json` names the ledger's hash and the weights'; the
//! ledger's lines are chained, and name the hash of the trainable vector. So every byte is covered, and most of them twice.
//! Manifests of the commit log hold their own hashes, and those of everything they name.

mod cross;
mod ledger;
mod log;
mod sums;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;

use crate::checkpoint::{CheckpointError, WrittenFile};
use crate::exit::Exit;
use crate::message::NumericClass;
use crate::run_file::RunSpec;
use crate::store::{Location, StoreError};

pub use ledger::{Ledger, Line};
pub use log::Log;

/// The hashes of all files.
pub const SUMS: &str = "SHA256SUMS";
/// Records the workers and how long each took part. It is not part of the result and not hashed.
pub const WORKERS: &str = "workers.json";
/// What happened during the run. It depends on time, so it is not hashed either.
pub const EVENTS: &str = "events.jsonl";
/// Log probabilities of some rows, so that any server of a language model can be checked.
pub const GOLDEN: &str = "golden.jsonl";
/// What pins the run.
const RUN: &str = "run.json";
/// What each step computed.
const LEDGER: &str = "ledger.jsonl";
/// Files without which there is nothing to verify.
const REQUIRED: [&str; 3] = [LEDGER, "metrics.jsonl", RUN];
/// One of these says what the weights are of: a whole model, or an adapter.
const CONFIGS: [&str; 2] = ["config.json", ADAPTER];
/// What an adapter is.
const ADAPTER: &str = "adapter_config.json";
/// Bytes of the largest text read: a ledger of a million steps.
const LARGEST: u64 = 512 << 20;
/// Differences named; a directory with more is beyond listing.
const MOST: usize = 100;

/// What `run.json` says, as far as it is checked or needed to repeat the run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RunFacts {
    /// Name of the run.
    pub run_id: String,
    /// The run file, every default filled in.
    pub spec: RunSpec,
    pub labels: Vec<String>,
    /// Names of the tensors of an adapter's file that make up the trainable vector, in its order; empty for a whole model.
    #[serde(default)]
    pub adapter_order: Vec<String>,
    /// Hash of the frozen weights that the workers read; `None` if everything trained.
    #[serde(default)]
    pub base: Option<String>,
    /// Hash of the parameter table.
    pub parameters: String,
    /// The data's files.
    pub data: DataFacts,
    /// Steps planned.
    pub total_steps: u64,
    /// Updates made.
    pub steps: u64,
    /// Updates the weights have seen; fewer than `steps` when the best were kept.
    pub weights_version: u64,
    /// Hash of the weights' file or files.
    pub weights_sha256: String,
    /// Hash of the ledger.
    pub ledger_sha256: String,
    /// Where the bits came from.
    pub numeric_class: Option<NumericClass>,
}

/// The data of a run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DataFacts {
    /// To train on.
    pub train: FileFacts,
    /// To evaluate on.
    pub eval: FileFacts,
}

/// Files of a dataset; of many, the first.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FileFacts {
    /// The files.
    pub files: Vec<FileFact>,
}

/// A file as it was when the run was planned.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FileFact {
    /// Where it was.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// Its hash; `None` for images.
    pub sha256: Option<String>,
}

/// Something that is not as the run wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A listed file is gone.
    #[error("{file}: it is gone, but SHA256SUMS lists it")]
    Gone { file: String },
    /// A file that SHA256SUMS does not list.
    #[error("{file}: the run did not write it: SHA256SUMS does not list it")]
    Unlisted { file: String },
    /// Other bytes.
    #[error("{file}: its SHA-256 is {found}, but {by} says {expected}")]
    Hash {
        file: String,
        /// Who says otherwise.
        by: &'static str,
        /// What is said.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A line is not what it was.
    #[error("{file}:{line}: {reason}")]
    Line {
        file: &'static str,
        /// Its line, from 1.
        line: usize,
        reason: String,
    },
    /// A file cannot be what the run wrote.
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
}

/// Why nothing can be verified.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum VerifyError {
    /// There is no run.
    #[error("{url}: neither {SUMS} nor manifests/; give the output_dir of a run, or the final/ in it")]
    NoRun { url: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The weights are whole, but cannot be read.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
}

impl VerifyError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            VerifyError::NoRun { .. } => Exit::Checkpoint,
            VerifyError::Store(error) => error.exit(),
            VerifyError::Weights(error) => error.exit(),
        }
    }
}

#[derive(Debug)]
pub struct Report {
    /// The directory that was read.
    pub directory: Location,
    /// Everything that is not as it was written, at most a hundred; empty when all is well.
    pub differences: Vec<Difference>,
    /// The files and their hashes.
    pub files: Vec<WrittenFile>,
    /// Run and ledger, when they could be read; a run that is not finished has none.
    pub run: Option<(RunFacts, Ledger)>,
    /// The commit log, where there is one.
    pub log: Option<Log>,
}

impl fmt::Display for Report {
    /// What was verified, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.directory.url())?;
        let mut separator = ": ";
        let mut part = |f: &mut fmt::Formatter<'_>, text: String| {
            write!(f, "{}{text}", std::mem::replace(&mut separator, ", "))
        };
        if !self.files.is_empty() {
            let bytes: u64 = self.files.iter().map(|file| file.size).sum();
            part(f, format!("{} files, {bytes} bytes", self.files.len()))?;
        }
        if let Some((run, ledger)) = &self.run {
            part(f, format!("a ledger of {} lines, {} steps", ledger.lines().len(), run.steps))?;
        }
        if let Some(Log { commits, step, closed: _ }) = &self.log {
            part(f, format!("{commits} commits, the last at step {step}"))?;
            if self.files.is_empty() {
                part(f, "not finished".to_owned())?;
            }
        }
        Ok(())
    }
}

/// Verifies the run at `place`: its output_dir, or the `final/` in it. In an output_dir, its commit log too.
pub async fn verify(place: &Location) -> Result<Report, VerifyError> {
    let mut report = match find(place).await? {
        Some((directory, sums)) => finished(directory, &sums).await?,
        None => Report {
            directory: place.clone(),
            differences: Vec::new(),
            files: Vec::new(),
            run: None,
            log: None,
        },
    };
    let ledger = report.run.as_ref().map(|(run, _)| run.ledger_sha256.as_str());
    if let Some((log, differences)) = log::check(place, ledger).await? {
        report.differences.extend(differences);
        if log.closed && report.files.is_empty() && report.differences.is_empty() {
            let reason = "it is gone, though the run is complete".to_owned();
            report.differences.push(Difference::File { file: format!("final/{SUMS}"), reason });
        }
        report.log = Some(log);
    }
    if report.files.is_empty() && report.differences.is_empty() && report.log.is_none() {
        return Err(VerifyError::NoRun { url: place.url().to_owned() });
    }
    report.differences.truncate(MOST);
    Ok(report)
}

/// Verifies a `final/`.
async fn finished(directory: Location, sums: &[u8]) -> Result<Report, VerifyError> {
    let (mut files, mut differences) = match sums::parse(sums) {
        Ok(files) => (files, Vec::new()),
        Err(difference) => (Vec::new(), vec![difference]),
    };
    if differences.is_empty() {
        differences = sums::check(&directory, &mut files).await?;
    }
    let mut run = None;
    // Files that are not what was written are named once; what they say does not matter any more.
    if differences.is_empty() {
        match cross::read(&directory).await? {
            Ok(read) => {
                differences = cross::check(&directory, &files, &read.0, &read.1).await?;
                run = Some(read);
            }
            Err(found) => differences = found,
        }
    } else if let Some(line) = ledger_line(&directory, &differences).await? {
        differences.push(line);
    }
    Ok(Report { directory, differences, files, run, log: None })
}

/// The directory with the hashes, and the hashes; `None` where no run has finished.
async fn find(place: &Location) -> Result<Option<(Location, bytes::Bytes)>, VerifyError> {
    for directory in [place.join("final")?, place.clone()] {
        match directory.join(SUMS)?.read(LARGEST).await {
            Ok(sums) => return Ok(Some((directory, sums))),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Where the ledger is damaged, when its hash says that it is.
async fn ledger_line(
    directory: &Location,
    differences: &[Difference],
) -> Result<Option<Difference>, VerifyError> {
    let damaged =
        |difference: &Difference| matches!(difference, Difference::Hash { file, .. } if file == LEDGER);
    if !differences.iter().any(damaged) {
        return Ok(None);
    }
    let bytes = directory.join(LEDGER)?.read(LARGEST).await?;
    Ok(Some(match Ledger::parse(&bytes) {
        Err(difference) => difference,
        // No later line vouches for the last one.
        Ok(ledger) => Difference::Line {
            file: LEDGER,
            line: ledger.lines().len(),
            reason: "the last line was changed".to_owned(),
        },
    }))
}
