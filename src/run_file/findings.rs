//! What reading a run file finds besides the run: problems, which end it, and keys without effect, which it warns of.

use std::fmt;

use super::error::{Problem, SpecError};

/// What is found while a run file is read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    ignored: Vec<(String, &'static str)>,
    /// Rows of one step, which the messages of some keys name.
    rows: u32,
}

/// What stands for the rows of one step in a message.
const ROWS: &str = "{global_batch_size}";

impl Findings {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes that `key` has no effect, and what happens instead.
    pub(super) fn ignore(&mut self, key: impl Into<String>, instead: &'static str) {
        self.ignored.push((key.into(), instead));
    }

    /// Says how many rows a step has.
    pub(super) fn step_has(&mut self, rows: u32) {
        self.rows = rows;
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The keys without effect; an error when there were problems.
    pub(super) fn end(self, source_name: &str) -> Result<IgnoredKeys, SpecError> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (key, instead) in self.ignored {
            let instead = instead.replace(ROWS, &self.rows.to_string());
            match groups.iter_mut().find(|(same, _)| *same == instead) {
                Some((_, keys)) => keys.push(key),
                None => groups.push((instead, vec![key])),
            }
        }
        let ignored = IgnoredKeys { source_name: source_name.to_owned(), groups };
        SpecError::new(self.problems).map_or(Ok(ignored), Err)
    }
}

/// Keys of a run file that have no effect, with what happens instead.
///
/// `{}` is one line, for logs; `{:#}` has a line for each thing that happens instead, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredKeys {
    source_name: String,
    groups: Vec<(String, Vec<String>)>,
}

impl IgnoredKeys {
    /// Whether every key has an effect.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The keys, in the user's spelling.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|(_, keys)| keys.iter().map(String::as_str))
    }
}

impl fmt::Display for IgnoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, between) = if f.alternate() { ("\n  ", "\n  ") } else { (" ", "; ") };
        write!(f, "{}: keys without effect:", self.source_name)?;
        for (index, (instead, keys)) in self.groups.iter().enumerate() {
            let separator = if index == 0 { first } else { between };
            write!(f, "{separator}{}: {instead}", keys.join(", "))?;
        }
        Ok(())
    }
}
