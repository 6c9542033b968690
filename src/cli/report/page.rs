//! The page as a whole: its head, its parts in their order, and nothing from elsewhere.

use headstart::svg::chart::Format;

use super::charts::Figure;
use super::html::{section, text};
use super::results::key;
use super::{Report, differences, happened, head_start, provenance, results};
use crate::cli::format::MetricKind;
use crate::cli::report::measured::{Start, last, start};

const STYLE: &str = include_str!("style.css");
/// What a browser may load: the styles within the page, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Groups that the title names.
const NAMED: usize = 3;
/// Groups that are described in a sentence each.
const DESCRIBED: usize = 8;

/// The page.
pub(super) fn html(report: &Report, figures: &[Figure]) -> String {
    let title = title(report);
    let differences = differences::html(report);
    let several = match differences.is_empty() {
        true => String::new(),
        false => section("differences", "In what the runs differ", &differences),
    };
    let (head_start, is_told) = head_start::html(report);
    let head_start = section("head-start", "What was the head start worth?", &head_start);
    // The answer comes first, where there is one.
    let (before, after) = if is_told { (head_start, String::new()) } else { (String::new(), head_start) };
    let main = [
        before,
        section("results", "Results", &results::html(report)),
        section("charts", "Charts by training step", &charts(report, figures)),
        after,
        section("history", "What happened", &happened::html(report)),
        several,
        provenance::run_files(report),
        section("provenance", "Where the results come from", &provenance::html(report)),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>{title}</h1>\n{}</header>\n<main>\n{main}</main>\n\
         <footer><p>Written by headstart {}. Charts of long runs show the least and the largest value of each pixel.</p></footer>\n\
         </body>\n</html>\n",
        lead(report),
        env!("CARGO_PKG_VERSION"),
    )
}

fn title(report: &Report) -> String {
    match report.runs.as_slice() {
        [run] => text(&format!("Run {}", run.name)),
        runs if report.groups.len() <= NAMED => {
            let names = report.groups.iter().map(|group| group.title()).collect::<Vec<_>>();
            text(&format!("{} runs: {}", runs.len(), names.join(", ")))
        }
        runs => format!("{} runs", runs.len()),
    }
}

/// What the runs are, in a sentence each; of many the table of results says enough.
fn lead(report: &Report) -> String {
    if report.groups.len() > DESCRIBED {
        return String::new();
    }
    let mut sentences = String::new();
    for group in &report.groups {
        let members = report.members(group);
        let run = members[0];
        let from = match start(run) {
            Start::Random => "random weights".to_owned(),
            Start::Pretrained(place) => place,
            Start::Unknown => "unknown weights".to_owned(),
        };
        let task = if run.pins.key("task").is_empty() { "an unknown task" } else { run.pins.key("task") };
        let mut sentence = format!("{}: {task} from {from}, {}", group.title(), progress(&members));
        if let (Some(metric), [run]) = (&report.metric, members.as_slice())
            && let Some((step, value)) = last(&run.metrics, &format!("eval_{metric}"))
        {
            let shown = MetricKind::of(metric).value(value);
            sentence.push_str(&format!("; {} {shown} at step {step}", metric.replace('_', " ")));
        }
        sentences.push_str(&format!("<li>{}</li>\n", text(&(sentence + "."))));
    }
    format!("<ul class=\"lead\">\n{sentences}</ul>\n")
}

fn progress(runs: &[&crate::cli::runs::Run]) -> String {
    match runs {
        [run] => run.progress(),
        runs => {
            let finished = runs.iter().filter(|run| run.files.is_final()).count();
            format!("{finished} of {} finished", runs.len())
        }
    }
}

/// One legend, and the charts side by side.
fn charts(report: &Report, figures: &[Figure]) -> String {
    if figures.is_empty() {
        return "<p>Nothing was measured yet.</p>\n".to_owned();
    }
    let names = report.groups.iter().enumerate().map(|(index, group)| {
        let band = if group.members.len() > 1 { ": mean, and range as a band" } else { "" };
        format!("<li>{}{}</li>\n", key(index), text(&format!("{}{band}", group.title())))
    });
    let has_marks =
        figures.iter().any(|figure| figure.chart.curves.iter().any(|curve| !curve.marks.is_empty()));
    let marks = if has_marks { "<li>Dashed upright lines: faults and changes</li>\n" } else { "" };
    let figures =
        figures.iter().map(|figure| format!("<figure>\n{}</figure>\n", figure.chart.svg(&Format::CARD)));
    format!(
        "<ul class=\"legend\">\n{}{marks}</ul>\n<div class=\"charts\">\n{}</div>\n",
        names.collect::<String>(),
        figures.collect::<String>()
    )
}
