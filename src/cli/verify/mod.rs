//! `headstart verify`: hashes everything again that a run left behind, and on request computes a step again.

mod golden;
mod replay;

use std::process::ExitCode;

use clap::Args;
use headstart::exit::Exit;
use headstart::store::Location;
use headstart::verify::verify;

use super::console;
use super::error::CliError;

pub(super) use golden::GoldenError;
pub(super) use replay::ReplayError;

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's output_dir (or the final/ in it), a path or URL.
    run: String,
    /// Also recompute the run on this machine up to this step, and compare every line of the ledger.
    #[arg(long, value_name = "STEP")]
    replay: Option<u64>,
    /// Also compute the rows of golden.jsonl on this machine, and compare their log probabilities.
    #[arg(long)]
    golden: bool,
    /// Largest difference of a log probability that --golden accepts.
    #[arg(long, default_value_t = 1e-3, requires = "golden", value_name = "NATS", value_parser = tolerance)]
    tolerance: f32,
    /// The adapter's base for --golden, a path or URL. Default: the one that adapter_config.json names.
    #[arg(long, requires = "golden", value_name = "URL")]
    model: Option<String>,
}

fn tolerance(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "it must be a finite number, 0 or more".to_owned())
}

/// Verifies and prints a report. A run that differs from what was written ends with the exit code of a damaged checkpoint.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let place = Location::parse(arguments.run.trim_end_matches('/'))?;
    let report = verify(&place).await?;
    for difference in &report.differences {
        console::err(&console::printable(&format!("error: {difference}")));
    }
    if !report.differences.is_empty() {
        return Ok(Exit::Checkpoint.into());
    }
    console::out(&console::printable(&format!("verified: {report}")));
    if arguments.golden {
        match golden::golden(&report.directory, arguments.model, arguments.tolerance).await? {
            Exit::Ok => {}
            failed => return Ok(failed.into()),
        }
    }
    match (arguments.replay, &report.run) {
        (Some(step), Some((facts, ledger))) => replay::replay(facts, ledger, step).await,
        (Some(_), None) => Err(ReplayError::NotFinished { url: place.url().to_owned() }.into()),
        (None, _) => Ok(Exit::Ok.into()),
    }
}
