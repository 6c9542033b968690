//! `headstart report`: what runs did, as one HTML page that needs nothing else: no script, no other file, no network.

mod charts;
mod differences;
mod happened;
mod head_start;
mod history;
mod html;
mod measured;
mod page;
mod provenance;
mod results;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use clap::Args;
use headstart::store::Location;
use headstart::svg::chart::Format;

use super::error::CliError;
use super::runs::{self, Group, Run};
use super::{console, picture};
use history::History;

/// What to report on.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Each run's output_dir (or the final/ in it), a path or URL. A run that is not finished is shown as of its last commit.
    /// Runs that differ in their seed alone are one group: its mean and range are shown.
    #[arg(required = true, num_args = 1.., value_name = "RUN")]
    runs: Vec<String>,
    /// Names to show, separated by commas. Default: the names of the directories; of a group, how it differs from the others.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,
    /// The metric that decides what a head start was worth, as in metrics.jsonl without `eval_`. Default: accuracy, or loss
    /// where that was not measured.
    #[arg(long)]
    metric: Option<String>,
    /// Show each run by itself, also where runs differ in their seed alone.
    #[arg(long)]
    each: bool,
    /// Where to write the page, a path or URL.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: String,
    /// Also write each chart as SVG and as PNG into this directory, a path or URL.
    #[arg(long, value_name = "DIRECTORY")]
    plots: Option<String>,
}

/// What a report is made from.
#[derive(Debug)]
struct Report {
    /// In the order given.
    runs: Vec<Run>,
    /// What happened in each.
    histories: Vec<History>,
    /// How the runs belong together.
    groups: Vec<Group>,
    /// What decides what a head start was worth; `None` where no run was evaluated.
    metric: Option<String>,
}

/// Reads the runs, and writes the page.
pub(super) async fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { runs: places, names, metric, each, out, plots } = arguments;
    let report = Report::read(places, names, metric.as_deref(), *each).await?;
    let figures = charts::figures(&report);
    Location::parse(out)?.write(Bytes::from(page::html(&report, &figures))).await?;
    if let Some(directory) = plots {
        let directory = directory.trim_end_matches('/');
        for figure in &figures {
            for ending in ["svg", "png"] {
                let path = format!("{directory}/{}.{ending}", figure.file);
                picture::write(&path, figure.chart.svg(&Format::ALONE)).await?;
            }
        }
    }
    let runs =
        if report.runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", report.runs.len()) };
    console::out(&console::printable(&format!("wrote {out}: {runs}, {} charts", figures.len())));
    if let Some(directory) = plots {
        console::out(&console::printable(&format!("wrote {directory}: each chart as SVG and PNG")));
    }
    Ok(())
}

impl Report {
    async fn read(
        places: &[String],
        names: &[String],
        metric: Option<&str>,
        each: bool,
    ) -> Result<Report, CliError> {
        let runs = runs::read(places, names, history::TEXTS).await?;
        let histories = runs.iter().map(History::of_run).collect();
        let groups = runs::groups(&runs, each);
        let metric = measured::metric(&runs, metric)?;
        Ok(Report { runs, histories, groups, metric })
    }

    /// The runs of a group.
    fn members(&self, group: &Group) -> Vec<&Run> {
        group.members.iter().map(|&place| &self.runs[place]).collect()
    }
}
