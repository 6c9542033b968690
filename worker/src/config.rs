//! The worker's command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use headstart::telemetry::LogFormat;

/// Computes gradients for a coordinator. Stateless: it may be killed, paused or added at any moment.
#[derive(Debug, Parser)]
#[command(name = "headstart-worker", version, disable_help_subcommand = true)]
pub struct Config {
    /// Something else than computing for a coordinator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The coordinator's address.
    #[arg(long, env = "HEADSTART_COORDINATOR", default_value = "http://127.0.0.1:7070")]
    pub coordinator: String,
    /// Device to compute on: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Number of CPU threads. It must equal threads_per_worker of the run file, which is the default.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Directory in which to cache remote data. Workers on one machine can share it. Default: a temporary directory.
    #[arg(long, env = "HEADSTART_CACHE")]
    pub cache: Option<PathBuf>,
    /// Print versions, device and instruction set as JSON, and exit.
    #[arg(long)]
    pub check: bool,
    /// Format of log lines.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Exit when standard input closes, which means that the parent process has ended.
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// What a worker does for another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Read a prediction's work from standard input, and write a line of JSON for each row.
    #[command(hide = true)]
    Predict,
}
