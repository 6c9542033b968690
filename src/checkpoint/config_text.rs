//! Changes single keys of a JSON object's text, and leaves every other byte as it is.
//!
//! Versions of transformers spell a configuration differently, and each misreads some of the others' spellings: what
//! was not changed must not be written anew.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Keys and their new values; `None` removes a key.
pub type Changes = BTreeMap<String, Option<Value>>;

/// The keys in which `after` differs from `before`, two JSON objects.
pub fn difference(before: &Value, after: &Value) -> Changes {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return Changes::new() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    gone.chain(changed.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

/// The text with these keys changed; new ones come last. `None` if the text is no JSON object.
pub fn change(text: &str, changes: &Changes) -> Option<String> {
    let Entries(entries) = serde_json::from_str(text).ok()?;
    let start = text.find('{')? + 1;
    let mut kept = String::with_capacity(text.len() + 256);
    kept.push_str(&text[..start]);
    let (mut at, mut first, mut written) = (start, true, Vec::new());
    for (key, raw) in &entries {
        let value = span(text, raw)?;
        let before = &text[at..value.start];
        // The comma that ends the entry before it goes with that entry.
        let (gap, before) = match at == start {
            true => ("", before),
            false => before.split_once(',').unwrap_or(("", before)),
        };
        at = value.end;
        let new = match changes.get(key) {
            Some(None) => continue,
            Some(Some(new)) => indented(new, before),
            None => text[value].to_owned(),
        };
        written.push(key);
        if !first {
            kept.push_str(gap);
            kept.push(',');
        }
        first = false;
        kept.push_str(before);
        kept.push_str(&new);
    }
    let separator = entries.first().map_or(String::from("\n  "), |(_, raw)| lead(text, start, raw));
    for (key, value) in changes.iter().filter(|(key, _)| !written.contains(key)) {
        let Some(value) = value else { continue };
        kept.push_str(if first { "" } else { "," });
        first = false;
        kept.push_str(&format!("{separator}{}: {}", Value::from(key.as_str()), indented(value, &separator)));
    }
    kept.push_str(&text[at..]);
    Some(kept)
}

/// The white space before the first key.
fn lead(text: &str, start: usize, raw: &RawValue) -> String {
    let end = span(text, raw).map_or(start, |span| span.start);
    text[start..end].chars().take_while(|letter| letter.is_whitespace()).collect()
}

/// A value over several lines, as deep as the line that it begins on.
fn indented(value: &Value, before: &str) -> String {
    let line = before.rsplit('\n').next().filter(|_| before.contains('\n'));
    match line {
        Some(line) => {
            let depth: String = line.chars().take_while(|letter| letter.is_whitespace()).collect();
            format!("{value:#}").replace('\n', &format!("\n{depth}"))
        }
        None => value.to_string(),
    }
}

/// Where a value lies in the text that it was read from.
fn span(text: &str, raw: &RawValue) -> Option<Range<usize>> {
    let start = (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start.checked_add(raw.get().len())?;
    (end <= text.len()).then_some(start..end)
}

/// The entries of an object, in order.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn changes(list: &[(&str, Option<Value>)]) -> Changes {
        list.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn other_bytes_stay_as_they_are() {
        let text = "{\n  \"a\": 1e-05,\n  \"b\" : [1,  2],\n  \"c\": {\"d\": null}\n}\n";
        assert_eq!(change(text, &Changes::new()).unwrap(), text);
        let changed =
            change(text, &changes(&[("b", Some(json!("x"))), ("e", Some(json!({"f": 1})))])).unwrap();
        let expected = "{\n  \"a\": 1e-05,\n  \"b\" : \"x\",\n  \"c\": {\"d\": null},\n  \"e\": {\n    \"f\": 1\n  }\n}\n";
        assert_eq!(changed, expected);
        assert_eq!(change(text, &changes(&[("a", None), ("c", None)])).unwrap(), "{\n  \"b\" : [1,  2]\n}\n");
        assert_eq!(change("{}", &changes(&[("a", Some(json!(1)))])).unwrap(), "{\n  \"a\": 1}");
        assert_eq!(change("{\"a\":1,\"b\":2}", &changes(&[("a", None)])).unwrap(), "{\"b\":2}");
        let odd = "{ \"a,b\" : 1 ,\t\"c\":2\n, \"d\": 3 }";
        assert_eq!(change(odd, &Changes::new()).unwrap(), odd);
        assert_eq!(change("[]", &Changes::new()), None);
    }

    proptest! {
        #[test]
        fn the_text_then_says_what_was_wanted(
            before in prop::collection::btree_map("[a-f]", any::<i32>(), 0..5),
            after in prop::collection::btree_map("[a-f]", any::<i32>(), 0..5),
            pretty in any::<bool>(),
        ) {
            let (before, after) = (json!(before), json!(after));
            let text = if pretty { format!("{before:#}") } else { before.to_string() };
            let changed = change(&text, &difference(&before, &after)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), after);
        }
    }
}
