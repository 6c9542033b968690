//! `headstart train`: a coordinator and workers as child processes, the same programs that run on a cluster.

mod count;
mod dashboard;
pub(super) mod first;
mod follow;
mod line;
mod lines;
mod news;
mod outcome;
mod phase;
pub(super) mod probed;
mod process;
mod progress;
mod summary;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use headstart::exit::Exit;

use super::RunFile;
use super::error::{CliError, MissingProgram, beside};
use dashboard::PortArguments;
use outcome::Outcome;
use phase::Setting;
use supervise::{Ran, Supervisor};

pub(super) use count::idle as idle_workers;
pub(super) use follow::follow;
pub(super) use news::probe_line;
pub(super) use phase::{Event, STOP_PATIENCE};
pub(super) use process::next_line;
pub(super) use progress::Progress;
#[cfg(test)]
pub(super) use progress::tests::status;

/// What to train, and on what.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: RunFile,
    /// Number of worker processes. Default: cores of this machine ÷ threads_per_worker, at most shards_per_step.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// Device of the workers: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    #[command(flatten)]
    port: PortArguments,
    /// Format of progress reports.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl Arguments {
    /// Whether a program reads what is printed.
    pub(super) fn speaks_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }
}

/// How progress is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// A bar in a terminal, lines elsewhere.
    Text,
    /// One JSON object per line, on standard output.
    Json,
    /// A bar in a terminal, nothing elsewhere: for a run that is only part of a command.
    #[value(skip)]
    Bar,
}

/// Faults that the supervisor tells of itself: its children end, and the coordinator warns of storage.
const TOLD: &[&str] = &["leave", "sent_away", "storage_outage"];

/// Why the processes of a run could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// Training would never begin.
    #[error("cluster.min_workers is {needed}, but there would be {workers}{cure}: use --workers {needed}")]
    TooFew {
        /// Workers there would be.
        workers: u32,
        /// Where the number comes from.
        cure: &'static str,
        /// Workers needed.
        needed: u32,
    },
    /// More workers than the run accepts.
    #[error("cluster.max_workers is {most}, but --workers is {workers}: raise the one or lower the other")]
    TooMany {
        /// Workers asked for.
        workers: u32,
        /// Workers allowed.
        most: u32,
    },
    /// An option without effect.
    #[error("{option} needs the dashboard: use --dashboard on")]
    NoDashboard {
        /// The option.
        option: &'static str,
    },
    /// Half of the installation is missing.
    #[error(transparent)]
    Missing(#[from] MissingProgram),
    /// The system refuses.
    #[error("{} cannot be started: {error}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The steps of a measurement failed, and said why.
    #[error("the measurement ended with exit code {}; give --samples-per-second instead", *.0 as u8)]
    NotMeasured(Exit),
    /// The system does not say where this program is, or does not take signal handlers.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            StartError::TooFew { .. } | StartError::TooMany { .. } | StartError::NoDashboard { .. } => {
                Exit::Usage
            }
            StartError::NotMeasured(Exit::Ok) => Exit::Internal,
            StartError::NotMeasured(exit) => *exit,
            StartError::Missing(_) | StartError::Spawn { .. } | StartError::System(_) => Exit::Internal,
        }
    }
}

/// Trains until the run is over; the exit code is the coordinator's.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let began = Instant::now();
    let Arguments { file, workers, device, port, log_format } = arguments;
    let spec = file.load()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chosen = count::choose(&spec, workers, cores)?;
    let setting = Setting {
        coordinator: beside("headstart-coordinator").map_err(StartError::from)?,
        worker: beside("headstart-worker").map_err(StartError::from)?,
        run_file: file.run_file,
        sets: file.sets,
        workers: chosen.workers,
        min_workers: spec.cluster.min_workers.max(1),
        device,
        port: port.choose()?,
        probe_into: None,
        stop_after: None,
    };
    let (progress, console) = Progress::new(spec.cluster.min_workers, log_format, TOLD);
    if let Some(warning) = chosen.warning {
        console.err(&format!("warning: {warning}"));
    }
    let Ran { code, progress, .. } = match Supervisor::start(setting, progress, console) {
        Ok((supervisor, inbox)) => supervisor.run(inbox).await,
        Err((error, progress)) => {
            progress.close();
            return Err(error.into());
        }
    };
    if code == Exit::Ok as u8 {
        progress.end(&Outcome::read(&spec.output_dir, began.elapsed()).await?);
    }
    Ok(ExitCode::from(code))
}
