//! The coordinator's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use headstart::telemetry::LogFormat;

/// Plans a run, leases its work to workers, reduces their gradients, and writes the weights.
#[derive(Debug, Parser)]
#[command(name = "headstart-coordinator", version)]
pub struct Config {
    /// The run file.
    pub run_file: PathBuf,
    /// Where workers and clients connect.
    #[arg(long, default_value = "0.0.0.0:7070")]
    pub listen: SocketAddr,
    /// The URL at which other machines reach this coordinator: what a newcomer on the same output_dir asks before it takes
    /// the run over. Default: the address of --listen, or this machine's name where that is every address.
    #[arg(long, value_name = "URL")]
    pub advertise: Option<String>,
    /// Where health checks and Prometheus ask over HTTP: /healthz, /readyz, /metrics. Nowhere by default.
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// A run file key set differently, such as `learning_rate=1e-4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// End when standard input does: the process that started this one is gone.
    #[arg(long)]
    pub exit_with_parent: bool,
}
