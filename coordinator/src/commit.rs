//! Commits, and what people want to see of them: `checkpoint-<step>/` after each, `final/` after the last.

use std::sync::Arc;

use headstart::exit::Exit;
use headstart::id::Version;
use tokio::sync::Mutex;

use crate::finish::{Kept, WriteError, Writer};
use crate::journal::save::{Commit, Exports};
use crate::journal::{Journal, JournalError};

/// Commits states of a run, one at a time.
#[derive(Debug)]
pub struct Committer {
    journal: Mutex<Journal>,
    writer: Arc<Writer>,
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
    /// Commits through a log, to where a writer writes.
    pub fn new(journal: Journal, writer: Arc<Writer>) -> Committer {
        Committer { journal: Mutex::new(journal), writer }
    }

    /// Commits a state, then writes its weights as `checkpoint-<step>/`; returns the directory's URL, or `None` at version
    /// 0. `kept` lacks the weights, which come from the commit.
    pub async fn save(&self, commit: Commit, kept: Kept) -> Result<Option<String>, CommitError> {
        let exports = Exports { add: true, limit: self.writer.spec.saving.save_total_limit };
        let mut journal = self.journal.lock().await;
        let weights = journal.save(commit, exports).await?;
        match kept.version {
            Version(0) => Ok(None),
            _ => Ok(Some(self.writer.export(Kept { weights, ..kept }).await?)),
        }
    }

    /// Commits the last state of a run, writes `final/`, and drops what only a resumption would have needed.
    pub async fn finish(&self, commit: Commit, best: bool, kept: Kept) -> Result<(), CommitError> {
        let chosen = commit.best.clone().filter(|_| best);
        let mut journal = self.journal.lock().await;
        let weights = journal.save(commit, Exports { add: false, limit: None }).await?;
        let kept = match chosen {
            Some(best) => Kept {
                version: Version(best.version),
                weights: best.weights.clone(),
                eval: best.eval.clone(),
                ..kept
            },
            None => Kept { weights, ..kept },
        };
        // Another coordinator may have taken over, and be writing the same files, or have written them.
        journal.check_newest().await?;
        let seal = self.writer.finish(kept).await?;
        journal.check_newest().await?;
        self.writer.seal(seal).await?;
        Ok(journal.close().await?)
    }
}
