//! What a run says of itself for the eyes of others: without what URLs hold beside their places.

use serde_json::{Map, Value};

use super::RunSpec;

impl RunSpec {
    /// The run file with every default filled in, without what [`hide_secrets`] takes away.
    pub fn shown(&self) -> Map<String, Value> {
        let mut keys = serde_json::to_value(self).expect("a run is plain data");
        hide_secrets(&mut keys);
        match keys {
            Value::Object(keys) => keys,
            _ => unreachable!("a run is an object"),
        }
    }
}

/// Leaves user names, passwords, queries and fragments of URLs out of all texts of a value: they can be secrets.
///
/// A text that begins as the only URL in it is that URL, spaces included, unless its first word ends with a colon. In any other text,
/// each word is looked at.
pub fn hide_secrets(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("://") => {
            let is_sentence = text.split_whitespace().next().is_some_and(|first| first.ends_with(':'));
            let url = if is_sentence || text.matches("://").count() > 1 { None } else { place(text) };
            *text = url.unwrap_or_else(|| without_secrets(text));
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::Object(keys) => keys.values_mut().for_each(hide_secrets),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A sentence, with the same left out of each URL in it.
pub fn without_secrets(sentence: &str) -> String {
    sentence
        .split_inclusive(char::is_whitespace)
        .map(|word| scrubbed(word).unwrap_or_else(|| word.to_owned()))
        .collect()
}

/// A word with the place of its URL; `None` without one. What a sentence puts around a URL is no part of it. Of several URLs in one
/// word, the first is shown.
fn scrubbed(word: &str) -> Option<String> {
    let is_of_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    let colon = word.find("://")?;
    let start = word[..colon].trim_end_matches(is_of_scheme).len();
    let start = start + word[start..colon].find(|letter: char| letter.is_ascii_alphabetic())?;
    let url = word.trim_end_matches(|last: char| last.is_whitespace() || ":,;.)\"'".contains(last));
    let rest = url.get(colon + 3..)?;
    let (end, after) = match rest.find("://") {
        Some(second) => (colon + 3 + rest[..second].trim_end_matches(is_of_scheme).len(), "…"),
        None => (url.len(), &word[url.len()..]),
    };
    let space = if word.ends_with(char::is_whitespace) && after == "…" { " " } else { "" };
    Some(format!("{}{}{after}{space}", &word[..start], place(&url[start..end])?))
}

/// A URL without user, query and fragment; `None` for any other text.
fn place(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    if !is_scheme {
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
    use serde_json::json;

    use super::hide_secrets;

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let text = "base_model: https://me:secret@host/model?token=secret#secret\ntask: image-classification\n\
            datasets: [{path: 's3://bucket/train-?.parquet'}, {path: 'https://secret@host?sig=secret'}, \
            {path: 'https://host/a file?sig=secret'}]\noutput_dir: out\n";
        let shown = crate::run_file::parse("run.yaml", text, &[]).unwrap().shown();
        assert_eq!(shown["base_model"], "https://host/model");
        assert_eq!(shown["datasets"][0]["path"], "s3://bucket/train-?.parquet");
        assert_eq!(shown["datasets"][1]["path"], "https://host");
        assert_eq!(shown["datasets"][2]["path"], "https://host/a file");
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
            ("key=http://me:secret@host, then", "key=http://host, then"),
            ("s3://a/x,https://me:secret@b/y gone", "s3://a/x,… gone"),
            ("2.https://me:secret@host", "2.https://host"),
            ("no URL here: a/b?c", "no URL here: a/b?c"),
        ] {
            assert_eq!(super::without_secrets(sentence), shown);
        }
    }

    #[test]
    fn secrets_in_the_urls_of_sentences_are_not_shown() {
        let mut said = json!({"event": "leave", "reason": [
            "reading (https://me:secret@host/a?sig=secret) failed: \"http://secret@host:1/#secret\" is gone\n",
            "s3://bucket/a-?.txt is missing", "a :// b", "é://x", "none",
            "s3://bucket/my data/x: failed (https://me:secret@proxy/?sig=secret)",
        ]});
        hide_secrets(&mut said);
        assert_eq!(said["reason"][0], "reading (https://host/a) failed: \"http://host:1/\" is gone\n");
        assert_eq!(said["reason"][1], "s3://bucket/a-?.txt is missing");
        assert_eq!(said["reason"][5], "s3://bucket/my data/x: failed (https://proxy/)");
        assert_eq!(
            [&said["reason"][2], &said["reason"][3], &said["reason"][4]],
            ["a :// b", "é://x", "none"]
        );
    }
}
