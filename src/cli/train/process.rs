//! Child processes: started in a group of their own, listened to, and never left behind.
//!
//! Their standard input stays open as long as this process lives: they end when it closes, however we end.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use headstart::checkpoint::Loading;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::StartError;
use super::lines::{LONGEST, Sorter};
use super::phase::Event;
use crate::cli::console::{Console, printable};

/// How long a child's output is read after its end: another process may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);
/// How long the report of a failed worker is delayed, so that the coordinator's message about the same failure comes
/// first.
const COORDINATOR_FIRST: Duration = Duration::from_secs(1);

/// What children log unless the user says otherwise: warnings, but for those that the status brings too.
const LOGGED: &str = "warn,headstart_coordinator::fault=error,headstart_coordinator::probe=error";

/// Which child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Who {
    /// The coordinator.
    Coordinator,
    /// A worker, by its number from 1.
    Worker(u32),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Coordinator => f.write_str("coordinator"),
            Who::Worker(number) => write!(f, "worker {number}"),
        }
    }
}

/// What a child is asked to do. Later ones are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Nothing yet.
    Live,
    /// End by itself: SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Handle {
    /// Its process id.
    pub(super) process: u32,
    orders: watch::Sender<Order>,
    _stdin: Option<ChildStdin>,
}

impl Handle {
    /// Sends a signal. The process id belongs to the child until it is reaped, which only its attendant does.
    pub(super) fn order(&self, order: Order) {
        self.orders.send_if_modified(|current| order > std::mem::replace(current, order.max(*current)));
    }
}

/// How a child ended.
#[derive(Debug)]
pub(in crate::cli) struct Ended {
    /// Its exit status.
    pub(super) status: ExitStatus,
    /// Its last error, which was not shown yet.
    pub(super) error: Option<String>,
}

impl Ended {
    /// In words: `ended with exit code 12`.
    pub(super) fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

/// Starts `program`; its lines go to the console, its end to `events`.
pub(super) fn start(
    who: Who,
    program: &Path,
    arguments: &[String],
    console: &Console,
    events: &mpsc::Sender<Event>,
) -> Result<Handle, StartError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C reaches this process alone, which then ends the others in order.
    command.process_group(0);
    command.stdout(if who == Who::Coordinator { Stdio::piped() } else { Stdio::null() });
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", LOGGED);
    }
    let failed = |error| StartError::Spawn { program: program.to_owned(), error };
    let mut child = command.spawn().map_err(failed)?;
    let process = child.id().expect("it has not been waited for");
    let (orders, heard) = watch::channel(Order::Live);
    let handle = Handle { process, orders, _stdin: child.stdin.take() };
    tokio::spawn(attend(who, child, heard, console.clone(), events.clone()));
    Ok(handle)
}

async fn attend(
    who: Who,
    mut child: Child,
    mut orders: watch::Receiver<Order>,
    console: Console,
    events: mpsc::Sender<Event>,
) {
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(announcements(BufReader::new(stdout), events.clone()));
    }
    let stderr = child.stderr.take().map(BufReader::new).expect("it is a pipe");
    let mut output = tokio::spawn(forward(who, stderr, console));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.unwrap_or_else(|_| ExitStatus::from_raw(0x100)),
            changed = orders.changed() => {
                let order = if changed.is_ok() { *orders.borrow_and_update() } else { Order::Kill };
                obey(&mut child, order);
                if changed.is_err() {
                    break child.wait().await.unwrap_or_else(|_| ExitStatus::from_raw(0x100));
                }
            }
        }
    };
    let error = match timeout(DRAIN, &mut output).await {
        Ok(error) => error.ok().flatten(),
        Err(_) => {
            output.abort();
            None
        }
    };
    let ended = Ended { status, error };
    let by_itself = *orders.borrow() == Order::Live;
    if matches!(who, Who::Worker(_)) && by_itself && status.code().is_some_and(|code| code != 0) {
        sleep(COORDINATOR_FIRST).await;
    }
    // Nobody listens any more when everything is over.
    let _ = events.send(Event::Ended(who, ended)).await;
}

fn obey(child: &mut Child, order: Order) {
    match (order, child.id()) {
        (Order::Live, _) | (_, None) => {}
        (Order::Terminate, Some(process)) => {
            // It may have ended by itself, unreaped so far: then the signal does nothing.
            let _ = kill(Pid::from_raw(process as i32), Signal::SIGTERM);
        }
        (Order::Kill, Some(_)) => {
            let _ = child.start_kill();
        }
    }
}

/// Reads the lines that say where the coordinator listens, and whatever else comes, so that it never blocks.
async fn announcements(mut stdout: impl AsyncBufRead + Unpin, events: mpsc::Sender<Event>) {
    while let Some(line) = next_line(&mut stdout).await {
        let listening = line.strip_prefix("listening on ").map(|url| Event::Listening(url.trim().to_owned()));
        let admin = line.strip_prefix("admin on ").map(|url| Event::Admin(url.trim().to_owned()));
        let loading = line.strip_prefix("loading ").and_then(loading).map(Event::Loading);
        let page = line.strip_prefix("dashboard on ").map(|url| Event::Dashboard(url.trim().to_owned()));
        if let Some(event) = listening.or(admin).or(loading).or(page) {
            // Nobody listens any more when everything is over.
            let _ = events.send(event).await;
        }
    }
}

/// Bytes read and to be read: `1200 8000`.
fn loading(numbers: &str) -> Option<Loading> {
    let (done, total) = numbers.trim().split_once(' ')?;
    Some(Loading { done: done.parse().ok()?, total: total.parse().ok()? })
}

/// Passes lines on; returns the error that ended the process.
async fn forward(who: Who, mut stderr: impl AsyncBufRead + Unpin, console: Console) -> Option<String> {
    let mut sorter = Sorter::default();
    while let Some(line) = next_line(&mut stderr).await {
        for line in sorter.take(&printable(&line)) {
            console.err(&format!("{who}: {line}"));
        }
    }
    sorter.last_error()
}

/// A line, cut to [`LONGEST`] bytes; `None` at the end.
pub(in crate::cli) async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let buffer = input.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        }
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..newline.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST - line.len())]);
        let taken = newline.map_or(buffer.len(), |end| end + 1);
        input.consume(taken);
        if newline.is_some() {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_checkpoint_are_two_numbers() {
        assert_eq!(loading("12 80\n"), Some(Loading { done: 12, total: 80 }));
        assert_eq!([loading("12"), loading("a b"), loading("")], [None, None, None]);
    }

    #[tokio::test]
    async fn lines_are_whole_and_bounded() {
        let text = format!("one\n\n{}\nlast", "x".repeat(3 * LONGEST));
        let mut input = BufReader::with_capacity(100, text.as_bytes());
        let mut lengths = Vec::new();
        while let Some(line) = next_line(&mut input).await {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, LONGEST, 4]);
    }
}
