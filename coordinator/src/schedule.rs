//! The learning rate of each step, and which steps are followed by an evaluation or a checkpoint. Definitions: transformers.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::run_file::{RunSpec, Scheduler, Strategy};

/// Learning rate and evaluation points of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    kind: Scheduler,
    peak: f64,
    warmup: u64,
    steps: u64,
    eval_every: Option<u64>,
    eval_on_start: bool,
    save_every: Option<u64>,
}

impl Schedule {
    /// The schedule of a run of `steps` steps, `steps_per_epoch` of them to an epoch.
    pub fn new(spec: &RunSpec, steps: u64, steps_per_epoch: u64) -> Schedule {
        let count =
            |value: f64| if value < 1.0 { (value * steps as f64).ceil() as u64 } else { value as u64 };
        let every = |strategy, each| match strategy {
            Strategy::No => None,
            Strategy::Steps => Some(count(each).max(1)),
            Strategy::Epoch => Some(steps_per_epoch),
        };
        Schedule {
            kind: spec.update.lr_scheduler_type,
            peak: spec.update.learning_rate,
            warmup: count(spec.update.warmup_steps),
            steps,
            eval_every: every(spec.evaluation.eval_strategy, spec.evaluation.eval_steps),
            eval_on_start: spec.evaluation.eval_on_start,
            save_every: every(spec.saving.save_strategy, spec.saving.save_steps),
        }
    }

    /// The learning rate of the update that follows `updates` earlier ones.
    pub fn learning_rate(&self, updates: u64) -> f64 {
        let warming = self.kind != Scheduler::Constant && updates < self.warmup;
        if warming {
            return self.peak * (updates as f64 / self.warmup.max(1) as f64);
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let done = updates.saturating_sub(self.warmup) as f64 / span;
        match self.kind {
            Scheduler::Constant | Scheduler::ConstantWithWarmup => self.peak,
            Scheduler::Linear => self.peak * (1.0 - done).max(0.0),
            Scheduler::Cosine => self.peak * (0.5 * (1.0 + libm::cos(std::f64::consts::PI * done))).max(0.0),
        }
    }

    /// Whether the weights after `updates` updates are evaluated.
    pub fn evaluates(&self, updates: u64) -> bool {
        match updates {
            0 => self.eval_on_start,
            _ => self.eval_every.is_some_and(|every| {
                updates.is_multiple_of(every) || (self.ends_early(every) && updates == self.steps)
            }),
        }
    }

    /// Whether the state after `updates` updates is committed.
    pub fn saves(&self, updates: u64) -> bool {
        self.save_every.is_some_and(|every| updates.is_multiple_of(every))
    }

    /// Whether the last step falls between two evaluation points; its weights are evaluated all the same, since
    /// they are the ones that are written.
    fn ends_early(&self, every: u64) -> bool {
        !self.steps.is_multiple_of(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: Scheduler) -> Schedule {
        Schedule {
            kind,
            peak: 1.0,
            warmup: 10,
            steps: 110,
            eval_every: Some(50),
            eval_on_start: false,
            save_every: Some(55),
        }
    }

    #[test]
    fn warm_up_then_decay() {
        let linear = schedule(Scheduler::Linear);
        assert_eq!([0, 5, 10, 60, 110].map(|step| linear.learning_rate(step)), [0.0, 0.5, 1.0, 0.5, 0.0]);
        let cosine = schedule(Scheduler::Cosine);
        assert!((cosine.learning_rate(60) - 0.5).abs() < 1e-12);
        assert!((cosine.learning_rate(35) - 0.853_553_390_593).abs() < 1e-9, "cos(pi/4) of the way");
        assert_eq!(schedule(Scheduler::Constant).learning_rate(0), 1.0);
        assert_eq!(schedule(Scheduler::ConstantWithWarmup).learning_rate(5), 0.5);
        assert_eq!(schedule(Scheduler::ConstantWithWarmup).learning_rate(109), 1.0);
    }

    #[test]
    fn the_last_weights_are_evaluated_too() {
        let schedule = schedule(Scheduler::Linear);
        let at: Vec<u64> = (0..=110).filter(|&updates| schedule.evaluates(updates)).collect();
        assert_eq!(at, [50, 100, 110]);
    }

    #[test]
    fn the_last_step_is_saved_where_it_is_due() {
        let schedule = schedule(Scheduler::Linear);
        assert_eq!((1..=110).filter(|&updates| schedule.saves(updates)).collect::<Vec<u64>>(), [55, 110]);
        let uneven = Schedule { steps: 109, ..schedule };
        assert_eq!((1..=109).filter(|&updates| uneven.saves(updates)).collect::<Vec<u64>>(), [55]);
    }
}
