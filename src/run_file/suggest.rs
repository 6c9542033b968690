//! Suggestions for what was misspelt: keys, and the names that keys can have as values.

/// Likeness from which a candidate is suggested.
const ALIKE: f64 = 0.84;

/// The candidate most like `text`, when one is like enough.
pub(crate) fn suggestion<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Spellings differ in words, not in these.
    let plain = text.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::jaro_winkler(&plain, &candidate.replace('-', "_")), candidate))
        .filter(|&(likeness, _)| likeness > ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
