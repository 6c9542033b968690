//! What the worker beside this program would compute with: it says so itself.

use std::process::Stdio;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::message::NumericClass;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::console::printable;
use super::error::{MissingProgram, beside};

/// libtorch loads within a few seconds, from a cold disk within many.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Checked {
    /// Its numeric class.
    #[serde(flatten)]
    pub(super) class: NumericClass,
    /// GPUs it can use.
    pub(super) gpus: u32,
}

/// Why a worker could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// There is none.
    #[error(transparent)]
    Missing(#[from] MissingProgram),
    /// It does not start.
    #[error("headstart-worker --check cannot be started: {0}")]
    Start(#[from] std::io::Error),
    /// It starts, and fails.
    #[error("headstart-worker --check: {reason}")]
    Failed {
        /// Its last words.
        reason: String,
        /// Its exit code.
        exit: Exit,
    },
}

impl CheckError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CheckError::Missing(_) | CheckError::Start(_) => Exit::Internal,
            CheckError::Failed { exit, .. } => *exit,
        }
    }
}

/// Asks the worker beside this program.
pub(super) async fn ask(device: &str, threads: u32) -> Result<Checked, CheckError> {
    let program = beside("headstart-worker")?;
    let threads = threads.to_string();
    let mut command = Command::new(program);
    command.args(["--check", "--device", device, "--threads", &threads]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let failed = |reason: String, exit| CheckError::Failed { reason: printable(&reason), exit };
    let Ok(output) = timeout(PATIENCE, command.output()).await else {
        return Err(failed(format!("no answer within {PATIENCE:?}"), Exit::Internal));
    };
    let output = output?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let exit = output.status.code().and_then(Exit::from_code).unwrap_or(Exit::Internal);
        return Err(failed(said.lines().last().unwrap_or("it said nothing").to_owned(), exit));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string(), Exit::Internal))
}
