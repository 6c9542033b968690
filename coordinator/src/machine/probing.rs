//! The probe: before the first step of a new run, what the first weights make of some training rows.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use headstart::exit::Exit;
use headstart::message::{Pass, ProbedRow, ToWorker};

use super::{Machine, Phase, Run};
use crate::event::Effect;
use crate::lease::Lease;

/// Whether a run begins with a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probing {
    #[default]
    No,
    /// With a probe, then its steps.
    First,
    /// With a probe, which is all of it.
    Only,
}

/// Rows of one lease, at most, so that a lost lease costs little.
const LONGEST: u64 = 64;
/// Bytes of what a lease of a language model gives, at most.
const LARGEST: u64 = 2 << 20;
/// Bytes that a token takes: its number, its likelihood, its place.
const PER_TOKEN: u64 = 12;

/// Rows of one lease of a run's probe.
pub(super) fn longest_probe(run: &Run) -> u32 {
    let tokens = &run.counts_of(Pass::Probe).tokens;
    let longest = run.plan.probed().iter().filter_map(|&row| tokens.get(row as usize)).max();
    let bytes = PER_TOKEN * u64::from(longest.copied().unwrap_or(1));
    (LARGEST / bytes.max(1)).clamp(1, LONGEST) as u32
}

impl Machine {
    /// All rows are in. Judging them takes a while, for which the steps don't wait.
    pub(super) fn probed(&mut self, rows: Vec<ProbedRow>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Judge(Ok(rows)));
        match self.run.probing {
            Probing::Only => self.phase = Phase::Saving,
            Probing::First | Probing::No => self.after_update(effects),
        }
    }

    pub(super) fn judged(&mut self, effects: &mut Vec<Effect>) {
        if self.run.probing == Probing::Only {
            self.end(Exit::Ok, "the checkpoint is probed".to_owned(), effects);
        }
    }

    /// Whether what fails in a pass must not stop the run.
    pub(super) fn may_leave_out(&self, pass: Pass) -> bool {
        pass == Pass::Probe && self.run.probing == Probing::First
    }

    /// Goes on with the run without the rest of its probe.
    pub(super) fn leave_out(&mut self, why: String, effects: &mut Vec<Effect>) {
        if let Phase::Reducing { table, .. } = &self.phase {
            for (lease, Lease { worker, .. }) in table.all() {
                let reason = "the probe is left out".to_owned();
                effects.push(Effect::Send(worker, ToWorker::Revoke { lease, reason }));
            }
        }
        effects.push(Effect::Judge(Err(why)));
        self.after_update(effects);
    }
}
