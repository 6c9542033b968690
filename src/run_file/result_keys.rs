//! Which keys of a run file can change the result.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::RunSpec;

/// Keys that cannot change the bits of the result: where and when it is written, and by how many workers.
const NO_RESULT_KEYS: [&str; 9] = [
    "audit",
    "cluster",
    "gradient_checkpointing",
    "output_dir",
    "probe",
    "resume_from_checkpoint",
    "save_steps",
    "save_strategy",
    "save_total_limit",
];

/// Whether a key of the run file can change the final weights.
pub fn is_result_key(name: &str) -> bool {
    !NO_RESULT_KEYS.contains(&name)
}

impl RunSpec {
    /// The keys that can change the final weights: runs that agree in them, in data and in checkpoint are one.
    pub fn result_keys(&self) -> BTreeMap<String, Value> {
        let keys: BTreeMap<String, Value> = serde_json::from_value(json!(self)).expect("a run is an object");
        keys.into_iter().filter(|(name, _)| is_result_key(name)).collect()
    }
}
