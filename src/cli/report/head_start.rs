//! What the head start was worth: runs from pretrained weights against runs from random ones, in the words of `compare`.

use headstart::probe::table::shown;

use super::Report;
use super::html::{paragraph, text};
use super::measured::{Start, start};
use crate::cli::compare::curve::Line;
use crate::cli::compare::show::summary;
use crate::cli::compare::worth::Worth;
use crate::cli::format::MetricKind;
use crate::cli::runs::Group;

/// What `compare` begins with.
const QUESTION: &str = "What was the head start worth? ";
/// Pairs that are told.
const MOST_PAIRS: usize = 20;

/// Each head start against each run from random weights, and what probes said before. Also whether there is anything of that.
pub(super) fn html(report: &Report) -> (String, bool) {
    let (mut html, probes) = (worths(report), probes(report));
    let is_told = !html.is_empty() || !probes.is_empty();
    if html.is_empty() {
        html = paragraph(why_nothing(report));
    }
    (html + &probes, is_told)
}

fn worths(report: &Report) -> String {
    let Some(metric) = &report.metric else { return String::new() };
    let kind = MetricKind::of(metric);
    let mut html = String::new();
    for (first, other) in pairs(report).into_iter().take(MOST_PAIRS) {
        let lines = [first, other].map(|group| Line::of(group, &report.runs, metric));
        let [Ok(first), Ok(other)] = lines else { continue };
        let words = summary(kind, &first, &other, &Worth::of(kind, &first, &other));
        let mut words = words.trim().lines().map(str::trim);
        // The section asks the question already.
        let heading = words.next().unwrap_or_default().trim_start_matches(QUESTION).trim_end_matches(':');
        html.push_str(&format!("<h3>{}</h3>\n<ul class=\"worth\">\n", text(heading)));
        for line in words {
            let class = if line.starts_with("warning:") { " class=\"warning\"" } else { "" };
            html.push_str(&format!("<li{class}>{}</li>\n", text(line)));
        }
        html.push_str("</ul>\n");
    }
    html
}

/// Groups from pretrained weights, each with every group from random ones that learns the same task and is evaluated on the
/// same data.
fn pairs(report: &Report) -> Vec<(&Group, &Group)> {
    let begin = |group: &Group| start(&report.runs[group.members[0]]);
    let task = |group: &Group| {
        let keys = &report.runs[group.members[0]].pins.keys;
        ["task", "eval_datasets"].map(|name| keys.get(name))
    };
    let of = |wanted: fn(&Start) -> bool| report.groups.iter().filter(move |group| wanted(&begin(group)));
    of(|start| matches!(start, Start::Pretrained(_)))
        .flat_map(|first| of(|start| *start == Start::Random).map(move |other| (first, other)))
        .filter(|(first, other)| task(first) == task(other))
        .collect()
}

fn why_nothing(report: &Report) -> &'static str {
    let starts: Vec<Start> = report.runs.iter().map(start).collect();
    let random = starts.contains(&Start::Random);
    let pretrained = starts.iter().any(|start| matches!(start, Start::Pretrained(_)));
    match (pretrained, random) {
        _ if report.metric.is_none() => {
            "No run was evaluated. Give runs eval_datasets and eval_strategy: steps to see what a head start is worth."
        }
        (true, true) => {
            "No run from pretrained weights has the task and the evaluation data of one from random weights, so what a head \
             start was worth cannot be told."
        }
        (true, false) => {
            "No run here began from random weights. Train one with init: random, and report on both to see what the head start \
             was worth."
        }
        (false, true) => {
            "No run here began from pretrained weights. Train one from a checkpoint, and report on both to see what a head start \
             is worth."
        }
        (false, false) => "What the runs began from is not known.",
    }
}

/// What probes said before the first step.
fn probes(report: &Report) -> String {
    let mut items = String::new();
    for (run, history) in report.runs.iter().zip(&report.histories) {
        if let Some(probed) = &history.probed {
            let (own, zero) = (shown(probed.own.measure), shown(probed.zero_line()));
            let words = probed.verdict.words(probed.name.adapter.is_some());
            let line = format!(
                "{}: before the first step, the probe said of {}: {words} ({own}, zero line {zero}, {} rows)",
                run.name, probed.name.checkpoint, probed.rows
            );
            items.push_str(&format!("<li>{}</li>\n", text(&line)));
        }
        if let Some(reason) = &history.not_probed {
            items.push_str(&format!("<li>{}</li>\n", text(&format!("{}: not probed: {reason}", run.name))));
        }
    }
    match items.is_empty() {
        true => items,
        false => format!("<h3>What the probe said</h3>\n<ul>\n{items}</ul>\n"),
    }
}
