//! Whether what a page shows is what was printed.
//!
//! Lines are equal but for four things that differ from run to run: `…` stands for any part of a line, and alone for any
//! lines; numbers with a decimal point and hashes stand for any others; and several spaces stand for one, because a wider
//! number widens its column.

/// Digits from which on a word of hex digits is a hash.
const HASH: usize = 8;

/// Compares all lines, less space at their ends and empty lines at the end.
pub(crate) fn matches(shown: &str, printed: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim_end().lines().map(|line| single_spaces(&generalise(line.trim_end()))).collect()
    };
    all_match(&lines(shown), &lines(printed))
}

fn all_match(shown: &[String], printed: &[String]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, _) => printed.is_empty(),
        (Some((any, rest)), _) if any.trim() == "…" => {
            (0..=printed.len()).any(|skipped| all_match(rest, &printed[skipped..]))
        }
        (Some((line, rest)), Some((found, others))) => line_matches(line, found) && all_match(rest, others),
        (Some(_), None) => false,
    }
}

/// Whether the parts around each `…` come one after the other.
fn line_matches(shown: &str, printed: &str) -> bool {
    let Some((first, rest)) = shown.split_once('…') else { return shown == printed };
    let Some(mut printed) = printed.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('…').collect();
    let (last, middle) = parts.split_last().expect("splitting yields a part");
    for part in middle {
        let Some((_, after)) = printed.split_once(part) else { return false };
        printed = after;
    }
    printed.ends_with(last)
}

/// A line in which one space stands for several, except where it begins.
fn single_spaces(line: &str) -> String {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    indent.to_owned() + &text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A line with every decimal fraction and every hash replaced.
fn generalise(line: &str) -> String {
    let mut general = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, word) = rest.split_at(start);
        general.push_str(before);
        let end = word
            .char_indices()
            .find(|(at, c)| !(c.is_ascii_alphanumeric() || *c == '.' && is_fraction_at(word, *at)))
            .map_or(word.len(), |(at, _)| at);
        let (word, after) = word.split_at(end);
        // An address has more than one point.
        let of_address = general.ends_with('.')
            || after.strip_prefix('.').is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()));
        general.push_str(if is_fraction(word) && !of_address {
            "1.0"
        } else if is_hash(word) {
            "hash"
        } else {
            word
        });
        rest = after;
    }
    general + rest
}

/// Whether the point at `at` lies between digits.
fn is_fraction_at(word: &str, at: usize) -> bool {
    let digits = word[..at].bytes().all(|byte| byte.is_ascii_digit());
    digits && word.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit)
}

fn is_fraction(word: &str) -> bool {
    word.contains('.') && word.parse::<f64>().is_ok()
}

fn is_hash(word: &str) -> bool {
    word.len() >= HASH
        && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && word.bytes().any(|byte| byte.is_ascii_digit())
}

#[test]
fn what_varies_may_vary_and_nothing_else() {
    assert!(matches("loss 0.50\n", "loss 1.25\n"));
    assert!(matches("step 3/9 …\nend", "step 3/9 now\nend\n\n"));
    assert!(matches("sha256 0123456789abcdef  a", "sha256 ff23456789abcdef  a"));
    assert!(matches("a\n…\nz", "a\nb\nc\nz"));
    assert!(matches("listening on http://127.0.0.1:7070", "listening on http://127.0.0.1:7070"));
    assert!(
        matches("│ s/step ┆ run\n│ 0.04   ┆ …", "│ s/step    ┆ run\n│ 1203.456  ┆ 3 min"),
        "a wider column"
    );
    assert!(!matches("help: cure", "   help: cure"), "an indent is part of what is shown");
    assert!(!matches("step 3/9", "step 4/9"));
    assert!(!matches("a\nz", "a\nb\nz"));
    assert!(!matches("loss 0.50 …", "acc 0.50 x"));
    assert!(!matches("a", "a\nb"));
    assert!(!matches("127.0.0.1", "127.0.0.2"));
}
