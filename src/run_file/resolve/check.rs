//! The checks that keys have in common.

use std::sync::Arc;

use super::super::error::{At, Problem, Source};
use super::super::read::Located;

/// Most steps of one run.
pub(super) const MOST_STEPS: i64 = 1 << 40;

/// What a number has to satisfy, and how that is said.
#[derive(Clone, Copy)]
pub(super) struct Constraint {
    pub(super) holds: fn(f64) -> bool,
    pub(super) must: &'static str,
}

/// A count from 1, or a ratio of all steps below 1.
pub(super) const COUNT_OR_RATIO: Constraint = Constraint {
    holds: |number| number < 1.0 || (number.fract() == 0.0 && number <= MOST_STEPS as f64),
    must: "a whole number of steps, or a ratio of all steps below 1",
};

/// The same, above 0.
pub(super) const POSITIVE_COUNT_OR_RATIO: Constraint =
    Constraint { holds: |number| number > 0.0 && (COUNT_OR_RATIO.holds)(number), must: COUNT_OR_RATIO.must };

/// At least 0.
pub(super) const AT_LEAST_0: Constraint = Constraint { holds: |number| number >= 0.0, must: "at least 0" };
/// From 0 to below 1.
pub(super) const BELOW_1: Constraint =
    Constraint { holds: |number| (0.0..1.0).contains(&number), must: "from 0 to below 1" };

/// From 0 to 1.
pub(super) const FROM_0_TO_1: Constraint =
    Constraint { holds: |number| (0.0..=1.0).contains(&number), must: "from 0 to 1" };

/// The value of a key, or its default.
pub(super) fn value_or<T: Copy>(found: &Option<Located<T>>, default: T) -> T {
    found.as_ref().map_or(default, |found| found.value)
}

/// The place of a key, when it is given.
pub(super) fn place<T>(found: &Option<Located<T>>) -> Option<&At> {
    found.as_ref().map(|found| &found.key)
}

/// The list that problems go to.
pub(super) struct Check<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn refuse(&mut self, at: &At, message: String, help: &str) {
        self.problems.push(Problem::at(at, message).help(help));
    }

    pub(super) fn required(&mut self, key: &str, present: bool, help: &str) {
        // A key that is there but wrong has its own problem already.
        let named = |problem: &Problem| problem.message.contains(&format!("`{key}"));
        if !present && !self.problems.iter().any(named) {
            let problem = Problem::whole(self.source, format!("`{key}` is missing"));
            self.problems.push(problem.help(format!("add `{key}:` {help}")));
        }
    }

    pub(super) fn number(
        &mut self,
        key: &str,
        found: &Option<Located<f64>>,
        default: f64,
        rule: Constraint,
    ) -> f64 {
        let Some(found) = found else { return default };
        if !(rule.holds)(found.value) {
            let message = format!("`{key}` must be {}, found {}", rule.must, found.value);
            self.problems.push(Problem::at(&found.at, message));
            return default;
        }
        found.value
    }

    pub(super) fn count(&mut self, key: &str, found: &Option<Located<u32>>, default: u32, most: u32) -> u32 {
        let Some(found) = found else { return default };
        if !(1..=most).contains(&found.value) {
            let message = format!("`{key}` must be from 1 to {most}, found {}", found.value);
            self.problems.push(Problem::at(&found.at, message));
            return default;
        }
        found.value
    }

    /// Of two keys that exclude each other, whether the first and the second count. An override silences the file.
    pub(super) fn exclusive(
        &mut self,
        first: (&str, Option<&At>),
        second: (&str, Option<&At>),
    ) -> (bool, bool) {
        let (Some(first_key), Some(second_key)) = (first.1, second.1) else {
            return (first.1.is_some(), second.1.is_some());
        };
        match (first_key.source.argument, second_key.source.argument) {
            (true, false) => (true, false),
            (false, true) => (false, true),
            _ => {
                let later = if first_key.span.start > second_key.span.start { first_key } else { second_key };
                let message = format!("`{}` and `{}` exclude each other", first.0, second.0);
                self.refuse(later, message, "keep one of them");
                (true, true)
            }
        }
    }
}
