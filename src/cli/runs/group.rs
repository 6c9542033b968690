//! Runs that differ in their seed alone are one group: their mean, and the range that seeds make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Run;

/// Keys in a group's name.
const MOST_KEYS: usize = 3;
/// Characters of a value in it.
const LONGEST_VALUE: usize = 40;

/// Runs that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Group {
    /// The run's name; of several runs, the name they share, or what they have that other groups have not.
    pub(in crate::cli) name: String,
    /// Their places, in order; never none.
    pub(in crate::cli) members: Vec<usize>,
}

impl Group {
    /// The name, and of how many runs it is.
    pub(in crate::cli) fn title(&self) -> String {
        match self.members.len() {
            1 => self.name.clone(),
            seeds => format!("{} ({seeds} seeds)", self.name),
        }
    }
}

/// Groups runs, in the order of their first ones. `each`: every run is a group of its own.
///
/// Runs belong together when all keys that can change a result are equal but for the seed, and so are data and parameters. A
/// seed that occurs twice is no spread: such runs stay apart.
pub(in crate::cli) fn groups(runs: &[Run], each: bool) -> Vec<Group> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let pins = run.pins.but_seed();
        let found = groups.iter_mut().find(|members| {
            let first = &runs[members[0]].pins;
            !each && run.pins.seed().is_some() && first.seed().is_some() && first.but_seed() == pins
        });
        match found {
            Some(members) => members.push(place),
            None => groups.push(vec![place]),
        }
    }
    let seeds =
        |members: &[usize]| members.iter().map(|&place| runs[place].pins.seed()).collect::<BTreeSet<_>>();
    let mut apart: Vec<Vec<usize>> = groups
        .into_iter()
        .flat_map(|members| match seeds(&members).len() == members.len() {
            true => vec![members],
            false => members.into_iter().map(|place| vec![place]).collect(),
        })
        .collect();
    apart.sort_by_key(|members| members[0]);
    named(runs, apart)
}

fn named(runs: &[Run], groups: Vec<Vec<usize>>) -> Vec<Group> {
    let pins: Vec<BTreeMap<&str, &Value>> =
        groups.iter().map(|members| runs[members[0]].pins.but_seed()).collect();
    let names: BTreeSet<&str> = pins.iter().flat_map(|pins| pins.keys().copied()).collect();
    let differ: Vec<&str> = names
        .into_iter()
        .filter(|name| !["data", "parameters"].contains(name))
        .filter(|name| pins.iter().any(|one| one.get(name) != pins[0].get(name)))
        .collect();
    let telling = telling(&pins, &differ).map_or(differ, |name| vec![name]);
    groups
        .iter()
        .zip(&pins)
        .map(|(members, pins)| Group { name: name(runs, members, pins, &telling), members: members.clone() })
        .collect()
}

/// The key that tells all groups apart by itself, with the shortest values; `None` if no key does.
fn telling<'a>(pins: &[BTreeMap<&str, &Value>], differ: &[&'a str]) -> Option<&'a str> {
    let values = |name: &str| -> Option<BTreeSet<String>> {
        let values = pins.iter().map(|pins| pins.get(name).map(|value| shown(value)));
        values.collect::<Option<BTreeSet<_>>>().filter(|values| values.len() == pins.len())
    };
    let longest =
        |name: &&&str| values(name).map(|values| values.iter().map(String::len).max().unwrap_or_default());
    differ.iter().filter(|name| longest(name).is_some()).min_by_key(longest).copied()
}

fn name(runs: &[Run], members: &[usize], pins: &BTreeMap<&str, &Value>, differ: &[&str]) -> String {
    let first = &runs[members[0]].name;
    if members.iter().all(|&place| runs[place].name == *first) {
        return first.clone();
    }
    let mut parts: Vec<String> = differ
        .iter()
        .filter_map(|name| Some(format!("{name}={}", shown(pins.get(name)?))))
        .take(MOST_KEYS)
        .collect();
    if differ.len() > MOST_KEYS {
        parts.push("…".to_owned());
    }
    match parts.is_empty() {
        false => parts.join(", "),
        true => common_start(members.iter().map(|&place| runs[place].name.as_str())),
    }
}

/// A value of a run file in a few characters.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        // Datasets are told apart by where they are.
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| item["path"].is_string()) => {
            items.iter().filter_map(|item| item["path"].as_str()).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    let surplus = text.chars().count().saturating_sub(LONGEST_VALUE);
    match text.char_indices().nth(surplus).filter(|_| surplus > 0) {
        Some((cut, _)) => format!("…{}", &text[cut..]),
        None => text,
    }
}

/// What all names begin with, without a separator at its end; the first name, if that is nothing.
fn common_start<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let first = names.next().unwrap_or_default();
    let common = names.fold(first, |common, name| {
        let same =
            common.char_indices().zip(name.chars()).take_while(|((_, one), other)| one == other).count();
        common.char_indices().nth(same).map_or(common, |(end, _)| &common[..end])
    });
    let common = common.trim_end_matches(['-', '_', '.', '/', ' ']);
    if common.is_empty() { first.to_owned() } else { common.to_owned() }
}

/// Mean, least and largest value at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct Spread {
    pub(in crate::cli) step: u64,
    pub(in crate::cli) mean: f64,
    pub(in crate::cli) low: f64,
    pub(in crate::cli) high: f64,
}

/// Of curves in order of steps: their mean and range at each step where all of them have a finite value.
pub(in crate::cli) fn spread(curves: &[&[(u64, f64)]]) -> Vec<Spread> {
    let Some((first, others)) = curves.split_first() else { return Vec::new() };
    let at = |curve: &[(u64, f64)], step: u64| {
        let place = curve.binary_search_by_key(&step, |point| point.0).ok()?;
        Some(curve[place].1).filter(|value| value.is_finite())
    };
    let all = |step: u64| -> Option<Vec<f64>> {
        std::iter::once(*first).chain(others.iter().copied()).map(|curve| at(curve, step)).collect()
    };
    first
        .iter()
        .filter_map(|&(step, _)| {
            let values = all(step)?;
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Some(Spread { step, mean, low, high })
        })
        .collect()
}
