//! What a run is a function of, and how far it is: from `run.json`, or from the newest manifest.

use std::collections::BTreeMap;

use headstart::manifest::Manifest;
use headstart::run_file;
use serde_json::{Map, Value, json};

use super::{Files, RunError};

/// Bytes of the ledger's first line at most.
const FIRST_LINE: u64 = 64 << 10;

/// What pins a run.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Pins {
    /// The run file, every default filled in; of a run that is not finished the keys that can change its result. URLs are
    /// without user information and queries.
    pub(in crate::cli) keys: Map<String, Value>,
    /// `run.json` without the run file, or as much of it as a manifest knows. URLs as above.
    pub(in crate::cli) facts: Map<String, Value>,
    /// The ledger's first line: hashes of the data, the parameter table and the first weights.
    pub(in crate::cli) first: Map<String, Value>,
    /// Steps it was planned for, where they are known.
    pub(in crate::cli) total_steps: Option<u64>,
    /// Updates made; of a run that is not finished, those of its last commit.
    pub(in crate::cli) steps: u64,
}

impl Pins {
    /// Reads what is beside the metrics.
    pub(super) async fn read(files: &Files) -> Result<Pins, RunError> {
        let mut facts = match files.manifest() {
            Some(manifest) => of_manifest(manifest),
            None => of_run(files).await?,
        };
        run_file::hide_secrets(&mut facts);
        let Value::Object(mut facts) = facts else {
            return Err(RunError::damaged(&files.place("run.json")?, "it is no JSON object"));
        };
        let keys = match facts.shift_remove("spec") {
            Some(Value::Object(keys)) => keys,
            _ => Map::new(),
        };
        let ledger = files.read_start("ledger.jsonl", FIRST_LINE).await?.unwrap_or_default();
        let first: Option<Map<String, Value>> =
            ledger.lines().next().and_then(|line| serde_json::from_str(line).ok());
        let first = first.unwrap_or_default();
        let number = |name: &str| facts.get(name).or_else(|| first.get(name)).and_then(Value::as_u64);
        let total_steps = number("total_steps");
        if files.is_final() && total_steps.is_none() {
            return Err(RunError::damaged(&files.place("run.json")?, "total_steps is missing"));
        }
        let steps = number("steps").or(total_steps).unwrap_or_default();
        Ok(Pins { keys, facts, first, total_steps, steps })
    }

    /// The seed, if it is known.
    pub(super) fn seed(&self) -> Option<u64> {
        self.keys.get("seed").and_then(Value::as_u64)
    }

    /// A key of the run file as text; empty where it is missing.
    pub(in crate::cli) fn key(&self, name: &str) -> &str {
        self.keys.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Everything but the seed that can change the result: keys, data and parameter table.
    pub(super) fn but_seed(&self) -> BTreeMap<&str, &Value> {
        let keys = self.keys.iter().filter(|(name, _)| run_file::is_result_key(name) && *name != "seed");
        let keys = keys.map(|(name, value)| (name.as_str(), value));
        let hashes =
            ["data", "parameters"].into_iter().filter_map(|name| Some((name, self.first.get(name)?)));
        keys.chain(hashes).collect()
    }
}

/// `run.json` of a finished run.
async fn of_run(files: &Files) -> Result<Value, RunError> {
    let place = files.place("run.json")?;
    let Some(text) = files.read("run.json").await? else {
        return Err(RunError::damaged(&place, "it is missing beside metrics.jsonl"));
    };
    serde_json::from_str(&text).map_err(|error| RunError::damaged(&place, error))
}

/// What a manifest knows of it, under the same names.
fn of_manifest(manifest: &Manifest) -> Value {
    let standing = &manifest.state.standing;
    let class = standing.class.as_ref().map(|(class, _)| class);
    json!({
        "run_id": manifest.run_id,
        "spec": manifest.pins.keys,
        "base": manifest.pins.base,
        "parameters": manifest.pins.parameters,
        "steps": standing.version,
        "numeric_class": class,
        "coordinator_term": manifest.epoch,
    })
}
