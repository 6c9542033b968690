//! Those who look on: they see what goes into the machine and what comes out of it, and decide nothing.

use std::sync::Arc;

use headstart::client::{Holdup, ProbeSummary};
use headstart::store::Outages;

use crate::clock::Clock;
use crate::event::{Effect, Event};
use crate::events::{EventLog, Events, Faults};
use crate::holdup::Holdups;
use crate::meter::Stopwatch;
use crate::spans::Spans;

use super::handle::Handle;

/// What people are told beside the machine's own state.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The worker that makes steps longer, if one does.
    pub holdup: Option<Holdup>,
    /// The last faults.
    pub faults: Faults,
    /// What the probe says, or why there was none.
    pub probe: Option<ProbeSummary>,
}

/// Durations, spans, event lines, and what holds steps up.
pub(super) struct Observers {
    clock: Clock,
    handle: Handle,
    stopwatch: Stopwatch,
    spans: Spans,
    pub(super) events: Events,
    holdups: Holdups,
    outages: Outages,
}

impl Observers {
    /// They begin with the version that the coordinator of term `epoch` begins with.
    pub(super) fn new(
        log: Arc<EventLog>,
        (epoch, version): (u64, u64),
        handle: Handle,
        clock: Clock,
        outages: Outages,
    ) -> Observers {
        Observers {
            events: Events::new(log, epoch, version, clock.unix()),
            spans: Spans::new(tracing::Span::current()),
            stopwatch: Stopwatch::default(),
            holdups: Holdups::default(),
            clock,
            handle,
            outages,
        }
    }

    /// Sees what the machine is about to be told.
    pub(super) fn event(&mut self, event: &Event) {
        self.stopwatch.event(event, self.clock.elapsed(), self.handle.meter());
        self.spans.event(event);
        self.holdups.event(event, self.clock.elapsed(), &self.handle.traffic().arrivals);
        self.events.event(event, self.clock.unix());
        if let Event::Tick = event {
            self.events.outages(self.outages.take(), self.clock.unix());
        }
    }

    /// Sees what the machine wants done, before it is; a lease is given its span.
    pub(super) fn effect(&mut self, effect: &mut Effect) {
        self.stopwatch.effect(effect, self.clock.elapsed(), self.handle.meter());
        self.spans.effect(effect);
        self.holdups.effect(effect, self.clock.elapsed(), &self.handle.traffic().arrivals);
        self.events.effect(effect, self.clock.unix());
    }

    /// What people are told now.
    pub(super) fn told(&self) -> Told {
        Told {
            holdup: self.holdups.worst(),
            faults: self.events.faults(),
            probe: self.events.probe().cloned(),
        }
    }
}
