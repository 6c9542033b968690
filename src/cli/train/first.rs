//! The first steps of a run, with one worker, in a directory that goes with the result: for replays and measurements.

use std::path::Path;

use headstart::client::RunStatus;
use headstart::exit::Exit;
use headstart::run_file::{Probe, RunSpec};

use super::phase::Setting;
use super::progress::Progress;
use super::supervise::{Ran, Supervisor};
use super::{LogFormat, StartError};
use crate::cli::error::beside;

/// The measured run.
#[derive(Debug)]
pub(in crate::cli) struct First {
    /// The ledger, unless the run failed.
    pub(in crate::cli) ledger: Option<Vec<u8>>,
    /// The last status with a worker at work.
    pub(in crate::cli) at_work: Option<RunStatus>,
    /// How the run ended: `Ok`, or `Interrupted` when it was stopped.
    pub(in crate::cli) exit: Exit,
}

/// Runs `spec` as `headstart train` would, until `steps` updates are made; its schedule stays that of the whole run.
pub(in crate::cli) async fn first_steps(
    spec: &RunSpec,
    steps: u64,
    device: &str,
) -> Result<First, StartError> {
    let directory = tempfile::tempdir()?;
    let output = directory.path().join("output");
    let mut spec = spec.clone();
    spec.output_dir = output.to_string_lossy().into_owned();
    spec.cluster.min_workers = 1;
    spec.probe = Probe::Off;
    let run_file = directory.path().join("run.json");
    std::fs::write(&run_file, spec.to_run_file())?;
    let setting = Setting {
        coordinator: beside("headstart-coordinator")?,
        worker: beside("headstart-worker")?,
        run_file,
        sets: Vec::new(),
        workers: 1,
        min_workers: 1,
        device: device.to_owned(),
        port: None,
        probe_into: None,
        stop_after: Some(steps),
    };
    let (progress, console) = Progress::new(1, LogFormat::Bar, &[]);
    let Ran { code, at_work, .. } = match Supervisor::start(setting, progress, console) {
        Ok((supervisor, inbox)) => supervisor.run(inbox).await,
        Err((error, progress)) => {
            progress.close();
            return Err(error);
        }
    };
    let exit = Exit::from_code(code.into()).unwrap_or(Exit::Internal);
    Ok(First { ledger: ledger(&output), at_work, exit })
}

/// The ledger of a run that is finished, or was stopped.
fn ledger(output: &Path) -> Option<Vec<u8>> {
    let directories = std::fs::read_dir(output).ok()?.flatten();
    directories.into_iter().find_map(|entry| std::fs::read(entry.path().join("ledger.jsonl")).ok())
}
