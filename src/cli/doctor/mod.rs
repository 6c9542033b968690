//! `headstart doctor`: does this machine have what a run needs? One line for each check, with the cure.

mod machine;
mod network;
mod storage;
mod trackers;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use headstart::exit::Exit;
use headstart::run_file;

use super::error::CliError;
use super::{bandwidth, console, worker_check};

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Run file: check its storage, checkpoint and threads.
    run_file: Option<PathBuf>,
    /// Override a key of the run file, such as `output_dir=s3://bucket/run`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "run_file")]
    sets: Vec<String>,
    /// Coordinator to reach from this machine. Without it, doctor checks whether a coordinator's port is free here.
    #[arg(long, env = "HEADSTART_COORDINATOR")]
    coordinator: Option<String>,
    /// Device of a worker here: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
struct Check {
    name: &'static str,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// As it should be.
    Ok(String),
    /// A run works, but not as it could.
    Warn(String),
    /// A run would end with this code.
    Fail(String, Exit),
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok(text.into()) }
    }

    fn warn(name: &'static str, text: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Warn(text.into()) }
    }

    fn fail(name: &'static str, exit: Exit, text: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Fail(text.into(), exit) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Ok(text) => ("ok", text),
            Verdict::Warn(text) => ("warn", text),
            Verdict::Fail(text, _) => ("fail", text),
        };
        write!(f, "{word:<5} {:<12} {text}", self.name)
    }
}

/// Runs every check and prints each as it is done; the exit code is the first failure's.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let Arguments { run_file, sets, coordinator, device } = arguments;
    let spec = run_file.map(|path| run_file::load(&path, &sets)).transpose()?;
    let mut first = Exit::Ok;
    let mut note = |checks: Vec<Check>| {
        for check in checks {
            console::out(&console::printable(&check.to_string()));
            if let (Verdict::Fail(_, exit), Exit::Ok) = (&check.verdict, first) {
                first = *exit;
            }
        }
    };
    let threads = spec.as_ref().map_or(1, |spec| spec.threads_per_worker);
    note(machine::libtorch(&device, threads).await);
    note(vec![machine::threads(threads), machine::disk()]);
    note(network::names(spec.as_ref(), coordinator.as_deref()).await);
    if let Some(spec) = &spec {
        note(storage::output(spec).await);
        note(vec![storage::base_model(spec).await]);
        note(trackers::all(spec).await);
    }
    let wire = spec.as_ref().map(|spec| spec.wire);
    note(network::coordinator(coordinator.as_deref(), wire).await);
    Ok(first.into())
}
