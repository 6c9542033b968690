//! How a gradient becomes an update: optimizer, learning rate, decay, clipping.

use super::super::keys::RunFile;
use super::super::read::Located;
use super::super::{Optimizer, Scheduler, Update};
use super::check::{
    AT_LEAST_0, BELOW_1, COUNT_OR_RATIO, Check, Constraint, FROM_0_TO_1, first_counts, given_together, place,
};

/// What applies where a run file does not say it.
struct Defaults {
    learning_rate: f64,
    scheduler: Scheduler,
    /// Share of all steps.
    warmup: f64,
}

impl Defaults {
    /// An adapter begins at zero and has few parameters: it takes larger steps than a network.
    fn of(file: &RunFile) -> Defaults {
        match file.adapter.as_ref().is_some_and(|found| found.value.0) {
            true => Defaults { learning_rate: 2e-4, scheduler: Scheduler::Cosine, warmup: 0.03 },
            false => Defaults { learning_rate: 5e-5, scheduler: Scheduler::Linear, warmup: 0.0 },
        }
    }
}

impl Check<'_> {
    pub(super) fn update(&mut self, file: &RunFile) -> Update {
        let optim = file.optim.as_ref().map_or(Optimizer::AdamwTorch, |found| found.value.0);
        let Defaults { learning_rate, scheduler, .. } = Defaults::of(file);
        let lr_scheduler_type = file.lr_scheduler_type.as_ref().map_or(scheduler, |found| found.value.0);
        let smoothing = &file.label_smoothing_factor;
        Update {
            optim,
            momentum: self.momentum(file, optim),
            learning_rate: self.number("learning_rate", &file.learning_rate, learning_rate, AT_LEAST_0),
            lr_scheduler_type,
            warmup_steps: self.warmup(file, lr_scheduler_type),
            weight_decay: self.number("weight_decay", &file.weight_decay, 0.0, AT_LEAST_0),
            adam_beta1: self.of_adam(file, "adam_beta1", &file.adam_beta1, 0.9, BELOW_1),
            adam_beta2: self.of_adam(file, "adam_beta2", &file.adam_beta2, 0.999, BELOW_1),
            adam_epsilon: self.of_adam(file, "adam_epsilon", &file.adam_epsilon, 1e-8, AT_LEAST_0),
            max_grad_norm: self.number("max_grad_norm", &file.max_grad_norm, 1.0, AT_LEAST_0),
            label_smoothing_factor: self.number("label_smoothing_factor", smoothing, 0.0, FROM_0_TO_1),
        }
    }

    fn warmup(&mut self, file: &RunFile, scheduler: Scheduler) -> f64 {
        let (steps, ratio) = (&file.warmup_steps, &file.warmup_ratio);
        if steps.is_none() && ratio.is_none() {
            return if scheduler == Scheduler::Constant { 0.0 } else { Defaults::of(file).warmup };
        }
        let together = given_together(place(steps), place(ratio));
        let by_ratio = ratio.as_ref().is_some_and(|found| found.value != 0.0);
        // Zero steps beside a ratio are how transformers writes that the ratio counts.
        let asked = steps.as_ref().filter(|found| found.value != 0.0 || !(together && by_ratio));
        let by_steps = first_counts(asked.map(|found| &found.key), place(ratio));
        let (key, warmup) = if by_steps {
            if together && by_ratio {
                self.findings.ignore("warmup_ratio", "warmup_steps is given");
            }
            let count = Constraint {
                holds: |number| number >= 0.0 && (COUNT_OR_RATIO.holds)(number),
                must: COUNT_OR_RATIO.must,
            };
            ("warmup_steps", self.number("warmup_steps", steps, 0.0, count))
        } else {
            ("warmup_ratio", self.number("warmup_ratio", ratio, 0.0, BELOW_1))
        };
        if scheduler == Scheduler::Constant && warmup > 0.0 {
            let found = if by_steps { steps } else { ratio };
            let instead = "lr_scheduler_type is constant, which has no warm-up; constant_with_warmup has one";
            self.without_effect(key, found, place(&file.lr_scheduler_type), instead);
            return 0.0;
        }
        warmup
    }

    fn momentum(&mut self, file: &RunFile, optim: Optimizer) -> f64 {
        let arguments = &file.optim_args;
        if optim != Optimizer::Sgd {
            let instead = "it is for optim: sgd; AdamW has keys of its own, such as adam_beta1";
            self.without_effect("optim_args", arguments, place(&file.optim), instead);
            return 0.0;
        }
        let Some(found) = arguments else { return 0.0 };
        let mut momentum = 0.0;
        for argument in found.value.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            let number = value.trim().parse::<f64>().ok().filter(|number| (0.0..1.0).contains(number));
            match (name.trim(), number, value.trim()) {
                ("momentum", Some(number), _) => momentum = number,
                ("dampening", Some(0.0), _) | ("nesterov", _, "False" | "false") => {}
                _ => {
                    let message = format!("`optim_args` cannot be {:?}", found.value);
                    let help = "write optim_args: \"momentum=0.9\", a number from 0 to below 1";
                    self.refuse(&found.at, message, help);
                    break;
                }
            }
        }
        momentum
    }

    /// A number that only AdamW has.
    fn of_adam(
        &mut self,
        file: &RunFile,
        key: &str,
        found: &Option<Located<f64>>,
        default: f64,
        rule: Constraint,
    ) -> f64 {
        if file.optim.as_ref().is_none_or(|optim| optim.value.0 == Optimizer::AdamwTorch) {
            return self.number(key, found, default, rule);
        }
        self.without_effect(key, found, place(&file.optim), "it is for AdamW, and optim is sgd");
        default
    }
}
