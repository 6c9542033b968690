//! When a run's state is committed.

use super::super::keys::RunFile;
use super::super::{DEFAULT_SAVE_STEPS, Saving, Strategy};
use super::check::{Check, POSITIVE_COUNT_OR_RATIO, place};

impl Check<'_> {
    pub(super) fn saving(&mut self, file: &RunFile) -> Saving {
        let strategy = file.save_strategy.as_ref().map_or(Strategy::Steps, |found| found.value.0);
        let steps = if strategy == Strategy::Steps {
            self.number("save_steps", &file.save_steps, DEFAULT_SAVE_STEPS, POSITIVE_COUNT_OR_RATIO)
        } else {
            let because = place(&file.save_strategy);
            self.without_effect("save_steps", &file.save_steps, because, "save_strategy is not steps");
            DEFAULT_SAVE_STEPS
        };
        // Zero and less are all of them to transformers.
        let limit = file.save_total_limit.as_ref().filter(|found| found.value >= 1);
        let limit = limit.map(|found| u32::try_from(found.value).unwrap_or(u32::MAX));
        Saving {
            save_strategy: strategy,
            save_steps: steps,
            save_total_limit: limit,
            resume_from_checkpoint: file.resume_from_checkpoint.as_ref().is_some_and(|found| found.value.0),
        }
    }
}
