//! One life of a coordinator: everything it holds in memory, and what it does about the machine's effects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use headstart::exit::Exit;
use headstart::id::{Version, WorkerId};
use headstart::manifest::{Pins, RunState};
use headstart::message::ToWorker;
use headstart::optimizer::{OptimizerConfig, SegmentTreatment};
use headstart::plan::Plan;
use headstart::rounding::Rounding;
use headstart::run_file::RunSpec;
use headstart::store::Location;
use headstart_coordinator::broadcast::Broadcast;
use headstart_coordinator::event::{Effect, Event, Refused, SegmentUse};
use headstart_coordinator::events::EventLog;
use headstart_coordinator::journal::parts::{Layout, Texts};
use headstart_coordinator::journal::save::{Best, Commit, Exports};
use headstart_coordinator::journal::{self, Claim, Journal, JournalError, Restored};
use headstart_coordinator::machine::{Machine, Run};
use headstart_coordinator::master::Master;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::record::{Observed, Records};
use headstart_coordinator::reduce::Reducer;

use crate::run;

/// Waits for a future that never has to wait: everything it needs is in memory.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

/// A coordinator's memory.
pub struct Coordinator {
    pub machine: Machine,
    pub master: Arc<Master>,
    pub reducer: Reducer,
    pub journal: Journal,
    pub records: Records,
    events: EventLog,
    /// A commit that is being written.
    pub commit: Option<Commit>,
    /// What was sent to workers and has not arrived.
    pub outboxes: BTreeMap<WorkerId, VecDeque<ToWorker>>,
    pub ended: Option<(Exit, String)>,
    /// What the run left behind.
    pub left: Option<(String, Vec<Vec<f32>>)>,
    best: Option<Arc<Best>>,
    plan: Plan,
    /// How replicas make their updates.
    pub treatment: SegmentTreatment,
}

impl Coordinator {
    /// Begins the run in `output`, or takes it over.
    pub fn start(spec: &RunSpec, output: &Location, life: u64) -> Result<Coordinator, JournalError> {
        let layout = run::layout(spec);
        let master =
            Master::new(OptimizerConfig::new(spec), spec.update.max_grad_norm, &layout, &run::initial());
        let master = Arc::new(master.expect("there is memory"));
        let pins = Pins {
            keys: spec.result_keys(),
            parameters: "p".into(),
            data: "d".into(),
            weights: format!("{:x}", master.hash()),
            base: None,
        };
        let claim =
            Claim { run_id: "r".into(), nonce: format!("life{life}"), owner: "http://nowhere".into(), pins };
        let plan = run::plan(spec);
        let begun = Records::new("p", master.hash(), "d", &plan);
        let (journal, restored) = match now(journal::find(output))? {
            Some(found) => now(found.take_over(claim, &Layout::of(&master)))?,
            None => (now(Journal::begin(output, claim))?, Restored::default()),
        };
        let Restored { standing, vectors, best, texts: Texts { ledger, metrics, events } } = restored;
        if let Some(vectors) = vectors {
            master.restore(Version(standing.version), vectors);
        }
        let known = best.zip(journal.state().best.clone());
        let best = known
            .map(|(weights, known)| Arc::new(Best { version: known.version, weights, eval: known.eval }));
        let records = if ledger.is_empty() { begun } else { Records::resume(ledger, metrics) };
        let rounding = Rounding::of(spec);
        let broadcast = Arc::new(Broadcast::new(rounding.wire(), 1 << 20));
        let (machine, first) = Machine::new(
            Run { base: journal.base(), weights: master.hash(), ..run::run(spec, "r", journal.epoch()) },
            &standing,
            true,
        );
        let events = EventLog::resume(&events);
        events.push(format!("{{\"event\":\"start\",\"epoch\":{life}}}"));
        let mut coordinator = Coordinator {
            machine,
            master,
            reducer: Reducer::new(layout.segments(), Pool::Inline, rounding, broadcast),
            journal,
            records,
            events,
            commit: None,
            outboxes: BTreeMap::new(),
            ended: None,
            left: None,
            best,
            plan,
            treatment: run::treatment(spec),
        };
        coordinator.perform(Duration::ZERO, first);
        Ok(coordinator)
    }

    /// Tells the machine something, and does what it wants.
    pub fn tell(&mut self, now: Duration, event: Event) -> Option<Result<SegmentUse, Refused>> {
        let effects = self.machine.apply(now, event);
        self.perform(now, effects)
    }

    fn perform(&mut self, at: Duration, effects: Vec<Effect>) -> Option<Result<SegmentUse, Refused>> {
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Answer(verdict) => answer = Some(verdict),
                Effect::Send(worker, command) => {
                    if let Some(outbox) = self.outboxes.get_mut(&worker) {
                        outbox.push_back(command);
                    }
                }
                Effect::Close(_) | Effect::Disputed { .. } => {}
                Effect::OpenStep(step, tree) => self.reducer.open(step, tree),
                Effect::Update { step, divisor, learning_rate } => {
                    let sums = self.reducer.take(step).expect("every node is in");
                    let outcome = self.master.prepare(&sums, divisor, learning_rate);
                    let outcome = outcome.map(|prepared| {
                        self.reducer.broadcast().apply(step, &sums, prepared.update);
                        self.master.apply(prepared, &sums)
                    });
                    self.tell(at, Event::Updated(step, outcome));
                }
                Effect::Record(record) => {
                    self.records.begin(self.machine.base());
                    self.records.add(&record, &self.plan, Observed::default());
                }
                Effect::KeepBest(version) => {
                    let eval = self.records.last_eval().clone();
                    self.best =
                        Some(Arc::new(Best { version: version.0, weights: self.master.copy(), eval }));
                }
                Effect::Commit(standing) => {
                    assert!(self.commit.is_none(), "one commit at a time");
                    self.commit = Some(self.state(standing));
                }
                Effect::Conclude { best, standing } => self.conclude(at, best, standing),
                Effect::Finish(_) => drop(self.tell(at, Event::Finished)),
                Effect::Export(_) | Effect::Judge(_) => {
                    unreachable!("nobody stops the run, and it has no probe")
                }
                Effect::End(exit, detail) => self.ended = Some((exit, detail)),
            }
        }
        answer
    }

    fn state(&mut self, standing: RunState) -> Commit {
        let texts = Texts {
            ledger: self.records.ledger().to_owned(),
            metrics: self.records.metrics().to_owned(),
            events: self.events.text(),
        };
        Commit {
            standing,
            base: self.machine.base(),
            held: self.master.hold(),
            best: self.best.clone(),
            texts,
        }
    }

    fn conclude(&mut self, at: Duration, best: bool, standing: RunState) {
        let commit = self.state(standing);
        let chosen = commit.best.clone().filter(|_| best);
        match now(self.journal.save(commit, Exports { add: false, limit: None })) {
            Ok(weights) => {
                let weights = chosen.map_or(weights, |best| best.weights.clone());
                self.left = Some((self.records.ledger().to_owned(), weights));
                self.tell(at, Event::Concluded);
            }
            Err(error) => drop(self.tell(at, Event::Failed(error.exit(), error.to_string()))),
        }
    }

    /// The commit that is being written is made, or fails.
    pub fn finish_commit(&mut self, at: Duration) {
        let Some(commit) = self.commit.take() else { return };
        let event = match now(self.journal.save(commit, Exports { add: true, limit: Some(2) })) {
            Ok(_) => Event::Committed,
            Err(error) => Event::Failed(error.exit(), error.to_string()),
        };
        self.tell(at, event);
    }
}
