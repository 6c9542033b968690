//! Why a worker ends, and with which exit code.

use std::time::Duration;

use headstart::checkpoint::CheckpointError;
use headstart::data::DataError;
use headstart::exit::Exit;
use headstart::message::StopReason;
use headstart::network::NetworkError;
use headstart::plan::PlanError;
use headstart::wire::WireError;

use crate::collate::CollateError;
use crate::engine::Ended;
use crate::exchange::ExchangeError;
use crate::trainer::TrainError;

/// Why a worker ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No coordinator answers.
    #[error("no coordinator at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What was tried.
        reason: String,
    },
    /// The session broke before the run was over.
    #[error("the session with the coordinator broke: {0}")]
    Broken(String),
    /// The coordinator does not want a session like this.
    #[error("the coordinator declined the session: {0}")]
    Declined(String),
    /// Another run has taken the place of the one that this worker was part of.
    #[error(
        "the coordinator serves run {now} now, but this worker belongs to run {before}; start it again to join"
    )]
    OtherRun {
        /// The run it has loaded.
        before: String,
        /// The run it would join.
        now: String,
    },
    /// The coordinator ended the session.
    #[error("{detail}")]
    Stopped {
        /// Kind of ending.
        reason: StopReason,
        /// In words.
        detail: String,
    },
    /// The coordinator speaks differently.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The coordinator's run file cannot be read by this version.
    #[error("the coordinator's run file: {0}")]
    Spec(#[from] serde_json::Error),
    /// `--threads` is not the run's number.
    #[error(
        "--threads is {asked}, but the run has threads_per_worker {run}; it decides bits, so leave --threads out"
    )]
    Threads {
        /// Of the command line.
        asked: u32,
        /// Of the run file.
        run: u32,
    },
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer or image settings cannot be used.
    #[error(transparent)]
    Collate(#[from] CollateError),
    /// The steps cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// libtorch.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Bulk traffic.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The compute thread.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl WorkerError {
    /// Whether the next session may end better.
    pub fn passes(&self) -> bool {
        use ExchangeError::{Behind, Broken, Crowded, Damaged, Refused};
        matches!(
            self,
            WorkerError::Unreachable { .. }
                | WorkerError::Broken(_)
                | WorkerError::Exchange(Refused(_) | Behind(_) | Crowded(_) | Broken(_) | Damaged(_))
        )
    }

    /// This error, after so much time in which it was hoped to pass.
    pub(crate) fn after(self, patience: Duration) -> WorkerError {
        match self {
            WorkerError::Unreachable { url, reason } => {
                WorkerError::Unreachable { url, reason: format!("{reason}, tried for {patience:?}") }
            }
            other => other,
        }
    }

    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            WorkerError::Unreachable { .. }
            | WorkerError::Broken(_)
            | WorkerError::Declined(_)
            | WorkerError::OtherRun { .. }
            | WorkerError::Exchange(
                ExchangeError::Refused(_)
                | ExchangeError::Behind(_)
                | ExchangeError::Crowded(_)
                | ExchangeError::Broken(_)
                | ExchangeError::Damaged(_),
            ) => Exit::Unreachable,
            WorkerError::Stopped { reason: StopReason::NumericClass, .. } => Exit::NumericClass,
            WorkerError::Stopped { reason: StopReason::OtherBase, .. } => Exit::Checkpoint,
            WorkerError::Stopped { reason: StopReason::Finished | StopReason::Stopped, .. } => Exit::Ok,
            WorkerError::Stopped { .. }
            | WorkerError::Train(_)
            | WorkerError::Ended(_)
            | WorkerError::Exchange(ExchangeError::Train(_) | ExchangeError::Ended(_)) => Exit::Internal,
            WorkerError::Wire(_)
            | WorkerError::Spec(_)
            | WorkerError::Threads { .. }
            | WorkerError::Plan(_) => Exit::Usage,
            WorkerError::Network(error) => error.exit(),
            WorkerError::Checkpoint(error) => error.exit(),
            WorkerError::Data(error) => error.exit(),
            WorkerError::Collate(CollateError::Network(error)) => error.exit(),
            WorkerError::Collate(_) => Exit::Checkpoint,
        }
    }
}
