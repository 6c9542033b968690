//! From one step to the next: what follows when sums are complete, an update is made, or an evaluation is judged.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::exit::Exit;
use headstart::id::{Step, Version};
use headstart::message::{Pass, ToWorker, Totals};

use super::{Machine, Phase};
use crate::event::{Effect, Record};
use crate::master::{Applied, NotFinite};

impl Machine {
    /// Every shard of a step or evaluation is in.
    pub(super) fn reduced(&mut self, totals: Totals, effects: &mut Vec<Effect>) {
        let Phase::Reducing { work, .. } = &self.phase else { unreachable!("called while reducing") };
        match work.pass {
            Pass::Train => {
                let step = work.step;
                if let Some(detail) = self.quarantine() {
                    return self.end(Exit::Data, detail, effects);
                }
                // From here on the update counts, even if workers leave while it runs.
                self.committed = true;
                let learning_rate = self.schedule.learning_rate(step.0);
                effects.push(Effect::Update { step, divisor: totals.divisor, learning_rate });
                self.phase = Phase::Updating { step, totals, learning_rate };
            }
            Pass::Eval => self.evaluated(totals, effects),
            Pass::Golden => self.finish_with(totals.golden, effects),
            Pass::Probe => self.probed(totals.probed, effects),
        }
    }

    pub(super) fn updated(
        &mut self,
        step: Step,
        outcome: Result<Applied, NotFinite>,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Updating { step: expected, totals, learning_rate } = &mut self.phase else { return };
        debug_assert_eq!(step, *expected);
        let (totals, learning_rate) = (std::mem::take(totals), *learning_rate);
        let applied = match outcome {
            Ok(applied) => applied,
            Err(NotFinite { norm }) => {
                let detail =
                    format!("diverged in {step}: the gradient's norm is {norm}; lower learning_rate");
                return self.end(Exit::Diverged, detail, effects);
            }
        };
        self.version = Version(step.0 + 1);
        self.weights = applied.weights;
        self.last_loss = totals.mean_loss();
        self.last_norm = applied.norm;
        let workers = self.members.ready().count();
        let skipped = std::mem::take(&mut self.skipped);
        let metrics = self.objective.of_step(&totals);
        effects.push(Effect::Record(Record::Step {
            step,
            totals: Box::new(totals),
            metrics,
            learning_rate,
            applied,
            skipped,
            workers,
        }));
        // Replicas follow by themselves, and those who rest need no weights.
        for (worker, _) in self.members.able().filter(|(_, member)| !member.follows) {
            effects.push(Effect::Send(worker, ToWorker::Publish(self.version)));
        }
        match () {
            () if self.stop.is_some() => self.export(false, effects),
            () if self.schedule.saves(self.version.0) => self.save(effects),
            () => self.after_update(effects),
        }
    }

    /// What follows an update, once its state is being committed if that is due.
    pub(super) fn after_update(&mut self, effects: &mut Vec<Effect>) {
        match self.schedule.evaluates(self.version.0) {
            true => self.begin(Pass::Eval, effects),
            false => self.next_step(effects),
        }
    }

    fn evaluated(&mut self, totals: Totals, effects: &mut Vec<Effect>) {
        let metrics = self.objective.metrics(&totals);
        self.committed = true;
        let verdict = self.best.judge(self.version, &metrics);
        self.last_eval = (self.version, metrics.clone());
        effects.push(Effect::Record(Record::Eval {
            version: self.version,
            metrics,
            samples: totals.samples,
        }));
        if verdict.best && self.run.spec.evaluation.load_best_model_at_end {
            effects.push(Effect::KeepBest(self.version));
        }
        match verdict.stop {
            true => self.finish(effects),
            false => self.next_step(effects),
        }
    }

    pub(super) fn next_step(&mut self, effects: &mut Vec<Effect>) {
        match self.version.0 >= self.run.plan.steps() {
            true => self.finish(effects),
            false => self.begin(Pass::Train, effects),
        }
    }
}
