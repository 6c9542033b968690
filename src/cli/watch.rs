//! `headstart watch` and `headstart stop`: follow a run that others started, and end it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use headstart::client::{Client, ClientError, RunStatus};
use headstart::exit::Exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::console;
use super::error::CliError;
use super::train::{Event, LogFormat, Progress, STOP_PATIENCE, follow};

/// Events that may wait to be shown.
const INBOX: usize = 16;

/// Which run to follow.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The coordinator's address.
    #[arg(long, env = "HEADSTART_COORDINATOR", default_value = "http://127.0.0.1:7070")]
    coordinator: String,
    /// Format of progress reports.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// How long to retry when the coordinator no longer answers, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    patience: u64,
}

impl Arguments {
    /// Whether a program reads what is printed.
    pub(super) fn speaks_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }
}

/// Which run to end.
#[derive(Debug, Args)]
pub(super) struct StopArguments {
    /// The coordinator's address.
    #[arg(long, env = "HEADSTART_COORDINATOR", default_value = "http://127.0.0.1:7070")]
    coordinator: String,
    /// Reason to give to the workers and write to the logs.
    #[arg(long, default_value = "stopped by headstart stop")]
    reason: String,
}

/// Shows the run until it ends; the exit code is the coordinator's. Ctrl-C ends the watching, not the run.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let Arguments { coordinator, log_format, patience } = arguments;
    // From here on Ctrl-C ends the watching, whenever it comes.
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Who is not there at the start is not waited for.
    let first = Client::connect(&coordinator).await?.status().await?;
    let (mut progress, console) = Progress::new(0, log_format, &[]);
    progress.skip_faults(&first);
    progress.begin(&first, first.workers.len() as u32, &coordinator);
    let (events, inbox) = mpsc::channel(INBOX);
    tokio::spawn(follow(coordinator.clone(), events));
    let ended = tokio::select! {
        ended = until_the_end(inbox, &mut progress, Duration::from_secs(patience)) => ended,
        _ = interrupt.recv() => {
            progress.close();
            console.err(&format!("no longer watching; the run goes on: headstart stop --coordinator {coordinator} ends it"));
            return Ok(Exit::Interrupted.into());
        }
    };
    progress.close();
    let Some(status) = ended else {
        let reason = format!("nothing was heard for {patience} s");
        return Err(ClientError::Unreachable { url: coordinator, reason }.into());
    };
    progress.over(&status);
    let exit = Exit::from_code(status.exit_code).unwrap_or(Exit::Internal);
    Ok(exit.into())
}

/// Shows every status; returns the last, or `None` when there has been no news for too long.
async fn until_the_end(
    mut inbox: mpsc::Receiver<Event>,
    progress: &mut Progress,
    patience: Duration,
) -> Option<RunStatus> {
    while let Ok(event) = timeout(patience, inbox.recv()).await {
        let status = match event? {
            Event::Status(status) => status,
            Event::Silent(error) => {
                progress.silent(&error, patience);
                continue;
            }
            _ => continue,
        };
        progress.update(&status, Instant::now());
        if status.ended() {
            return Some(*status);
        }
    }
    None
}

/// Ends the run after the step in flight, and prints what is kept.
pub(super) async fn stop(arguments: &StopArguments) -> Result<(), CliError> {
    let StopArguments { coordinator, reason } = arguments;
    let kept = Client::connect(coordinator).await?.stop(reason, STOP_PATIENCE).await?;
    console::out(&console::printable(&format!("kept: {kept}")));
    Ok(())
}
