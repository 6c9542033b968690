//! Partials: whether one is wanted and can be right, and what becomes of it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::{LeaseId, WorkerId};
use headstart::message::{Failure, PartialId, Pass, ToWorker, Totals, Work};

use super::{Machine, Phase};
use tracing::warn;

use crate::event::{Effect, Offer, Refused, Unfit, describe};
use crate::membership::Measured;
use crate::objective::Expected;

/// Longest time for a partial to arrive; pauses between its messages have a limit of their own.
const LONGEST_PUSH: Duration = Duration::from_secs(3600);

impl Machine {
    /// Whether a partial is the one a lease asked for; then, whether the lease is an audit.
    pub(super) fn check(&self, partial: &PartialId) -> Result<bool, Refused> {
        let PartialId { run_id, epoch, worker, lease, work } = partial;
        if *run_id != self.run.id || *epoch != self.run.epoch {
            let sent = format!("{run_id}, {epoch}");
            return Err(Refused::OtherRun { sent, ours: format!("{}, {}", self.run.id, self.run.epoch) });
        }
        let held = match &self.phase {
            Phase::Reducing { table, .. } => table.get(*lease).filter(|held| held.worker == *worker),
            _ => None,
        };
        match held {
            None => Err(Refused::NotLeased { lease: *lease, worker: *worker }),
            Some(held) if held.work != *work => {
                Err(Refused::OtherWork { lease: *lease, leased: describe(&held.work), sent: describe(work) })
            }
            Some(held) => Ok(held.audit),
        }
    }

    /// Judges a partial before any of it is added: sums that cannot be right would leave their gradient behind.
    pub(super) fn push_begun(
        &mut self,
        now: Duration,
        partial: &PartialId,
        totals: &Totals,
        offer: Offer,
        effects: &mut Vec<Effect>,
    ) {
        self.heard(now, partial.worker);
        let verdict = self.check(partial).and_then(|audit| {
            self.same_weights(partial, offer)?;
            self.plausible(&partial.work, totals)?;
            Ok(self.wanted(&partial.work, audit))
        });
        if let (Ok(_), Phase::Reducing { table, .. }) = (&verdict, &mut self.phase) {
            // Once it is computed, the transfer's own limits apply.
            table.push(partial.lease, (!offer.computing).then_some(now + LONGEST_PUSH));
        }
        self.counts.refused += u64::from(verdict.is_err());
        let stray = matches!(verdict, Err(Refused::OtherWeights { .. }));
        effects.push(Effect::Answer(verdict));
        if stray {
            self.strayed(partial, effects);
        }
    }

    /// A lease is computed, and its partial on the way.
    pub(super) fn computed(&mut self, now: Duration, worker: WorkerId, lease: LeaseId) {
        self.heard(now, worker);
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        if table.get(lease).is_some_and(|lease| lease.worker == worker) {
            table.computed(lease, now, now + LONGEST_PUSH);
            if let Some(member) = self.members.get_mut(worker) {
                member.remote = true;
            }
        }
    }

    /// Whether a replica holds the run's weights.
    fn same_weights(&self, partial: &PartialId, offer: Offer) -> Result<(), Refused> {
        let follows = self.members.get(partial.worker).is_some_and(|member| member.follows);
        // A replica that does not say what it holds is as good as one that holds something else.
        match offer.weights.or(follows.then_some(0)) {
            Some(found) if found != self.weights && partial.work.version == self.version => {
                Err(Refused::OtherWeights {
                    worker: partial.worker,
                    work: describe(&partial.work),
                    found,
                    expected: self.weights,
                })
            }
            _ => Ok(()),
        }
    }

    /// A replica differs from the run's weights. It is dropped and made anew. A worker whose replica differs a second time is banned.
    fn strayed(&mut self, partial: &PartialId, effects: &mut Vec<Effect>) {
        let PartialId { worker, lease, work, .. } = partial;
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        table.fail(*lease);
        // What was meant for it is for the others.
        table.unplan();
        self.counts.leases_released += 1;
        let Some(member) = self.members.get_mut(*worker) else { return };
        member.strays += 1;
        member.current = false;
        let (strays, name) = (member.strays, member.join.name.clone());
        warn!(%worker, name, work = describe(work), "its replica differs from the run's weights");
        if strays > 1 {
            let reason =
                format!("{name} twice computed from other weights than the run's, last {}", describe(work));
            return self.ban(*worker, name, reason, effects);
        }
        effects.push(Effect::Send(*worker, ToWorker::Follow { anew: true }));
    }

    pub(super) fn push_ended(
        &mut self,
        now: Duration,
        partial: PartialId,
        totals: Totals,
        hash: Option<u128>,
        effects: &mut Vec<Effect>,
    ) {
        self.heard(now, partial.worker);
        if let Err(refused) = self.check(&partial) {
            self.counts.refused += 1;
            effects.push(Effect::Answer(Err(refused)));
            return;
        }
        let Phase::Reducing { table, totals: fold, .. } = &mut self.phase else {
            unreachable!("check() finds leases only while reducing")
        };
        let node = partial.work.node;
        let (lease, rival) = table.complete(partial.lease).expect("check() found it");
        if let Some((id, slower)) = rival {
            let worker = slower.worker;
            if let Some(member) = self.members.get_mut(worker).filter(|_| partial.work.pass == Pass::Train) {
                member.was_overtaken(now, &slower);
            }
            let reason = format!("{} was faster", partial.worker);
            effects.push(Effect::Send(worker, ToWorker::Revoke { lease: id, reason }));
            self.counts.leases_released += 1;
        }
        if let Some(member) = self.members.get_mut(partial.worker) {
            let measured = Measured {
                shards: node.shards,
                compute: totals.compute,
                lease: now.saturating_sub(lease.granted),
                partial: now.saturating_sub(lease.computed.unwrap_or(now)),
                first: lease.first,
            };
            member.credit(now, measured, partial.work.pass == Pass::Train);
        }
        let pass = usize::from(partial.work.pass != Pass::Train);
        self.counts.partials[pass] += 1;
        self.counts.shards[pass] += u64::from(node.shards);
        self.counts.compute += totals.compute;
        if !lease.audit {
            fold.insert(node, totals, |_, left, right| Totals::merge(left, right))
                .expect("a leased node is not part of the sum yet");
        }
        effects.push(Effect::Answer(Ok(self.wanted(&partial.work, lease.audit))));
        if let Some(hash) = hash {
            self.answer(partial.worker, &partial.work, hash, effects);
        }
        self.complete(effects);
    }

    /// A partial that was wanted did not come in.
    pub(super) fn push_broke(
        &mut self,
        now: Duration,
        partial: &PartialId,
        unfit: Unfit,
        effects: &mut Vec<Effect>,
    ) {
        self.heard(now, partial.worker);
        let Ok(audit) = self.check(partial) else { return };
        match unfit {
            Unfit::Crowded => self.make_room(partial, effects),
            Unfit::NotFinite if audit => {
                let failure = Failure::NotFinite { shard: partial.work.node.first };
                self.lease_failed(partial.worker, partial.lease, failure, effects);
            }
            Unfit::NotFinite => self.sum_not_finite(partial.worker, &partial.work, effects),
        }
    }

    /// There is room once earlier nodes are in. When such a node was lost with its worker, and all others wait with later
    /// ones, this one gives its own back for it.
    fn make_room(&mut self, partial: &PartialId, effects: &mut Vec<Effect>) {
        let PartialId { worker, lease, .. } = partial;
        let ready: Vec<WorkerId> = self.members.able().map(|(worker, _)| worker).collect();
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        let Some(lost) = table.returned(*worker, &ready) else { return };
        if !table.all().all(|(_, lease)| lease.pushing && lost < lease.work.node) {
            return;
        }
        if self.run.spec.audit > 0.0 {
            // Whose segments were added must be known.
            return self.begin(Pass::Train, effects);
        }
        table.give_back(*lease);
        self.counts.leases_released += 1;
        let reason = format!("{lost} has to be computed first");
        effects.push(Effect::Send(*worker, ToWorker::Revoke { lease: *lease, reason }));
    }

    /// A node sum overflowed although every shard is finite: otherwise the worker would have reported the shard.
    /// Earlier segments of this partial may already be part of the step's sum, so the step restarts. If two workers
    /// report an overflow, training has diverged; one that reports it twice alone is banned.
    pub(super) fn sum_not_finite(&mut self, worker: WorkerId, work: &Work, effects: &mut Vec<Effect>) {
        if self.overflows.0 != work.step {
            self.overflows = (work.step, BTreeSet::new());
        }
        let name = self.members.get_mut(worker).map(|member| member.join.name.clone()).unwrap_or_default();
        let again = !self.overflows.1.insert(name.clone());
        self.counts.leases_released += 1;
        if self.overflows.1.len() > 1 || self.members.ready().count() == 1 {
            let detail = format!(
                "diverged: the sum of the gradients of {} is not finite; lower learning_rate, or lengthen warmup_steps",
                describe(work)
            );
            return self.end(Exit::Diverged, detail, effects);
        }
        self.begin(Pass::Train, effects);
        if again {
            let reason =
                format!("{name} twice computed a non-finite sum from finite gradients of {}", work.step);
            self.ban(worker, name, reason, effects);
        }
    }

    fn plausible(&self, work: &Work, totals: &Totals) -> Result<(), Refused> {
        let skipped = |shard: &u32| work.pass == Pass::Train && self.skipped.contains_key(shard);
        let shards = work.node.range().filter(|shard| !skipped(shard));
        let rows: Vec<u64> =
            shards.flat_map(|shard| self.run.plan.rows(work.pass, work.step, shard)).collect();
        let counts = self.run.counts_of(work.pass);
        // Overflow cannot happen: a row has less than 2³² tokens.
        let sum =
            |of: &[u32]| rows.iter().map(|&row| of.get(row as usize).map(|&count| u64::from(count))).sum();
        let (tokens, trained): (Option<u64>, Option<u64>) = (sum(&counts.tokens), sum(&counts.trained));
        let expected = Expected { rows: rows.len() as u64, tokens, trained };
        let implausible = |reason| Refused::Implausible(format!("{} {reason}", describe(work)));
        self.objective.check(work.pass, expected, totals).map_err(implausible)
    }
}
