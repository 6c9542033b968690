//! A run's keys for the eyes of others: without what URLs hold beside their places.

use serde_json::{Map, Value};

use super::RunSpec;

impl RunSpec {
    /// The run file with every default filled in. User names, passwords, queries and fragments of URLs are left out: they can
    /// be secrets.
    pub fn shown(&self) -> Map<String, Value> {
        let mut keys = serde_json::to_value(self).expect("a run is plain data");
        hide_secrets(&mut keys);
        match keys {
            Value::Object(keys) => keys,
            _ => unreachable!("a run is an object"),
        }
    }
}

/// Leaves out of all URLs in a value what [`RunSpec::shown`] leaves out.
pub fn hide_secrets(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(place) = place(text) {
                *text = place;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::Object(keys) => keys.values_mut().for_each(hide_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A sentence, with the same left out of each URL in it.
pub fn without_secrets(sentence: &str) -> String {
    let scrubbed = |word: &str| {
        // What a sentence puts after a URL is no part of it.
        let url = word.trim_end_matches([':', ',', ';', '.', ')', '"', '\'']);
        let start = url.rfind(['(', '"', '\'']).map_or(0, |at| at + 1);
        place(&url[start..]).map_or_else(
            || word.to_owned(),
            |place| format!("{}{place}{}", &url[..start], &word[url.len()..]),
        )
    };
    sentence.split(' ').map(scrubbed).collect::<Vec<_>>().join(" ")
}

/// A URL without user, query and fragment; `None` for any other text.
fn place(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    if !is_scheme || text.contains(char::is_whitespace) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let rest = &rest[start..];
    // In buckets, ? is a wildcard; only web servers have queries.
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let shown = if web { rest.split(['?', '#']).next().unwrap_or_default() } else { rest };
    Some(format!("{scheme}://{shown}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn secrets_in_urls_are_not_shown() {
        let text = "base_model: https://me:secret@host/model?token=secret#secret\ntask: image-classification\n\
            datasets: [{path: 's3://bucket/train-?.parquet'}, {path: 'https://secret@host?sig=secret'}]\noutput_dir: out\n";
        let shown = crate::run_file::parse("run.yaml", text, &[]).unwrap().shown();
        assert_eq!(shown["base_model"], "https://host/model");
        assert_eq!(shown["datasets"][0]["path"], "s3://bucket/train-?.parquet");
        assert_eq!(shown["datasets"][1]["path"], "https://host");
        assert!(!serde_json::to_string(&shown).unwrap().contains("secret"));
    }

    #[test]
    fn nor_are_those_of_urls_in_a_sentence() {
        for (sentence, shown) in [
            (
                "https://me:secret@host/a?sig=secret: the server said 403",
                "https://host/a: the server said 403",
            ),
            (
                "read (https://host/a?sig=secret), then \"s3://b/c?\".",
                "read (https://host/a), then \"s3://b/c?\".",
            ),
            ("no URL here: a/b?c", "no URL here: a/b?c"),
        ] {
            assert_eq!(super::without_secrets(sentence), shown);
        }
    }
}
