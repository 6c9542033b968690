//! What each run is a function of: its run file, and the hashes, versions and files that pin it.

use serde_json::Value;

use super::Report;
use super::html::{Column, Table, details, lines, section, text};
use crate::cli::runs::Run;

/// Files of a dataset that are listed.
const MOST_FILES: usize = 20;
/// Names in a list, such as labels.
const MOST_NAMES: usize = 30;
/// Characters of a value, such as a chat template.
const LONGEST: usize = 4_000;

/// Facts that are shown, in this order, and what they are.
const FACTS: [(&str, &str); 11] = [
    ("run_id", "name of the run"),
    ("headstart", "version of headstart"),
    ("numeric_class", "numeric class of its workers"),
    ("weights_sha256", "SHA-256 of the weights' file or files"),
    ("ledger_sha256", "SHA-256 of the ledger"),
    ("weights_version", "updates that these weights have seen"),
    ("parameters", "hash of the parameter table"),
    ("base", "hash of the frozen weights"),
    ("coordinator_term", "coordinators that the run has had"),
    ("labels", "labels, in the order of their ids"),
    ("newly_initialised", "parameters that the checkpoint lacks"),
];

/// Run files of all runs.
pub(super) fn run_files(report: &Report) -> String {
    let open = report.runs.len() == 1;
    let intro = "<p>Every key with its value, defaults included. User names, passwords and queries of URLs are left out.</p>\n";
    let files = report.runs.iter().map(|run| {
        let keys = run.pins.keys.iter().map(|(name, value)| format!("{name}: {}", clipped(yaml(value))));
        let mut file = keys.collect::<Vec<_>>().join("\n");
        if file.is_empty() {
            file = "# none is recorded".to_owned();
        } else if !run.files.is_final() {
            file = format!(
                "# the keys that can change the result; the others are written at the run's end\n{file}"
            );
        }
        details(&run.name, open, &lines(&file))
    });
    section("run-files", "Run files", &(intro.to_owned() + &files.collect::<String>()))
}

/// As much of a value as is worth showing.
fn clipped(value: String) -> String {
    match value.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}… # {} more characters", &value[..cut], value[cut..].chars().count()),
        None => value,
    }
}

/// A value as YAML has it: JSON is YAML too, and a plain word needs no quotation marks.
fn yaml(value: &Value) -> String {
    let is_plain = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
            && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
                .contains(&text.to_lowercase().as_str())
    };
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Hashes, versions and files of all runs.
pub(super) fn html(report: &Report) -> String {
    let open = report.runs.len() == 1;
    report.runs.iter().map(|run| details(&run.name, open, &(facts(run) + &files(run)))).collect()
}

fn facts(run: &Run) -> String {
    let caption = format!("What pins {}", run.name);
    let mut table = Table::new(&caption, &[Column::Text("what"), Column::Text("value")]);
    let mut row =
        |what: &str, value: &str| table.row("", &[text(what), format!("<code>{}</code>", text(value))]);
    row("where it is", run.files.directory().url());
    row("how far it is", &run.progress());
    row("checkpoint", run.pins.key("base_model"));
    for (name, what) in FACTS {
        if let Some(value) =
            run.pins.facts.get(name).map(|value| clipped(shown(value))).filter(|value| !value.is_empty())
        {
            row(what, &value);
        }
    }
    for (name, what) in [("data", "hash of the data"), ("weights", "hash of the first weights")] {
        if let Some(hash) = run.pins.first.get(name).and_then(Value::as_str) {
            row(what, hash);
        }
    }
    table.html()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let names = items.iter().take(MOST_NAMES).map(shown).collect::<Vec<_>>().join(", ");
            match items.len().saturating_sub(MOST_NAMES) {
                0 => names,
                more => format!("{names} and {more} more"),
            }
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", shown(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// The data's files, as they were when the run was planned.
fn files(run: &Run) -> String {
    let Some(data) = run.pins.facts.get("data").and_then(Value::as_object) else { return String::new() };
    let caption = format!("Data of {}", run.name);
    let columns =
        [Column::Text("file"), Column::Text("of"), Column::Number("bytes"), Column::Text("SHA-256")];
    let mut table = Table::new(&caption, &columns);
    for (name, of) in [("train", "training"), ("eval", "evaluation")] {
        let Some(set) = data.get(name) else { continue };
        let files = set["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        for file in files.iter().take(MOST_FILES) {
            let field = |name: &str| file.get(name).map(shown).unwrap_or_default();
            let cells = [field("url"), of.to_owned(), field("size"), field("sha256")].map(|cell| text(&cell));
            table.row("", &cells);
        }
        let total = set["files_total"].as_u64().unwrap_or(files.len() as u64);
        let more = total.saturating_sub(files.len().min(MOST_FILES) as u64);
        if more > 0 {
            table.row("", &[format!("and {more} more files"), of.to_owned()]);
        }
    }
    table.html()
}
