//! The labels of a checkpoint's head, and which of its rows become those of the run's.

use serde_json::{Map, Value, json};

/// Label names of a checkpoint's head, in the order of its rows.
///
/// Names that are absent, or `LABEL_i` as transformers writes them for want of others, mean the integers from 0. A
/// `config.json` that says nothing describes two classes, as in transformers.
pub(super) fn of_checkpoint(config: &Value) -> Vec<String> {
    let integers = |count: u64| (0..count).map(|id| id.to_string()).collect();
    let names = by_id(config).or_else(|| by_name(config));
    match (names, config.get("num_labels").and_then(Value::as_u64)) {
        (Some(names), _) if names.iter().enumerate().all(|(id, name)| *name == format!("LABEL_{id}")) => {
            integers(names.len() as u64)
        }
        (Some(names), _) => names,
        (None, Some(count)) => integers(count.min(MOST)),
        (None, None) => integers(2),
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

/// For each of the run's labels, the row of the checkpoint's head that knows it; `None` if the two are not the same set.
pub(super) fn head_rows(checkpoint: &[String], run: &[String]) -> Option<Vec<usize>> {
    if checkpoint.len() != run.len() {
        return None;
    }
    let named = |name: &String| {
        checkpoint.iter().position(|known| known == name || *name == format!("LABEL_{known}"))
    };
    let rows: Vec<usize> = run.iter().map(named).collect::<Option<_>>()?;
    let mut taken = vec![false; rows.len()];
    rows.iter().all(|&row| !std::mem::replace(&mut taken[row], true)).then_some(rows)
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
        assert_eq!(of_checkpoint(&json!({"id2label": named(11)})), integers(11), "10 comes after 9");
        assert_eq!(of_checkpoint(&json!({})), integers(2));
        assert_eq!(of_checkpoint(&json!({"id2label": null, "num_labels": 3})), integers(3));
        assert_eq!(
            of_checkpoint(&json!({"id2label": {"0": "LABEL_1", "1": "LABEL_0"}})),
            ["LABEL_1", "LABEL_0"]
        );
        assert_eq!(of_checkpoint(&json!({"id2label": {"1": "b", "0": "a"}})), ["a", "b"]);
        assert_eq!(of_checkpoint(&json!({"id2label": {"0": 5, "1": 7}})), ["5", "7"]);
        assert_eq!(of_checkpoint(&json!({"label2id": {"b": 1, "a": 0}})), ["a", "b"]);
    }

    #[test]
    fn rows_follow_the_names() {
        assert_eq!(head_rows(&names(&["a", "b", "c"]), &names(&["c", "a", "b"])), Some(vec![2, 0, 1]));
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["a", "c"])), None);
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["a", "b", "c"])), None);
        assert_eq!(head_rows(&names(&["a", "b"]), &names(&["a", "a"])), None);
        assert_eq!(head_rows(&names(&["0", "1"]), &names(&["LABEL_1", "LABEL_0"])), Some(vec![1, 0]));
    }
}
