//! Label names become numbers.

use std::collections::HashMap;

use super::RowProblem;

/// Different labels of a run; more are a sign of a wrong column.
const MOST_LABELS: usize = 100_000;
const LONGEST_LABEL: usize = 1024;

/// The labels met so far, or the only ones allowed.
pub(super) struct Labels {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
    fixed: bool,
}

impl Labels {
    /// Collects labels when `known` is `None`, allows only those of `known` otherwise.
    pub(super) fn new(known: Option<&[String]>) -> Labels {
        let names = known.unwrap_or_default().to_vec();
        let numbers = names.iter().enumerate().map(|(number, name)| (name.clone(), number as u32)).collect();
        Labels { numbers, names, fixed: known.is_some() }
    }

    /// The number of a label, for now: [`Labels::finish`] says which numbers are final.
    pub(super) fn number(&mut self, label: &str, column: &str) -> Result<u32, RowProblem> {
        if let Some(&number) = self.numbers.get(label) {
            return Ok(number);
        }
        if label.len() > LONGEST_LABEL {
            return Err(RowProblem::LongLabel { limit: LONGEST_LABEL, column: column.to_owned() });
        }
        if self.fixed {
            return Err(RowProblem::UnknownLabel { label: label.to_owned(), known: self.names.clone() });
        }
        if self.names.len() == MOST_LABELS {
            return Err(RowProblem::TooManyLabels { limit: MOST_LABELS, column: column.to_owned() });
        }
        let number = self.names.len() as u32;
        self.numbers.insert(label.to_owned(), number);
        self.names.push(label.to_owned());
        Ok(number)
    }

    /// The labels in their final order, and the final number of each number given so far.
    ///
    /// Collected labels are sorted: by value when all are integers, as strings otherwise.
    pub(super) fn finish(self) -> (Vec<String>, Vec<u32>) {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        if !self.fixed {
            let values: Option<Vec<i128>> = self.names.iter().map(|name| integer(name)).collect();
            match values {
                Some(values) => order.sort_by_key(|&place| values[place]),
                None => order.sort_by_key(|&place| &self.names[place]),
            }
        }
        let mut renumbered = vec![0; order.len()];
        for (number, &place) in order.iter().enumerate() {
            renumbered[place] = number as u32;
        }
        (order.into_iter().map(|place| self.names[place].clone()).collect(), renumbered)
    }
}

/// The value of an integer in its usual spelling; `007` and `+7` are names.
fn integer(name: &str) -> Option<i128> {
    name.parse::<i128>().ok().filter(|value| value.to_string() == name)
}
