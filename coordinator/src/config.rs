//! The coordinator's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use headstart::host;
use headstart::telemetry::LogFormat;

/// Plans a run, leases its work to workers, reduces their gradients, and writes the weights.
#[derive(Debug, Parser)]
#[command(name = "headstart-coordinator", version)]
pub struct Config {
    /// The run file.
    pub run_file: PathBuf,
    /// Address to listen on for workers and clients.
    #[arg(long, default_value = "0.0.0.0:7070")]
    pub listen: SocketAddr,
    /// URL at which other machines reach this coordinator. A second coordinator on the same output_dir asks it whether
    /// the run still has an owner. Default: the address of --listen, or this machine's name if --listen is a wildcard.
    #[arg(long, value_name = "URL")]
    pub advertise: Option<String>,
    /// Address of the HTTP port for /healthz, /readyz and /metrics. Without it there is no such port.
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Serve the dashboard, a page about the run, on the port of --admin. It only reads, and asks nobody for a password.
    #[arg(long, requires = "admin")]
    pub dashboard: bool,
    /// Name under which browsers ask for the dashboard, beside localhost and the address of --admin. May be repeated.
    #[arg(long = "dashboard-host", value_name = "NAME", requires = "dashboard", value_parser = host::parse_name)]
    pub dashboard_hosts: Vec<String>,
    /// A finished run that the dashboard shows beside this one: its output_dir or a metrics.jsonl, a path or URL.
    #[arg(long, value_name = "RUN", requires = "dashboard")]
    pub compare: Option<String>,
    /// Override a key of the run file, such as `learning_rate=1e-4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Only probe the checkpoint, and write to this file in JSON what was found: what `headstart probe` asks for.
    #[arg(long, value_name = "FILE")]
    pub probe_into: Option<PathBuf>,
    /// Format of log lines.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Exit when standard input closes, which means that the parent process has ended. The parent is told on standard output
    /// how many bytes of the checkpoint are read: `loading DONE TOTAL`.
    #[arg(long)]
    pub exit_with_parent: bool,
}
