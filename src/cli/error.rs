//! Why a command fails, with which exit code, and how that is shown.

use std::path::PathBuf;

use headstart::checkpoint::CheckpointError;
use headstart::client::ClientError;
use headstart::exit::Exit;
use headstart::job::JobError;
use headstart::predict::PredictError;
use headstart::run_file::{Problem, SpecError};
use headstart::store::StoreError;
use headstart::verify::VerifyError;

use super::compare::CompareError;
use super::picture::PictureError;
use super::runs::RunError;
use super::train::StartError;
use super::verify::{GoldenError, ReplayError};
use super::worker_check::CheckError;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The run file is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The run cannot begin.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Weights cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No coordinator to ask.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Runs that cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Runs that cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A picture that cannot be written.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The processes of a run could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A run that cannot be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A step that cannot be computed again, or is another one now.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Golden rows that cannot be compared.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// A model that cannot be asked about the data.
    #[error(transparent)]
    Predict(Box<PredictError>),
    /// A worker that cannot be asked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Something is where a command would write.
    #[error("{url} is not empty ({first}): choose another directory, or remove it")]
    NotEmpty {
        url: String,
        /// An object in it.
        first: String,
    },
    /// Data that is not made of tokens by a language model's rules.
    #[error("preprocess shows rows of language models; the run file's task is {task}")]
    NoRows {
        /// Of the run file.
        task: &'static str,
    },
    /// Another program of this installation is of another version.
    #[error("headstart-coordinator: {0}; is it of the same version?")]
    Answer(serde_json::Error),
    /// A directory that cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Standard output.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl From<PredictError> for CliError {
    fn from(error: PredictError) -> Self {
        CliError::Predict(Box::new(error))
    }
}

impl CliError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CliError::Spec(_)
            | CliError::NotEmpty { .. }
            | CliError::NoRows { .. }
            | CliError::Write { .. } => Exit::Usage,
            CliError::Job(error) => error.exit(),
            CliError::Checkpoint(error) => error.exit(),
            CliError::Store(error) => error.exit(),
            CliError::Client(error) => error.exit(),
            CliError::Compare(error) => error.exit(),
            CliError::Run(error) => error.exit(),
            CliError::Picture(error) => error.exit(),
            CliError::Start(error) => error.exit(),
            CliError::Verify(error) => error.exit(),
            CliError::Replay(error) => error.exit(),
            CliError::Golden(error) => error.exit(),
            CliError::Predict(error) => error.exit(),
            CliError::Check(error) => error.exit(),
            CliError::Answer(_) | CliError::Output(_) => Exit::Internal,
        }
    }

    /// What is shown: one line, or for run files the places in question.
    pub(super) fn report(&self) -> String {
        match self {
            CliError::Spec(error) => error.problems().iter().map(show).collect::<Vec<_>>().join("\n"),
            other => format!("error: {}", super::console::printable(&other.to_string())),
        }
    }
}

/// A problem with a caret under its place. miette looks at `NO_COLOR` and at what standard error is.
fn show(problem: &Problem) -> String {
    let report = match (&problem.span, &problem.help) {
        (Some(_), _) => miette::Report::new(problem.clone()),
        (None, Some(help)) => miette::miette!(help = help.clone(), "{}: {problem}", problem.source_name()),
        (None, None) => miette::miette!("{}: {problem}", problem.source_name()),
    };
    format!("{report:?}").trim_end().to_owned()
}

/// A program that belongs beside this one.
#[derive(Debug, thiserror::Error)]
#[error("there is no {}: it belongs beside {}; `make build` builds both", looked_at.display(), this.display())]
pub(super) struct MissingProgram {
    /// Where it should be.
    pub(super) looked_at: PathBuf,
    /// This program.
    pub(super) this: PathBuf,
}

/// The path of a program that belongs beside this one.
pub(super) fn beside(name: &str) -> Result<PathBuf, MissingProgram> {
    let this = std::env::current_exe().unwrap_or_default();
    let looked_at = this.with_file_name(name);
    match looked_at.is_file() {
        true => Ok(looked_at),
        false => Err(MissingProgram { looked_at, this }),
    }
}
