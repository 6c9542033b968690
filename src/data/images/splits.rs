//! Folders that are parts of one dataset (train, test) rather than classes.

use std::collections::{BTreeMap, BTreeSet};

/// What people call the parts of a dataset.
const SPLITS: [&str; 14] = [
    "train",
    "training",
    "trn",
    "test",
    "testing",
    "tst",
    "val",
    "valid",
    "validation",
    "validate",
    "dev",
    "eval",
    "evaluation",
    "holdout",
];
/// What people add to these names.
const FILLERS: [&str; 9] = ["set", "data", "dataset", "split", "images", "image", "imgs", "img", "seg"];

/// The top folders, if they are parts of one dataset: all are named like it, or several are and hold the same folders.
/// `images` are names of images in their directory.
pub(super) fn found<'a>(images: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (top, rest) in images.filter_map(|name| name.split_once('/')) {
        let inner = folders.entry(top).or_default();
        inner.extend(rest.split_once('/').map(|(folder, _)| folder));
    }
    let mut splits = folders.iter().filter(|(name, _)| is_split(name));
    let names: Vec<String> = splits.clone().map(|(name, _)| (*name).to_owned()).collect();
    let (_, first) = splits.next()?;
    let alike = names.len() > 1 && !first.is_empty() && splits.all(|(_, inner)| inner == first);
    (alike || names.len() == folders.len()).then_some(names)
}

fn is_split(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let words = lower.split(|sign: char| !sign.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let mut words =
        words.map(|word| word.strip_suffix("set").filter(|rest| SPLITS.contains(rest)).unwrap_or(word));
    let mut splits = 0;
    words.all(|word| {
        splits += usize::from(SPLITS.contains(&word));
        SPLITS.contains(&word) || FILLERS.contains(&word)
    }) && splits == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_splits() {
        for name in [
            "train",
            "Test",
            "VAL",
            "training_set",
            "test-images",
            "train2017",
            "seg_train",
            "valset",
            "1-dev",
        ] {
            assert!(is_split(name), "{name}");
        }
        for name in
            ["trains", "cat", "contest", "test_cat", "invalid", "set", "data", "", "2017", "train_test"]
        {
            assert!(!is_split(name), "{name}");
        }
    }

    #[test]
    fn folders_that_are_splits() {
        let found = |names: &[&str]| found(names.iter().copied());
        let splits = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(found(&["train/cat/0", "train/dog/0", "test/cat/0"]), splits(&["test", "train"]));
        assert_eq!(found(&["train/0", "test/0"]), splits(&["test", "train"]));
        assert_eq!(found(&["train/cat/0", "train/dog/0"]), splits(&["train"]));
        assert_eq!(found(&["Train/a/0", "Val/a/0", "extra/0"]), splits(&["Train", "Val"]));
        // Classes: trains beside planes, tests beside quizzes.
        assert_eq!(found(&["train/0", "plane/0", "car/0"]), None);
        assert_eq!(found(&["test/0", "cat/0", "test/x/0", "cat/x/0"]), None);
        assert_eq!(found(&["train/0", "test/0", "cat/0"]), None);
        assert_eq!(found(&["cat/0", "dog/0"]), None);
        assert_eq!(found(&["0"]), None);
    }
}
