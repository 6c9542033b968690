//! What happened in each run, in words, and how its workers spent their time.

use std::time::Duration;

use headstart::svg::{COLOURS, bar};

use super::Report;
use super::history::{History, Worker};
use super::html::{Column, Table, number, paragraph, text};
use super::results::key;
use crate::cli::format::{count, duration};
use crate::cli::runs::Run;

/// Faults that are listed; of more, the first and the last ones.
const MOST_FAULTS: usize = 100;
/// Workers that are listed.
const MOST_WORKERS: usize = 64;
/// Width of a worker's time, in the units of its picture.
const BAR: f64 = 160.0;
const WAIT: &str = "#999999";

/// One part for each run.
pub(super) fn html(report: &Report) -> String {
    let timed = |history: &History| history.workers.values().any(|worker| worker.spent.is_some());
    let legend = if report.histories.iter().any(timed) { legend() } else { String::new() };
    let runs: String = report
        .runs
        .iter()
        .zip(&report.histories)
        .map(|(run, history)| {
            let place = report.groups.iter().position(|group| {
                group.members.iter().any(|&member| std::ptr::eq(&report.runs[member], run))
            });
            let title = format!("<h3>{}{}</h3>\n", place.map_or_else(String::new, key), text(&run.name));
            title + &summary(run, history) + &faults(run, history) + &workers(run, history)
        })
        .collect();
    legend + &runs
}

fn summary(run: &Run, history: &History) -> String {
    let mut sentences = vec![format!("The run is {}", run.progress())];
    match history.is_told {
        true => sentences.extend(counts(history)),
        false => sentences.push("It left no events.jsonl".to_owned()),
    }
    sentences.extend(not_finite(run));
    sentences.extend(run.remarks());
    paragraph(&(sentences.join(". ") + "."))
}

fn counts(history: &History) -> Vec<String> {
    let plural = |number: u64, one: &str, more: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{} {more}", count(number)),
    };
    let audits = plural(history.audits, "lease was computed twice", "leases were computed twice");
    let mut sentences = vec![format!(
        "{}, {}, {}",
        plural(history.joins, "worker joined", "workers joined"),
        plural(history.faults.len() as u64, "fault or change", "faults or changes"),
        plural(history.commits, "commit", "commits")
    )];
    sentences.push(match (history.audits, history.disputes) {
        (0, 0) => "Nothing was audited".to_owned(),
        (_, 0) => format!("{audits}, with equal bits"),
        (_, disputes) => {
            format!("{audits}, {}", plural(disputes, "dispute about the bits", "disputes about the bits"))
        }
    });
    if history.left_out > 0 {
        sentences.push(plural(history.left_out, "event is not recorded", "events are not recorded"));
    }
    sentences
}

/// Values that no chart can show.
fn not_finite(run: &Run) -> Option<String> {
    let steps: Vec<u64> =
        run.metrics.series("loss").iter().filter(|point| !point.1.is_finite()).map(|point| point.0).collect();
    let first = steps.first()?;
    Some(match steps.len() {
        1 => format!("The training loss was not finite at step {first}"),
        many => format!("The training loss was not finite at {many} steps, first at step {first}"),
    })
}

fn faults(run: &Run, history: &History) -> String {
    if history.faults.is_empty() {
        return String::new();
    }
    let caption = format!("Faults and changes of {}", run.name);
    let columns =
        [Column::Text("after"), Column::Number("step"), Column::Text("worker"), Column::Text("what")];
    let mut table = Table::new(&caption, &columns);
    let left_out = history.faults.len().saturating_sub(MOST_FAULTS);
    for (place, fault) in history.faults.iter().enumerate() {
        if left_out > 0 && (MOST_FAULTS / 2..MOST_FAULTS / 2 + left_out).contains(&place) {
            if place == MOST_FAULTS / 2 {
                table.row("", &[format!("… {left_out} more …")]);
            }
            continue;
        }
        let after = Duration::try_from_secs_f64(fault.after).unwrap_or_default();
        let worker = match &fault.worker {
            Some((number, name)) => format!("{number} ({name})"),
            None => "–".to_owned(),
        };
        table.row("", &[duration(after), fault.step.to_string(), text(&worker), text(&fault.what)]);
    }
    table.html()
}

fn workers(run: &Run, history: &History) -> String {
    if history.workers.is_empty() {
        return String::new();
    }
    let caption = format!("Time of the workers of {}", run.name);
    let columns = [
        Column::Text("worker"),
        Column::Text("device"),
        Column::Number("shards"),
        Column::Number("computing"),
        Column::Number("transfer"),
        Column::Number("waiting"),
        Column::Text("shares"),
    ];
    let mut table = Table::new(&caption, &columns);
    let terms = history.workers.keys().map(|(term, _)| *term).max().unwrap_or(1);
    for (&(term, number), worker) in history.workers.iter().take(MOST_WORKERS) {
        let of_term = if terms > 1 { format!(", coordinator {term}") } else { String::new() };
        let name = text(&format!("{number} ({}){of_term}", worker.name));
        table.row("", &worker_row(name, worker));
    }
    let more = history.workers.len().saturating_sub(MOST_WORKERS);
    if more > 0 {
        table.row("", &[format!("and {more} more")]);
    }
    table.html()
}

fn worker_row(name: String, worker: &Worker) -> Vec<String> {
    let shards = worker.shards.map_or_else(|| "–".to_owned(), |shards| number(shards as f64, &count(shards)));
    let mut row = vec![name, text(&worker.device), shards];
    let spent = worker.spent.unwrap_or([f64::NAN; 3]);
    row.extend(spent.map(|seconds| match Duration::try_from_secs_f64(seconds) {
        Ok(time) => number(seconds, &duration(time)),
        Err(_) => "–".to_owned(),
    }));
    row.push(worker.spent.map_or_else(String::new, shares));
    row
}

/// Computing, transfer and waiting as parts of a bar.
fn shares(spent: [f64; 3]) -> String {
    let all: f64 = spent.iter().map(|seconds| seconds.max(0.0)).sum();
    if !all.is_finite() || all <= 0.0 {
        return String::new();
    }
    let mut parts = String::new();
    let mut x = 0.0;
    for (seconds, colour) in spent.into_iter().zip([COLOURS[0], COLOURS[4], WAIT]) {
        let width = BAR * seconds.max(0.0) / all;
        bar(&mut parts, (x, 0.0), (width, 12.0), colour);
        x += width;
    }
    let percent = spent.map(|seconds| format!("{:.0} %", 100.0 * seconds.max(0.0) / all));
    let [compute, transfer, wait] = percent;
    let title = format!("computing {compute}, transfer {transfer}, waiting {wait}");
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 {BAR} 12\" width=\"{BAR}\" height=\"12\" role=\"img\"><title>{title}</title>{parts}</svg>"
    )
}

fn legend() -> String {
    let piece = |colour: &str, name: &str| {
        let mut part = String::new();
        bar(&mut part, (0.0, 0.0), (12.0, 12.0), colour);
        format!(
            "<li><svg viewBox=\"0 0 12 12\" width=\"12\" height=\"12\" aria-hidden=\"true\">{part}</svg>{name}</li>"
        )
    };
    let pieces = [(COLOURS[0], "computing"), (COLOURS[4], "transfer"), (WAIT, "waiting")];
    let pieces: String = pieces.iter().map(|(colour, name)| piece(colour, name)).collect();
    format!("<ul class=\"legend\"><li>Time of workers:</li>{pieces}</ul>\n")
}
