//! Audits: a second worker recomputes a fraction of the training leases, and the bits are compared before the update.
//! If they differ, a third worker decides; the worker that is wrong is banned, and the step restarts.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::draw;
use headstart::exit::Exit;
use headstart::id::WorkerId;
use headstart::message::{Failure, Pass, StopReason, ToWorker, Work};
use headstart::tree::Node;

use super::{Machine, Phase};
use crate::event::{Effect, SegmentUse, describe};
use crate::membership::Member;

/// Workers that settle a difference.
pub(super) const AUDITORS: usize = 3;
/// Stands for the hash of a gradient that its worker reports as non-finite.
const NOT_FINITE: u128 = 0;

/// The audits of a step that are not over.
#[derive(Debug, Default)]
pub(super) struct Audits(BTreeMap<Node, Vec<Answer>>);

/// What a worker has computed for a node.
#[derive(Clone, Debug)]
struct Answer {
    worker: WorkerId,
    name: String,
    hash: u128,
}

/// What answers to one question show.
enum Verdict {
    /// Too few of them.
    Open,
    /// They agree, but for the one at this place.
    Agreed { wrong: Option<usize> },
    /// No two of three agree.
    Chaos,
}

impl Audits {
    /// Whether two workers have computed different gradients, and a third must say which is right.
    pub(super) fn are_disputed(&self) -> bool {
        self.0.values().any(|answers| answers.len() == AUDITORS - 1)
    }

    /// The lowest node that this worker may recompute and no other worker is recomputing.
    pub(super) fn next(&self, name: &str, taken: impl Fn(Node) -> bool) -> Option<Node> {
        let new_to = |answers: &[Answer]| answers.iter().all(|answer| answer.name != name);
        self.0.iter().find(|(node, answers)| new_to(answers) && !taken(**node)).map(|(&node, _)| node)
    }
}

impl Machine {
    /// What is to be done with the partial of a lease.
    pub(super) fn wanted(&self, work: &Work, audit: bool) -> SegmentUse {
        match (work.pass, audit) {
            (Pass::Train, true) => SegmentUse::Hash,
            (Pass::Train, false) if self.is_audited(work) => SegmentUse::SumAndHash,
            _ => SegmentUse::Sum,
        }
    }

    /// Whether the partial of this work is computed twice.
    pub(super) fn is_audited(&self, work: &Work) -> bool {
        let key = work.step.0 << 32 | u64::from(work.node.first);
        let share = draw::unit(self.run.spec.seed, "audit", key);
        share < self.run.spec.audit && self.members.ready().count() > 1
    }

    /// Takes note of what a worker has computed.
    pub(super) fn answer(&mut self, worker: WorkerId, work: &Work, hash: u128, effects: &mut Vec<Effect>) {
        let name = self.members.get_mut(worker).map(|member| member.join.name.clone()).unwrap_or_default();
        let answers = self.audits.0.entry(work.node).or_default();
        answers.push(Answer { worker, name, hash });
        match verdict(answers) {
            Verdict::Open => {
                if let [first, second] = answers.as_slice() {
                    let workers = vec![first.name.clone(), second.name.clone()];
                    effects.push(Effect::Disputed { work: *work, workers });
                }
            }
            Verdict::Agreed { wrong: None } => drop(self.audits.0.remove(&work.node)),
            Verdict::Agreed { wrong: Some(wrong) } => {
                let Answer { worker, name, .. } = answers.swap_remove(wrong);
                let reason =
                    format!("its gradient of {} is not what two other workers compute", describe(work));
                self.ban(worker, name, reason, effects);
                self.begin(Pass::Train, effects);
            }
            Verdict::Chaos => {
                let names: Vec<&str> = answers.iter().map(|answer| answer.name.as_str()).collect();
                let detail = format!(
                    "three workers ({}) compute three different gradients of {}: look at their hardware and libraries",
                    names.join(", "),
                    describe(work)
                );
                self.end(Exit::NumericClass, detail, effects);
            }
        }
    }

    /// A worker failed to recompute a node. This says nothing about the node, so another worker recomputes it. But a
    /// non-finite gradient is a result, and is compared like any other.
    pub(super) fn audit_failed(
        &mut self,
        worker: WorkerId,
        work: &Work,
        failure: &Failure,
        effects: &mut Vec<Effect>,
    ) {
        if let Failure::NotFinite { .. } | Failure::SumNotFinite = failure {
            self.answer(worker, work, NOT_FINITE, effects);
        }
        self.complete(effects);
    }

    pub(super) fn ban(&mut self, worker: WorkerId, name: String, reason: String, effects: &mut Vec<Effect>) {
        self.members.ban(name, reason.clone());
        let stop = ToWorker::Stop { reason: StopReason::NumericClass, detail: reason };
        effects.push(Effect::Send(worker, stop));
        effects.push(Effect::Close(worker));
        self.left(worker, effects);
    }

    /// Ends the reduction once every node is in and every audit is over.
    pub(super) fn complete(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Reducing { totals, table, .. } = &mut self.phase else { return };
        // If no worker is left to compare with, the audit is dropped. A difference that has been seen waits for a third
        // worker.
        self.audits.0.retain(|&node, answers| {
            let can = |(worker, member): (WorkerId, &Member)| {
                !table.has_failed(node, worker)
                    && answers.iter().all(|answer| answer.name != member.join.name)
            };
            answers.len() > 1 || self.members.ready().any(can)
        });
        if !self.audits.0.is_empty() {
            return;
        }
        if let Some(totals) = totals.take_root() {
            self.reduced(totals, effects);
        }
    }
}

fn verdict(answers: &[Answer]) -> Verdict {
    let equal = |hash: u128| answers.iter().filter(|answer| answer.hash == hash).count();
    match answers {
        [] | [_] => Verdict::Open,
        [first, second] if first.hash == second.hash => Verdict::Agreed { wrong: None },
        [_, _] => Verdict::Open,
        _ => match answers.iter().position(|answer| equal(answer.hash) == 1) {
            Some(_) if answers.iter().all(|answer| equal(answer.hash) == 1) => Verdict::Chaos,
            wrong => Verdict::Agreed { wrong },
        },
    }
}
