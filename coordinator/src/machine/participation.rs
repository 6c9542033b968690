//! Who takes part in a step when some workers are across a network: measured paces in, leases for some and rest for others out.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::time::Duration;

use headstart::id::WorkerId;
use headstart::message::{Pass, ToWorker};
use tracing::info;

use super::assign::longest_node;
use super::{Machine, Phase};
use crate::event::Effect;
use crate::membership::Member;
use crate::shares::idle::{self, Idle, Traffic};
use crate::shares::{self, Pace, Paces, Shares, trial};

impl Machine {
    /// Shares out a training step before its first lease, if any worker is across a network; on one machine, workers take what
    /// comes next.
    pub(super) fn share_out(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.call_back_the_last(effects);
        let Phase::Reducing { work, table, .. } = &self.phase else { return };
        let tree = table.tree();
        // With audits nobody rests: they need workers that compare.
        let any_remote = self.members.ready().any(|(_, member)| member.remote);
        if work.pass != Pass::Train || !table.is_untouched() || !any_remote || self.run.spec.audit > 0.0 {
            return;
        }
        let candidates = self.paces(|member| member.current || member.resting.is_some());
        let Some(chosen) = shares::choose(&candidates, tree, self.shares.as_ref()) else { return };
        self.call_back(now, &chosen, effects);
        // Nobody rests in favour of a worker that is not there yet.
        let is_able = |worker: &WorkerId| self.members.get(*worker).is_some_and(Member::is_able);
        if chosen.members.keys().all(is_able) {
            self.rest(&chosen, &candidates, effects);
        }
        let able = self.paces(Member::is_able);
        let Some(shares) = shares::choose(&able, tree, among(&able, &chosen).as_ref()) else { return };
        let tried = self.members.able().find(|(worker, m)| m.trial && shares.idle.contains_key(worker));
        let with = tried.and_then(|(worker, _)| shares::with(&shares, &able, worker));
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        table.plan(with.unwrap_or(shares).members);
        self.shares = Some(chosen);
    }

    /// If nobody else is left, those who rest are called back.
    fn call_back_the_last(&mut self, effects: &mut Vec<Effect>) {
        if self.members.able().next().is_some() {
            return;
        }
        let resting: Vec<WorkerId> = self.members.resting().collect();
        resting.into_iter().for_each(|worker| self.follow(worker, false, effects));
    }

    /// Calls back those who rest but would make steps shorter, and the one whose time for a trial has come.
    fn call_back(&mut self, now: Duration, chosen: &Shares, effects: &mut Vec<Effect>) {
        let resting: Vec<WorkerId> = self.members.resting().collect();
        let since = |(worker, member): (WorkerId, &Member)| {
            let worked = member.last_shard?;
            Some((worker, now.saturating_sub(worked).as_secs_f64()))
        };
        let since: BTreeMap<WorkerId, f64> = self.members.ready().filter_map(since).collect();
        let tried = trial::due(chosen, &since).filter(|worker| resting.contains(worker));
        for worker in resting {
            if chosen.members.contains_key(&worker) || tried == Some(worker) {
                self.follow(worker, tried == Some(worker), effects);
            }
        }
    }

    /// A worker that rests is to compute again. A replica catches up first.
    fn follow(&mut self, worker: WorkerId, trial: bool, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(worker) else { return };
        (member.resting, member.trial) = (None, trial);
        info!(%worker, trial, "called back");
        if member.follows {
            effects.push(Effect::Send(worker, ToWorker::Follow { anew: false }));
        }
    }

    /// Lets those rest who would make steps longer. They are told, and people are.
    fn rest(&mut self, chosen: &Shares, paces: &Paces, effects: &mut Vec<Effect>) {
        let spec = &self.run.spec;
        let traffic = Traffic { wire: spec.wire.name(), adapter: spec.adapter.is_some() };
        for &worker in chosen.idle.keys() {
            let Some(member) = self.members.get_mut(worker).filter(|m| m.is_able() && !m.trial) else {
                continue;
            };
            let reason = idle::reason(chosen, worker, &paces.workers[&worker]);
            let Some(reason) = reason.filter(|reason| *reason != idle::Reason::Unknown) else { continue };
            let reason = Idle { worker, reason, traffic }.to_string();
            info!(%worker, "{reason}");
            if member.follows {
                member.current = false;
            }
            member.resting = Some(reason.clone());
            effects.push(Effect::Send(worker, ToWorker::Rest { reason }));
        }
    }

    fn paces(&self, among: impl Fn(&Member) -> bool) -> Paces {
        let pace = |(worker, member): (WorkerId, &Member)| {
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
            let longest = longest_node(member.join.memory, self.run.trainable);
            let Member { shard_time, fixed_time, partial_time, remote, .. } = member;
            let [shard, fixed, partial] = [shard_time, fixed_time, partial_time].map(|time| seconds(*time));
            (worker, Pace { shard, fixed, partial, remote: *remote, longest })
        };
        let workers = self.members.ready().filter(|(_, member)| among(member)).map(pace).collect();
        Paces { workers, shared: None }
    }
}

/// What a plan says of these workers, if it has no member beside them.
fn among(paces: &Paces, shares: &Shares) -> Option<Shares> {
    let idle = shares.idle.iter().filter(|(worker, _)| paces.workers.contains_key(worker));
    let idle: BTreeMap<WorkerId, f64> = idle.map(|(&worker, &with)| (worker, with)).collect();
    let all_there = shares.members.keys().all(|worker| paces.workers.contains_key(worker));
    all_there.then(|| Shares { idle, ..shares.clone() })
}
