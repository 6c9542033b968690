//! How commits, exports and the run's end wait for each other.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::manifest::RunState;

use super::{Machine, Phase};
use crate::event::Effect;

/// Commits: one in flight at most, off the path of the steps.
#[derive(Debug, Default)]
pub(super) struct Saving {
    pub(super) in_flight: bool,
    pub(super) due: bool,
    /// What waits for the one in flight.
    pub(super) then: Option<Then>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Finish,
    Export {
        /// Whether the weights have been evaluated, or need no evaluation.
        evaluated: bool,
    },
}

impl Machine {
    pub(super) fn finish(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Saving;
        if self.saving.in_flight {
            self.saving.then = Some(Then::Finish);
            return;
        }
        let best = self.run.spec.evaluation.load_best_model_at_end && self.best.best().is_some();
        let standing = RunState { finished: true, ..self.standing() };
        effects.push(Effect::Finish { best, standing });
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
            Some(Then::Finish) => self.finish(effects),
            Some(Then::Export { evaluated }) => self.export(evaluated, effects),
            None => {}
        }
    }
}
