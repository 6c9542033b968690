//! The table of results: a row for each run, and one above them for the mean and range of a group.

use std::f64::consts::LN_2;

use headstart::svg::chart::swatch;

use super::Report;
use super::html::{Column, Table, details, number, plain, text};
use super::measured::{Start, best, last, median, metrics, speed, start};
use crate::cli::format::{MetricKind, duration};
use crate::cli::runs::{Group, Run};

/// Evaluations of a run that are listed; of more, the first and the last ones.
const MOST_ROWS: usize = 200;

/// All results, and every evaluation for those who look closer.
pub(super) fn html(report: &Report) -> String {
    let metrics = metrics(&report.runs, report.metric.as_deref());
    let has_bits = report.runs.iter().any(|run| run.metrics.has_tokens);
    let names: Vec<String> = metrics.iter().map(|metric| metric.replace('_', " ")).collect();
    let mut columns = vec![Column::Text("run")];
    columns.extend(names.iter().map(|name| Column::Number(name)));
    columns.extend(has_bits.then_some(Column::Number("bits a token")));
    columns.extend(["training loss", "steps", "time", "speed"].map(Column::Number));
    columns.push(Column::Text("begins from"));
    let mut table = Table::new("The last evaluation of each run, and its best one", &columns);
    for (index, group) in report.groups.iter().enumerate() {
        let members = report.members(group);
        if members.len() > 1 {
            table.row("group", &mean_row(index, group, &members, &metrics, has_bits));
        }
        for &place in &group.members {
            let row = run_row(index, report, place, &metrics, has_bits);
            table.row(if members.len() > 1 { "member" } else { "" }, &row);
        }
    }
    table.html() + &evaluations(report, &metrics)
}

fn run_row(index: usize, report: &Report, place: usize, metrics: &[String], has_bits: bool) -> Vec<String> {
    let run = &report.runs[place];
    let mut row = vec![named(index, &run.name)];
    row.extend(metrics.iter().map(|metric| evaluated(run, metric)));
    if has_bits {
        let bits = bits(run);
        row.push(bits.map_or_else(|| "–".to_owned(), |bits| number(bits, &format!("{bits:.3}"))));
    }
    let loss = last(&run.metrics, "loss").map_or(f64::NAN, |(_, loss)| loss);
    let (name, unit) = speed(&run.metrics);
    let usual = median(&run.metrics, name).unwrap_or(f64::NAN);
    let time = report.histories[place].seconds(run);
    row.push(number(loss, &plain(loss)));
    row.push(steps(run));
    row.push(time.map_or_else(|| "–".to_owned(), |time| text(&duration(time))));
    row.push(number(usual, &format!("{usual:.0} {unit}")));
    row.push(begins(run));
    row
}

/// Mean and range over the seeds of a group, each of the runs' own last evaluations.
fn mean_row(index: usize, group: &Group, runs: &[&Run], metrics: &[String], has_bits: bool) -> Vec<String> {
    let mut row = vec![named(index, &format!("{}: mean (range)", group.title()))];
    for metric in metrics {
        let kind = MetricKind::of(metric);
        let values = |run: &&Run| last(&run.metrics, &format!("eval_{metric}")).map(|(_, value)| value);
        row.push(range(runs, values, |mean| short(kind, mean), |range| kind.range(range)));
    }
    let four = |mean: f64| format!("{mean:.4}");
    let range_of = |(low, high): (f64, f64)| format!("{low:.4} to {high:.4}");
    if has_bits {
        row.push(range(runs, |run| bits(run), four, range_of));
    }
    row.push(range(runs, |run| last(&run.metrics, "loss").map(|(_, loss)| loss), four, range_of));
    row.extend(["–", "–", "–"].map(str::to_owned));
    row.push(runs.first().map_or_else(String::new, |run| begins(run)));
    row
}

fn range(
    runs: &[&Run],
    value: impl Fn(&&Run) -> Option<f64>,
    shown: impl Fn(f64) -> String,
    range: impl Fn((f64, f64)) -> String,
) -> String {
    let values: Vec<f64> = runs.iter().filter_map(value).collect();
    if values.is_empty() {
        return "–".to_owned();
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{}<small>{}</small>", number(mean, &shown(mean)), text(&range((low, high))))
}

/// A run's name, with how its curves look.
fn named(index: usize, name: &str) -> String {
    format!("<span class=\"named\">{}<span>{}</span></span>", key(index), text(name))
}

/// How the curves with this index look.
pub(super) fn key(index: usize) -> String {
    let mut piece = String::new();
    swatch(&mut piece, index, (1.0, 6.0), true);
    format!(
        "<svg class=\"key\" viewBox=\"0 0 28 12\" width=\"28\" height=\"12\" aria-hidden=\"true\">{piece}</svg>"
    )
}

fn begins(run: &Run) -> String {
    match start(run) {
        Start::Random => "random weights".to_owned(),
        Start::Pretrained(place) => text(&end_of(&place)),
        Start::Unknown => "–".to_owned(),
    }
}

/// The last parts of a path: what tells checkpoints apart.
fn end_of(place: &str) -> String {
    let parts: Vec<&str> = place.trim_end_matches('/').rsplitn(4, '/').collect();
    match parts.as_slice() {
        [last, before, _, _] => format!("…/{before}/{last}"),
        _ => place.to_owned(),
    }
}

fn steps(run: &Run) -> String {
    match (run.files.is_final(), run.pins.total_steps) {
        (true, Some(total)) if total == run.pins.steps => total.to_string(),
        (true, Some(total)) => format!("{} of {total}, stopped early", run.pins.steps),
        (_, Some(total)) => format!("{} of {total}, not finished", run.pins.steps),
        (_, None) => format!("{}, not finished", run.pins.steps),
    }
}

/// The last evaluation, and the best where that is another one.
fn evaluated(run: &Run, metric: &str) -> String {
    let kind = MetricKind::of(metric);
    let Some((step, value)) = last(&run.metrics, &format!("eval_{metric}")) else { return "–".to_owned() };
    let shown = number(value, &short(kind, value));
    // Of others, such as an entropy, no value is the best.
    let judged = kind.fraction || kind.lower_is_better;
    match best(&run.metrics, metric).filter(|(at, best)| judged && *at != step && *best != value) {
        Some((at, best)) => {
            let best = number(best, &short(kind, best));
            format!("{shown}<small>best {best} at step {at}</small>")
        }
        None => shown,
    }
}

/// A value in few characters, however large.
fn short(kind: MetricKind, value: f64) -> String {
    if kind.fraction || value.abs() < 1e6 { kind.value(value) } else { plain(value) }
}

/// What a token of the evaluation costs a language model, in bits.
fn bits(run: &Run) -> Option<f64> {
    let (_, nats) = last(&run.metrics, "eval_loss").filter(|_| run.metrics.has_tokens)?;
    Some(nats / LN_2)
}

/// Every evaluation of every run.
fn evaluations(report: &Report, metrics: &[String]) -> String {
    let mut html = String::new();
    for run in &report.runs {
        let series: Vec<&[(u64, f64)]> =
            metrics.iter().map(|metric| run.metrics.series(&format!("eval_{metric}"))).collect();
        let steps: std::collections::BTreeSet<u64> =
            series.iter().flat_map(|points| points.iter().map(|point| point.0)).collect();
        let steps: Vec<u64> = steps.into_iter().collect();
        if steps.is_empty() {
            continue;
        }
        let caption = format!("Evaluations of {}", run.name);
        let columns: Vec<Column<'_>> = [Column::Number("step")]
            .into_iter()
            .chain(metrics.iter().map(|name| Column::Number(name)))
            .collect();
        let mut table = Table::new(&caption, &columns);
        let left_out = steps.len().saturating_sub(MOST_ROWS);
        for (place, step) in steps.iter().enumerate() {
            if left_out > 0 && (MOST_ROWS / 2..MOST_ROWS / 2 + left_out).contains(&place) {
                if place == MOST_ROWS / 2 {
                    table.row("", &[format!("… {left_out} more …")]);
                }
                continue;
            }
            let cells = metrics.iter().zip(&series).map(|(metric, points)| {
                let found = points.binary_search_by_key(step, |point| point.0);
                let value = found.map_or(f64::NAN, |place| points[place].1);
                number(value, &short(MetricKind::of(metric), value))
            });
            table.row("", &std::iter::once(step.to_string()).chain(cells).collect::<Vec<_>>());
        }
        html.push_str(&table.html());
    }
    match html.is_empty() {
        true => html,
        false => details("Every evaluation", false, &html),
    }
}
