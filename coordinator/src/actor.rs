//! The one loop that owns the machine: takes events in, performs effects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::WorkerId;
use headstart::manifest::RunState;
use headstart::message::{GoldenRow, ProbedRow, ToWorker};
use headstart::plan::Plan;
use headstart::run_file::Precision;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::commit::Committer;
use crate::event::{Effect, Event, Record, Refused, SegmentUse, describe};
use crate::finish::Kept;
use crate::history::History;
use crate::journal::parts::Texts;
use crate::journal::save::{Best, Commit};
use crate::machine::Machine;
use crate::master::Master;
use crate::meter::Meter;
use crate::probe::Probe;
use crate::record::{Observed, Records, Speed};
use crate::reduce::Reducer;

mod handle;
mod observers;
mod parts;

use handle::Mail;
pub use handle::{Gone, Handle, Status, Traffic};
use observers::Observers;
pub use observers::Told;
pub use parts::Parts;

/// Events that may wait for the loop.
const INBOX: usize = 1024;
/// How often leases and heartbeats are checked.
const TICK: Duration = Duration::from_secs(1);

/// Warnings that the status brings too.
const FAULT: &str = "headstart_coordinator::fault";

/// Owner of the machine and of everything that follows from its decisions.
pub struct Actor {
    machine: Machine,
    master: Arc<Master>,
    reducer: Arc<Reducer>,
    committer: Arc<Committer>,
    plan: Plan,
    records: Records,
    clock: Clock,
    best: Option<Arc<Best>>,
    /// Whether it was looked at what the workers can do.
    warned: bool,
    /// The final weights and records, once they are committed.
    concluded: Arc<Mutex<Option<Kept>>>,
    /// What its probe's rows are judged with, until they are.
    probe: Option<Probe>,
    outboxes: BTreeMap<WorkerId, mpsc::Sender<ToWorker>>,
    inbox: mpsc::Receiver<Mail>,
    handle: Handle,
    status: watch::Sender<Status>,
    counted: (u64, u64),
    observers: Observers,
}

impl Actor {
    /// Puts the actor together; [`Actor::run`] starts it.
    pub fn new(parts: Parts) -> (Actor, Handle) {
        let Parts { machine, master, reducer, committer, plan, records, events, best, probe, outages, clock } =
            parts;
        let (events, epoch) = (Arc::new(events.0), events.1);
        let (sender, inbox) = mpsc::channel(INBOX);
        let (snapshot, speed, told) = (machine.snapshot(), Speed::default(), Told::default());
        let status = Status { snapshot, speed, ended: None, kept: None, told };
        let (status, followed) = watch::channel(status);
        let handle = Handle {
            inbox: sender,
            status: followed,
            workers: Arc::new(AtomicU64::new(0)),
            traffic: Arc::new(Traffic::default()),
            meter: Arc::new(Meter::default()),
            events: events.clone(),
            history: Arc::new(History::of(records.metrics())),
            turned: Arc::default(),
        };
        handle.turn(clock.elapsed());
        let begins = (epoch, master.version().0);
        let mut observers = Observers::new(events, begins, handle.clone(), clock, outages);
        let probe = probe.unwrap_or_else(|too_few| {
            observers.events.probe_left_out(&too_few.to_string(), clock.unix());
            None
        });
        let actor = Actor {
            machine,
            master,
            reducer,
            committer,
            plan,
            records,
            clock,
            best: best.map(Arc::new),
            warned: false,
            concluded: Arc::default(),
            probe,
            outboxes: BTreeMap::new(),
            inbox,
            handle: handle.clone(),
            status,
            counted: (0, 0),
            observers,
        };
        (actor, handle)
    }

    /// Runs until the machine ends the run; returns how it ended.
    pub async fn run(mut self, first: Vec<Effect>) -> (Exit, String) {
        let mut ended = self.perform(first, None);
        let mut ticks = tokio::time::interval(TICK);
        while ended.is_none() {
            let mail = tokio::select! {
                // In this order, so that a simulation's runs repeat themselves; ticks are too rare to hold up the mail.
                biased;
                _ = ticks.tick() => Mail { event: Event::Tick, answer: None, outbox: None },
                mail = self.inbox.recv() => mail.expect("the actor holds a sender itself"),
            };
            let Mail { event, answer, outbox } = mail;
            self.observe(&event);
            if let (Event::Joined(worker, _), Some(outbox)) = (&event, outbox) {
                self.outboxes.insert(*worker, outbox);
            }
            let left = if let Event::Left(worker, _) = &event { Some(*worker) } else { None };
            let effects = self.machine.apply(self.clock.elapsed(), event);
            ended = self.perform(effects, answer);
            if let Some(worker) = left {
                self.outboxes.remove(&worker);
            }
            self.warn_of_precision();
            let (snapshot, told) = (self.machine.snapshot(), self.observers.told());
            self.status.send_modify(|status| (status.snapshot, status.told) = (snapshot, told));
            self.handle.turn(self.clock.elapsed());
        }
        let ended = ended.expect("the loop ends with the run");
        self.status.send_modify(|status| status.ended = Some(ended.clone()));
        ended
    }

    fn observe(&mut self, event: &Event) {
        self.observers.event(event);
        match event {
            Event::Joined(worker, join) => info!(%worker, name = join.name, device = join.device, "joined"),
            Event::Ready(worker, ready) => info!(%worker, class = ?ready.class, "ready"),
            Event::Left(worker, reason) => info!(%worker, reason, "left"),
            Event::LeaseFailed(worker, lease, failure) => {
                warn!(target: FAULT, %worker, %lease, ?failure, "lease failed")
            }
            Event::StopRequested { reason, .. } => info!(reason, "stop requested"),
            _ => {}
        }
    }

    fn perform(
        &mut self,
        effects: Vec<Effect>,
        mut answer: Option<oneshot::Sender<Result<SegmentUse, Refused>>>,
    ) -> Option<(Exit, String)> {
        let mut ended = None;
        for mut effect in effects {
            self.observers.effect(&mut effect);
            match effect {
                Effect::Answer(verdict) => {
                    if let Err(refused) = &verdict {
                        info!(%refused, "partial refused");
                    }
                    // Whoever asked may be gone; the decision stands.
                    let _ = answer.take().map(|answer| answer.send(verdict));
                }
                Effect::Send(worker, command) => self.send(worker, command),
                Effect::Close(worker) => {
                    self.outboxes.remove(&worker);
                }
                Effect::OpenStep(step, tree) => self.reducer.open(step, tree),
                Effect::Disputed { work, workers } => {
                    let work = describe(&work);
                    warn!(target: FAULT, work, ?workers, "workers compute different gradients; the step waits for a third");
                }
                Effect::Update { step, divisor, learning_rate } => self.update(step, divisor, learning_rate),
                Effect::Record(record) => self.record(&record),
                Effect::KeepBest(version) => {
                    let eval = self.records.last_eval().clone();
                    let weights = self.master.copy();
                    self.best = Some(Arc::new(Best { version: version.0, weights, eval }));
                }
                Effect::Commit(standing) => self.commit(standing),
                Effect::Conclude { best, standing } => self.conclude(best, standing),
                Effect::Finish(golden) => self.finish(golden),
                Effect::Export(standing) => self.export(standing),
                Effect::Judge(rows) => self.judge(rows),
                Effect::End(exit, detail) => ended = Some((exit, detail)),
            }
        }
        ended
    }

    fn send(&mut self, worker: WorkerId, command: ToWorker) {
        if let ToWorker::Revoke { lease, reason } = &command {
            info!(%worker, %lease, reason, "lease revoked");
        }
        let Some(outbox) = self.outboxes.get(&worker) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = outbox.try_send(command) {
            warn!(%worker, "the worker does not read its commands; closing its session");
            self.outboxes.remove(&worker);
        }
    }

    fn update(&self, step: headstart::id::Step, divisor: u64, learning_rate: f64) {
        let (master, reducer, handle) = (self.master.clone(), self.reducer.clone(), self.handle.clone());
        let pool = reducer.pool();
        tokio::spawn(async move {
            let update = move || {
                let sums = reducer.take(step)?;
                let outcome = master.prepare(&sums, divisor, learning_rate).map(|prepared| {
                    // Replicas update while the master does.
                    reducer.broadcast().apply(step, &sums, prepared.update);
                    master.apply(prepared, &sums)
                });
                for sum in sums {
                    reducer.recycle(sum.values);
                }
                Some(outcome)
            };
            let event = match pool.run(update).await {
                Some(outcome) => Event::Updated(step, outcome),
                None => Event::Failed(
                    Exit::Internal,
                    format!("{step} is to be applied, but a partial is missing"),
                ),
            };
            // The actor outlives its updates unless the run has ended.
            let _ = handle.tell(event).await;
        });
    }

    fn record(&mut self, record: &Record) {
        let traffic = &self.handle.traffic;
        let total = (traffic.up.load(Ordering::Relaxed), traffic.down.load(Ordering::Relaxed));
        let observed = Observed {
            unix: self.clock.unix(),
            elapsed: self.clock.elapsed(),
            bytes_up: total.0 - self.counted.0,
            bytes_down: total.1 - self.counted.1,
        };
        self.counted = total;
        self.records.begin(self.machine.base());
        let before = self.records.metrics().len();
        let speed = self.records.add(record, &self.plan, observed);
        self.handle.history.extend(&self.records.metrics()[before..]);
        if let Some(speed) = speed {
            self.status.send_modify(|status| status.speed = speed);
        }
    }

    /// What was asked for is not what the workers can do.
    fn warn_of_precision(&mut self) {
        if self.warned || self.machine.numeric_class().is_none() {
            return;
        }
        self.warned = true;
        let on_cpu = self.machine.numeric_class().is_some_and(|class| class.device == "cpu");
        if self.committer.spec().precision == Precision::Bf16 && on_cpu {
            warn!("bf16: true is for GPUs: these workers are CPUs and compute in 32-bit floats");
        }
    }

    /// Commits in the background; the next update may begin meanwhile.
    fn commit(&mut self, standing: RunState) {
        let (commit, kept) = self.state(standing);
        let (committer, handle) = (self.committer.clone(), self.handle.clone());
        tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            let (version, outcome) = (kept.version, committer.save(commit, kept).await);
            let event = match outcome {
                Ok(_) => {
                    info!(%version, took = ?began.elapsed(), "committed");
                    Event::Committed
                }
                Err(error) => Event::Failed(error.exit(), error.to_string()),
            };
            let _ = handle.tell(event).await;
        });
    }

    fn conclude(&mut self, best: bool, standing: RunState) {
        let (commit, kept) = self.state(standing);
        let (committer, handle, master) = (self.committer.clone(), self.handle.clone(), self.master.clone());
        let concluded = self.concluded.clone();
        tokio::spawn(async move {
            let event = match committer.conclude(commit, best, kept, &master).await {
                Ok(kept) => {
                    *concluded.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                    Event::Concluded
                }
                Err(error) => Event::Failed(error.exit(), error.to_string()),
            };
            let _ = handle.tell(event).await;
        });
    }

    fn finish(&mut self, golden: Vec<GoldenRow>) {
        let (committer, handle) = (self.committer.clone(), self.handle.clone());
        let kept = self.concluded.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut kept = kept.expect("a run concludes before it finishes");
        kept.events = self.handle.events.text();
        tokio::spawn(async move {
            let event = match committer.finish(kept, &golden).await {
                Ok(()) => Event::Finished,
                Err(error) => Event::Failed(error.exit(), error.to_string()),
            };
            let _ = handle.tell(event).await;
        });
    }

    /// Says what a probe shows, while the steps go on.
    fn judge(&mut self, rows: Result<Vec<ProbedRow>, String>) {
        let Some(probe) = self.probe.take() else { return };
        let (handle, pool) = (self.handle.clone(), self.reducer.pool());
        tokio::spawn(async move {
            let event = match pool.run(move || probe.judge(rows)).await {
                Ok(judged) => Event::Judged(Box::new(judged)),
                Err(error) => Event::Failed(error.exit(), error.to_string()),
            };
            let _ = handle.tell(event).await;
        });
    }

    fn export(&mut self, standing: RunState) {
        let (commit, kept) = self.state(standing);
        let (committer, handle) = (self.committer.clone(), self.handle.clone());
        let status = self.status.clone();
        tokio::spawn(async move {
            let version = kept.version.0;
            let event = match committer.save(commit, kept).await {
                Ok(url) => {
                    let text = match url {
                        Some(url) => format!("{url} (the weights after {version} steps)"),
                        None => "nothing: no step was finished".to_owned(),
                    };
                    status.send_modify(|status| status.kept = Some(text));
                    Event::Exported
                }
                Err(error) => Event::Failed(error.exit(), error.to_string()),
            };
            let _ = handle.tell(event).await;
        });
    }

    /// The current state of the run, in two forms: for the commit log, and for the checkpoint written beside it.
    fn state(&mut self, standing: RunState) -> (Commit, Kept) {
        let kept = self.kept();
        let texts =
            Texts { ledger: kept.ledger.clone(), metrics: kept.metrics.clone(), events: kept.events.clone() };
        let (held, best) = (self.master.hold(), self.best.clone());
        (Commit { standing, base: kept.base, held, best, texts }, kept)
    }

    fn kept(&self) -> Kept {
        let version = self.master.version();
        Kept {
            version,
            steps: version.0,
            weights: Vec::new(),
            ledger: self.records.ledger().to_owned(),
            metrics: self.records.metrics().to_owned(),
            events: self.handle.events.text(),
            eval: self.records.last_eval().clone(),
            delivered: self.machine.delivered(),
            class: self.machine.numeric_class().cloned(),
            base: self.machine.base(),
            started_unix: self.clock.started_unix(),
            elapsed: self.clock.elapsed(),
        }
    }
}
