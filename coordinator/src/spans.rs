//! Spans of a run. Each step and each evaluation is a trace of its own, which its workers continue: a collector can keep
//! some of them and drop the others, and none grows with the length of the run.

use std::collections::BTreeMap;

use headstart::id::{LeaseId, WorkerId};
use headstart::message::{Pass, ToWorker, Work};
use headstart::telemetry::context::traceparent;
use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::event::{Effect, Event, Record, describe};

/// The spans that are open, driven by the machine's events and effects.
#[derive(Debug)]
pub struct Spans {
    run: Span,
    work: Option<((Pass, u64), Span)>,
    leases: BTreeMap<LeaseId, (WorkerId, Span)>,
    update: Span,
    write: Span,
}

impl Spans {
    /// Spans of a run whose own span is given.
    pub fn new(run: Span) -> Spans {
        Spans { run, work: None, leases: BTreeMap::new(), update: Span::none(), write: Span::none() }
    }

    /// Ends what an event ends.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::PushEnded(partial, totals, _) => {
                if let Some((_, span)) = self.leases.remove(&partial.lease) {
                    span.record("samples", totals.samples);
                }
            }
            Event::LeaseFailed(_, lease, failure) => {
                if let Some((_, span)) = self.leases.remove(lease) {
                    span.record("failure", tracing::field::debug(failure));
                }
            }
            Event::Left(worker, _) => self.forget(*worker),
            Event::Updated(..) => self.update = Span::none(),
            Event::Finished | Event::Exported => self.write = Span::none(),
            _ => {}
        }
    }

    /// Begins or ends what an effect begins or ends. A lease that is sent takes its span's context with it.
    pub fn effect(&mut self, effect: &mut Effect) {
        match effect {
            Effect::OpenStep(step, _) => {
                self.begin(Pass::Train, step.0);
            }
            Effect::Send(worker, ToWorker::Lease { lease, work, traceparent: context, .. }) => {
                let span = self.lease(*worker, *lease, work);
                *context = traceparent(&span);
                self.leases.insert(*lease, (*worker, span));
            }
            Effect::Close(worker) => self.forget(*worker),
            Effect::Update { divisor, learning_rate, .. } => {
                let work = self.work.as_ref().map_or_else(Span::none, |(_, span)| span.clone());
                self.update =
                    debug_span!(parent: &work, "update", divisor = *divisor, learning_rate = *learning_rate);
            }
            Effect::Record(record) => self.recorded(record),
            Effect::Conclude { best, .. } => {
                self.write = debug_span!(parent: &self.run, "final write", best = *best);
            }
            Effect::Export(standing) => {
                self.write = debug_span!(parent: &self.run, "checkpoint write", step = standing.version);
            }
            _ => {}
        }
    }

    fn begin(&mut self, pass: Pass, step: u64) -> &Span {
        self.leases.clear();
        let span = match pass {
            Pass::Train => {
                debug_span!(parent: None, "step", step, loss = Empty, grad_norm = Empty, workers = Empty)
            }
            Pass::Eval => debug_span!(parent: None, "evaluation", step, loss = Empty, samples = Empty),
            Pass::Golden => debug_span!(parent: None, "golden rows", step),
            Pass::Probe => debug_span!(parent: None, "probe", step),
        };
        span.follows_from(&self.run);
        &self.work.insert(((pass, step), span)).1
    }

    fn lease(&mut self, worker: WorkerId, lease: LeaseId, work: &Work) -> Span {
        let of = (work.pass, work.step.0);
        let parent = match &self.work {
            Some((known, span)) if *known == of => span,
            _ => self.begin(of.0, of.1),
        };
        let node = describe(work);
        debug_span!(
            parent: parent, "lease", worker = worker.0, lease = lease.0, step = work.step.0, node, samples = Empty,
            failure = Empty
        )
    }

    fn forget(&mut self, worker: WorkerId) {
        self.leases.retain(|_, (holder, _)| *holder != worker);
    }

    fn recorded(&mut self, record: &Record) {
        let Some((_, span)) = self.work.take() else { return };
        match record {
            Record::Step { totals, applied, workers, .. } => {
                span.record("loss", totals.mean_loss());
                span.record("grad_norm", applied.norm);
                span.record("workers", *workers as u64);
            }
            Record::Eval { metrics, samples, .. } => {
                span.record("loss", metrics.get("loss").copied());
                span.record("samples", *samples);
            }
        }
    }
}
