//! The charts of a report: a line for each run, or for the mean of a group with a band for its range.

use headstart::svg::chart::{Chart, Curve};

use super::Report;
use super::measured::{metrics, speed};
use crate::cli::compare;
use crate::cli::format::MetricKind;
use crate::cli::runs::{Group, spread};

/// A chart and the name of its file.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// Without an ending.
    pub(super) file: String,
    pub(super) chart: Chart,
}

/// All charts for which any run has values.
pub(super) fn figures(report: &Report) -> Vec<Figure> {
    let mut figures = vec![of_steps(report, "loss", "Training loss", "loss")];
    for metric in metrics(&report.runs, report.metric.as_deref()) {
        let kind = MetricKind::of(&metric);
        let mut chart = compare::chart(&metric, kind, &[]);
        let scale = if kind.fraction { 100.0 } else { 1.0 };
        let name = format!("eval_{metric}");
        chart.title = format!("Evaluation: {}", chart.value_name.replace('_', " "));
        chart.curves = report.groups.iter().map(|group| curve(report, group, &name, scale)).collect();
        figures.push(Figure { file: file_name(&name), chart });
    }
    figures.push(of_steps(report, "learning_rate", "Learning rate", "learning rate"));
    figures.push(of_steps(report, "grad_norm", "Norm of the gradient, before clipping", "norm"));
    for has_tokens in [false, true] {
        if let Some(run) = report.runs.iter().find(|run| run.metrics.has_tokens == has_tokens) {
            let (name, unit) = speed(&run.metrics);
            figures.push(of_steps(report, name, &format!("Throughput ({unit})"), unit));
        }
    }
    figures.retain(|figure| figure.chart.curves.iter().any(|curve| !curve.points.is_empty()));
    figures
}

fn of_steps(report: &Report, name: &str, title: &str, value_name: &str) -> Figure {
    // A fault shows in the speed first, and in the loss if it mattered.
    let marked = name == "loss" || name.ends_with("_per_second");
    let of = |group: &Group| {
        let curve = curve(report, group, name, 1.0);
        let marks = if marked && !curve.points.is_empty() { marks(report, group) } else { Vec::new() };
        Curve { marks, ..curve }
    };
    let curves = report.groups.iter().map(of).collect();
    let decades = ["loss", "grad_norm"].contains(&name);
    let (title, value_name) = (title.to_owned(), value_name.to_owned());
    let chart = Chart { title, value_name, curves, marked: false, decades };
    Figure { file: file_name(name), chart }
}

/// A group's curve, with all values times `scale`.
fn curve(report: &Report, group: &Group, name: &str, scale: f64) -> Curve {
    let members = report.members(group);
    // Speeds of another unit than this run's are not shown.
    let fits = |run: &&crate::cli::runs::Run| !name.ends_with("_per_second") || speed(&run.metrics).0 == name;
    let curves: Vec<&[(u64, f64)]> =
        members.into_iter().filter(fits).map(|run| run.metrics.series(name)).collect();
    let title = group.title();
    if let [points] = curves.as_slice() {
        let points = points.iter().map(|&(step, value)| (step, scale * value)).collect();
        return Curve { name: title, points, ..Curve::default() };
    }
    let spread = spread(&curves);
    Curve {
        name: title,
        points: spread.iter().map(|here| (here.step, scale * here.mean)).collect(),
        band: spread.iter().map(|here| (here.step, scale * here.low, scale * here.high)).collect(),
        marks: Vec::new(),
    }
}

/// Faults and changes of a run that is shown by itself: those of several would hide the curves.
pub(super) fn marks(report: &Report, group: &Group) -> Vec<u64> {
    match group.members.as_slice() {
        [place] => report.histories[*place].faults.iter().map(|fault| fault.step).collect(),
        _ => Vec::new(),
    }
}

/// A metric's name as a file name: what is neither a letter nor a digit becomes `_`.
fn file_name(name: &str) -> String {
    let safe = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    name.chars().take(60).map(safe).collect()
}
