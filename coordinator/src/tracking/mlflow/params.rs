//! The keys of a run file as MLflow's parameters: flat names, short texts, no secrets.

use headstart::run_file::RunSpec;
use serde_json::Value;

/// Characters of a value: servers before version 2.8 take no more.
const LONGEST_VALUE: usize = 500;
/// Characters of a name: MLflow's own limit.
const LONGEST_KEY: usize = 250;

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Param {
    pub(super) key: String,
    pub(super) value: String,
}

/// Those of a run: every key with its default filled in; `cluster.min_workers` for a key of a block, JSON for a list. Keys that
/// have no value are left out.
pub(super) fn of(spec: &RunSpec) -> Vec<Param> {
    let mut params = Vec::new();
    for (key, value) in spec.shown() {
        add(key, &value, &mut params);
    }
    params
}

fn add(key: String, value: &Value, params: &mut Vec<Param>) {
    let text = match value {
        Value::Null => return,
        Value::Object(keys) => {
            return keys.iter().for_each(|(name, value)| add(format!("{key}.{name}"), value, params));
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    params.push(Param { key: name(&key), value: clip(&text, LONGEST_VALUE) });
}

/// A name of letters, digits and what else MLflow takes.
fn name(key: &str) -> String {
    let taken = |letter: char| letter.is_ascii_alphanumeric() || "_-. /".contains(letter);
    clip(key, LONGEST_KEY).chars().map(|letter| if taken(letter) { letter } else { '_' }).collect()
}

fn clip(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_run_files_keys_without_secrets() {
        let text = "base_model: https://me:secret@host/model?token=secret\ntask: image-classification\n\
            datasets: [{path: d}]\noutput_dir: o\nlearning_rate: 1e-3\n";
        let params = of(&headstart::run_file::parse("run.yaml", text, &[]).unwrap());
        let value =
            |key: &str| params.iter().find(|param| param.key == key).map(|param| param.value.as_str());
        assert_eq!(value("base_model"), Some("https://host/model"));
        assert_eq!(value("learning_rate"), Some("0.001"));
        assert_eq!(value("cluster.min_workers"), Some("1"));
        assert_eq!(value("max_steps"), None);
        assert!(value("datasets").unwrap().starts_with("[{\"path\":\"d\""));
        assert!(params.iter().all(|param| !param.value.contains("secret")));
    }

    #[test]
    fn names_and_values_keep_to_the_servers_limits() {
        assert_eq!(name("model_overrides.a:b"), "model_overrides.a_b");
        assert_eq!(name(&"k".repeat(300)).len(), 250);
        let mut params = Vec::new();
        add("k".to_owned(), &"ü".repeat(600).into(), &mut params);
        assert_eq!(params[0].value.chars().count(), 500);
    }
}
