//! Commits, and what people want to see of them: `checkpoint-<step>/` after each, `final/` after the last.

use std::sync::Arc;

use headstart::exit::Exit;
use headstart::id::Version;
use headstart::message::GoldenRow;
use headstart::run_file::RunSpec;
use tokio::sync::Mutex;

use crate::finish::{Kept, WriteError, Writer};
use crate::journal::save::{Commit, Exports};
use crate::journal::{Journal, JournalError};
use crate::master::Master;
use crate::tracking::Committed;

/// Commits states of a run, one at a time.
#[derive(Debug)]
pub struct Committer {
    journal: Mutex<Journal>,
    writer: Arc<Writer>,
    /// Where trackers learn of what is committed.
    committed: Committed,
}

/// Why a state could not be committed or written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What people see.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CommitError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            CommitError::Journal(error) => error.exit(),
            CommitError::Write(error) => error.exit(),
        }
    }
}

impl Committer {
    /// Commits through a log, to where a writer writes, and tells of the metrics that are committed.
    pub fn new(journal: Journal, writer: Arc<Writer>, committed: Committed) -> Committer {
        Committer { journal: Mutex::new(journal), writer, committed }
    }

    /// The run that it commits.
    pub fn spec(&self) -> &RunSpec {
        &self.writer.spec
    }

    /// Commits a state, then writes its weights as `checkpoint-<step>/`; returns the directory's URL, or `None` at version
    /// 0. `kept` lacks the weights, which come from the commit.
    pub async fn save(&self, commit: Commit, kept: Kept) -> Result<Option<String>, CommitError> {
        let exports = Exports { add: true, limit: self.writer.spec.saving.save_total_limit };
        let mut journal = self.journal.lock().await;
        let weights = journal.save(commit, exports).await?;
        self.committed.tell(&kept.metrics);
        match kept.version {
            Version(0) => Ok(None),
            _ => Ok(Some(self.writer.export(Kept { weights, ..kept }).await?)),
        }
    }

    /// Commits the last state of a run, and publishes its final weights as `final/` will store them, if rows are to be
    /// computed with them; returns what `final/` is written from.
    pub async fn conclude(
        &self,
        commit: Commit,
        best: bool,
        kept: Kept,
        master: &Master,
    ) -> Result<Kept, CommitError> {
        let chosen = commit.best.clone().filter(|_| best);
        let published = Version(kept.version.0 + 1);
        let mut journal = self.journal.lock().await;
        let weights = journal.save(commit, Exports { add: false, limit: None }).await?;
        self.committed.tell(&kept.metrics);
        let mut kept = match chosen {
            Some(best) => Kept {
                version: Version(best.version),
                weights: best.weights.clone(),
                eval: best.eval.clone(),
                ..kept
            },
            None => Kept { weights, ..kept },
        };
        if !self.writer.plan.golden().is_empty() {
            self.writer.network.round_as_stored(self.writer.spec.task, &mut kept.weights);
            master.publish(published, &kept.weights);
        }
        Ok(kept)
    }

    /// Writes `final/`, and drops what only a resumption would have needed.
    pub async fn finish(&self, kept: Kept, golden: &[GoldenRow]) -> Result<(), CommitError> {
        let mut journal = self.journal.lock().await;
        // Another coordinator may have taken over, and be writing the same files, or have written them.
        journal.check_newest().await?;
        let seal = self.writer.finish(kept, golden).await?;
        journal.check_newest().await?;
        self.writer.seal(seal).await?;
        Ok(journal.close().await?)
    }
}
