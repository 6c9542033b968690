//! How commits, exports and the run's end wait for each other.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::manifest::RunState;
use headstart::message::{GoldenRow, Pass};

use super::{Machine, Phase};
use crate::event::Effect;

/// Commits: one in flight at most, off the path of the steps. What falls due while one is written waits for it.
#[derive(Debug, Default)]
pub(super) struct Saving {
    pub(super) in_flight: bool,
    /// What waits for the one in flight.
    then: Option<Then>,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Save,
    Finish,
    Export {
        /// Whether the weights have been evaluated, or need no evaluation.
        evaluated: bool,
    },
}

impl Saving {
    /// Whether a save has fallen due while the one before is still being written.
    pub(super) fn is_save_waiting(&self) -> bool {
        matches!(self.then, Some(Then::Save))
    }
}

impl Machine {
    /// Commits the state right after an update; training continues while it is written. If an earlier commit is still
    /// being written, the run waits for it: the next update would overwrite weights and ledger lines that this commit
    /// is to hold.
    pub(super) fn save(&mut self, effects: &mut Vec<Effect>) {
        if self.saving.in_flight {
            self.phase = Phase::Saving;
            self.saving.then = Some(Then::Save);
            return;
        }
        self.saving.in_flight = true;
        effects.push(Effect::Commit(self.standing()));
        self.after_update(effects);
    }

    pub(super) fn finish(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Saving;
        if self.saving.in_flight {
            self.saving.then = Some(Then::Finish);
            return;
        }
        let best = self.run.spec.evaluation.load_best_model_at_end && self.best.best().is_some();
        let standing = RunState { finished: true, ..self.standing() };
        effects.push(Effect::Conclude { best, standing });
    }

    /// Nothing can be lost any more: a language model's golden rows are computed, then `final/` is written.
    pub(super) fn concluded(&mut self, effects: &mut Vec<Effect>) {
        match (self.run.plan.golden().is_empty(), self.stop.clone()) {
            (true, _) => effects.push(Effect::Finish(Vec::new())),
            // The pass needs workers, which may be stopping too. Whoever resumes the run computes it.
            (false, Some((reason, exit))) => self.end(exit, reason, effects),
            (false, None) => self.begin(Pass::Golden, effects),
        }
    }

    /// The golden rows are computed. One whose log probabilities are not finite says nothing, and is left out.
    pub(super) fn finish_with(&mut self, mut golden: Vec<GoldenRow>, effects: &mut Vec<Effect>) {
        golden.retain(|row| row.logprobs.iter().all(|logprob| logprob.is_finite()));
        self.phase = Phase::Saving;
        effects.push(Effect::Finish(golden));
    }

    pub(super) fn export(&mut self, evaluated: bool, effects: &mut Vec<Effect>) {
        self.phase = Phase::Saving;
        if self.saving.in_flight {
            self.saving.then = Some(Then::Export { evaluated });
            return;
        }
        effects.push(Effect::Export(RunState { evaluated, ..self.standing() }));
    }

    /// The commit in flight is made: what waited for it can go on.
    pub(super) fn commit_made(&mut self, effects: &mut Vec<Effect>) {
        self.saving.in_flight = false;
        self.counts.commits += 1;
        match self.saving.then.take() {
            Some(Then::Save) => self.save(effects),
            Some(Then::Finish) => self.finish(effects),
            Some(Then::Export { evaluated }) => self.export(evaluated, effects),
            None => {}
        }
    }
}
