//! A run that is only a probe, in a directory that goes with the result.

use headstart::exit::Exit;
use headstart::run_file::RunSpec;

use super::phase::Setting;
use super::progress::Progress;
use super::supervise::{Ran, Supervisor};
use super::{LogFormat, StartError, count};
use crate::cli::error::beside;

/// What computes a probe.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Workers {
    /// Their number. Default: as for training.
    pub(in crate::cli) number: Option<u32>,
    /// What they compute on.
    pub(in crate::cli) device: String,
}

/// Probes the checkpoint of `spec`; returns what the coordinator wrote of it. `Err`: its exit code, after it has said why.
pub(in crate::cli) async fn probe(
    spec: &RunSpec,
    workers: &Workers,
) -> Result<Result<Vec<u8>, Exit>, StartError> {
    let directory = tempfile::tempdir()?;
    let mut spec = spec.clone();
    spec.output_dir = directory.path().join("output").to_string_lossy().into_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    spec.cluster.min_workers = 1;
    let number = workers.number.unwrap_or_else(|| count::by_default(&spec, cores));
    spec.cluster.max_workers = spec.cluster.max_workers.max(number);
    let run_file = directory.path().join("run.json");
    std::fs::write(&run_file, spec.to_run_file())?;
    let into = directory.path().join("probe.json");
    let setting = Setting {
        coordinator: beside("headstart-coordinator")?,
        worker: beside("headstart-worker")?,
        run_file,
        sets: Vec::new(),
        workers: number,
        min_workers: 1,
        device: workers.device.clone(),
        port: None,
        probe_into: Some(into.clone()),
        stop_after: None,
    };
    let (progress, console) = Progress::new(1, LogFormat::Bar, &[]);
    let Ran { code, progress: _, at_work: _ } = match Supervisor::start(setting, progress, console) {
        Ok((supervisor, inbox)) => supervisor.run(inbox).await,
        Err((error, progress)) => {
            progress.close();
            return Err(error);
        }
    };
    match Exit::from_code(code.into()).unwrap_or(Exit::Internal) {
        Exit::Ok => Ok(Ok(std::fs::read(into)?)),
        exit => Ok(Err(exit)),
    }
}
