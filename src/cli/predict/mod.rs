//! `headstart predict`: what a model makes of each row of data. A worker beside this program computes it.

mod progress;
mod sink;

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};

use clap::Args;
use headstart::exit::Exit;
use headstart::predict::{self, Prepared, Request, Work};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use indicatif::ProgressBar;

use super::console::{self, Console, printable};
use super::error::{CliError, beside};
use super::train::{StartError, next_line};
use progress::Progress;
use sink::Sink;

/// Bytes taken from the worker at a time.
const PIECE: usize = 1 << 18;
const PROGRAM: &str = "headstart-worker";

/// Which model, and on which data.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The model: a checkpoint directory such as a run's final/, a path or URL. Default: the base that the adapter names.
    #[arg(long, required_unless_present = "adapter")]
    model: Option<String>,
    /// A LoRA adapter in PEFT's format, such as final/ of a run with `adapter: lora`; a path or URL.
    #[arg(long)]
    adapter: Option<String>,
    /// The rows: a file (JSONL, JSON, CSV or Parquet), a pattern of files, or a directory of images; a path or URL.
    #[arg(long)]
    data: String,
    /// Write the result there, a path or URL, instead of to standard output. It appears when it is complete.
    #[arg(long)]
    output: Option<String>,
    /// Column that holds the text. Default: text.
    #[arg(long)]
    text_column: Option<String>,
    /// Column that holds the second text, where a classifier reads pairs.
    #[arg(long)]
    text_pair_column: Option<String>,
    /// Column of Parquet files that holds the image. Default: image.
    #[arg(long)]
    image_column: Option<String>,
    /// Maximum number of tokens of a row; longer ones are cut. Default: the model's own limit.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    sequence_len: Option<u32>,
    /// Rows of one forward pass. The last digits of a row's numbers depend on the rows beside it; with 1 they do not.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    batch_size: u32,
    /// Device to compute on: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Number of CPU threads. Default: all cores.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

/// Starts a worker that answers, and gives it its work.
async fn start(work: &Work, device: &str, console: Console) -> Result<Started, CliError> {
    let program = beside(PROGRAM).map_err(StartError::from)?;
    let mut command = Command::new(&program);
    command.args(["--device", device, "predict"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| StartError::Spawn { program, error })?;
    let stdin = child.stdin.take().expect("it is a pipe");
    let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).expect("they are pipes");
    let heard = tokio::spawn(hear(stderr, console));
    hand_over(stdin, work).await?;
    Ok(Started { child, stdout, heard })
}

/// A worker that answers.
struct Started {
    child: Child,
    stdout: ChildStdout,
    /// Shows what the worker says.
    heard: JoinHandle<()>,
}

impl Started {
    /// Waits for its end; the exit code if it failed.
    async fn end(mut self) -> Result<Option<Exit>, CliError> {
        let status = self.child.wait().await?;
        // What the worker said last is shown before this program ends.
        let _ = self.heard.await;
        Ok((!status.success()).then(|| failed(status)))
    }
}

/// What a worker answers, line by line; `Err`: its exit code, after it has said why.
pub(super) async fn ask(work: &Work, device: &str) -> Result<Result<Vec<String>, Exit>, CliError> {
    let mut started = start(work, device, Console::new(ProgressBar::hidden())).await?;
    let mut answer = String::new();
    started.stdout.read_to_string(&mut answer).await?;
    Ok(match started.end().await? {
        Some(exit) => Err(exit),
        None => Ok(answer.lines().map(str::to_owned).collect()),
    })
}

/// Predicts, one line of JSON a row, in the order of the rows.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let mut sink = Sink::open(arguments.output.as_deref())?;
    let device = arguments.device.clone();
    let Prepared { work, warnings } = predict::prepare(&request(arguments)).await?;
    for warning in &warnings {
        console::err(&printable(&format!("warning: {warning}")));
    }
    let mut progress = Progress::new(work.index.len(), sink.is_terminal());
    let mut started = start(&work, &device, progress.console()).await?;
    drop(work);
    if !relay(&mut started.stdout, &mut sink, &mut progress).await? {
        // `| head` has seen enough.
        return Ok(Exit::Ok.into());
    }
    let failed = started.end().await?;
    progress.end();
    if let Some(exit) = failed {
        return Ok(exit.into());
    }
    sink.finish().await?;
    Ok(Exit::Ok.into())
}

/// Gives the worker its work. That it does not take all of it is no error: its exit code says why.
async fn hand_over(mut stdin: impl tokio::io::AsyncWrite + Unpin, work: &Work) -> Result<(), CliError> {
    let mut bytes = Vec::new();
    work.write(&mut bytes)?;
    let _ = stdin.write_all(&bytes).await;
    let _ = stdin.shutdown().await;
    Ok(())
}

/// Passes the worker's lines on to the end. `false`: nobody reads them any more.
async fn relay(
    stdout: impl AsyncRead + Unpin,
    sink: &mut Sink,
    progress: &mut Progress,
) -> Result<bool, CliError> {
    let mut stdout = BufReader::with_capacity(PIECE, stdout);
    loop {
        let piece = stdout.fill_buf().await?;
        if piece.is_empty() {
            return Ok(true);
        }
        let (bytes, rows) = (piece.len(), piece.iter().filter(|byte| **byte == b'\n').count());
        if !sink.put(piece).await? {
            return Ok(false);
        }
        stdout.consume(bytes);
        progress.add(rows as u64);
    }
}

/// Shows what the worker says.
async fn hear(stderr: impl AsyncRead + Unpin, console: Console) {
    let mut stderr = BufReader::new(stderr);
    while let Some(line) = next_line(&mut stderr).await {
        console.err(&printable(&line));
    }
}

/// The exit code of a worker that failed. It has said why, unless it was killed.
fn failed(status: ExitStatus) -> Exit {
    if let Some(signal) = status.signal() {
        console::err(&format!(
            "error: {PROGRAM} was killed by signal {signal}; 9 may mean that memory ran out"
        ));
    }
    status.code().and_then(Exit::from_code).unwrap_or(Exit::Internal)
}

fn request(arguments: Arguments) -> Request {
    let Arguments {
        model,
        adapter,
        data,
        output: _,
        text_column,
        text_pair_column,
        image_column,
        sequence_len,
        batch_size,
        device: _,
        threads,
    } = arguments;
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(1024) as u32);
    Request {
        model,
        adapter,
        data,
        text_column,
        text_pair_column,
        image_column,
        sequence_len,
        batch_size,
        threads: threads.unwrap_or_else(cores),
    }
}
