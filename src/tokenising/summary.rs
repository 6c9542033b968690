//! What tokenising came to, over all rows: formats, counts, dropped rows, warnings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chat::{DropReason, EncodedRow, RowWarning};
use crate::data::{FewRows, Note, RowTokens, RowsOf};

/// Sums over rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows of each format, those that were dropped for it not included.
    formats: BTreeMap<String, u64>,
    /// Dropped rows by reason.
    dropped: BTreeMap<String, FewRows>,
    truncated: FewRows,
    /// Rows by what they were warned of.
    warned: BTreeMap<String, FewRows>,
    tokens: u64,
    trained: u64,
    longest: u32,
}

/// What is kept of a row that was tokenised.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    format: String,
    pub(super) counts: RowTokens,
    truncated: bool,
    warnings: Vec<String>,
}

impl From<EncodedRow> for Outcome {
    fn from(row: EncodedRow) -> Self {
        let EncodedRow { text: _, ends: _, input_ids, trained, format, truncated, warnings } = row;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let counts = RowTokens {
            tokens: count(input_ids.len()),
            trained: count(trained.iter().filter(|trained| **trained).count()),
        };
        let mut warnings: Vec<String> = warnings.iter().map(kind).collect();
        warnings.sort();
        warnings.dedup();
        Outcome { format: format.to_string(), counts, truncated, warnings }
    }
}

/// A warning without what differs from row to row.
fn kind(warning: &RowWarning) -> String {
    match warning {
        RowWarning::Vanished { key, .. } => {
            format!("the chat template leaves out {key} of a message, so that the model does not learn it")
        }
        RowWarning::SpanWithoutEnd(_) => {
            "a span of the template's {% generation %} tags lacks its end token, so that the \
                                          model does not learn to stop"
                .to_owned()
        }
        RowWarning::TagsDecide => warning.to_string(),
    }
}

impl Summary {
    /// Takes in a row; rows come in order.
    pub(super) fn add(&mut self, row: u64, outcome: &Outcome) {
        *self.formats.entry(outcome.format.clone()).or_default() += 1;
        if outcome.truncated {
            self.truncated.add(row);
        }
        for warning in &outcome.warnings {
            self.warned.entry(warning.clone()).or_default().add(row);
        }
        let RowTokens { tokens, trained } = outcome.counts;
        self.tokens += u64::from(tokens);
        self.trained += u64::from(trained);
        self.longest = self.longest.max(tokens);
    }

    pub(super) fn drop(&mut self, row: u64, reason: DropReason) {
        self.dropped.entry(reason.to_string()).or_default().add(row);
    }

    /// Why rows were dropped.
    pub(super) fn dropped_rows(&self) -> String {
        let reasons = self.dropped.iter().map(|(reason, rows)| format!("{rows} dropped: {reason}"));
        reasons.collect::<Vec<_>>().join("; ")
    }

    /// What people should know.
    pub(super) fn notes(&self, pass: RowsOf) -> Vec<Note> {
        let Summary { formats, dropped, truncated, warned, tokens, trained, longest } = self;
        let rows = formats.values().sum();
        let formats = formats.iter().map(|(format, rows)| (format.clone(), *rows)).collect();
        let mut notes = vec![
            Note::RowFormats { pass, formats },
            Note::RowTokens { pass, rows, tokens: *tokens, trained: *trained, longest: *longest },
        ];
        let drops = dropped.iter().map(|(reason, rows)| Note::Dropped {
            pass,
            reason: reason.clone(),
            rows: rows.clone(),
        });
        notes.extend(drops);
        if truncated.rows > 0 {
            let what = "cut to sequence_len tokens; their ends are not trained".to_owned();
            notes.push(Note::OfRows { pass, what, rows: truncated.clone() });
        }
        let warned =
            warned.iter().map(|(what, rows)| Note::OfRows { pass, what: what.clone(), rows: rows.clone() });
        notes.extend(warned);
        notes
    }
}
