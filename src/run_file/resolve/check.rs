//! The checks that keys have in common.

use std::sync::Arc;

use super::super::error::{At, Problem, Source};
use super::super::findings::Findings;
use super::super::read::Located;

/// Most steps of one run.
pub(super) const MOST_STEPS: i64 = 1 << 40;

/// A condition on a number, and its wording in messages.
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

/// The list of problems to add to.
pub(super) struct Check<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) findings: &'a mut Findings,
}

impl Check<'_> {
    pub(super) fn refuse(&mut self, at: &At, message: String, help: &str) {
        self.findings.push(Problem::at(at, message).help(help));
    }

    pub(super) fn required(&mut self, key: &str, present: bool, help: &str) {
        // A key that is there but wrong has its own problem already.
        let named = |problem: &Problem| problem.message.contains(&format!("`{key}"));
        if !present && !self.findings.problems().iter().any(named) {
            let problem = Problem::whole(self.source, format!("`{key}` is missing"));
            self.findings.push(problem.help(format!("add `{key}:` {help}")));
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
            self.findings.push(Problem::at(&found.at, message));
            return default;
        }
        found.value
    }

    pub(super) fn count(&mut self, key: &str, found: &Option<Located<u32>>, default: u32, most: u32) -> u32 {
        let Some(found) = found else { return default };
        if !(1..=most).contains(&found.value) {
            let message = format!("`{key}` must be from 1 to {most}, found {}", found.value);
            self.findings.push(Problem::at(&found.at, message));
            return default;
        }
        found.value
    }

    /// Notes that a key has no effect, where it is given. An override that makes it so silences the file's key.
    pub(super) fn without_effect<T>(
        &mut self,
        key: &str,
        found: &Option<Located<T>>,
        because: Option<&At>,
        instead: &'static str,
    ) {
        let overridden = because.is_some_and(|at| at.source.argument);
        if found.as_ref().is_some_and(|found| found.key.source.argument || !overridden) {
            self.findings.ignore(key, instead);
        }
    }
}

/// Of two keys for one thing, whether the first counts: an override counts before the file, and else the first key.
pub(super) fn first_counts(first: Option<&At>, second: Option<&At>) -> bool {
    match (first, second) {
        (Some(first), Some(second)) => first.source.argument || !second.source.argument,
        (first, _) => first.is_some(),
    }
}

/// Whether two keys are both given in the file, or both as overrides.
pub(super) fn given_together(first: Option<&At>, second: Option<&At>) -> bool {
    first.zip(second).is_some_and(|(first, second)| first.source.argument == second.source.argument)
}
