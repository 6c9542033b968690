//! The reference pages are what the programs say of themselves: `docs/reference/` is generated from `--help` and the schema.
//!
//! `make docs-reference` writes the pages anew.

use std::fmt::Write;
use std::path::Path;

use headstart_tests::{command, repository, succeed};
use serde_json::{Map, Value};

/// Set by `make docs-reference`.
const WRITE: &str = "HEADSTART_WRITE_REFERENCE";

/// Programs that people start.
const PROGRAMS: [&str; 3] = ["headstart", "headstart-coordinator", "headstart-worker"];

#[test]
fn the_reference_is_what_the_programs_say() {
    for (name, generated) in [("commands.md", commands()), ("run_file.md", run_file())] {
        let path = repository().join("docs/reference").join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, generated).expect("docs/ is writable");
            continue;
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = committed.lines().zip(generated.lines()).find(|(one, other)| one != other);
        assert!(
            committed == generated,
            "docs/reference/{name}: run `make docs-reference`; the first difference: {differs:?}"
        );
    }
}

fn help(words: &[&str]) -> String {
    let (program, rest) = words.split_first().expect("a program");
    let output = command(program, Path::new("."))
        .args(rest)
        .arg("--help")
        .env_remove("HEADSTART_COORDINATOR")
        .output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{words:?} --help");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Every program and command with its help.
fn commands() -> String {
    let mut page = "# Commands\n\nWhat each program prints with `--help`. `headstart man DIR` writes the same as manual pages.\n".to_owned();
    for program in PROGRAMS {
        let text = help(&[program]);
        let _ = write!(page, "\n## {program}\n\n```text sample\n{}```\n", text);
        let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed.take_while(|line| line.starts_with("  "));
        for name in listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            let _ = write!(page, "\n### {program} {name}\n\n```text sample\n{}```\n", help(&[program, name]));
        }
    }
    page
}

/// Every key of a run file with its type and what it means, from the schema.
fn run_file() -> String {
    let schema: Value = serde_json::from_str(&succeed(Path::new("."), &["schema"])).expect("it is JSON");
    let mut page = "# Keys of a run file\n\nA run file is YAML or JSON. `headstart schema` prints the same as a JSON schema, for editors.\n".to_owned();
    table(&mut page, &schema["properties"]);
    for (name, title, what) in [
        (
            "DatasetBlock",
            "Keys of a dataset",
            "Each entry of `datasets` and `eval_datasets`; a path alone stands for `path`.",
        ),
        ("ClusterBlock", "Keys of `cluster`", "They cannot change the result's bits."),
        (
            "UnfreezeBlock",
            "Keys of an entry of `unfreeze`",
            "Parameters that begin to train at a step of their own.",
        ),
    ] {
        let _ = write!(page, "\n## {title}\n\n{what}\n");
        table(&mut page, &schema["$defs"][name]["properties"]);
    }
    page
}

fn table(page: &mut String, properties: &Value) {
    let none = Map::new();
    let properties = properties.as_object().unwrap_or(&none);
    let describe = |property: &Value| property["description"].as_str().unwrap_or_default().replace('\n', " ");
    let spelling =
        |property: &Value| describe(property).strip_prefix("Another spelling of ").map(str::to_owned);
    page.push_str("\n| key | type | meaning |\n|---|---|---|\n");
    for (name, property) in properties.iter().filter(|(_, property)| spelling(property).is_none()) {
        let others = properties
            .iter()
            .filter(|(_, other)| spelling(other).is_some_and(|of| of.trim_end_matches('.') == name));
        let others: Vec<String> = others.map(|(other, _)| format!("`{other}`")).collect();
        let also = if others.is_empty() { String::new() } else { format!(" Also: {}.", others.join(", ")) };
        let _ = writeln!(page, "| `{name}` | {} | {}{also} |", kind(property), cell(&describe(property)));
    }
}

/// A type in a few words.
fn kind(property: &Value) -> String {
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<String> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    if let Some(reference) = property["$ref"].as_str() {
        return match reference.rsplit('/').next() {
            Some("ClusterBlock") => "keys below".to_owned(),
            _ => "a block of keys".to_owned(),
        };
    }
    let mut kinds: Vec<String> = match &property["type"] {
        Value::String(name) => vec![word(name, property)],
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .map(|name| word(name, property))
            .collect(),
        _ => Vec::new(),
    };
    for choice in ["anyOf", "oneOf"].iter().filter_map(|key| property[key].as_array()).flatten() {
        if choice["type"] != "null" {
            kinds.push(kind(choice));
        }
    }
    kinds.retain(|kind| !kind.is_empty());
    kinds.dedup();
    if let [one, other] = &kinds[..] {
        for (many, single) in [(one, other), (other, one)] {
            if *many == format!("list of {single}") {
                return format!("{single}, or a list of them");
            }
        }
    }
    kinds.join(" or ")
}

fn word(name: &str, property: &Value) -> String {
    match name {
        "integer" => "integer".to_owned(),
        "array" => format!("list of {}", some(&kind(&property["items"]))),
        "object" => "block".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}

fn some(kind: &str) -> &str {
    if kind.is_empty() { "values" } else { kind }
}

/// A text that neither ends its cell nor begins a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
