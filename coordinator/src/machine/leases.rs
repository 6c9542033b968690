//! Leases: who computes what, for how long, and what happens when that fails.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::{LeaseId, WorkerId};
use headstart::message::{Failure, Pass, StopReason, ToWorker, Work};

use super::{Machine, Phase};
use crate::event::{Effect, describe};
use crate::lease::Lease;

/// Silence after which a worker counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Shortest lease, and the lease of a worker whose speed is unknown.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);
pub(super) const FIRST_LEASE: Duration = Duration::from_secs(600);
/// A lease lasts so many times its expected duration.
const LEASE_SLACK: u32 = 10;
/// Shards of an evaluation that one lease covers at most, so that a lost lease costs little.
const LONGEST_EVAL: u32 = 32;
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
        let Some(Lease { work, .. }) = table.fail(lease) else { return };
        self.counts.leases_released += 1;
        self.counts.not_finite += u64::from(matches!(failure, Failure::NotFinite { .. }));
        let failures = self.failures.entry(work.node).or_default();
        *failures += 1;
        let exhausted = *failures >= NODE_FAILURES;
        let confirmed = *failures >= 2 || self.members.ready().count() == 1;
        let place = describe(&work);
        match failure {
            Failure::Data(text) if confirmed => self.end(Exit::Data, text, effects),
            Failure::NotFinite { shard, rows } => {
                let times = self.not_finite.entry(shard).or_default();
                *times += 1;
                if *times >= 2 {
                    let detail = format!(
                        "loss or gradient is not finite in {place}, shard {shard} (rows {rows:?}), computed twice; \
                         lower learning_rate, or look at these rows"
                    );
                    self.end(Exit::Diverged, detail, effects);
                }
            }
            Failure::Error(text) if exhausted => {
                self.end(Exit::Internal, format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            Failure::Storage(text) if exhausted => {
                self.end(Exit::Storage, format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            Failure::Data(_) | Failure::Error(_) | Failure::Storage(_) => {}
        }
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
    }

    /// Gives every idle worker the lowest unleased node, sized by its speed and memory.
    pub(super) fn assign(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Phase::Reducing { work, table, .. } = &mut self.phase else { return };
        if self.members.ready().count() < self.run.spec.cluster.min_workers.max(1) as usize {
            return;
        }
        let ready: Vec<WorkerId> = self.members.ready().map(|(worker, _)| worker).collect();
        let idle: Vec<WorkerId> =
            ready.iter().copied().filter(|&worker| table.of(worker).is_empty()).collect();
        let mut served = BTreeSet::new();
        for worker in idle {
            let share = self.members.fair_share(worker, table.unleased(), &served);
            served.insert(worker);
            let Some(member) = self.members.get_mut(worker) else { continue };
            let limit = match work.pass {
                Pass::Train => share.min(longest_node(member.join.memory, self.run.trainable)),
                Pass::Eval => share.min(LONGEST_EVAL),
            };
            let Some(node) = table.next(worker, limit, &ready) else { continue };
            self.counts.leases_granted += 1;
            let id = LeaseId(self.counts.leases_granted);
            let duration = member
                .lease_time
                .map_or(FIRST_LEASE, |each| (each * node.shards * LEASE_SLACK).max(SHORTEST_LEASE));
            let work = Work { pass: work.pass, step: work.step, node, version: work.version };
            table.grant(id, Lease { worker, work, granted: now, expires: now + duration });
            let lease = ToWorker::Lease { lease: id, work, expires: duration, traceparent: None };
            effects.push(Effect::Send(worker, lease));
        }
    }
}

/// The most shards whose accumulators, `(1 + log2 shards) · 4` bytes per trainable parameter, fit a worker's memory.
fn longest_node(memory: u64, trainable: u64) -> u32 {
    let accumulators = memory / (4 * trainable.max(1));
    1 << accumulators.saturating_sub(1).min(31)
}
