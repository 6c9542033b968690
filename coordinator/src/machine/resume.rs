//! What the machine remembers beyond a restart.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::id::Version;
use headstart::manifest::RunState;

use super::Machine;
use crate::membership::Bound;
use crate::objective;

impl Machine {
    /// Takes up what an earlier coordinator left off with.
    pub(super) fn resume(&mut self, standing: &RunState) {
        let RunState {
            version: _,
            evaluated: _,
            finished: _,
            class: _,
            best,
            without_improvement,
            eval,
            loss,
            norm,
        } = standing;
        if let Some((class, canary)) = standing.class() {
            self.members.bind(Bound { class, canary, base: self.run.base });
            self.committed = true;
        }
        let best = best.map(|(version, value)| (Version(version), value.into()));
        self.best.resume(best, *without_improvement);
        (self.last_loss, self.last_norm) = ((*loss).into(), (*norm).into());
        if let Some((version, metrics)) = eval {
            let known =
                metrics.iter().filter_map(|(name, &value)| Some((objective::known(name)?, value.into())));
            self.last_eval = (Version(*version), known.collect());
        }
    }

    /// What must be remembered now, right after an update: its weights are not evaluated yet.
    pub(super) fn standing(&self) -> RunState {
        let (version, metrics) = &self.last_eval;
        let eval = metrics.iter().map(|(name, &value)| ((*name).to_owned(), value.into()));
        RunState {
            version: self.version.0,
            evaluated: false,
            finished: false,
            class: self.committed.then(|| self.members.bound()).flatten(),
            best: self.best.best().map(|(version, value)| (version.0, value.into())),
            without_improvement: self.best.without_improvement(),
            eval: (!metrics.is_empty()).then(|| (version.0, eval.collect())),
            loss: self.last_loss.into(),
            norm: self.last_norm.into(),
        }
    }
}
