//! `report_to`: the trackers that metrics are sent to, in the spellings of transformers.

use super::choice::{self, Choice};
use super::error::Problem;
use super::findings::Findings;
use super::node::{Node, Value};
use super::read::FromNode;
use super::suggest::suggestion;
use super::values::wrong_type;

/// A service that shows metrics while a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracker {
    /// Event files under `output_dir/tensorboard/`.
    TensorBoard,
    /// The server that `MLFLOW_TRACKING_URI` names.
    Mlflow,
}

/// Where metrics are sent; each tracker once.
#[derive(Debug, Default)]
pub(super) struct ReportTo(pub(super) Vec<Tracker>);

/// Spellings of nothing. `[]` is what transformers' own YAML holds as text.
const NOTHING: [&str; 6] = ["none", "null", "no", "false", "off", "[]"];
/// What becomes of the names of other services.
const OTHERS: &str = "metrics are sent to tensorboard and mlflow only, and written to final/metrics.jsonl";

impl FromNode for ReportTo {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<ReportTo> {
        let mut trackers = Vec::new();
        let before = findings.problems().len();
        match &node.value {
            Value::List(items) => {
                for item in items {
                    add(item, key, &mut trackers, findings);
                }
            }
            _ => add(node, key, &mut trackers, findings),
        }
        trackers.sort_unstable();
        trackers.dedup();
        (findings.problems().len() == before).then_some(ReportTo(trackers))
    }
}

/// Adds what one value names: a tracker, several with commas between them, all or nothing.
fn add(node: &Node, key: &str, trackers: &mut Vec<Tracker>, findings: &mut Findings) {
    let text = match &node.value {
        Value::Text(text) => text,
        Value::Null | Value::Bool(false) => return,
        _ => {
            wrong_type::<()>(node, key, "tensorboard, mlflow, or a list of them", findings);
            return;
        }
    };
    let names = Tracker::NAMES;
    for name in text.split(',').map(choice::plain).filter(|name| !name.is_empty()) {
        if NOTHING.contains(&name.as_str()) {
            continue;
        }
        if name == "all" {
            trackers.extend(names.iter().map(|(_, tracker)| *tracker));
        } else if let Some(tracker) = choice::find(&name) {
            trackers.push(tracker);
        } else if let Some(meant) = suggestion(&name, names.iter().map(|(name, _)| *name)) {
            let problem = Problem::at(&node.at, format!("`{key}` cannot be {name:?}"));
            findings.push(problem.help(format!("did you mean {meant}?")));
        } else {
            findings.ignore(format!("{key} ({name})"), OTHERS);
        }
    }
}
