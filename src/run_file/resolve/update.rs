//! How a gradient becomes an update: optimizer, learning rate, decay, clipping.

use super::super::keys::RunFile;
use super::super::read::Located;
use super::super::{Optimizer, Scheduler, Update};
use super::check::{AT_LEAST_0, BELOW_1, COUNT_OR_RATIO, Check, Constraint, FROM_0_TO_1, place};

impl Check<'_> {
    pub(super) fn update(&mut self, file: &RunFile) -> Update {
        let optim = file.optim.as_ref().map_or(Optimizer::AdamwTorch, |found| found.value.0);
        let scheduler = file.lr_scheduler_type.as_ref().map_or(Scheduler::Linear, |found| found.value.0);
        self.adam_only(optim, file);
        Update {
            optim,
            momentum: self.momentum(optim, file.optim_args.as_ref()),
            learning_rate: self.number("learning_rate", &file.learning_rate, 5e-5, AT_LEAST_0),
            lr_scheduler_type: scheduler,
            warmup_steps: self.warmup(file, scheduler),
            weight_decay: self.number("weight_decay", &file.weight_decay, 0.0, AT_LEAST_0),
            adam_beta1: self.number("adam_beta1", &file.adam_beta1, 0.9, BELOW_1),
            adam_beta2: self.number("adam_beta2", &file.adam_beta2, 0.999, BELOW_1),
            adam_epsilon: self.number("adam_epsilon", &file.adam_epsilon, 1e-8, AT_LEAST_0),
            max_grad_norm: self.number("max_grad_norm", &file.max_grad_norm, 1.0, AT_LEAST_0),
            label_smoothing_factor: self.number(
                "label_smoothing_factor",
                &file.label_smoothing_factor,
                0.0,
                FROM_0_TO_1,
            ),
        }
    }

    fn warmup(&mut self, file: &RunFile, scheduler: Scheduler) -> f64 {
        let (steps, ratio) = (&file.warmup_steps, &file.warmup_ratio);
        let places = (place(steps), place(ratio));
        let (by_steps, _) = self.exclusive(("warmup_steps", places.0), ("warmup_ratio", places.1));
        let ratio = self.number("warmup_ratio", ratio, 0.0, BELOW_1);
        let warmup = if by_steps {
            let count = Constraint {
                holds: |number| number >= 0.0 && (COUNT_OR_RATIO.holds)(number),
                must: COUNT_OR_RATIO.must,
            };
            self.number("warmup_steps", steps, 0.0, count)
        } else {
            ratio
        };
        if let (Scheduler::Constant, true, Some(key)) = (scheduler, warmup > 0.0, places.0.or(places.1)) {
            let message = "warm-up has no effect with lr_scheduler_type constant".to_owned();
            self.refuse(key, message, "use lr_scheduler_type: constant_with_warmup");
        }
        warmup
    }

    fn momentum(&mut self, optim: Optimizer, arguments: Option<&Located<String>>) -> f64 {
        let Some(found) = arguments else { return 0.0 };
        if optim != Optimizer::Sgd {
            let help = "remove it, or use optim: sgd; AdamW has keys of its own, such as adam_beta1";
            self.refuse(&found.at, "`optim_args` is for optim: sgd".to_owned(), help);
            return 0.0;
        }
        let momentum = found.value.trim().strip_prefix("momentum=");
        let momentum = momentum.and_then(|text| text.trim().parse::<f64>().ok());
        let momentum = momentum.filter(|number| (0.0..1.0).contains(number));
        if momentum.is_none() {
            let message = format!("`optim_args` cannot be {:?}", found.value);
            self.refuse(&found.at, message, "write optim_args: \"momentum=0.9\", a number from 0 to below 1");
        }
        momentum.unwrap_or(0.0)
    }

    fn adam_only(&mut self, optim: Optimizer, file: &RunFile) {
        let keys = [
            ("adam_beta1", &file.adam_beta1),
            ("adam_beta2", &file.adam_beta2),
            ("adam_epsilon", &file.adam_epsilon),
        ];
        for (key, found) in keys {
            if let (Optimizer::Sgd, Some(found)) = (optim, found) {
                self.refuse(&found.key, format!("`{key}` has no effect with optim: sgd"), "remove it");
            }
        }
    }
}
