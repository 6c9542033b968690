//! In what the run files of several runs differ.

use std::collections::BTreeSet;

use headstart::run_file::is_result_key;
use serde_json::Value;

use super::Report;
use super::html::{Column, Table, paragraph, text};
use super::results::key;
use crate::cli::runs::Run;

/// Characters of a value.
const LONGEST: usize = 80;

/// A row for each key that differs, a column for each run; nothing for one run.
pub(super) fn html(report: &Report) -> String {
    if report.runs.len() < 2 {
        return String::new();
    }
    let runs: Vec<&Run> = report.runs.iter().collect();
    let differ = differing(&runs);
    if differ.is_empty() {
        return paragraph("In nothing that can change a result.");
    }
    let columns: Vec<Column<'_>> = std::iter::once(Column::Text("key"))
        .chain(report.runs.iter().map(|run| Column::Text(&run.name)))
        .collect();
    let mut table = Table::new("Keys that can change the result and are not the same in all runs", &columns);
    table.row("", &keys_of(report));
    for name in differ {
        let cells = runs
            .iter()
            .map(|run| run.pins.keys.get(name))
            .map(|value| value.map_or_else(|| "–".to_owned(), shown));
        table.row(
            "",
            &std::iter::once(format!("<code>{}</code>", text(name))).chain(cells).collect::<Vec<_>>(),
        );
    }
    table.html()
}

/// Keys that can change the result and are not the same in all runs.
pub(super) fn differing<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let names: BTreeSet<&str> =
        runs.iter().flat_map(|run| run.pins.keys.keys()).map(String::as_str).collect();
    let varies = |name: &&str| {
        let mut values = runs.iter().map(|run| run.pins.keys.get(*name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    names.into_iter().filter(|name| is_result_key(name)).filter(varies).collect()
}

/// How each run's curves look.
fn keys_of(report: &Report) -> Vec<String> {
    let of = |place: usize| report.groups.iter().position(|group| group.members.contains(&place));
    let keys = (0..report.runs.len()).map(|place| of(place).map_or_else(String::new, key));
    std::iter::once("in charts".to_owned()).chain(keys).collect()
}

fn shown(value: &Value) -> String {
    let whole = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match whole.char_indices().nth(LONGEST) {
        Some((cut, _)) => text(&format!("{}…", &whole[..cut])),
        None => text(&whole),
    }
}
