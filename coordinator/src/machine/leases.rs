//! Leases that fail: what is computed again, by whom, and what ends the run.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::{LeaseId, Step, WorkerId};
use headstart::message::{Failure, Pass, StopReason, ToWorker};
use headstart::run_file::NonFinite;

use super::{Machine, Phase};
use crate::event::{Effect, describe};
use crate::lease::Lease;

/// Silence after which a worker is considered lost.
const SILENCE: Duration = Duration::from_secs(30);
/// Training has diverged when more than 1/DIVERGED of the shards are non-finite.
const DIVERGED: u32 = 4;
/// Failures of one node after which the run fails.
const NODE_FAILURES: u32 = 3;

impl Machine {
    pub(super) fn lease_failed(
        &mut self,
        worker: WorkerId,
        lease: LeaseId,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        if table.get(lease).is_none_or(|lease| lease.worker != worker) {
            return;
        }
        let Some(Lease { work, audit, pushing, .. }) = table.fail(lease) else { return };
        self.counts.leases_released += 1;
        self.counts.not_finite += u64::from(matches!(failure, Failure::NotFinite { .. }));
        if audit {
            return self.audit_failed(worker, &work, &failure, effects);
        }
        if let Failure::SumNotFinite = failure
            && work.pass == Pass::Train
        {
            return self.sum_not_finite(worker, &work, effects);
        }
        let of_shard = matches!(failure, Failure::NotFinite { shard }
            if work.pass == Pass::Train && work.node.range().contains(&shard));
        let failures = self.failures.entry(work.node).or_default();
        // Shards that are not finite are counted by themselves.
        *failures += u32::from(!of_shard);
        let exhausted = *failures >= NODE_FAILURES;
        let confirmed = *failures >= 2 || self.members.ready().count() == 1;
        let place = describe(&work);
        match failure {
            Failure::Data(text) | Failure::Error(text) | Failure::Storage(text)
                if exhausted && self.may_leave_out(work.pass) =>
            {
                self.leave_out(format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            // Training says what is wrong with it, when it comes to it.
            Failure::Data(_) if self.may_leave_out(work.pass) => {}
            Failure::Data(text) if confirmed => self.end(Exit::Data, text, effects),
            Failure::NotFinite { shard } if of_shard => {
                let restarted = self.not_finite(shard, effects);
                // What has left of this partial may be as wrong as its shard.
                if pushing && !restarted {
                    self.begin(Pass::Train, effects);
                }
            }
            Failure::NotFinite { shard } if exhausted => {
                let detail = format!(
                    "{place} failed {NODE_FAILURES} times: workers report that shard {shard} is not finite"
                );
                self.end(Exit::Internal, detail, effects);
            }
            Failure::Error(text) if exhausted => {
                self.end(Exit::Internal, format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            Failure::Storage(text) if exhausted => {
                self.end(Exit::Storage, format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            // With audits, whose segments were added must be known.
            _ if pushing && self.run.spec.audit > 0.0 && work.pass == Pass::Train => {
                self.begin(Pass::Train, effects);
            }
            _ => {}
        }
    }

    /// Handles a shard with a non-finite loss or gradient. It is computed again, by another worker if possible. If it
    /// is non-finite again, the step restarts without it, and the end of the step decides whether the run continues. If
    /// too many shards are non-finite, training has diverged. Returns whether the step has restarted, or the run has ended.
    fn not_finite(&mut self, shard: u32, effects: &mut Vec<Effect>) -> bool {
        let Phase::Reducing { table, work, .. } = &self.phase else { return false };
        let times = self.not_finite.entry(shard).or_default();
        *times += 1;
        if *times < 2 {
            return false;
        }
        let (shards, step) = (table.shards(), work.step);
        let (rows, counts) = (self.run.plan.rows(Pass::Train, step, shard), self.run.counts_of(Pass::Train));
        self.skipped.insert(shard, rows.into_iter().map(|row| counts.data_row(row)).collect());
        if self.skipped.len() as u32 * DIVERGED > shards {
            let bad: Vec<String> = self.skipped.keys().map(u32::to_string).collect();
            let detail = format!(
                "diverged in {step}: loss or gradient is not finite in shards {} of {shards}, each computed twice; \
                 lower learning_rate, or lengthen warmup_steps",
                bad.join(", ")
            );
            self.end(Exit::Diverged, detail, effects);
            return true;
        }
        self.begin(Pass::Train, effects);
        true
    }

    /// Applies `nonfinite_shards` once all other shards of the step are summed: the reason to end the run, if it must
    /// end.
    pub(super) fn quarantine(&self) -> Option<String> {
        let (shard, rows) = self.skipped.first_key_value()?;
        let others = match self.skipped.len() {
            1 => String::new(),
            count => format!(" and {} more shards", count - 1),
        };
        (self.run.spec.nonfinite_shards == NonFinite::Fail).then(|| {
            format!(
                "loss or gradient is not finite in {}, shard {shard} (rows {rows:?} of the training data){others}, computed \
                 twice, while the step's other shards are fine: look at these rows, or set nonfinite_shards: skip to \
                 train without them",
                Step(self.version.0)
            )
        })
    }

    pub(super) fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let silent: Vec<WorkerId> = self
            .members
            .iter()
            .filter(|(_, m)| now.saturating_sub(m.heard) > SILENCE)
            .map(|(id, _)| id)
            .collect();
        for worker in silent {
            self.left(worker, effects);
            effects.push(Effect::Close(worker));
        }
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        let expired: Vec<Lease> =
            table.expired(now).into_iter().filter_map(|id| table.get(id).copied()).collect();
        for Lease { worker, work, .. } in expired {
            // It hangs though it is heard: given another lease, it would hang again.
            let detail = format!("{} took too long", describe(&work));
            effects.push(Effect::Send(worker, ToWorker::Stop { reason: StopReason::Refused, detail }));
            effects.push(Effect::Close(worker));
            self.left(worker, effects);
        }
        // An audit may have lost its last auditor.
        self.complete(effects);
    }
}
