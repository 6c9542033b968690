//! `--set key=value`: one argument grafted onto the run file's tree, in the place of what stands there.

use std::sync::Arc;

use super::error::{At, Problem, Source};
use super::keys::canonical;
use super::node::{Key, Node, Value, parse};

/// Puts the value of one argument, such as `cluster.min_workers=2` or `datasets.0.path=x`, into `root`.
pub(super) fn graft(root: &mut Node, argument: &str) -> Result<(), Problem> {
    let source = Arc::new(Source { name: "--set".into(), argument: true, text: argument.to_owned() });
    let Some(equals) = argument.find('=').filter(|&equals| equals > 0) else {
        return Err(Problem::whole(&source, "an override has the form key=value")
            .help("for example --set learning_rate=1e-4, or --set cluster.min_workers=2"));
    };
    let value = parse(&source, equals + 1)?;
    let mut place = root;
    let mut start = 0;
    let segments: Vec<&str> = argument[..equals].split('.').collect();
    for (depth, segment) in segments.iter().enumerate() {
        let key = Key {
            name: (*segment).to_owned(),
            at: At { source: Arc::clone(&source), span: start..start + segment.len() },
        };
        start += segment.len() + 1;
        let last = depth + 1 == segments.len();
        place = descend(place, key, last)?;
    }
    *place = value;
    Ok(())
}

/// The value under `key`, made when it is missing; the last key of an argument replaces, the others lead to it.
fn descend(place: &mut Node, key: Key, last: bool) -> Result<&mut Node, Problem> {
    if matches!(place.value, Value::Null) {
        place.value = Value::Map(Vec::new());
    }
    match &mut place.value {
        Value::List(items) => {
            let found = items.len();
            let item = key.name.parse().ok().and_then(|index: usize| items.get_mut(index));
            item.ok_or_else(|| {
                Problem::at(&key.at, format!("`{}` is not the position of one of {found} items", key.name))
                    .help("positions count from 0, for example datasets.0.path")
            })
        }
        Value::Map(entries) => {
            let same = |other: &Key| canonical(&other.name) == canonical(&key.name);
            let existing = entries.iter().position(|(other, _)| same(other));
            let index = match existing {
                Some(index) if !last => index,
                _ => {
                    entries.retain(|(other, _)| !same(other));
                    let at = key.at.clone();
                    entries.push((key, Node { value: Value::Null, at }));
                    entries.len() - 1
                }
            };
            Ok(&mut entries[index].1)
        }
        other => Err(Problem::at(
            &key.at,
            format!("`{}` cannot be set: what should hold it is {}", key.name, other.kind()),
        )),
    }
}
