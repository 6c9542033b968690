//! What holds a step up: the worker that all others wait for, and what it does meanwhile.
//!
//! Like spans and events, this is taken from what goes into the machine and what comes out of it. No decision depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use headstart::client::{Cause, Holdup};
use headstart::id::{LeaseId, WorkerId};
use headstart::message::{Pass, ToWorker};

use crate::event::{Effect, Event};

/// Least weight of a new step in the smoothed shares.
const SMOOTHING: f64 = 0.2;
/// A smaller part of a step is not worth a word.
const WORTH_SAYING: f64 = 0.1;
/// A worker with a smaller share is forgotten.
const FORGOTTEN: f64 = 1e-3;

/// Bytes of training partials that have arrived, by lease.
#[derive(Debug, Default)]
pub struct Arrivals(std::sync::Mutex<BTreeMap<LeaseId, u64>>);

impl Arrivals {
    /// More of a partial has arrived.
    pub fn add(&self, lease: LeaseId, bytes: u64) {
        *self.leases().entry(lease).or_default() += bytes;
    }

    fn take(&self, lease: LeaseId) -> u64 {
        self.leases().remove(&lease).unwrap_or_default()
    }

    /// Forgets partials that were never complete, before the next step.
    fn clear(&self) {
        self.leases().clear();
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, BTreeMap<LeaseId, u64>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Follows the partials of each step.
#[derive(Debug, Default)]
pub struct Holdups {
    opened: Option<Duration>,
    leases: BTreeMap<LeaseId, Out>,
    /// A partial that is whole, until the machine says that it is wanted: its lease, and how long it was computed.
    arrived: Option<(LeaseId, Duration)>,
    /// Each worker's last partial of the step.
    delivered: BTreeMap<WorkerId, Delivered>,
    /// The part of a step in which all others were done, smoothed, and what the worker did in it.
    shares: BTreeMap<WorkerId, (f64, Cause)>,
    steps: u32,
}

/// A training lease that is out.
#[derive(Clone, Copy, Debug)]
struct Out {
    worker: WorkerId,
    shards: u32,
    granted: Duration,
    /// When its partial began to arrive.
    begun: Option<Duration>,
    computed: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Delivered {
    at: Duration,
    cause: Cause,
}

impl Holdups {
    /// Takes note of what the machine is about to be told.
    pub fn event(&mut self, event: &Event, now: Duration, arrivals: &Arrivals) {
        self.arrived = None;
        match event {
            Event::Computed(_, lease) => self.note(*lease, |out| out.computed = Some(now)),
            Event::PushBegun(partial, ..) => self.note(partial.lease, |out| {
                // Another coordinator may have given another worker a lease of this number.
                if out.worker == partial.worker {
                    // What came of an earlier attempt comes again.
                    arrivals.take(partial.lease);
                    out.begun = Some(now);
                }
            }),
            Event::PushEnded(partial, totals, _) => self.arrived = Some((partial.lease, totals.compute)),
            Event::Left(worker, _) => self.forget(*worker),
            Event::Updated(..) => self.step_ends(now),
            _ => {}
        }
    }

    /// Takes note of what the machine wants done.
    pub fn effect(&mut self, effect: &Effect, now: Duration, arrivals: &Arrivals) {
        match effect {
            Effect::OpenStep(..) => {
                self.opened = Some(now);
                self.leases.clear();
                self.delivered.clear();
                arrivals.clear();
            }
            Effect::Send(worker, ToWorker::Lease { lease, work, .. }) if work.pass == Pass::Train => {
                let (worker, shards) = (*worker, work.node.shards);
                let out = Out { worker, shards, granted: now, begun: None, computed: None };
                self.leases.insert(*lease, out);
            }
            Effect::Send(_, ToWorker::Revoke { lease, .. }) => drop(self.leases.remove(lease)),
            Effect::Answer(Ok(_)) => {
                if let Some((lease, compute)) = self.arrived.take()
                    && let Some(out) = self.leases.remove(&lease)
                {
                    let delivered =
                        Delivered { at: now, cause: cause(&out, compute, now, arrivals.take(lease)) };
                    self.delivered.insert(out.worker, delivered);
                }
            }
            Effect::Close(worker) => self.forget(*worker),
            _ => {}
        }
    }

    /// The worker that makes steps longer, if one does.
    pub fn worst(&self) -> Option<Holdup> {
        let (worker, (share, cause)) =
            self.shares.iter().max_by(|(_, (one, _)), (_, (other, _))| one.total_cmp(other))?;
        (*share >= WORTH_SAYING).then_some(Holdup { worker_id: worker.0, share: *share, cause: *cause })
    }

    /// A worker is gone: nobody waits for it any more.
    fn forget(&mut self, worker: WorkerId) {
        self.shares.remove(&worker);
        self.delivered.remove(&worker);
    }

    fn note(&mut self, lease: LeaseId, change: impl FnOnce(&mut Out)) {
        if let Some(out) = self.leases.get_mut(&lease) {
            change(out);
        }
    }

    /// The step is applied: who was last, and for how long had all others been done?
    fn step_ends(&mut self, now: Duration) {
        let Some(opened) = self.opened.take() else { return };
        let took = now.saturating_sub(opened).as_secs_f64();
        let mut ends: Vec<(Duration, WorkerId)> =
            self.delivered.iter().map(|(worker, delivered)| (delivered.at, *worker)).collect();
        ends.sort();
        // A worker alone waits for nobody, and nobody waits for it.
        let [.., (before, _), (last, worker)] = ends[..] else { return };
        let alone = if took > 0.0 { last.saturating_sub(before).as_secs_f64() / took } else { 0.0 };
        self.steps = self.steps.saturating_add(1);
        let weight = SMOOTHING.max(1.0 / f64::from(self.steps));
        for (share, _) in self.shares.values_mut() {
            *share *= 1.0 - weight;
        }
        let cause = self.delivered[&worker].cause;
        let (share, known) = self.shares.entry(worker).or_insert((0.0, cause));
        (*share, *known) = (*share + weight * alone, cause);
        self.shares.retain(|_, (share, _)| *share >= FORGOTTEN);
    }
}

/// What took longest of a lease: until it computed, computing, or sending `bytes`.
fn cause(out: &Out, compute: Duration, now: Duration, bytes: u64) -> Cause {
    let computed = out.computed.unwrap_or(now);
    let before = computed.saturating_sub(out.granted).saturating_sub(compute);
    let sending = now.saturating_sub(computed);
    if sending >= compute && sending >= before && bytes > 0 {
        let took = now.saturating_sub(out.begun.unwrap_or(computed)).as_secs_f64();
        return Cause::UploadBytesPerSecond(bytes as f64 / took.max(1e-6));
    }
    match before > compute {
        true => Cause::WeightsSeconds(before.as_secs_f64()),
        false => Cause::ShardSeconds(compute.as_secs_f64() / f64::from(out.shards.max(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart::id::{CoordinatorEpoch, Step, Version};
    use headstart::message::{PartialId, Totals, Work};
    use headstart::tree::Tree;

    use crate::event::{Offer, SegmentUse};
    use crate::master::NotFinite;

    /// A step of two workers: each computes one shard of a tree of two.
    struct Story {
        holdups: Holdups,
        arrivals: Arrivals,
    }

    impl Story {
        fn effect(&mut self, effect: &Effect, at: u64) {
            self.holdups.effect(effect, Duration::from_secs(at), &self.arrivals);
        }

        fn lease(&mut self, worker: u64, at: u64) {
            let node = Tree::new(2).largest_at(worker as u32 - 1, 1);
            let work = Work { pass: Pass::Train, step: Step(0), node, version: Version(0) };
            let lease = LeaseId(worker);
            let command = ToWorker::Lease { lease, work, skipped: Vec::new(), traceparent: None };
            self.effect(&Effect::Send(WorkerId(worker), command), at);
        }

        fn event(&mut self, event: &Event, at: u64) {
            self.holdups.event(event, Duration::from_secs(at), &self.arrivals);
        }

        fn partial(worker: u64) -> PartialId {
            let (lease, worker) = (LeaseId(worker), WorkerId(worker));
            let node = Tree::new(2).largest_at(worker.0 as u32 - 1, 1);
            let work = Work { pass: Pass::Train, step: Step(0), node, version: Version(0) };
            PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker, lease, work }
        }

        /// A partial begins to arrive, and 40 MB of it do.
        fn push(&mut self, worker: u64, compute: u64, at: u64) -> Totals {
            let totals = Totals { compute: Duration::from_secs(compute), ..Totals::default() };
            let begun = Event::PushBegun(Story::partial(worker), totals.clone(), Offer::default());
            self.event(&begun, at);
            self.arrivals.add(LeaseId(worker), 40_000_000);
            totals
        }

        fn deliver(&mut self, worker: u64, compute: u64, computed: u64, at: u64) {
            self.event(&Event::Computed(WorkerId(worker), LeaseId(worker)), computed);
            let totals = self.push(worker, compute, computed);
            self.event(&Event::PushEnded(Story::partial(worker), totals, None), at);
            self.effect(&Effect::Answer(Ok(SegmentUse::Sum)), at);
        }

        fn end(&mut self, at: u64) {
            self.event(&Event::Updated(Step(0), Err(NotFinite { norm: f64::NAN })), at);
        }
    }

    fn begun() -> Story {
        let mut story = Story { holdups: Holdups::default(), arrivals: Arrivals::default() };
        story.effect(&Effect::OpenStep(Step(0), Tree::new(2)), 0);
        story.lease(1, 0);
        story.lease(2, 0);
        story
    }

    #[test]
    fn a_slow_link_is_named_with_its_rate() {
        let mut story = begun();
        story.deliver(1, 2, 2, 3);
        story.deliver(2, 2, 2, 7);
        story.end(8);
        let expected =
            Holdup { worker_id: 2, share: 0.5, cause: Cause::UploadBytesPerSecond(40_000_000.0 / 5.0) };
        assert_eq!(story.holdups.worst(), Some(expected));
    }

    #[test]
    fn what_is_sent_again_counts_once() {
        let mut story = begun();
        story.deliver(1, 2, 2, 3);
        story.push(2, 2, 2);
        story.deliver(2, 2, 3, 7);
        story.end(8);
        let cause = story.holdups.worst().map(|holdup| holdup.cause);
        assert_eq!(cause, Some(Cause::UploadBytesPerSecond(40_000_000.0 / 4.0)));
    }

    #[test]
    fn a_slow_processor_and_late_weights_are_told_apart() {
        for (compute, cause) in [(6, Cause::ShardSeconds(6.0)), (2, Cause::WeightsSeconds(4.0))] {
            let mut story = begun();
            story.deliver(1, 2, 2, 3);
            story.deliver(2, compute, 6, 7);
            story.end(8);
            assert_eq!(story.holdups.worst().map(|holdup| holdup.cause), Some(cause));
        }
    }

    #[test]
    fn equal_workers_hold_nothing_up_and_who_leaves_is_forgotten() {
        let mut story = begun();
        story.deliver(1, 2, 2, 7);
        story.deliver(2, 2, 2, 7);
        story.end(8);
        assert_eq!(story.holdups.worst(), None);
        let mut story = begun();
        story.deliver(1, 2, 2, 3);
        story.deliver(2, 2, 2, 7);
        story.end(8);
        story.event(&Event::Left(WorkerId(2), "gone".into()), 9);
        assert_eq!(story.holdups.worst(), None);
    }

    #[test]
    fn a_worker_alone_holds_nothing_up() {
        let mut story = Story { holdups: Holdups::default(), arrivals: Arrivals::default() };
        story.effect(&Effect::OpenStep(Step(0), Tree::new(2)), 0);
        story.lease(1, 0);
        story.deliver(1, 2, 2, 7);
        story.end(8);
        assert_eq!(story.holdups.worst(), None);
    }
}
