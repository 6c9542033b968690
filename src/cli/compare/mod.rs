//! `headstart compare`: curves of runs side by side, and what the first one's head start was worth.

pub(super) mod curve;
pub(super) mod show;
#[cfg(test)]
mod tests;
pub(super) mod worth;

use clap::Args;
use headstart::exit::Exit;
use headstart::svg::chart::{Chart, Format};
use serde_json::{Value, json};

use super::error::CliError;
use super::format::MetricKind;
use super::runs::{self, Group, Run};
use super::{console, picture};
use curve::Line;
use worth::Worth;

/// What to compare.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Each run's output_dir (or the final/ in it), a path or URL. The first is compared with each of the others. Runs that
    /// differ in their seed alone are one group: its mean is compared, and its range is shown.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<String>,
    /// Names to show, separated by commas. Default: the names of the directories; of a group, how it differs from the others.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,
    /// The metric to compare, as in metrics.jsonl without `eval_`: accuracy, f1 or loss; of language models loss, perplexity, mean_token_accuracy or entropy.
    #[arg(long, default_value = "accuracy")]
    metric: String,
    /// Compare each run by itself, also where runs differ in their seed alone.
    #[arg(long)]
    each: bool,
    /// Write the curves as a picture: SVG, or PNG where the name ends in .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum CompareError {
    /// Nothing to compare.
    #[error("{url}: the run was never evaluated; give it eval_datasets, and eval_strategy: steps")]
    NotEvaluated {
        /// The directory.
        url: String,
    },
    /// Another metric was measured.
    #[error("{url}: no evaluation has the metric {metric:?}; there are: {known}")]
    UnknownMetric {
        /// The directory.
        url: String,
        /// The metric asked for.
        metric: String,
        /// Those measured.
        known: String,
    },
    /// A group without a mean.
    #[error(
        "{names}: they differ in their seed alone, but no step was evaluated in all of them: compare with --each"
    )]
    StepsApart {
        /// The runs.
        names: String,
    },
}

impl CompareError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CompareError::UnknownMetric { .. } | CompareError::StepsApart { .. } => Exit::Usage,
            CompareError::NotEvaluated { .. } => Exit::Data,
        }
    }
}

/// Reads the runs, prints the comparison, and draws it.
pub(super) async fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { runs: places, names, metric, each, plot, json } = arguments;
    let runs = runs::read(places, names, &[]).await?;
    let kind = MetricKind::of(metric);
    let groups = runs::groups(&runs, *each);
    let lines = groups.iter().map(|group| Line::of(group, &runs, metric)).collect::<Result<Vec<_>, _>>()?;
    let (first, others) = lines.split_first().expect("clap asks for two runs");
    let worths: Vec<Worth> = others.iter().map(|other| Worth::of(kind, first, other)).collect();
    if let Some(path) = plot {
        picture::write(path, chart(metric, kind, &lines).svg(&Format::ALONE)).await?;
    }
    if *json {
        console::out(&format!("{:#}", as_json(metric, &runs, &groups, &lines, &worths)?));
        return Ok(());
    }
    console::out(&show::table(metric, kind, &lines));
    for (other, worth) in others.iter().zip(&worths) {
        console::out(&show::summary(kind, first, other, worth));
    }
    if others.is_empty() {
        let seeds = runs.len();
        console::out(&format!(
            "\nThe {seeds} runs differ in their seed alone; --each compares the first with each other."
        ));
    }
    Ok(())
}

/// A chart of a metric's evaluations.
pub(super) fn chart(metric: &str, kind: MetricKind, lines: &[Line]) -> Chart {
    Chart {
        title: format!("Evaluation {metric} by training step"),
        value_name: if kind.fraction { format!("{metric} (%)") } else { metric.to_owned() },
        curves: lines.iter().map(|line| line.drawn(if kind.fraction { 100.0 } else { 1.0 })).collect(),
        marked: true,
        decades: kind.lower_is_better,
    }
}

fn as_json(
    metric: &str,
    runs: &[Run],
    groups: &[Group],
    lines: &[Line],
    worths: &[Worth],
) -> Result<Value, CompareError> {
    let run = |run: &Run| -> Result<Value, CompareError> {
        let curve = curve::evaluated(run, metric)?;
        Ok(json!({"name": run.name, "total_steps": run.total_steps(), "curve": curve}))
    };
    let runs_json = runs.iter().map(run).collect::<Result<Vec<_>, _>>()?;
    let group = |(group, line): (&Group, &Line)| {
        let members: Vec<&str> = group.members.iter().map(|&place| runs[place].name.as_str()).collect();
        json!({"name": line.name, "runs": members, "mean": line.curve, "range": line.range})
    };
    let groups_json: Vec<Value> = groups.iter().zip(lines).map(group).collect();
    let others = lines.iter().skip(1).zip(worths);
    let comparisons: Vec<Value> =
        others.map(|(other, worth)| worth.as_json(&lines[0].name, &other.name)).collect();
    Ok(json!({"metric": metric, "runs": runs_json, "groups": groups_json, "comparisons": comparisons}))
}
