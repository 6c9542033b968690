//! Input, events and phases of the supervisor; each phase has a time limit.

use std::path::PathBuf;
use std::time::Duration;

use headstart::checkpoint::Loading;
use headstart::client::{ClientError, RunStatus};
use headstart::exit::Exit;

use super::dashboard::Port;
use super::process::{Ended, Who};

/// Time for a stopped run to write what it keeps.
pub(in crate::cli) const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// What to start.
#[derive(Debug)]
pub(super) struct Setting {
    /// The coordinator's program.
    pub(super) coordinator: PathBuf,
    /// The worker's program.
    pub(super) worker: PathBuf,
    /// The run file.
    pub(super) run_file: PathBuf,
    /// What is changed in it.
    pub(super) sets: Vec<String>,
    /// Workers to start.
    pub(super) workers: u32,
    /// Workers without which the run does not go on.
    pub(super) min_workers: u32,
    /// What they compute on.
    pub(super) device: String,
    /// Where the coordinator answers health checks and Prometheus, and browsers.
    pub(super) port: Option<Port>,
    /// The file that takes the result of a probe, if nothing is to be trained.
    pub(super) probe_into: Option<PathBuf>,
    /// Updates after which the run is stopped, if it is not to be run to its end.
    pub(super) stop_after: Option<u64>,
}

/// What the loop hears of.
#[derive(Debug)]
pub(in crate::cli) enum Event {
    /// The coordinator answers health checks and Prometheus.
    Admin(String),
    /// The coordinator serves the dashboard.
    Dashboard(String),
    /// The coordinator is ready for workers.
    Listening(String),
    /// How much of the checkpoint the coordinator has read, before it is ready.
    Loading(Loading),
    /// The coordinator no longer answers, for this reason.
    Silent(ClientError),
    /// How the run is going.
    Status(Box<RunStatus>),
    /// A child ended.
    Ended(Who, Ended),
    /// The user, or the system, wants this to end.
    Signal(Exit),
    /// The coordinator's answer to a request to stop.
    Stopped(Result<String, ClientError>),
}

/// What is going on, and for how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The coordinator reads data and checkpoint.
    Preparing,
    /// Workers are at work; each status is a new lease of life.
    Running,
    /// The coordinator has been asked to stop, or its workers were told to.
    Stopping,
    /// The coordinator is gone, workers are leaving.
    Parting,
    /// All have been sent SIGTERM.
    Terminating,
    /// All have been sent SIGKILL.
    Killing,
    /// A process survives SIGKILL: nothing more can be done.
    GivenUp,
}

impl Phase {
    /// How long it may last.
    pub(super) fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Phase::Preparing => 3600,
            Phase::Running => 600,
            Phase::Stopping => STOP_PATIENCE.as_secs(),
            Phase::Parting => 2,
            Phase::Terminating | Phase::Killing => 5,
            Phase::GivenUp => 0,
        })
    }
}
