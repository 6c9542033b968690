//! The ledger: its lines, each chained to the one before by its hash.

use serde_json::{Map, Value};

use super::{Difference, LEDGER};
use crate::hash::sha256;

/// A ledger whose chain holds.
#[derive(Clone, Debug)]
pub struct Ledger {
    lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it was written, without the new line.
    pub text: String,
    /// What it says.
    pub facts: Map<String, Value>,
}

impl Line {
    /// The number of updates it is about.
    pub fn step(&self) -> Option<u64> {
        self.facts.get("step")?.as_u64()
    }

    /// Whether it records an update, rather than version 0 or an evaluation.
    pub fn is_update(&self) -> bool {
        self.facts.contains_key("gradient")
    }

    /// A fact that is a text.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.facts.get(key)?.as_str()
    }
}

impl Ledger {
    /// Reads a ledger, line by line; the first line whose hash is not the one that the next names is named.
    pub fn parse(bytes: &[u8]) -> Result<Ledger, Difference> {
        let refuse = |line: usize, reason: String| Difference::Line { file: LEDGER, line, reason };
        let mut lines: Vec<Line> = Vec::new();
        let mut previous = String::new();
        let mut broken = None;
        for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            let text = text
                .strip_suffix(b"\n")
                .ok_or_else(|| refuse(number, "it does not end with a new line".to_owned()))?;
            let text = str::from_utf8(text).map_err(|_| refuse(number, "it is not text".to_owned()))?;
            let facts: Map<String, Value> = serde_json::from_str(text)
                .map_err(|error| refuse(number, format!("it is not a JSON object ({error})")))?;
            let end = format!(",\"previous\":\"{previous}\"}}");
            match (broken, text.ends_with(&end)) {
                // If this line is what the next one says it is, then the line before is the damaged one.
                (None, false) => broken = Some(number),
                (Some(before), true) if before + 1 == number => {
                    return Err(refuse(before - 1, "it is not the line that the next one names".to_owned()));
                }
                (Some(before), _) => {
                    return Err(refuse(before, "it does not name the line before it by its hash".to_owned()));
                }
                (None, true) => {}
            }
            previous = sha256(text.as_bytes());
            lines.push(Line { text: text.to_owned(), facts });
        }
        if let Some(last) = broken {
            return Err(refuse(
                last - 1,
                "this line or the next was changed: they are not chained".to_owned(),
            ));
        }
        check_steps(&lines).map_err(|(number, reason)| refuse(number, reason))?;
        Ok(Ledger { lines })
    }

    /// The lines, in order; never empty.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What version 0 is made of.
    pub fn first(&self) -> &Line {
        &self.lines[0]
    }

    /// Updates made.
    pub fn steps(&self) -> u64 {
        self.lines.iter().filter(|line| line.is_update()).count() as u64
    }

    /// The line of an update; of version 0 for step 0.
    pub fn of_step(&self, step: u64) -> Option<&Line> {
        match step {
            0 => self.lines.first(),
            _ => self.lines.iter().find(|line| line.is_update() && line.step() == Some(step)),
        }
    }
}

/// Updates are counted from 1 without a gap, and evaluations are of the weights just made.
fn check_steps(lines: &[Line]) -> Result<(), (usize, String)> {
    let mut updates = 0;
    for (number, line) in (1..).zip(lines) {
        updates += u64::from(line.is_update());
        if line.step() != Some(updates) {
            return Err((number, format!("it should be about step {updates}")));
        }
    }
    match lines.first().is_some_and(|line| line.text_of("weights").is_some() && !line.is_update()) {
        true => Ok(()),
        false => Err((1, "it does not say what version 0 is made of".to_owned())),
    }
}
