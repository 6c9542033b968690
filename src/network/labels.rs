//! The labels of a checkpoint's head, and which of its rows become those of the run's.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

/// The labels that a checkpoint's head knows, in the order of its rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeadLabels {
    pub(super) names: Vec<String>,
    /// They are integers, for want of names.
    integers: bool,
}

impl HeadLabels {
    /// What `config.json` says.
    ///
    /// Names that are absent, or `LABEL_i` as transformers writes them for want of others, mean the integers from 0. A file
    /// that says nothing describes two classes, as in transformers.
    pub(super) fn of(config: &Value) -> HeadLabels {
        let integers =
            |count: u64| HeadLabels { names: (0..count).map(|id| id.to_string()).collect(), integers: true };
        let names = by_id(config).or_else(|| by_name(config));
        match (names, config.get("num_labels").and_then(Value::as_u64)) {
            (Some(names), _) if names.iter().enumerate().all(|(id, name)| *name == format!("LABEL_{id}")) => {
                integers(names.len() as u64)
            }
            (Some(names), _) => HeadLabels { names, integers: false },
            (None, Some(count)) => integers(count.min(MOST)),
            (None, None) => integers(2),
        }
    }

    /// For each of the run's labels, the row of the head that knows it; `None` if the two are not the same set.
    pub(super) fn rows(&self, run: &[String]) -> Option<Vec<usize>> {
        if self.names.len() != run.len() {
            return None;
        }
        let row_of: HashMap<&str, usize> =
            (0..).zip(&self.names).map(|(row, name)| (name.as_str(), row)).collect();
        let named = |name: &String| {
            let unnamed = name.strip_prefix("LABEL_").filter(|_| self.integers);
            row_of.get(name.as_str()).or_else(|| row_of.get(unnamed?)).copied()
        };
        let rows: Vec<usize> = run.iter().map(named).collect::<Option<_>>()?;
        let mut taken = vec![false; rows.len()];
        rows.iter().all(|&row| !std::mem::replace(&mut taken[row], true)).then_some(rows)
    }

    /// The names, as transformers shows them.
    pub(super) fn into_class_names(self) -> Vec<String> {
        let HeadLabels { names, integers } = self;
        let unnamed = |name: String| if integers { format!("LABEL_{name}") } else { name };
        names.into_iter().map(unnamed).collect()
    }

    /// Whether the head knows all of these.
    pub(super) fn know(&self, some: &[String]) -> bool {
        let names: HashSet<&String> = self.names.iter().collect();
        some.iter().all(|name| names.contains(name))
    }
}

/// Most labels that are named one by one without a list of them.
const MOST: u64 = 1 << 20;

/// `id2label`: names by id, in JSON's string keys.
fn by_id(config: &Value) -> Option<Vec<String>> {
    let names = config.get("id2label")?.as_object().filter(|names| !names.is_empty())?;
    (0..names.len()).map(|id| text(names.get(&id.to_string())?)).collect()
}

/// `label2id`, where it stands alone: ids by name.
fn by_name(config: &Value) -> Option<Vec<String>> {
    let ids = config.get("label2id")?.as_object().filter(|ids| !ids.is_empty())?;
    let mut names = vec![None; ids.len()];
    for (name, id) in ids {
        *names.get_mut(usize::try_from(id.as_u64()?).ok()?)? = Some(name.clone());
    }
    names.into_iter().collect()
}

fn text(name: &Value) -> Option<String> {
    match name {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Writes the new head into `config.json`, as transformers describes one.
pub(super) fn describe(config: &mut Value, class: &str, labels: &[String]) {
    let id2label: Map<String, Value> =
        labels.iter().enumerate().map(|(id, label)| (id.to_string(), label.clone().into())).collect();
    let label2id: Map<String, Value> =
        labels.iter().enumerate().map(|(id, label)| (label.clone(), id.into())).collect();
    config["architectures"] = json!([class]);
    config["id2label"] = id2label.into();
    config["label2id"] = label2id.into();
    config["problem_type"] = "single_label_classification".into();
    if let Some(object) = config.as_object_mut() {
        object.remove("num_labels");
    }
    in_f32(config);
}

/// Says that weights are stored in 32 bits: transformers loads them in what the configuration says.
pub(super) fn in_f32(config: &mut Value) {
    if let Some(object) = config.as_object_mut() {
        object.remove("torch_dtype");
        object.insert("dtype".into(), "float32".into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_head_without_names_is_of_integers() {
        let named = |count: usize| -> Map<String, Value> {
            (0..count).map(|id| (id.to_string(), format!("LABEL_{id}").into())).collect()
        };
        let integers = |count: usize| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();
        assert_eq!(HeadLabels::of(&json!({"id2label": named(11)})).names, integers(11), "10 comes after 9");
        assert_eq!(HeadLabels::of(&json!({})).names, integers(2));
        assert_eq!(HeadLabels::of(&json!({"id2label": null, "num_labels": 3})).names, integers(3));
        assert_eq!(
            HeadLabels::of(&json!({"id2label": {"0": "LABEL_1", "1": "LABEL_0"}})).names,
            ["LABEL_1", "LABEL_0"]
        );
        assert_eq!(HeadLabels::of(&json!({"id2label": {"1": "b", "0": "a"}})).names, ["a", "b"]);
        assert_eq!(HeadLabels::of(&json!({"id2label": {"0": 5, "1": 7}})).names, ["5", "7"]);
        assert_eq!(HeadLabels::of(&json!({"label2id": {"b": 1, "a": 0}})).names, ["a", "b"]);
    }

    #[test]
    fn rows_follow_the_names() {
        let head_rows = |known: &[String], run: &[String]| {
            let integers = known.iter().enumerate().all(|(id, name)| *name == id.to_string());
            HeadLabels { names: known.to_vec(), integers }.rows(run)
        };
        assert_eq!(head_rows(&names(&["a", "b", "c"]), &names(&["c", "a", "b"])), Some(vec![2, 0, 1]));
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["a", "c"])), None);
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["a", "b", "c"])), None);
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["a", "a"])), None);
        assert_eq!(head_rows(&names(&["0", "1"]), &names(&["LABEL_1", "LABEL_0"])), Some(vec![1, 0]));
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["LABEL_a", "LABEL_b"])), None);
    }

    #[test]
    fn a_sample_of_the_labels_may_be_those_of_the_head() {
        let head = HeadLabels::of(&json!({"id2label": {"0": "a", "1": "b", "2": "c"}}));
        assert!(head.know(&names(&["c", "a"])) && !head.know(&names(&["a", "d"])));
    }
}
