//! The command line: what can be asked for, and how each answer reaches the user.
//!
//! Results go to standard output, everything else to standard error; exit codes are those of [`headstart::exit`].

mod bandwidth;
mod compare;
mod console;
mod doctor;
mod error;
mod export;
mod format;
mod plan;
mod probe;
mod status;
mod train;
mod validate;
mod verify;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use headstart::exit::Exit;
use headstart::run_file::{self, RunSpec};
use headstart::telemetry::{self, LogFormat};

use error::CliError;

/// Fine-tune pretrained networks across machines, with the same bits for any number of them.
#[derive(Debug, Parser)]
#[command(name = "headstart", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train: a coordinator and workers on this machine, until the run is over.
    Train(train::Arguments),
    /// Check a run file and everything it names, without starting anything.
    Validate(RunFile),
    /// Say what a run will take: steps, bytes, memory and time, and how many workers are worth having.
    Plan(plan::Arguments),
    /// Check this machine, the storage and the network for a run, with the cure for what is amiss.
    Doctor(doctor::Arguments),
    /// Show how a run is going, once.
    Status(status::Arguments),
    /// Follow a run that was started elsewhere, until it ends.
    Watch(watch::Arguments),
    /// End a run after the step in flight; its weights are kept.
    Stop(watch::StopArguments),
    /// Hash again what a run left behind, and compute a step again.
    Verify(verify::Arguments),
    /// Put finished runs side by side: what was the head start worth?
    Compare(compare::Arguments),
    /// Print the JSON schema of the run file.
    Schema,
    /// Write the weights a run begins with as a directory that transformers opens.
    Init(export::InitArguments),
    /// Print which rows each step trains on, one JSON object a step.
    Rows(export::RowsArguments),
}

/// How long commands retry failed storage requests whose answer somebody waits for, in seconds.
const INTERACTIVE_RETRY_SECONDS: u32 = 10;

/// A run file and what is changed in it.
#[derive(Debug, Args)]
struct RunFile {
    /// The run file.
    run_file: PathBuf,
    /// A run file key set differently, such as `learning_rate=1e-4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl RunFile {
    /// The run; keys without effect are told of in one warning.
    fn load(&self) -> Result<RunSpec, CliError> {
        let (spec, ignored) = run_file::load_noting(&self.run_file, &self.sets)?;
        if !ignored.is_empty() {
            console::err(&console::printable(&format!("warning: {ignored:#}")));
        }
        Ok(spec)
    }

    /// The run file for a command that somebody sits before: storage that does not answer is not waited for as long as a run
    /// would.
    fn load_interactive(&self) -> Result<RunSpec, CliError> {
        let mut spec = self.load()?;
        spec.cluster.store_retry_seconds = spec.cluster.store_retry_seconds.min(INTERACTIVE_RETRY_SECONDS);
        Ok(spec)
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What the library has to console, when something is odd.
    let telemetry = telemetry::start("headstart", LogFormat::Text, "warn");
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
        Command::Plan(arguments) => plan::run(arguments).await.map(done),
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Status(arguments) => status::run(&arguments).await.map(done),
        Command::Watch(arguments) => watch::run(arguments).await,
        Command::Stop(arguments) => watch::stop(&arguments).await.map(done),
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::Compare(arguments) => compare::run(&arguments).await.map(done),
        Command::Schema => {
            console::out(&format!("{:#}", run_file::schema()));
            Ok(Exit::Ok.into())
        }
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
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
