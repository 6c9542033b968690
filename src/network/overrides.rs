//! `model_overrides`: keys of `config.json` that the run file sets. One that nobody reads would be lost without a word.

use std::collections::BTreeSet;

use super::NetworkError;
use crate::run_file::suggestion;

/// Keys that follow from the run's labels.
const OF_LABELS: [&str; 4] = ["num_labels", "id2label", "label2id", "problem_type"];
/// Keys that change nothing here, as other trainers' run files have them.
const WITHOUT_EFFECT: [&str; 12] = [
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "dtype",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

/// Refuses keys that the family does not look for.
pub(super) fn check<'a>(
    keys: impl Iterator<Item = &'a String>,
    looked_for: &BTreeSet<&'static str>,
) -> Result<(), NetworkError> {
    for key in keys {
        let cure = match key.as_str() {
            known if looked_for.contains(known) || WITHOUT_EFFECT.contains(&known) => continue,
            known if OF_LABELS.contains(&known) => "`labels` names the classes, and orders them".to_owned(),
            other => match suggestion(other, looked_for.iter().copied()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("it reads {}", looked_for.iter().copied().collect::<Vec<_>>().join(", ")),
            },
        };
        return Err(NetworkError::Override { key: key.clone(), cure });
    }
    Ok(())
}

/// What to say of keys of `config.json` that nothing here knows. A damaged file may have any number of them, of any length.
pub(super) fn unknown(keys: &[String]) -> Option<String> {
    const FIRST: usize = 12;
    const LONGEST: usize = 60;
    let first = keys.iter().take(FIRST).map(|key| key.chars().take(LONGEST).collect::<String>());
    let first: Vec<String> = first.collect();
    let more = match keys.len().saturating_sub(FIRST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let pronoun = if keys.len() == 1 { "it" } else { "they" };
    (!first.is_empty()).then(|| {
        format!(
            "config.json has {}{more}, unknown to this model_type: {pronoun} had no effect",
            first.join(", ")
        )
    })
}
