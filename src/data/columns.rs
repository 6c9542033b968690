//! The columns of a file that are read, and the error when one is missing.

/// The run file's key of the column of texts.
pub(super) const TEXT: &str = "text_column";
/// The run file's key of the column of second texts.
pub(super) const PAIR: &str = "text_pair_column";
/// The run file's key of the column of images.
pub(super) const IMAGE: &str = "image_column";
/// The run file's key of the column of labels.
pub(super) const LABEL: &str = "label_column";

/// Names that other people's data has for a column of labels, and for one of texts; compared without case.
const LABEL_NAMES: [&str; 12] = [
    "label",
    "labels",
    "class",
    "category",
    "target",
    "y",
    "label_id",
    "coarse_label",
    "fine_label",
    "intent",
    "sentiment",
    "tag",
];
const TEXT_NAMES: [&str; 12] = [
    "text",
    "sentence",
    "sentence1",
    "content",
    "document",
    "review",
    "body",
    "question",
    "premise",
    "query",
    "comment",
    "tweet",
];
const PAIR_NAMES: [&str; 7] =
    ["text_pair", "sentence2", "text2", "hypothesis", "answer", "passage", "context"];
const IMAGE_NAMES: [&str; 5] = ["image", "img", "picture", "pixels", "photo"];

/// A column by its name, and the key of the run file that says this name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    /// Empty where no key does.
    pub(super) key: &'static str,
}

/// The texts of a row: the column of texts and, where rows are pairs, that of second texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextColumns<'a> {
    pub(super) text: &'a str,
    pub(super) pair: Option<&'a str>,
}

impl<'a> TextColumns<'a> {
    /// The column of texts, and that of second texts if there is one.
    pub(super) fn both(self) -> (Column<'a>, Option<Column<'a>>) {
        let pair = self.pair.map(|name| Column { name, key: PAIR });
        (Column { name: self.text, key: TEXT }, pair)
    }

    /// The one column, or both.
    pub(super) fn all(self) -> impl Iterator<Item = Column<'a>> {
        let (text, pair) = self.both();
        std::iter::once(text).chain(pair)
    }
}

/// The columns that a CSV header must have.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) columns: Vec<String>,
    /// Whether all must be there, or one is enough.
    pub(super) all: bool,
}

impl Header {
    /// Whether a header in which `has` finds columns will do.
    pub(super) fn is_met(&self, has: impl Fn(&str) -> bool) -> bool {
        let mut columns = self.columns.iter().map(String::as_str);
        if self.all { columns.all(has) } else { columns.any(has) }
    }
}

/// How to name a column that is there, given the key to set and the columns there are.
pub(super) fn advice(key: &str, present: &[String]) -> String {
    let usual: &[&str] = match key {
        TEXT => &TEXT_NAMES,
        PAIR => &PAIR_NAMES,
        IMAGE => &IMAGE_NAMES,
        LABEL => &LABEL_NAMES,
        _ => return String::new(),
    };
    let named = |usual: &&str| present.iter().find(|name| name.trim().eq_ignore_ascii_case(usual));
    match usual.iter().find_map(named) {
        Some(name) if name.trim() == name => format!("; set {key}: {name}"),
        Some(name) => format!("; set {key}: {name:?}"),
        None => format!("; set {key} to the one that is meant"),
    }
}

/// The first names of a list, for a message.
pub(super) fn shown(names: &[String]) -> String {
    const FIRST: usize = 20;
    let mut text = names.iter().take(FIRST).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > FIRST {
        text.push_str(&format!(" and {} more", names.len() - FIRST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_name_is_proposed() {
        let present = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(advice(LABEL, &present(&["id", "labels"])), "; set label_column: labels");
        assert_eq!(advice(TEXT, &present(&["Sentence", "label"])), "; set text_column: Sentence");
        assert_eq!(advice(LABEL, &present(&["text", " label"])), "; set label_column: \" label\"");
        assert_eq!(advice(PAIR, &present(&["a", "b"])), "; set text_pair_column to the one that is meant");
        assert_eq!(advice("", &present(&["a"])), "");
    }
}
