//! `headstart probe`: how much checkpoints would help on a task. Each is probed as the first phase of a run that ends with it.

use std::process::ExitCode;

use clap::Args;
use headstart::exit::Exit;
use headstart::probe::{Probed, plot, report, table};
use headstart::run_file::{self, InitFrom, Lora, RunSpec};

use super::RunFile;
use super::console::{self, printable};
use super::error::CliError;
use super::picture;
use super::train::probed::{Workers, probe};

/// What to probe, and on which task.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: RunFile,
    /// A checkpoint directory, a path or URL. May be repeated. Default: the run file's base_model.
    #[arg(long = "checkpoint", value_name = "URL")]
    checkpoints: Vec<String>,
    /// A PEFT adapter directory, a path or URL, of the run file's base_model. May be repeated.
    #[arg(long = "adapter", value_name = "URL")]
    adapters: Vec<String>,
    /// Number of training rows to probe.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    rows: u32,
    /// Number of worker processes. Default: cores of this machine ÷ threads_per_worker.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// Device of the workers: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Write the bars as a picture: SVG, or PNG where the name ends in .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Probes one checkpoint after the other, and ranks them.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let Arguments { file, checkpoints, adapters, rows, workers, device, plot: path, json } = arguments;
    let spec = file.load_interactive()?;
    let workers = Workers { number: workers, device };
    let mut probed: Vec<Probed> = Vec::new();
    for candidate in candidates(&spec, checkpoints, adapters, rows) {
        if !json {
            console::err(&printable(&format!("probing {}", name(&candidate))));
        }
        match probe(&candidate, &workers).await? {
            Ok(result) => probed.push(serde_json::from_slice(&result).map_err(CliError::Answer)?),
            Err(exit) => return Ok(exit.into()),
        }
    }
    report::rank(&mut probed);
    if let Some(path) = &path {
        picture::write(path, plot::svg(&probed)).await?;
    }
    match json {
        true => console::out(&serde_json::to_string_pretty(&probed).expect("results are plain data")),
        false => {
            console::out(&table::table(&probed));
            table::remarks(&probed).iter().for_each(|remark| console::out(remark));
        }
    }
    Ok(Exit::Ok.into())
}

/// The runs whose first weights are compared.
fn candidates(spec: &RunSpec, checkpoints: Vec<String>, adapters: Vec<String>, rows: u32) -> Vec<RunSpec> {
    let base = RunSpec {
        init: InitFrom::Pretrained,
        probe: run_file::Probe::Rows(rows),
        ..spec.clone().without_evaluation()
    };
    // A fresh adapter changes nothing, and spares the coordinator a whole network that trains.
    let fresh = spec.adapter.clone().map(|lora| match lora.lora_model_dir {
        Some(_) => Lora::default(),
        None => lora,
    });
    let of_checkpoint =
        |checkpoint: String| RunSpec { base_model: checkpoint, adapter: fresh.clone(), ..base.clone() };
    let of_adapter = |adapter: String| {
        let lora = Lora { lora_model_dir: Some(adapter), ..Lora::default() };
        RunSpec { adapter: Some(lora), ..base.clone() }
    };
    match checkpoints.is_empty() && adapters.is_empty() {
        true => vec![base],
        false => {
            checkpoints.into_iter().map(of_checkpoint).chain(adapters.into_iter().map(of_adapter)).collect()
        }
    }
}

/// What is probed, for people.
fn name(spec: &RunSpec) -> String {
    match spec.adapter.as_ref().and_then(|lora| lora.lora_model_dir.as_ref()) {
        Some(adapter) => format!("{adapter} on {}", spec.base_model),
        None => spec.base_model.clone(),
    }
}
