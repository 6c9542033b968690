//! When the network is evaluated, and what follows from it.

use super::super::foreign::LOGGED;
use super::super::keys::RunFile;
use super::super::read::Located;
use super::super::{DEFAULT_EVAL_STEPS, Evaluation, Metric, Strategy};
use super::check::{AT_LEAST_0, Check, POSITIVE_COUNT_OR_RATIO, place, value_or};

impl Check<'_> {
    pub(super) fn evaluation(&mut self, file: &RunFile) -> Evaluation {
        let strategy = file.eval_strategy.as_ref().map_or(Strategy::No, |found| found.value.0);
        let metric = file.metric_for_best_model.as_ref().map_or(Metric::Loss, |found| found.value.0);
        self.metric_of_task(file);
        let steps = self.eval_steps(file, strategy);
        self.evaluation_needs(file, strategy);
        let (patience, threshold) = (&file.early_stopping_patience, &file.early_stopping_threshold);
        let threshold = if patience.is_some() {
            self.number("early_stopping_threshold", threshold, 0.0, AT_LEAST_0)
        } else {
            let instead = "training ends early only with early_stopping_patience, a number of evaluations";
            self.without_effect("early_stopping_threshold", threshold, None, instead);
            0.0
        };
        let patience =
            patience.is_some().then(|| self.count("early_stopping_patience", patience, 1, u32::MAX));
        Evaluation {
            eval_strategy: strategy,
            eval_steps: steps,
            eval_on_start: value_or(&file.eval_on_start, false),
            load_best_model_at_end: value_or(&file.load_best_model_at_end, false),
            metric_for_best_model: metric,
            greater_is_better: value_or(&file.greater_is_better, metric.grows()),
            early_stopping_patience: patience,
            early_stopping_threshold: threshold,
        }
    }

    fn metric_of_task(&mut self, file: &RunFile) {
        let (Some(metric), Some(task)) = (&file.metric_for_best_model, &file.task) else { return };
        let of_task = Metric::of(task.value.0);
        if !of_task.contains(&metric.value.0) {
            let names: Vec<&str> = of_task.iter().map(|metric| metric.name()).collect();
            let message =
                format!("`metric_for_best_model: {}` is not a metric of this task", metric.value.0.name());
            self.refuse(&metric.at, message, &format!("it can be {}", names.join(", ")));
        }
    }

    fn eval_steps(&mut self, file: &RunFile, strategy: Strategy) -> f64 {
        let (steps, logging) = (&file.eval_steps, &file.logging_steps);
        if strategy != Strategy::Steps {
            let instead = "eval_strategy is not steps; write eval_strategy: steps to evaluate every N steps";
            self.without_effect("eval_steps", steps, place(&file.eval_strategy), instead);
            self.without_effect("logging_steps", logging, None, LOGGED);
            return DEFAULT_EVAL_STEPS;
        }
        // Transformers' own fallback.
        let fallback = logging.as_ref().filter(|_| steps.is_none());
        if fallback.is_none() {
            self.without_effect("logging_steps", logging, None, LOGGED);
        }
        let default =
            self.number("logging_steps", &fallback.cloned(), DEFAULT_EVAL_STEPS, POSITIVE_COUNT_OR_RATIO);
        self.number("eval_steps", steps, default, POSITIVE_COUNT_OR_RATIO)
    }

    /// What evaluation, best-model choice and early stopping demand of other keys.
    fn evaluation_needs(&mut self, file: &RunFile, strategy: Strategy) {
        let has_data = file.eval_datasets.as_ref().is_some_and(|found| !found.value.0.is_empty());
        let on =
            |found: &Option<Located<bool>>| found.clone().filter(|found| found.value).map(|found| found.key);
        let strategy_key = place(&file.eval_strategy).filter(|_| strategy != Strategy::No);
        let best = on(&file.load_best_model_at_end);
        let patience = place(&file.early_stopping_patience).cloned();
        let needing = [
            ("eval_strategy", strategy_key.cloned(), false),
            ("eval_on_start", on(&file.eval_on_start), false),
            ("load_best_model_at_end", best, true),
            ("early_stopping_patience", patience.clone(), true),
        ];
        for (key, place, needs_strategy) in needing {
            let Some(place) = place else { continue };
            if !has_data {
                self.refuse(
                    &place,
                    format!("`{key}` needs `eval_datasets`"),
                    "add `eval_datasets: [{path: FILE}]`",
                );
            }
            if needs_strategy && strategy == Strategy::No {
                let help = "add `eval_strategy: steps`, or epoch";
                self.refuse(&place, format!("`{key}` needs an `eval_strategy` other than no"), help);
            }
        }
        // Where the best weights are kept, loss decides unless a metric is named; a run is not ended on a guess.
        let chosen = file.metric_for_best_model.is_some() || value_or(&file.load_best_model_at_end, false);
        if let (Some(place), false) = (patience, chosen) {
            let message = "`early_stopping_patience` needs `metric_for_best_model`".to_owned();
            self.refuse(&place, message, "add `metric_for_best_model: accuracy`, f1 or loss");
        }
    }
}
