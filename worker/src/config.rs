//! The worker's command line.

use std::path::PathBuf;

use clap::Parser;
use headstart::telemetry::LogFormat;

/// Computes gradients for a coordinator. Stateless: it may be killed, paused or added at any moment.
#[derive(Debug, Parser)]
#[command(name = "headstart-worker", version)]
pub struct Config {
    /// The coordinator's address.
    #[arg(long, env = "HEADSTART_COORDINATOR", default_value = "http://127.0.0.1:7070")]
    pub coordinator: String,
    /// What to compute on: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// CPU threads; must be the run file's threads_per_worker, which is the default.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Where remote data files are kept while the worker lives. Workers of one machine can share it.
    #[arg(long, env = "HEADSTART_CACHE")]
    pub cache: Option<PathBuf>,
    /// Print versions, device and instruction set as JSON, and end.
    #[arg(long)]
    pub check: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// End when standard input does: the process that started this one is gone.
    #[arg(long)]
    pub exit_with_parent: bool,
}
