//! Names of modules: which ones a name means, and the shortest names that mean some of them and no others.

use std::collections::BTreeSet;

use crate::model::Parameter;
use crate::model::blueprint::Identity;

/// Names listed in a message.
const MOST_LISTED: usize = 40;
/// What transformers calls a parameter or module in memory, by its name in checkpoints.
pub(super) fn in_memory(identity: &Identity, name: &str) -> String {
    let mut name = name.to_owned();
    for (stored, modern) in identity.renamed {
        name = name.replacen(stored, modern, 1);
    }
    name
}

/// Every module of a network in memory: what holds a parameter, and what holds such a module.
pub(super) fn of_table(identity: &Identity, table: &[Parameter]) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for parameter in table {
        let name = in_memory(identity, &parameter.name);
        let mut name = name.as_str();
        while let Some((module, _)) = name.rsplit_once('.') {
            if !modules.insert(module.to_owned()) {
                break;
            }
            name = module;
        }
    }
    modules
}

/// Whether `name` means a module that is adapted: it is the whole name, or its last components.
pub(super) fn is_suffix(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|start| start.is_empty() || start.ends_with('.'))
}

/// The shortest ends of the names `wanted` that are no ends of the names `others`; sorted.
pub(super) fn shortest_suffixes(wanted: &BTreeSet<String>, others: &BTreeSet<String>) -> Vec<String> {
    let mut suffixes = BTreeSet::new();
    for name in wanted {
        let dots = name.rmatch_indices('.').map(|(dot, _)| &name[dot + 1..]);
        let found = dots.chain([name.as_str()]).find(|end| !others.iter().any(|other| is_suffix(other, end)));
        suffixes.insert(found.unwrap_or(name).to_owned());
    }
    // An end of another one says nothing more.
    let covered = |suffix: &String| suffixes.iter().any(|other| other != suffix && is_suffix(suffix, other));
    suffixes.iter().filter(|suffix| !covered(suffix)).cloned().collect()
}

/// The name of a module within its layer.
pub(super) fn within_layer(module: &str, layer: usize) -> &str {
    let number = format!(".{layer}.");
    module.find(&number).map_or(module, |at| &module[at + number.len()..])
}

/// Some names, as a message lists them.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(MOST_LISTED).copied().collect();
    match names.len() {
        count if count > MOST_LISTED => format!("{} and {} more", shown.join(", "), count - MOST_LISTED),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_means_whole_components() {
        assert!(is_suffix("model.layers.0.q_proj", "q_proj") && is_suffix("q_proj", "q_proj"));
        assert!(!is_suffix("model.layers.0.qq_proj", "q_proj"));
    }

    #[test]
    fn suffixes_grow_until_they_mean_nothing_else() {
        let wanted = set(&["b.layer.0.output.dense", "b.layer.0.attention.output.dense", "b.layer.0.key"]);
        let others = set(&["b.pooler.dense", "b.layer.0.output", "b.layer.0"]);
        assert_eq!(shortest_suffixes(&wanted, &others), ["key", "output.dense"]);
        let others = set(&["b.layer.1.key", "x.output.dense"]);
        let expected = ["0.key", "0.output.dense", "attention.output.dense"];
        assert_eq!(shortest_suffixes(&wanted, &others), expected);
    }
}
