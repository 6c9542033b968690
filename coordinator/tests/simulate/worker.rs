//! A worker as the coordinator sees it: one command at a time, one partial at a time, each in several moves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use headstart::id::{CoordinatorEpoch, LeaseId, Segment, WorkerId};
use headstart::message::{Failure, Join, NumericClass, PartialId, Pass, Ready, ToWorker, Totals, Work};
use headstart::run_file::RunSpec;
use headstart_coordinator::event::{Event, Offer, Refused, Unfit};
use headstart_coordinator::reduce::{Attempt, OpenStep};

use crate::coordinator::Coordinator;
use crate::replica::Replica;
use crate::run;

/// A worker with a session.
pub struct Worker {
    pub id: WorkerId,
    pub inbox: VecDeque<ToWorker>,
    pub task: Option<Task>,
    /// Dead or cut off, which the coordinator does not know yet.
    pub silent: bool,
    /// Told to end.
    pub stopped: bool,
    weights: Vec<f32>,
    /// Every third worker keeps one.
    replica: Option<Replica>,
    /// Fails once, at a shard that others compute well, after a wrong part of its partial has left. One worker of a run does.
    sick: bool,
}

/// A lease being computed or delivered.
pub struct Task {
    pub lease: LeaseId,
    pub work: Work,
    skipped: Vec<u32>,
    stage: Stage,
}

enum Stage {
    Compute,
    Begin { gradient: Vec<f32>, totals: Totals },
    Push { gradient: Vec<f32>, totals: Totals, open: Option<Arc<OpenStep>> },
    End { totals: Totals },
}

/// What a move came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    On,
    Delivered,
    Refused,
}

impl Worker {
    /// Opens a session.
    pub fn join(coordinator: &mut Coordinator, now: Duration, id: WorkerId) -> Worker {
        coordinator.outboxes.insert(id, VecDeque::new());
        // Every second worker has memory for one gradient, and computes one shard at a time.
        let memory = if id.0.is_multiple_of(2) { 4 * run::ELEMENTS } else { 1 << 30 };
        let join = Join { name: id.to_string(), device: "cpu".into(), memory };
        coordinator.tell(now, Event::Joined(id, join));
        let (inbox, weights) = (VecDeque::new(), Vec::new());
        let sick = id == WorkerId(3);
        Worker { id, inbox, task: None, silent: false, stopped: false, weights, replica: None, sick }
    }

    /// In words, for messages.
    pub fn describe(&self) -> String {
        let Worker { id, inbox, task, silent, .. } = self;
        let stage = task.as_ref().map(|task| match task.stage {
            Stage::Compute => format!("computes {:?}", task.work),
            Stage::Begin { .. } => format!("is about to push {:?}", task.work),
            Stage::Push { .. } => format!("pushes {:?}", task.work),
            Stage::End { .. } => format!("has pushed {:?}", task.work),
        });
        format!("{id} {stage:?}, silent {silent}, waiting {inbox:?}")
    }

    /// Takes the next command.
    pub fn receive(&mut self, coordinator: &mut Coordinator, now: Duration) {
        match self.inbox.pop_front() {
            Some(ToWorker::Welcome(_)) => {
                let follows = self.id.0.is_multiple_of(3);
                coordinator.tell(now, Event::Ready(self.id, Ready { follows, ..ready() }));
                if follows {
                    let replica = Replica::begin(coordinator, coordinator.reducer.wire());
                    coordinator.tell(now, Event::Current(self.id, replica.version));
                    self.replica = Some(replica);
                }
            }
            Some(ToWorker::Lease { lease, work, skipped, .. }) => {
                self.task = Some(Task { lease, work, skipped, stage: Stage::Compute });
            }
            Some(ToWorker::Stop { .. }) => self.stopped = true,
            Some(
                ToWorker::Revoke { .. }
                | ToWorker::Publish(_)
                | ToWorker::Follow { .. }
                | ToWorker::Rest { .. },
            )
            | None => {}
        }
    }

    /// Drops the task if it was revoked; revocations overtake other commands.
    pub fn heed_revocations(&mut self) {
        let revoked = |id: LeaseId| {
            self.inbox.iter().any(|command| matches!(command, ToWorker::Revoke { lease, .. } if *lease == id))
        };
        if self.task.as_ref().is_some_and(|task| revoked(task.lease)) {
            self.task = None;
        }
    }

    /// Goes one move further with the task.
    pub fn work(
        &mut self,
        coordinator: &mut Coordinator,
        spec: &RunSpec,
        shape: u64,
        now: Duration,
    ) -> Moved {
        let Some(mut task) = self.task.take() else { return Moved::On };
        let partial = task.partial(self.id, coordinator.journal.epoch());
        let (stage, moved) = match task.stage {
            Stage::Compute => {
                if coordinator.master.version() != task.work.version {
                    // Weights that were replaced meanwhile are not given out, so the lease is void.
                    return Moved::Refused;
                }
                match &mut self.replica {
                    Some(replica) => {
                        replica.catch_up(coordinator);
                        assert_eq!(replica.version, task.work.version, "the sums of every update were sent");
                        self.weights.clone_from(&replica.weights);
                    }
                    None => self.weights = coordinator.master.copy().concat(),
                }
                let (mut gradient, totals) = run::compute(spec, &task.work, &task.skipped, &self.weights);
                let first = task.work.node.first;
                let fails = self.sick && task.work.pass == Pass::Train && !task.skipped.contains(&first);
                if fails {
                    self.sick = false;
                    gradient.fill(8.0);
                }
                let bad = run::poisoned(shape, &task.work, &task.skipped);
                if let Some(shard) = bad.or(fails.then_some(first)) {
                    return self.fail(coordinator, now, (partial, totals), gradient, shard);
                }
                (Stage::Begin { gradient, totals }, Moved::On)
            }
            Stage::Begin { gradient, totals } => {
                let offer = Offer { computing: false, weights: self.hash() };
                let open = match task.work.pass {
                    Pass::Train => match coordinator.reducer.current(task.work.step) {
                        Ok(open) => Some(open),
                        Err(_) => return Moved::Refused,
                    },
                    Pass::Eval | Pass::Golden | Pass::Probe => None,
                };
                match coordinator.tell(now, Event::PushBegun(partial, totals.clone(), offer)) {
                    Some(Ok(_)) => (Stage::Push { gradient, totals, open }, Moved::On),
                    _ => return Moved::Refused,
                }
            }
            Stage::Push { gradient, totals, open } => {
                match open.as_ref().map(|open| open.attempt(task.work.node, Segment(0), gradient)) {
                    Some(Attempt::Full(gradient)) => {
                        coordinator.tell(now, Event::PushBroke(partial, Unfit::Crowded));
                        (Stage::Push { gradient, totals, open }, Moved::On)
                    }
                    Some(Attempt::Done(Err(_))) => return Moved::Refused,
                    Some(Attempt::Done(Ok(_))) | None => (Stage::End { totals }, Moved::On),
                }
            }
            Stage::End { totals } => {
                return match coordinator.tell(now, Event::PushEnded(partial, totals, None)) {
                    Some(Ok(_)) => Moved::Delivered,
                    _ => Moved::Refused,
                };
            }
        };
        task.stage = stage;
        self.task = Some(task);
        moved
    }
}

impl Worker {
    /// Gives a lease up. A part of a replica's partial has left, and was added, before its bad shard was computed.
    fn fail(
        &self,
        coordinator: &mut Coordinator,
        now: Duration,
        (partial, totals): (PartialId, Totals),
        gradient: Vec<f32>,
        shard: u32,
    ) -> Moved {
        let (lease, node) = (partial.lease, partial.work.node);
        if self.replica.is_some() {
            let offer = Offer { computing: true, weights: self.hash() };
            let open = coordinator.reducer.current(partial.work.step);
            let begun = coordinator.tell(now, Event::PushBegun(partial, totals, offer));
            if let (Ok(open), Some(Ok(_))) = (open, begun) {
                let _ = open.attempt(node, Segment(0), gradient);
            }
        }
        coordinator.tell(now, Event::LeaseFailed(self.id, lease, Failure::NotFinite { shard }));
        Moved::Refused
    }

    fn hash(&self) -> Option<u128> {
        self.replica.as_ref().map(Replica::hash)
    }
}

impl Task {
    fn partial(&self, worker: WorkerId, epoch: u64) -> PartialId {
        let epoch = CoordinatorEpoch(epoch);
        PartialId { run_id: "r".into(), epoch, worker, lease: self.lease, work: self.work }
    }
}

/// A partial that was delivered before is refused, for a reason that says so.
pub fn send_again(
    coordinator: &mut Coordinator,
    now: Duration,
    worker: WorkerId,
    lease: LeaseId,
    work: Work,
) {
    let epoch = CoordinatorEpoch(coordinator.journal.epoch());
    let partial = PartialId { run_id: "r".into(), epoch, worker, lease, work };
    let verdict = coordinator.tell(now, Event::PushBegun(partial, Totals::default(), Offer::default()));
    assert_eq!(verdict, Some(Err(Refused::NotLeased { lease, worker })));
}

fn ready() -> Ready {
    let class = NumericClass {
        headstart: "1".into(),
        libtorch: "t".into(),
        device: "cpu".into(),
        instructions: "x".into(),
        threads: 1,
        precision: "f32".into(),
    };
    Ready { class, canary: 7, base: Some(9), parameters: "p".into(), follows: false }
}
