//! The `headstart-coordinator` program.

use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use headstart::exit::Exit;
use headstart::spec::InitFrom;
use headstart::{job, spec};
use headstart_coordinator::config::{Config, LogFormat};
use headstart_coordinator::serve::serve;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let config = Config::parse();
    log_to_stderr(config.log_format);
    if config.exit_with_parent {
        std::thread::spawn(exit_with_parent);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error.to_string()),
    };
    let code = match runtime.block_on(run(config)) {
        Ok((Exit::Ok, detail)) => {
            info!(detail, "ended");
            Exit::Ok.into()
        }
        Ok((exit, detail)) | Err((exit, detail)) => fail(exit, &detail),
    };
    runtime.shutdown_background();
    code
}

async fn run(config: Config) -> Result<(Exit, String), (Exit, String)> {
    let name = config.run_file.display().to_string();
    let text =
        std::fs::read_to_string(&config.run_file).map_err(|e| (Exit::Usage, format!("{name}: {e}")))?;
    let spec = spec::parse(&name, &text, &config.sets).map_err(|e| (Exit::Usage, e.to_string()))?;
    let socket =
        bind(config.listen).map_err(|e| (Exit::Usage, format!("--listen {}: {e}", config.listen)))?;
    let job = job::prepare(&spec).await.map_err(|e| (e.exit(), e.to_string()))?;
    job.check_output().await.map_err(|e| (e.exit(), e.to_string()))?;
    let resolution = &job.network.resolution;
    match spec.init {
        // Worth a look: a head is expected to be new, a layer is not.
        InitFrom::Pretrained if !resolution.is_exact() => warn!("{resolution}"),
        InitFrom::Pretrained | InitFrom::Random => info!("{resolution}"),
    }
    let ready = |address| announce(&format!("listening on http://{address}"));
    serve(socket, job, ready, stop_signal()).await.map_err(|e| (e.exit(), e.to_string()))
}

/// Takes the address, before anything that takes long.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Waits for a signal that ends the run.
async fn stop_signal() -> (String, Exit) {
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be handled on this system");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be handled on this system");
    tokio::select! {
        _ = interrupt.recv() => ("interrupted".to_owned(), Exit::Interrupted),
        _ = terminate.recv() => ("terminated".to_owned(), Exit::Terminated),
    }
}

/// Says where to connect, on standard output, for whoever started this process.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed standard output is the reader's choice.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn exit_with_parent() {
    let mut byte = [0];
    while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
    std::process::exit(Exit::Terminated as i32);
}

fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn fail(exit: Exit, detail: &str) -> ExitCode {
    error!("{detail}");
    exit.into()
}
