//! `headstart compare`: curves of finished runs side by side, and what the first one's head start was worth.

mod plot;
mod read;
mod show;
mod worth;

use bytes::Bytes;
use clap::Args;
use headstart::exit::Exit;
use headstart::store::{Location, StoreError};
use serde_json::{Value, json};

use super::console;
use super::error::CliError;
use super::format::MetricKind;
use read::Run;
use worth::Worth;

/// Runs compared at once: more are no picture any more.
const MOST_RUNS: usize = 20;

/// What to compare.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Each run's output_dir (or the final/ in it), a path or URL. The first is compared with each of the others.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<String>,
    /// Names to show, separated by commas. Default: the names of the directories.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,
    /// The metric to compare, as in metrics.jsonl without `eval_`: accuracy, f1 or loss; of language models loss, perplexity, mean_token_accuracy or entropy.
    #[arg(long, default_value = "accuracy")]
    metric: String,
    /// Write the curves as an SVG picture.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    /// As many names as runs, or none.
    #[error("--names has {names} names for {runs} runs; separate them by commas")]
    Names {
        /// Names given.
        names: usize,
        /// Runs given.
        runs: usize,
    },
    /// Too many for one picture.
    #[error("{0} runs; at most {MOST_RUNS} are compared at once")]
    TooMany(usize),
    /// Not a finished run.
    #[error(
        "{url}: no final/metrics.jsonl; give the output_dir of a finished run (a stopped one has no final/)"
    )]
    NotFinished {
        /// The directory.
        url: String,
    },
    /// Nothing to compare.
    #[error("{url}: the run was never evaluated; give it eval_datasets, and eval_strategy: steps")]
    NoEvaluations {
        /// The directory.
        url: String,
    },
    /// Another metric was measured.
    #[error("{url}: no evaluation has the metric {metric:?}; there are: {known}")]
    NoMetric {
        /// The directory.
        url: String,
        /// The metric asked for.
        metric: String,
        /// Those measured.
        known: String,
    },
    /// A file that does not hold what it should.
    #[error("{url}{place}: {reason}")]
    Damaged {
        /// The file.
        url: String,
        /// `:line`, or nothing.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CompareError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CompareError::Names { .. } | CompareError::TooMany(_) | CompareError::NoMetric { .. } => {
                Exit::Usage
            }
            CompareError::NotFinished { .. }
            | CompareError::NoEvaluations { .. }
            | CompareError::Damaged { .. } => Exit::Data,
            CompareError::Store(error) => error.exit(),
        }
    }
}

/// Reads the runs, prints the comparison, and draws it.
pub(super) async fn run(arguments: &Arguments) -> Result<(), CliError> {
    let runs = read_all(arguments).await?;
    let kind = MetricKind::of(&arguments.metric);
    let (first, others) = runs.split_first().expect("clap asks for two runs");
    let worths: Vec<Worth> = others.iter().map(|other| Worth::of(kind, first, other)).collect();
    if let Some(path) = &arguments.plot {
        let svg = plot::svg(&arguments.metric, kind, &runs);
        Location::parse(path)?.write(Bytes::from(svg)).await?;
    }
    match arguments.json {
        true => console::out(&format!("{:#}", as_json(&arguments.metric, &runs, others, &worths))),
        false => {
            console::out(&show::table(&arguments.metric, kind, &runs));
            for (other, worth) in others.iter().zip(&worths) {
                console::out(&show::summary(kind, first, other, worth));
            }
        }
    }
    Ok(())
}

async fn read_all(arguments: &Arguments) -> Result<Vec<Run>, CompareError> {
    let Arguments { runs, names, metric, .. } = arguments;
    if runs.len() > MOST_RUNS {
        return Err(CompareError::TooMany(runs.len()));
    }
    if !names.is_empty() && names.len() != runs.len() {
        return Err(CompareError::Names { names: names.len(), runs: runs.len() });
    }
    let mut found = Vec::new();
    for (index, place) in runs.iter().enumerate() {
        found.push(read::run(place, names.get(index).map(|name| name.trim()), metric).await?);
    }
    Ok(read::distinct(found, runs))
}

fn as_json(metric: &str, runs: &[Run], others: &[Run], worths: &[Worth]) -> Value {
    let runs_json: Vec<Value> = runs
        .iter()
        .map(|run| json!({"name": run.name, "total_steps": run.total_steps, "curve": run.curve}))
        .collect();
    let comparisons: Vec<Value> =
        others.iter().zip(worths).map(|(other, worth)| worth.as_json(&runs[0].name, &other.name)).collect();
    json!({"metric": metric, "runs": runs_json, "comparisons": comparisons})
}
