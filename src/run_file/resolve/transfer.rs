//! How parameters are treated apart from each other: learning rates by depth, later beginnings, the pull back.

use super::super::error::At;
use super::super::keys::{RunFile, UnfreezeBlock};
use super::super::{InitFrom, Transfer, Unfreezing};
use super::check::{AT_LEAST_0, Check, Constraint, MOST_STEPS};

/// Above 0, and at most 1.
const FRACTION: Constraint =
    Constraint { holds: |number| number > 0.0 && number <= 1.0, must: "above 0, and at most 1" };

impl Check<'_> {
    pub(super) fn transfer(&mut self, file: &RunFile) -> Transfer {
        Transfer {
            layer_decay: self.number("layer_decay", &file.layer_decay, 1.0, FRACTION),
            unfreeze: self.unfreeze(file),
            l2_sp: self.l2_sp(file),
        }
    }

    fn unfreeze(&mut self, file: &RunFile) -> Vec<Unfreezing> {
        let Some(found) = &file.unfreeze else { return Vec::new() };
        let entries = found.value.0.iter().enumerate();
        entries.filter_map(|(number, (block, at))| self.unfreezing(number, block, at)).collect()
    }

    fn unfreezing(&mut self, number: usize, block: &UnfreezeBlock, at: &At) -> Option<Unfreezing> {
        let help = "write {step: NUMBER, parameters: [PATTERN]}: they train from that step on";
        let Some(step) = &block.step else {
            self.refuse(at, format!("`unfreeze[{number}]` has no `step`"), help);
            return None;
        };
        if !(1..=MOST_STEPS as u64).contains(&step.value) {
            let message =
                format!("`unfreeze[{number}].step` must be from 1 to {MOST_STEPS}, found {}", step.value);
            self.refuse(&step.at, message, "steps count from 1, as in metrics.jsonl");
        }
        let Some(parameters) = &block.parameters else {
            self.refuse(at, format!("`unfreeze[{number}]` has no `parameters`"), help);
            return None;
        };
        Some(Unfreezing { step: step.value, parameters: parameters.value.0.clone() })
    }

    fn l2_sp(&mut self, file: &RunFile) -> f64 {
        let strength = self.number("l2_sp", &file.l2_sp, 0.0, AT_LEAST_0);
        let random = file.init.as_ref().is_some_and(|found| found.value.0 == InitFrom::Random);
        if let Some(found) = file.l2_sp.as_ref().filter(|_| strength > 0.0 && random) {
            let message =
                "`l2_sp` pulls towards the checkpoint's weights, but `init: random` reads none".to_owned();
            self.refuse(&found.at, message, "remove l2_sp, or write init: pretrained");
        }
        strength
    }
}
