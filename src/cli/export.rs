//! `headstart init` and `headstart rows`: what a run begins with, for another program to repeat it.

use std::io::{BufWriter, ErrorKind, Write};

use clap::Args;
use headstart::checkpoint::CheckpointError;
use headstart::data::RowIndex;
use headstart::id::Step;
use headstart::job::{self, Job};
use headstart::message::Pass;
use headstart::plan::Plan;
use headstart::store::Location;
use serde_json::json;

use super::error::CliError;
use super::{RunFile, console};

/// Whose weights, and where to.
#[derive(Debug, Args)]
pub(super) struct InitArguments {
    #[command(flatten)]
    file: RunFile,
    /// Output directory, a path or URL; it must be empty or absent.
    directory: String,
}

/// Whose rows, and how many.
#[derive(Debug, Args)]
pub(super) struct RowsArguments {
    #[command(flatten)]
    file: RunFile,
    /// Stop after this many steps.
    #[arg(long)]
    steps: Option<u64>,
}

/// Writes weights version 0: the checkpoint's values and freshly drawn ones. Of an adapter, only what trains.
pub(super) async fn init(arguments: &InitArguments) -> Result<(), CliError> {
    let spec = arguments.file.load()?;
    let directory = Location::parse(&arguments.directory)?;
    if let Some((first, _)) = directory.list().await?.into_iter().next() {
        return Err(CliError::NotEmpty { url: directory.url().to_owned(), first: first.url().to_owned() });
    }
    let Job { network, .. } = job::read(&spec).await?;
    let written = network
        .write::<CheckpointError, _>(&directory, &spec, async |index| network.load_one(index).await)
        .await?;
    let weights = written.into_iter().filter(|file| file.name.contains(".safetensors"));
    for file in weights {
        console::out(&format!("{}  {}/{}", file.sha256, directory.url(), file.name));
    }
    Ok(())
}

/// Prints the rows of each step in the order they are summed, by their numbers in the data.
pub(super) async fn rows(arguments: &RowsArguments) -> Result<(), CliError> {
    let Job { plan, train, .. } = job::read(&arguments.file.load()?).await?;
    let steps = arguments.steps.unwrap_or(u64::MAX).min(plan.steps());
    match write_rows(&plan, &train, steps) {
        // `| head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn write_rows(plan: &Plan, index: &RowIndex, steps: u64) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for step in (0..steps).map(Step) {
        let shards = plan.tree(Pass::Train, step).shards();
        let rows = (0..shards).flat_map(|shard| plan.rows(Pass::Train, step, shard));
        let rows: Vec<u64> = rows.map(|row| index.data_row(row)).collect();
        writeln!(out, "{}", json!({"step": step.0, "rows": rows}))?;
    }
    out.flush()
}
