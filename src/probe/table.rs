//! What a probe found, for people: a table of at most 80 columns, and what there is to say besides.

use comfy_table::{CellAlignment, Table, presets};
use unicode_width::UnicodeWidthChar;

use super::report::{Measure, Name, Probed};
use super::verdict::Verdict;

/// Width of a terminal, in columns.
const WIDTH: usize = 80;

/// Narrowest column of names; of longer names the end is shown.
const NARROWEST: usize = 12;

/// A row per checkpoint, in the order given. Lines are at most 80 columns wide; names have what the numbers leave.
pub fn table(probed: &[Probed]) -> String {
    let measure = match probed.first().map(|first| first.own.measure) {
        Some(Measure::BitsPerByte(_)) => "bits/byte",
        _ => "accuracy",
    };
    let head = ["#", "score", measure, "zero line", "time", "verdict"].map(str::to_owned);
    let rows: Vec<[String; 6]> =
        probed.iter().enumerate().map(|(place, entry)| numbers(place, entry)).collect();
    let widest = |column: usize| {
        let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    // Each column has a space on either side.
    let taken = (0..head.len()).map(|column| widest(column) + 2).sum::<usize>() + 2;
    let names = WIDTH.saturating_sub(taken).max(NARROWEST);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let with = |[place, cells @ ..]: [String; 6], name: String| [place, name].into_iter().chain(cells);
    table.set_header(with(head, "checkpoint".to_owned()));
    for (cells, entry) in rows.into_iter().zip(probed) {
        table.add_row(with(cells, named(&entry.name, names)));
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        let text = [1, 6].contains(&place);
        column.set_cell_alignment(if text { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Everything of a row but the name.
fn numbers(place: usize, entry: &Probed) -> [String; 6] {
    [
        (place + 1).to_string(),
        format!("{:.3}", entry.own.score),
        shown(entry.own.measure),
        shown(entry.zero_line()),
        time(entry.seconds),
        entry.verdict.short().to_owned(),
    ]
}

/// Sentences to print below the table: what a verdict "none" means, and what context is worth to a language model.
pub fn remarks(probed: &[Probed]) -> Vec<String> {
    let mut remarks = Vec::new();
    for entry in probed {
        let name = printable(&match &entry.name.adapter {
            Some(adapter) => format!("{adapter} on {}", entry.name.checkpoint),
            None => entry.name.checkpoint.clone(),
        });
        if entry.verdict == Verdict::None {
            remarks.push(format!("{name}: {}", entry.verdict.words(entry.name.adapter.is_some())));
        }
        if !entry.context.is_empty() {
            let contexts = entry.context.iter().map(|(least, bits)| match least {
                1 => format!("{bits:.2} after 1 token or more"),
                _ => format!("{bits:.2} after {least}"),
            });
            let contexts = contexts.collect::<Vec<_>>().join(", ");
            remarks.push(format!("{name}: bits per token: {contexts}"));
        }
    }
    remarks
}

/// `71.3 %`, or `0.912` bits per byte.
pub(super) fn shown(measure: Measure) -> String {
    match measure {
        Measure::Accuracy(share) => format!("{:.1} %", 100.0 * share),
        Measure::BitsPerByte(bits) => format!("{bits:.3}"),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// A name in a cell: an adapter has a second line, with its base.
fn named(name: &Name, widest: usize) -> String {
    match &name.adapter {
        Some(adapter) => format!("{}\non {}", end_of(adapter, widest), end_of(&name.checkpoint, widest - 3)),
        None => end_of(&name.checkpoint, widest),
    }
}

/// The end of a path, which tells checkpoints apart, in at most so many columns.
pub(super) fn end_of(name: &str, widest: usize) -> String {
    let name = printable(name);
    let name = name.trim_end_matches('/');
    let width = |text: &str| text.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    if width(name) <= widest {
        return name.to_owned();
    }
    let starts = name.char_indices().map(|(at, _)| at);
    let end = starts.map(|at| &name[at..]).find(|end| width(end) < widest);
    format!("…{}", end.unwrap_or_default())
}

/// Without characters that move the cursor or change colours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::probe::report::tests::{classifiers, language_model};

    #[test]
    fn a_table_shows_each_checkpoint_with_its_verdict_in_80_columns() {
        let mut probed = classifiers();
        probed[1].name.adapter = Some(format!("s3://adapters/{}/final", "深い".repeat(20)));
        probed[1].own.score = -1234.5;
        probed[2].seconds = 86_400.0;
        let table = table(&probed);
        assert!(table.lines().all(|line| line.width() <= 80), "{table}");
        for part in
            ["all-MiniLM-L6-v2", "75.0 %", "25.0 %", "0.750", "12.2 s", "a head start", "a small one", "none"]
        {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        assert!(table.contains("digits/final"), "{table}");
    }

    #[test]
    fn language_models_show_bits_and_what_context_is_worth() {
        let probed = [language_model("models/SmolLM2", 1.0), language_model("models/other\u{1b}[31m", 9.0)];
        let table = table(&probed);
        assert!(table.contains("bits/byte") && table.lines().all(|line| line.width() <= 80), "{table}");
        let remarks = remarks(&probed);
        assert_eq!(
            remarks[0],
            "models/SmolLM2: bits per token: 1.44 after 1 token or more, 1.44 after 8, 1.44 after 64"
        );
        assert!(
            remarks[1].starts_with("models/other\u{fffd}[31m: none: this checkpoint knows no more"),
            "{remarks:?}"
        );
        assert!(!table.contains('\u{1b}'), "{table}");
    }

    #[test]
    fn a_table_of_nothing_is_only_a_head() {
        assert!(table(&[]).contains("verdict"));
        assert_eq!(remarks(&[]), Vec::<String>::new());
    }
}
