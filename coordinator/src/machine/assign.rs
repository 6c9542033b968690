//! Leases that begin: who computes what, and for how long.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::time::Duration;

use headstart::id::{LeaseId, WorkerId};
use headstart::message::{Pass, ToWorker, Work};
use headstart::tree::Node;

use super::{Machine, Phase};
use crate::event::Effect;
use crate::lease::Lease;

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

impl Machine {
    /// Gives every free worker a node: the next one of its share or, where steps are not shared out, the lowest unleased one,
    /// sized by its speed and memory.
    pub(super) fn assign(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.members.ready().count() < self.run.spec.cluster.min_workers.max(1) as usize {
            return;
        }
        self.share_out(now, effects);
        self.drop_late_shares(now);
        let Phase::Reducing { table, .. } = &self.phase else { return };
        let able: Vec<WorkerId> = self.members.able().map(|(worker, _)| worker).collect();
        let free: Vec<WorkerId> = able.iter().copied().filter(|&worker| table.is_free(worker)).collect();
        let mut served = BTreeSet::new();
        for worker in free {
            if let Some((node, audit)) = self.pick(now, worker, &able, &mut served) {
                self.grant(now, worker, node, audit, effects);
            }
        }
    }

    /// If a worker is late, the nodes that are meant for it are for whoever is free.
    fn drop_late_shares(&mut self, now: Duration) {
        let Phase::Reducing { work, table, .. } = &self.phase else { return };
        let pass = work.pass;
        let late = table.all().any(|(_, lease)| self.is_overdue(now, lease.worker, &lease, pass));
        if let (true, Phase::Reducing { table, .. }) = (late, &mut self.phase) {
            table.unplan();
        }
    }

    /// The node that a worker is to compute, and whether only to compare it with another worker's.
    fn pick(
        &mut self,
        now: Duration,
        worker: WorkerId,
        able: &[WorkerId],
        served: &mut BTreeSet<WorkerId>,
    ) -> Option<(Node, bool)> {
        let Phase::Reducing { work, table, .. } = &mut self.phase else { return None };
        // With many members, most steps have nothing left for most of them.
        let share = match table.unleased() {
            0 => 1,
            unleased => self.members.fair_share(worker, unleased, served),
        };
        served.insert(worker);
        let member = self.members.get(worker)?;
        let limit = match work.pass {
            Pass::Train => share.min(longest_node(member.join.memory, self.run.trainable)),
            Pass::Eval | Pass::Golden => share.min(LONGEST_EVAL),
            Pass::Probe => share.min(self.longest_probe),
        };
        if let Some(node) = table.next(worker, limit, able) {
            return Some((node, false));
        }
        let taken = |node| table.audits(node) || table.has_failed(node, worker);
        if let Some(node) = self.audits.next(&member.join.name, taken) {
            return Some((node, true));
        }
        // With audits, whose segments were added must be known.
        if self.run.spec.audit > 0.0 {
            return None;
        }
        let Phase::Reducing { work, table, .. } = &self.phase else { return None };
        let pass = work.pass;
        table.second(worker, |lease| self.is_overdue(now, worker, lease, pass)).map(|node| (node, false))
    }

    fn grant(&mut self, now: Duration, worker: WorkerId, node: Node, audit: bool, effects: &mut Vec<Effect>) {
        let download = Duration::from_secs(self.run.data_bytes / SLOWEST);
        let Phase::Reducing { work, .. } = &self.phase else { return };
        let work = Work { pass: work.pass, step: work.step, node, version: work.version };
        let duration = match self.expected(worker, node, work.pass) {
            Some(expected) => (expected * LEASE_SLACK).max(SHORTEST_LEASE),
            None => FIRST_LEASE * node.shards + download,
        };
        self.counts.leases_granted += 1;
        let id = LeaseId(self.counts.leases_granted);
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        let (first, expires) = (!table.was_served(worker), now + duration);
        let (pushing, computed) = (false, None);
        table.grant(id, Lease { worker, work, granted: now, expires, audit, pushing, computed, first });
        let skipped = match work.pass {
            Pass::Train => {
                self.skipped.keys().copied().filter(|&shard| node.range().contains(&shard)).collect()
            }
            Pass::Eval | Pass::Golden | Pass::Probe => Vec::new(),
        };
        let lease = ToWorker::Lease { lease: id, work, skipped, traceparent: None };
        effects.push(Effect::Send(worker, lease));
    }

    /// How long a worker's lease of a node should take, if that is known.
    fn expected(&self, worker: WorkerId, node: Node, pass: Pass) -> Option<Duration> {
        let member = self.members.get(worker)?;
        // The first lease of a pass reads data, which may take longer than computing.
        let known = pass == Pass::Train || member.evaluated;
        member.lease_time.filter(|_| known).map(|each| each * node.shards)
    }

    /// Whether a lease takes much longer than it would take this worker.
    fn is_overdue(&self, now: Duration, worker: WorkerId, lease: &Lease, pass: Pass) -> bool {
        let typical = self.expected(worker, lease.work.node, pass).map(|typical| typical * OVERDUE);
        typical.is_some_and(|typical| now.saturating_sub(lease.granted) > typical.max(SHORTEST_OVERDUE))
    }
}

/// The most shards whose accumulators, `(1 + log2 shards) · 4` bytes per trainable parameter, fit a worker's memory.
pub(super) fn longest_node(memory: u64, trainable: u64) -> u32 {
    let accumulators = memory / (4 * trainable.max(1));
    1 << accumulators.saturating_sub(1).min(31)
}
