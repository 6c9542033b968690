//! Templates as transformers writes them become templates that minijinja renders, tag by tag.

use std::ops::Range;

use super::generation;

/// The filter that refuses values which nest too deep. Only namespaces keep values from one turn of a loop to the next, so
/// that only there values could nest without end, and dropping one is recursive.
pub(super) const SHALLOW: &str = "headstart_shallow";

/// A rewritten template.
pub(super) struct Rewritten {
    pub source: String,
    /// Whether it has generation blocks.
    pub tagged: bool,
}

/// Makes generation blocks filter blocks, and puts [`SHALLOW`] where attributes are set. Lines stay where they are.
pub(super) fn rewrite(source: &str) -> Rewritten {
    let mut out = String::with_capacity(source.len());
    let (mut copied, mut at, mut tagged) = (0, 0, false);
    while let Some(found) = source[at..].find('{') {
        let open = at + found;
        let rest = &source[open..];
        if rest.starts_with("{#") {
            at = open + rest.find("#}").map_or(rest.len(), |end| end + 2);
        } else if let Some(inside) = rest.strip_prefix("{{") {
            at = open + 2 + skip(inside, "}}");
        } else if rest.starts_with("{%") {
            let tag = Tag::read(source, open);
            at = tag.end;
            match &source[tag.word.clone()] {
                "raw" => at = end_of_raw(source, at),
                "generation" if tag.is_bare(source) => {
                    tagged = true;
                    out += &source[copied..tag.word.start];
                    out += &format!("filter {}", generation::FILTER);
                    copied = tag.word.end;
                }
                "endgeneration" if tag.is_bare(source) => {
                    out += &source[copied..tag.word.start];
                    out += "endfilter";
                    copied = tag.word.end;
                }
                "set" => {
                    if let Some(value) = tag.attribute_value(source) {
                        out += &source[copied..value.start];
                        out += &format!("({})|{SHALLOW} ", &source[value.clone()]);
                        copied = value.end;
                    }
                }
                _ => {}
            }
        } else {
            at = open + 1;
        }
    }
    out += &source[copied..];
    Rewritten { source: out, tagged }
}

/// A block tag, in bytes of the source.
struct Tag {
    word: Range<usize>,
    /// Behind its `%}`.
    end: usize,
}

impl Tag {
    fn read(source: &str, open: usize) -> Tag {
        let inside = &source[open + 2..];
        let trimmed = inside.strip_prefix(['-', '+']).unwrap_or(inside).trim_start();
        let start = source.len() - trimmed.len();
        let length = trimmed.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let word = start..start + length;
        let end = word.end + skip(&source[word.end..], "%}");
        Tag { word, end }
    }

    /// What stands between the first word and the tag's end.
    fn arguments(&self, source: &str) -> Range<usize> {
        let inside = source[self.word.end..self.end].strip_suffix("%}").unwrap_or_default();
        let inside = inside.strip_suffix(['-', '+']).unwrap_or(inside);
        self.word.end..self.word.end + inside.len()
    }

    fn is_bare(&self, source: &str) -> bool {
        source[self.word.end..self.end].ends_with("%}") && source[self.arguments(source)].trim().is_empty()
    }

    /// The value that `set name.attribute = value` sets.
    fn attribute_value(&self, source: &str) -> Option<Range<usize>> {
        let arguments = self.arguments(source);
        let equals = source[arguments.clone()].find('=')?;
        let targets = &source[arguments.clone()][..equals];
        let value = arguments.start + equals + 1..arguments.end;
        (targets.contains('.') && !source[value.clone()].trim().is_empty()).then_some(value)
    }
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
        let tag = Tag::read(source, at + found);
        if &source[tag.word.clone()] == "endraw" {
            return tag.end;
        }
        // What looks like a tag here is text, and quotes in it mean nothing.
        at = tag.word.end;
    }
    source.len()
}
