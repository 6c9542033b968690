//! What the head start was worth: runs from pretrained weights against runs from random ones, in the words of `compare`.

use super::Report;
use super::differences::differing;
use super::html::{details, paragraph, text};
use super::measured::{Start, start};
use crate::cli::compare::curve::Line;
use crate::cli::compare::show::summary;
use crate::cli::compare::worth::Worth;
use crate::cli::format::MetricKind;
use crate::cli::runs::Group;

/// What `compare` begins with.
const QUESTION: &str = "What was the head start worth? ";
/// Pairs that are told, and those of them that are not folded away.
const MOST_PAIRS: usize = 20;
const SHOWN_PAIRS: usize = 3;
/// Keys that say where weights begin, and how an adapter is laid out.
const OF_THE_START: [&str; 4] = ["init", "base_model", "init_missing", "adapter"];

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
    let mut told: Vec<String> =
        pairs(report).iter().take(MOST_PAIRS).filter_map(|pair| worth(report, metric, pair)).collect();
    let more = told.split_off(told.len().min(SHOWN_PAIRS));
    let folded = match more.is_empty() {
        true => String::new(),
        false => details(&format!("{} more", more.len()), false, &more.concat()),
    };
    told.concat() + &folded
}

/// One pair in words; `None` where there is nothing to compare.
fn worth(report: &Report, metric: &str, pair: &Pair<'_>) -> Option<String> {
    let kind = MetricKind::of(metric);
    let [first, other] = [pair.first, pair.other].map(|group| Line::of(group, &report.runs, metric).ok());
    let (first, other) = (first?, other?);
    let words = summary(kind, &first, &other, &Worth::of(kind, &first, &other));
    let mut words = words.trim().lines().map(str::trim);
    // The section asks the question already.
    let heading = words.next()?.trim_start_matches(QUESTION).trim_end_matches(':');
    let mut html = format!("<h3>{}</h3>\n<ul class=\"worth\">\n", text(heading));
    let differ = (!pair.differ.is_empty()).then(|| {
        let keys = pair.differ.join(", ");
        format!("warning: they also differ in {keys}: this is not what the head start alone was worth")
    });
    for line in words.map(str::to_owned).chain(differ) {
        let class = if line.starts_with("warning:") { " class=\"warning\"" } else { "" };
        html.push_str(&format!("<li{class}>{}</li>\n", text(&line)));
    }
    Some(html + "</ul>\n")
}

/// What is compared.
struct Pair<'a> {
    first: &'a Group,
    other: &'a Group,
    /// Keys in which they differ, beside where they begin.
    differ: Vec<&'a str>,
}

/// Each group from pretrained weights with the group from random ones that differs from it in the fewest keys, of those that
/// learn the same task and are evaluated on the same data.
fn pairs(report: &Report) -> Vec<Pair<'_>> {
    let run = |group: &Group| &report.runs[group.members[0]];
    let task = |group: &Group| ["task", "eval_datasets"].map(|name| run(group).pins.keys.get(name));
    let others = |first: &Group| {
        let others = report.groups.iter().filter(|other| start(run(other)) == Start::Random);
        others.filter(|other| task(other) == task(first)).collect::<Vec<_>>()
    };
    report
        .groups
        .iter()
        .filter(|first| matches!(start(run(first)), Start::Pretrained(_)))
        .filter_map(|first| {
            let pair = |other| {
                let mut differ = differing(&[run(first), run(other)]);
                let of_seeds = first.members.len().max(other.members.len()) > 1;
                differ.retain(|key| !OF_THE_START.contains(key) && (*key != "seed" || !of_seeds));
                Pair { first, other, differ }
            };
            others(first).into_iter().map(pair).min_by_key(|pair| pair.differ.len())
        })
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
            let (name, checkpoint) = (&run.name, &probed.name.checkpoint);
            let line = format!(
                "{name}: before the first step, the probe said of {checkpoint}, on {} rows: {}",
                probed.rows,
                probed.line()
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
