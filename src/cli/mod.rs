//! The command line: subcommands, their output and their exit codes.
//!
//! Results go to standard output, everything else to standard error; exit codes are those of [`headstart::exit`].

mod bandwidth;
mod compare;
mod console;
mod doctor;
mod error;
mod export;
mod format;
mod picture;
mod plan;
mod predict;
mod preprocess;
mod probe;
mod report;
mod runs;
mod shell;
mod status;
mod train;
mod validate;
mod verify;
mod watch;
mod worker_check;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use headstart::exit::Exit;
use headstart::run_file::{self, RunSpec};
use headstart::telemetry::{self, LogFormat};

use error::CliError;

/// Fine-tune pretrained networks on any number of machines, with bit-identical results.
#[derive(Debug, Parser)]
#[command(name = "headstart", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on this machine: start a coordinator and workers, and wait for the end of the run.
    Train(train::Arguments),
    /// Check a run file, its data, checkpoint and output directory, without training.
    Validate(RunFile),
    /// Show the first rows of a language model's data as tokens, with those marked that are trained.
    Preprocess(preprocess::Arguments),
    /// Ask a model about each row of data: the label of a classifier, the likelihood by a language model.
    Predict(predict::Arguments),
    /// Find out how much checkpoints would help on a task, before any training: each beside random weights.
    Probe(probe::Arguments),
    /// Predict steps, network traffic, memory and time of a run, and recommend a number of workers.
    Plan(plan::Arguments),
    /// Check whether this machine, storage and network can carry a run, and suggest fixes.
    Doctor(doctor::Arguments),
    /// Show the current status of a run.
    Status(status::Arguments),
    /// Follow a running run until it ends.
    Watch(watch::Arguments),
    /// Stop a run after the current step, and keep its weights.
    Stop(watch::StopArguments),
    /// Check the hashes of everything a run wrote; optionally recompute its first steps.
    Verify(verify::Arguments),
    /// Compare the evaluations of runs: what was the head start worth?
    Compare(compare::Arguments),
    /// Write one HTML page about runs: charts, results, faults, run files, and what the head start was worth.
    Report(report::Arguments),
    /// Print the JSON schema of the run file.
    Schema,
    /// Print a script that completes commands in a shell.
    Completions(shell::CompletionsArguments),
    /// Write manual pages, one for each command.
    Man(shell::ManArguments),
    /// Write the initial weights of a run as a directory that transformers can load.
    Init(export::InitArguments),
    /// Print the rows that each step trains on, as one JSON object per step.
    Rows(export::RowsArguments),
}

impl Command {
    /// Whether a program reads what is printed while it goes on.
    fn speaks_json(&self) -> bool {
        match self {
            Command::Train(arguments) => arguments.speaks_json(),
            Command::Watch(arguments) => arguments.speaks_json(),
            _ => false,
        }
    }
}

/// How long interactive commands retry failed storage requests, in seconds.
const INTERACTIVE_RETRY_SECONDS: u32 = 10;

/// A run file and what is changed in it.
#[derive(Debug, Args)]
struct RunFile {
    /// The run file.
    run_file: PathBuf,
    /// Override a key of the run file, such as `learning_rate=1e-4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl RunFile {
    /// Loads the run file. One warning lists the keys that have no effect.
    fn load(&self) -> Result<RunSpec, CliError> {
        let (spec, ignored) = run_file::load_noting(&self.run_file, &self.sets)?;
        if !ignored.is_empty() {
            console::err(&console::printable(&format!("warning: {ignored:#}")));
        }
        Ok(spec)
    }

    /// Loads the run file for an interactive command, which retries failed storage requests for a shorter time than a
    /// run does.
    fn load_interactive(&self) -> Result<RunSpec, CliError> {
        let mut spec = self.load()?;
        spec.cluster.store_retry_seconds = spec.cluster.store_retry_seconds.min(INTERACTIVE_RETRY_SECONDS);
        Ok(spec)
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Shows the warnings of the library, and how far long work is.
    let format = match command.speaks_json() {
        true => {
            console::speak_json();
            LogFormat::Json
        }
        false => LogFormat::Text,
    };
    let telemetry = telemetry::start("headstart", format, "warn,headstart::tokenising=info");
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            console::err(&format!("error: {error}"));
            return Exit::Internal.into();
        }
    };
    let code = match runtime.block_on(perform(command)) {
        Ok(code) => code,
        Err(error) => {
            console::err(&error.report());
            error.exit().into()
        }
    };
    telemetry.end();
    // Whatever still runs on a thread of its own must not keep the program.
    runtime.shutdown_background();
    code
}

async fn perform(command: Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Train(arguments) => train::run(arguments).await,
        Command::Validate(file) => validate::run(&file).await.map(done),
        Command::Preprocess(arguments) => preprocess::run(arguments).await.map(done),
        Command::Predict(arguments) => predict::run(arguments).await,
        Command::Probe(arguments) => probe::run(arguments).await,
        Command::Plan(arguments) => plan::run(arguments).await.map(done),
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Status(arguments) => status::run(&arguments).await.map(done),
        Command::Watch(arguments) => watch::run(arguments).await,
        Command::Stop(arguments) => watch::stop(&arguments).await.map(done),
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::Compare(arguments) => compare::run(&arguments).await.map(done),
        Command::Report(arguments) => report::run(&arguments).await.map(done),
        Command::Schema => {
            console::out(&format!("{:#}", run_file::schema()));
            Ok(Exit::Ok.into())
        }
        Command::Completions(arguments) => {
            shell::completions(&arguments, Cli::command());
            Ok(Exit::Ok.into())
        }
        Command::Man(arguments) => shell::man(&arguments, Cli::command()).map(done),
        Command::Init(arguments) => export::init(&arguments).await.map(done),
        Command::Rows(arguments) => export::rows(&arguments).await.map(done),
    }
}

fn done((): ()) -> ExitCode {
    Exit::Ok.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
