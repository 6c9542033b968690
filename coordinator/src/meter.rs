//! Measurements that are not part of the machine's state: durations, and transfers in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart::message::{Pass, ToWorker};
use prometheus::{Histogram, HistogramOpts};

use crate::event::{Effect, Event, Record};

/// The measurements of one coordinator. Not global: tests run several in one process.
#[derive(Debug)]
pub struct Meter {
    /// From one record of the metrics to the step's own: their `step_time`.
    pub step: Histogram,
    /// The parts of a step, in order.
    pub parts: [(&'static str, Histogram); 3],
    /// Partials being received.
    pub pushes: Gauge,
    /// Weights being sent.
    pub pulls: Gauge,
    /// Chunks of partials refused because of a non-finite value.
    pub not_finite: AtomicU64,
}

/// Upper bounds of a step's duration, in seconds: milliseconds for a toy, minutes for a large network on slow links.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

const WAIT: usize = 0;
const REDUCE: usize = 1;
const UPDATE: usize = 2;

impl Default for Meter {
    fn default() -> Meter {
        let part = |name: &'static str| {
            let help = "Parts of a step: until its first lease, until its last partial, and the update.";
            let options = HistogramOpts::new("headstart_step_part_seconds", help).const_label("part", name);
            (name, histogram(options))
        };
        let help = "Time from the step or evaluation before to the end of this step.";
        Meter {
            step: histogram(HistogramOpts::new("headstart_step_seconds", help)),
            parts: [part("wait"), part("reduce"), part("update")],
            pushes: Gauge::default(),
            pulls: Gauge::default(),
            not_finite: AtomicU64::new(0),
        }
    }
}

fn histogram(options: HistogramOpts) -> Histogram {
    Histogram::with_opts(options.buckets(BOUNDS.to_vec())).expect("name, label and bounds are well formed")
}

/// How many of something there are at the moment.
#[derive(Debug, Default)]
pub struct Gauge(std::sync::Arc<AtomicU64>);

/// One of them; it counts as long as it lives.
#[derive(Debug)]
pub struct Present(std::sync::Arc<AtomicU64>);

impl Gauge {
    /// One more.
    pub fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(self.0.clone())
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes the times of steps from the events and effects of the machine.
#[derive(Debug, Default)]
pub struct Stopwatch {
    recorded: Option<Duration>,
    opened: Option<Duration>,
    leased: Option<Duration>,
    reduced: Option<Duration>,
}

impl Stopwatch {
    /// Notes an event of the time `now`.
    pub fn event(&mut self, event: &Event, now: Duration, meter: &Meter) {
        if matches!(event, Event::Updated(..)) {
            observe(&meter.parts[UPDATE].1, self.reduced.take(), now);
        }
    }

    /// Notes an effect of the time `now`.
    pub fn effect(&mut self, effect: &Effect, now: Duration, meter: &Meter) {
        match effect {
            Effect::OpenStep(..) => {
                *self = Stopwatch { recorded: self.recorded, opened: Some(now), ..Stopwatch::default() };
            }
            Effect::Send(_, ToWorker::Lease { work, .. })
                if work.pass == Pass::Train && self.leased.is_none() =>
            {
                self.leased = Some(now);
                observe(&meter.parts[WAIT].1, self.opened.take(), now);
            }
            Effect::Update { .. } => {
                self.reduced = Some(now);
                observe(&meter.parts[REDUCE].1, self.leased, now);
            }
            Effect::Record(Record::Step { .. }) => observe(&meter.step, self.recorded.replace(now), now),
            Effect::Record(Record::Eval { .. }) => self.recorded = Some(now),
            _ => {}
        }
    }
}

fn observe(histogram: &Histogram, since: Option<Duration>, now: Duration) {
    if let Some(since) = since {
        histogram.observe(now.saturating_sub(since).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart::id::{LeaseId, Step, Version, WorkerId};
    use headstart::message::Work;
    use headstart::tree::Tree;

    use crate::master::NotFinite;

    #[test]
    fn a_step_is_measured_in_its_parts() {
        let (meter, mut watch, tree) = (Meter::default(), Stopwatch::default(), Tree::new(2));
        let at = Duration::from_secs;
        let work = Work { pass: Pass::Train, step: Step(0), node: tree.root(), version: Version(0) };
        let lease = ToWorker::Lease { lease: LeaseId(1), work, skipped: Vec::new(), traceparent: None };
        watch.effect(&Effect::OpenStep(Step(0), tree), at(1), &meter);
        watch.effect(&Effect::Send(WorkerId(1), lease.clone()), at(3), &meter);
        watch.effect(&Effect::Send(WorkerId(2), lease), at(4), &meter);
        watch.effect(&Effect::Update { step: Step(0), divisor: 8, learning_rate: 0.1 }, at(7), &meter);
        watch.event(&Event::Updated(Step(0), Err(NotFinite { norm: f64::NAN })), at(12), &meter);
        let sums = meter
            .parts
            .each_ref()
            .map(|(name, part)| (*name, part.get_sample_count(), part.get_sample_sum()));
        assert_eq!(sums, [("wait", 1, 2.0), ("reduce", 1, 4.0), ("update", 1, 5.0)]);
    }

    #[test]
    fn what_is_in_flight_is_counted_until_it_ends() {
        let gauge = Gauge::default();
        let (one, two) = (gauge.enter(), gauge.enter());
        assert_eq!(gauge.get(), 2);
        drop((one, two));
        assert_eq!(gauge.get(), 0);
    }
}
