//! `headstart preprocess`: rows of a language model as tokens, with those marked that are trained.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;

use clap::Args;
use headstart::chat::EncodedRow;
use headstart::job::{self, JobError};
use headstart::run_file::Task;
use headstart::tokenising::{Previewed, preview};
use serde_json::json;
use unicode_width::UnicodeWidthChar;

use super::error::CliError;
use super::{RunFile, console};

/// Columns of a line.
const WIDTH: usize = 80;
/// Between two tokens.
const BETWEEN: char = '·';

/// Which rows to show.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: RunFile,
    /// Number of rows to show, from the first row of the first dataset on.
    #[arg(long, default_value_t = 5)]
    rows: u64,
    /// Print one JSON object a row: row, text, input_ids, trained.
    #[arg(long)]
    json: bool,
}

/// Prints the first rows. Dropped ones are named on standard error.
pub(super) async fn run(Arguments { file, rows, json }: Arguments) -> Result<(), CliError> {
    let spec = file.load_interactive()?;
    if spec.task != Task::CausalLm {
        return Err(CliError::NoRows { task: spec.task.name() });
    }
    let (stores, index, network) = job::rows(&spec, rows).await?;
    for warning in &network.warnings {
        console::err(&console::printable(&format!("warning: {warning}")));
    }
    let encoder = network.rows.expect("a language model's network has an encoder of rows").encoder;
    let marks = Marks::of_output();
    let pieces = encoder.clone();
    let show = move |row: u64, found: Previewed| {
        let shown = match found {
            Previewed::Dropped(reason) => {
                console::err(&format!("row {row} is dropped: {reason}"));
                return ControlFlow::Continue(());
            }
            Previewed::Tokens(encoded) if json => as_json(row, &encoded),
            Previewed::Tokens(encoded) => {
                let texts = pieces.pieces(&encoded.input_ids);
                let tokens = marked(&texts, &encoded.trained, marks);
                format!("{}\n{}\n", head(row, &encoded), tokens.trim_end_matches('\n'))
            }
        };
        // `| head` has seen enough.
        match writeln!(std::io::stdout().lock(), "{shown}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    preview(&stores, &index, encoder, rows, show).await.map_err(JobError::from)?;
    Ok(())
}

fn as_json(row: u64, encoded: &EncodedRow) -> String {
    let EncodedRow { text, input_ids, trained, .. } = encoded;
    json!({"row": row, "text": text, "input_ids": input_ids, "trained": trained}).to_string()
}

/// What is above a row's tokens.
fn head(row: u64, encoded: &EncodedRow) -> String {
    let trained = encoded.trained.iter().filter(|trained| **trained).count();
    let cut = if encoded.truncated { ", cut to sequence_len" } else { "" };
    let tokens = encoded.input_ids.len();
    let mut lines = vec![format!("row {row}: {}, {tokens} tokens, {trained} trained{cut}", encoded.format)];
    lines.extend(encoded.warnings.iter().map(|warning| format!("warning: {warning}")));
    console::printable(&lines.join("\n"))
}

/// What stands around tokens that are trained.
#[derive(Clone, Copy, Debug)]
struct Marks {
    open: &'static str,
    close: &'static str,
    /// Whether marks take room.
    visible: bool,
}

const BRACKETS: Marks = Marks { open: "[", close: "]", visible: true };
const COLOURS: Marks = Marks { open: "\x1b[1;32m", close: "\x1b[0m", visible: false };

impl Marks {
    /// Colours on a terminal, unless the user wants none.
    fn of_output() -> Marks {
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        if coloured { COLOURS } else { BRACKETS }
    }
}

/// Tokens on lines of at most [`WIDTH`] columns: runs of trained ones between marks, on each line anew.
fn marked(texts: &[String], trained: &[bool], marks: Marks) -> String {
    let mut page = Page { text: String::new(), used: 0, marks, trained: false, open: false };
    for (place, (text, &trained)) in texts.iter().zip(trained).enumerate() {
        if trained != page.trained {
            page.close();
            page.trained = trained;
        } else if place > 0 && page.used > 0 {
            page.push(&BETWEEN.to_string());
        }
        for character in text.chars() {
            match character {
                '\n' => {
                    page.push("\\n");
                    page.end_line();
                }
                '\t' => page.push("\\t"),
                '\r' => page.push("\\r"),
                other => page.push(&console::printable(&other.to_string())),
            }
        }
    }
    page.close();
    page.text
}

/// Lines being filled.
struct Page {
    text: String,
    /// Columns of the last line.
    used: usize,
    marks: Marks,
    /// Whether what comes next is trained.
    trained: bool,
    /// Whether a mark is open on the last line.
    open: bool,
}

impl Page {
    /// Writes some characters that stay together.
    fn push(&mut self, characters: &str) {
        let columns: usize = characters.chars().filter_map(|character| character.width()).sum();
        let marks = if self.marks.visible && self.trained { 2 } else { 0 };
        let room = WIDTH - if self.open { marks / 2 } else { marks };
        if self.used + columns > room {
            self.end_line();
        }
        if self.trained && !self.open {
            self.text += self.marks.open;
            self.used += usize::from(self.marks.visible);
            self.open = true;
        }
        self.text += characters;
        self.used += columns;
    }

    fn end_line(&mut self) {
        self.close();
        self.text.push('\n');
        self.used = 0;
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.text += self.marks.close;
            self.used += usize::from(self.marks.visible);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[&str]) -> Vec<String> {
        tokens.iter().map(|&token| token.to_owned()).collect()
    }

    #[test]
    fn trained_tokens_stand_between_marks_on_every_line() {
        let tokens =
            texts(&["<|user|>", "\n", "Hi", "\t", " there", "\n", "Good", " day", "\n", "you", "</s>"]);
        let trained = [false, false, false, false, false, false, true, true, true, true, true];
        let expected = "<|user|>·\\n\nHi·\\t· there·\\n\n[Good· day·\\n]\n[you·</s>]";
        assert_eq!(marked(&tokens, &trained, BRACKETS), expected);
        let coloured = marked(&texts(&["a", "b"]), &[false, true], COLOURS);
        assert_eq!(coloured, "a\x1b[1;32mb\x1b[0m");
    }

    #[test]
    fn lines_fit_a_terminal_and_hold_no_control_characters() {
        let tokens = texts(&["長い".repeat(60).as_str(), "\u{1b}[31m", &"x".repeat(200)]);
        for trained in [[true, true, true], [false, true, false]] {
            let page = marked(&tokens, &trained, BRACKETS);
            assert!(!page.contains('\u{1b}'));
            for line in page.lines() {
                let columns: usize = line.chars().filter_map(|character| character.width()).sum();
                assert!(columns <= WIDTH, "{columns}: {line}");
            }
        }
    }
}
