//! Leases: who computes what, for how long, and what happens when that fails.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::{LeaseId, Step, WorkerId};
use headstart::message::{Failure, Pass, StopReason, ToWorker, Work};
use headstart::run_file::NonFinite;
use headstart::tree::Node;

use super::{Machine, Phase};
use crate::event::{Effect, describe};
use crate::lease::Lease;

/// Silence after which a worker is considered lost.
const SILENCE: Duration = Duration::from_secs(30);
/// Shortest lease.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);
/// The lease of a worker whose speed is unknown: so long for each shard, and for downloading all data at [`SLOWEST`].
pub(super) const FIRST_LEASE: Duration = Duration::from_secs(600);
/// Bytes a second at which data must arrive at least.
const SLOWEST: u64 = 2 << 20;
/// Timeout of a lease, as a multiple of its expected duration.
const LEASE_SLACK: u32 = 10;
/// Shards of an evaluation that one lease covers at most, so that a lost lease costs little.
const LONGEST_EVAL: u32 = 32;
/// A lease that takes this multiple of its expected duration is also given to a second, idle worker.
const OVERDUE: u32 = 2;
/// A lease is never overdue before this: short ones are late by chance.
const SHORTEST_OVERDUE: Duration = Duration::from_secs(1);
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
        let failures = self.failures.entry(work.node).or_default();
        *failures += 1;
        let exhausted = *failures >= NODE_FAILURES;
        let confirmed = *failures >= 2 || self.members.able().count() == 1;
        let place = describe(&work);
        match failure {
            Failure::Data(text) if confirmed => self.end(Exit::Data, text, effects),
            Failure::NotFinite { shard }
                if work.pass == Pass::Train && work.node.range().contains(&shard) =>
            {
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

    /// Gives every idle worker the lowest unleased node, sized by its speed and memory.
    pub(super) fn assign(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.members.ready().count() < self.run.spec.cluster.min_workers.max(1) as usize {
            return;
        }
        self.share_out(now, effects);
        let Phase::Reducing { work, table, .. } = &mut self.phase else { return };
        let ready: Vec<WorkerId> = self.members.able().map(|(worker, _)| worker).collect();
        let idle: Vec<WorkerId> = ready.iter().copied().filter(|&worker| table.is_free(worker)).collect();
        let mut served = BTreeSet::new();
        let audits = self.run.spec.audit > 0.0;
        let download = Duration::from_secs(self.run.data_bytes / SLOWEST);
        for worker in idle {
            // With many members, most steps have nothing left for most of them.
            let share = match table.unleased() {
                0 => 1,
                unleased => self.members.fair_share(worker, unleased, &served),
            };
            served.insert(worker);
            let Some(member) = self.members.get_mut(worker) else { continue };
            let limit = match work.pass {
                Pass::Train => share.min(longest_node(member.join.memory, self.run.trainable)),
                Pass::Eval | Pass::Golden => share.min(LONGEST_EVAL),
            };
            // The first lease of a pass reads data, which may take longer than computing.
            let known = work.pass == Pass::Train || member.evaluated;
            let expected = |node: Node| member.lease_time.filter(|_| known).map(|each| each * node.shards);
            // With audits, whose segments were added must be known.
            let overdue = |lease: &Lease| {
                if audits {
                    return false;
                }
                let typical = expected(lease.work.node).map(|typical| typical * OVERDUE);
                typical
                    .is_some_and(|typical| now.saturating_sub(lease.granted) > typical.max(SHORTEST_OVERDUE))
            };
            let unleased = table.next(worker, limit, &ready);
            let audited = unleased.is_none().then(|| {
                let taken = |node| table.audits(node) || table.has_failed(node, worker);
                self.audits.next(&member.join.name, taken)
            });
            let audit = audited.flatten();
            let node = unleased.or(audit).or_else(|| table.second(worker, overdue));
            let Some(node) = node else { continue };
            self.counts.leases_granted += 1;
            let id = LeaseId(self.counts.leases_granted);
            let duration = expected(node).map_or(FIRST_LEASE * node.shards + download, |expected| {
                (expected * LEASE_SLACK).max(SHORTEST_LEASE)
            });
            let work = Work { pass: work.pass, step: work.step, node, version: work.version };
            let audit = audit.is_some();
            let first = !table.was_served(worker);
            table.grant(
                id,
                Lease {
                    worker,
                    work,
                    granted: now,
                    expires: now + duration,
                    audit,
                    pushing: false,
                    computed: None,
                    first,
                },
            );
            let skipped = match work.pass {
                Pass::Train => {
                    self.skipped.keys().copied().filter(|&shard| node.range().contains(&shard)).collect()
                }
                Pass::Eval | Pass::Golden => Vec::new(),
            };
            let lease = ToWorker::Lease { lease: id, work, skipped, traceparent: None };
            effects.push(Effect::Send(worker, lease));
        }
    }
}

/// The most shards whose accumulators, `(1 + log2 shards) · 4` bytes per trainable parameter, fit a worker's memory.
pub(super) fn longest_node(memory: u64, trainable: u64) -> u32 {
    let accumulators = memory / (4 * trainable.max(1));
    1 << accumulators.saturating_sub(1).min(31)
}
