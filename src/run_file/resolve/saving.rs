//! When a run's state is committed.

use super::super::keys::RunFile;
use super::super::{DEFAULT_SAVE_STEPS, Saving, Strategy};
use super::check::{Check, POSITIVE_COUNT_OR_RATIO};

impl Check<'_> {
    pub(super) fn saving(&mut self, file: &RunFile) -> Saving {
        let strategy = file.save_strategy.as_ref().map_or(Strategy::Steps, |found| found.value.0);
        let steps = self.number("save_steps", &file.save_steps, DEFAULT_SAVE_STEPS, POSITIVE_COUNT_OR_RATIO);
        if let Some(found) = file.save_steps.as_ref().filter(|_| strategy != Strategy::Steps) {
            let message = "`save_steps` has no effect: save_strategy is not steps".to_owned();
            self.refuse(&found.key, message, "remove one of them");
        }
        let limit = &file.save_total_limit;
        let limit = limit.is_some().then(|| self.count("save_total_limit", limit, 1, u32::MAX));
        Saving {
            save_strategy: strategy,
            save_steps: steps,
            save_total_limit: limit,
            resume_from_checkpoint: file.resume_from_checkpoint.as_ref().is_some_and(|found| found.value.0),
        }
    }
}
