//! `{% generation %}` blocks of templates, which transformers defines: they enclose what an assistant writes.

use std::ops::Range;

use super::ChatError;

/// The filter that encloses a block's text in marks.
pub(super) const FILTER: &str = "headstart_generation";
/// Before and after a block's text: characters of the last private-use plane, which no text contains.
pub(super) const MARKS: [char; 2] = ['\u{10FFF0}', '\u{10FFF1}'];

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
