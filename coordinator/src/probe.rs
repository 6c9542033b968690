//! The probe of a new run: which rows it has, and what they show of the first weights.

use std::path::PathBuf;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::job::Job;
use headstart::message::ProbedRow;
use headstart::run_file::{self, InitFrom, RunSpec, Task};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::machine::Probing;

/// Fewest rows, and fewest of each class on average, that a probe which the run decides about tells something from.
const FEWEST: u64 = 256;
const FEWEST_OF_A_CLASS: u64 = 10;

/// A probe whose rows are not in yet.
#[derive(Debug)]
pub struct Probe {
    spec: RunSpec,
    /// Class of each probed row.
    classes: Vec<u32>,
    labels: usize,
    /// Takes the result, which is all that is wanted.
    into: Option<PathBuf>,
    began: Duration,
    clock: Clock,
}

/// The result could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFailed {
    #[error("the checkpoint cannot be probed: {0}")]
    LeftOut(String),
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
}

impl ProbeFailed {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        Exit::Internal
    }
}
