//! `{% generation %}` blocks of templates, which transformers defines: they enclose what an assistant writes.

use std::borrow::Cow;
use std::ops::Range;

use super::ChatError;

/// The filter that encloses a block's text in marks.
pub(super) const FILTER: &str = "headstart_generation";
/// Before and after a block's text: characters of the last private-use plane, which no text contains.
pub(super) const MARKS: [char; 2] = ['\u{10FFF0}', '\u{10FFF1}'];

/// The template with its generation blocks as filter blocks, which keep the tags' white-space control. Borrowed: there
/// is no such block.
pub(super) fn rewrite(source: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let open = at + found;
        let rest = &source[open..];
        if rest.starts_with("{#") {
            at = open + rest.find("#}").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with("{{") {
            at = open + 2 + skip(&rest[2..], "}}");
        } else if rest.starts_with("{%") {
            let word = word(source, open + 2);
            let after = source[word.end..].trim_start();
            let bare = ["%}", "-%}", "+%}"].iter().any(|close| after.starts_with(close));
            at = word.end + skip(&source[word.end..], "%}");
            let replaced = match &source[word.clone()] {
                "generation" if bare => Cow::Owned(format!("filter {FILTER}")),
                "endgeneration" if bare => Cow::Borrowed("endfilter"),
                "raw" if bare => {
                    at = end_of_raw(source, at);
                    continue;
                }
                _ => continue,
            };
            out.push_str(&source[copied..word.start]);
            out.push_str(&replaced);
            copied = word.end;
        } else {
            at = open + 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(source);
    }
    out.push_str(&source[copied..]);
    Cow::Owned(out)
}

/// The first word of a tag whose inside begins at `at`.
fn word(source: &str, at: usize) -> Range<usize> {
    let inside = &source[at..];
    let trimmed = inside.strip_prefix(['-', '+']).unwrap_or(inside).trim_start();
    let start = source.len() - trimmed.len();
    let length = trimmed.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    start..start + length
}

/// How many bytes there are up to and including `close`, which does not count inside quotes.
fn skip(inside: &str, close: &str) -> usize {
    let mut quote = None;
    let mut bytes = inside.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match quote {
            Some(_) if byte == b'\\' => {
                bytes.next();
            }
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            None if inside.as_bytes()[index..].starts_with(close.as_bytes()) => return index + close.len(),
            None => {}
        }
    }
    inside.len()
}

/// The end of the `endraw` tag.
fn end_of_raw(source: &str, mut at: usize) -> usize {
    while let Some(found) = source[at..].find("{%") {
        let word = word(source, at + found + 2);
        at = word.end;
        if &source[word] == "endraw" {
            return at + skip(&source[at..], "%}");
        }
    }
    source.len()
}

/// The text without its marks, and the spans that they enclosed, in bytes of that text.
pub(super) fn take_marks(marked: &str) -> Result<(String, Vec<Range<usize>>), ChatError> {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut open = None;
    for char in marked.chars() {
        match (MARKS.iter().position(|mark| *mark == char), open) {
            (None, _) => text.push(char),
            (Some(0), None) => open = Some(text.len()),
            (Some(1), Some(start)) => {
                spans.push(start..text.len());
                open = None;
            }
            _ => return Err(ChatError::Unstable),
        }
    }
    match open {
        None => Ok((text, spans)),
        Some(_) => Err(ChatError::Unstable),
    }
}
