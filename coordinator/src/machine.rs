//! The coordinator's decisions: a pure function of what happened. No clock, no randomness, no I/O, no await.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::{CoordinatorEpoch, LeaseId, Step, Version, WorkerId};
use headstart::message::{Failure, PartialId, Pass, StopReason, ToWorker, Totals, Welcome, Work};
use headstart::plan::Plan;
use headstart::spec::RunSpec;
use headstart::tree::{Fold, Node};

use crate::evaluation::{self, Best};
use crate::event::{Effect, Event, Record, Refused, describe};
use crate::lease::{Lease, LeaseTable};
use crate::master::{Applied, NotFinite};
use crate::membership::{Membership, Rejected};
use crate::schedule::Schedule;

mod status;
#[cfg(test)]
mod tests;

pub use status::{Activity, Delivered, Snapshot, WorkerLine};

/// What the machine knows of the run from the start.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the run.
    pub id: String,
    /// This coordinator's term.
    pub epoch: CoordinatorEpoch,
    /// The run file.
    pub spec: RunSpec,
    /// Steps and shards.
    pub plan: Plan,
    /// Label names.
    pub labels: Vec<String>,
    /// Hash of the parameter table.
    pub parameters: String,
    /// Number of training rows.
    pub train_rows: u64,
    /// Elements of the trainable vector.
    pub trainable: u64,
}

/// The state of a run.
#[derive(Debug)]
pub struct Machine {
    run: Run,
    schedule: Schedule,
    best: Best,
    members: Membership,
    phase: Phase,
    version: Version,
    /// Something has been recorded, which binds the numeric class.
    committed: bool,
    stop: Option<(String, Exit)>,
    leases_granted: u64,
    not_finite: BTreeMap<u32, u32>,
    failures: BTreeMap<Node, u32>,
    last_loss: f64,
    last_eval: (Version, BTreeMap<&'static str, f64>),
}

#[derive(Debug)]
enum Phase {
    /// Partials of a step or an evaluation are being computed.
    Reducing { work: WorkKind, table: LeaseTable, totals: Fold<Totals> },
    /// All are in; the weights are being updated.
    Updating { step: Step, totals: Totals, learning_rate: f64 },
    /// Weights are being written.
    Saving,
    /// Nothing more happens.
    Ended,
}

/// What a phase reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WorkKind {
    pass: Pass,
    step: Step,
    version: Version,
}

/// How often workers are to be heard.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence after which a worker counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Shortest lease, and the lease of a worker whose speed is unknown.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);
const FIRST_LEASE: Duration = Duration::from_secs(600);
/// A partial on its way in may take so long; pauses between its messages have a limit of their own.
const LONGEST_PUSH: Duration = Duration::from_secs(3600);
/// A lease lasts so many times its expected duration.
const LEASE_SLACK: u32 = 10;
/// Shards of an evaluation that one lease covers at most, so that a lost lease costs little.
const LONGEST_EVAL: u32 = 32;
/// Failures of one node after which the run fails.
const NODE_FAILURES: u32 = 3;

impl Machine {
    /// A run at version 0, and what to do first.
    pub fn new(run: Run) -> (Machine, Vec<Effect>) {
        let schedule = Schedule::new(&run.spec, run.plan.steps(), run.plan.steps_per_epoch());
        let mut machine = Machine {
            schedule,
            best: Best::new(&run.spec),
            run,
            members: Membership::default(),
            phase: Phase::Saving,
            version: Version(0),
            committed: false,
            stop: None,
            leases_granted: 0,
            not_finite: BTreeMap::new(),
            failures: BTreeMap::new(),
            last_loss: f64::NAN,
            last_eval: (Version(0), BTreeMap::new()),
        };
        let mut effects = Vec::new();
        match machine.schedule.evaluates(0) {
            true => machine.begin(Pass::Eval, &mut effects),
            false => machine.begin(Pass::Train, &mut effects),
        }
        (machine, effects)
    }

    /// Takes in what happened at `now` (time since the run began); returns what to do, in order.
    pub fn apply(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.phase, Phase::Ended) {
            return refuse_after_end(&event);
        }
        match event {
            Event::Joined(worker, join) => {
                match self.members.join(now, worker, join, self.run.spec.cluster.max_workers) {
                    Ok(()) => effects.push(Effect::Send(worker, ToWorker::Welcome(self.welcome(worker)))),
                    Err(rejected) => turn_away(worker, rejected, &mut effects),
                }
            }
            Event::Ready(worker, ready) => match self.members.admit(worker, ready, &self.run.parameters) {
                Ok(()) => {}
                Err(rejected) => {
                    self.members.leave(worker, self.committed);
                    turn_away(worker, rejected, &mut effects);
                }
            },
            Event::Heard(worker) => self.heard(now, worker),
            Event::LeaseFailed(worker, lease, failure) => {
                self.lease_failed(worker, lease, failure, &mut effects)
            }
            Event::Left(worker, _) => self.left(worker, &mut effects),
            Event::PushBegun(partial, totals) => self.push_begun(now, &partial, &totals, &mut effects),
            Event::PushEnded(partial, totals) => self.push_ended(now, partial, totals, &mut effects),
            Event::Updated(step, outcome) => self.updated(step, outcome, &mut effects),
            Event::Finished => self.end(Exit::Ok, "the run is complete".into(), &mut effects),
            Event::StopRequested { reason, exit } => {
                self.stop = Some((reason, exit));
                if matches!(self.phase, Phase::Reducing { .. }) {
                    self.export(&mut effects);
                }
            }
            Event::Exported => {
                let (reason, exit) = self.stop.clone().expect("only a stop asks for an export");
                self.end(exit, reason, &mut effects);
            }
            Event::Failed(exit, detail) => self.end(exit, detail, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.assign(now, &mut effects);
        effects
    }

    fn welcome(&self, worker: WorkerId) -> Welcome {
        Welcome {
            run_id: self.run.id.clone(),
            epoch: self.run.epoch,
            worker,
            spec_json: serde_json::to_string(&self.run.spec).expect("a run file is plain data"),
            labels: self.run.labels.clone(),
            parameters: self.run.parameters.clone(),
            version: self.version,
            heartbeat: HEARTBEAT,
            train_rows: self.run.train_rows,
            eval_rows: self.run.plan.eval_rows(),
        }
    }

    fn heard(&mut self, now: Duration, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(worker) {
            member.heard = now;
        }
    }

    /// A worker is gone: its leases go to others at once.
    fn left(&mut self, worker: WorkerId, effects: &mut Vec<Effect>) {
        let had_class = self.members.class().is_some();
        self.members.leave(worker, self.committed);
        let Phase::Reducing { work, table, .. } = &mut self.phase else { return };
        for lease in table.of(worker) {
            table.give_back(lease);
        }
        if had_class && self.members.class().is_none() {
            // Whoever comes next may bind another numeric class: what this one has computed must not be mixed with it.
            let pass = work.pass;
            self.begin(pass, effects);
        }
    }

    fn lease_failed(
        &mut self,
        worker: WorkerId,
        lease: LeaseId,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        if table.get(lease).is_none_or(|lease| lease.worker != worker) {
            return;
        }
        let Some(Lease { work, .. }) = table.fail(lease) else { return };
        let failures = self.failures.entry(work.node).or_default();
        *failures += 1;
        let exhausted = *failures >= NODE_FAILURES;
        let confirmed = *failures >= 2 || self.members.ready().count() == 1;
        let place = describe(&work);
        match failure {
            Failure::Data(text) if confirmed => self.end(Exit::Data, text, effects),
            Failure::NotFinite { shard, rows } => {
                let times = self.not_finite.entry(shard).or_default();
                *times += 1;
                if *times >= 2 {
                    let detail = format!(
                        "loss or gradient is not finite in {place}, shard {shard} (rows {rows:?}), computed twice; \
                         lower learning_rate, or look at these rows"
                    );
                    self.end(Exit::Diverged, detail, effects);
                }
            }
            Failure::Error(text) if exhausted => {
                self.end(Exit::Internal, format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            Failure::Storage(text) if exhausted => {
                self.end(Exit::Storage, format!("{place} failed {NODE_FAILURES} times: {text}"), effects);
            }
            Failure::Data(_) | Failure::Error(_) | Failure::Storage(_) => {}
        }
    }

    /// Whether a partial is the one a lease asked for.
    fn check(&self, partial: &PartialId) -> Result<(), Refused> {
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
            Some(_) => Ok(()),
        }
    }

    /// Judges a partial before any of it is added: sums that cannot be right would leave their gradient behind.
    fn push_begun(&mut self, now: Duration, partial: &PartialId, totals: &Totals, effects: &mut Vec<Effect>) {
        self.heard(now, partial.worker);
        let verdict = self.check(partial).and_then(|()| self.plausible(&partial.work, totals));
        if let (Ok(()), Phase::Reducing { table, .. }) = (&verdict, &mut self.phase) {
            // From here on the transfer's own limits apply.
            table.extend(partial.lease, now + LONGEST_PUSH);
        }
        effects.push(Effect::Answer(verdict));
    }

    fn push_ended(&mut self, now: Duration, partial: PartialId, totals: Totals, effects: &mut Vec<Effect>) {
        self.heard(now, partial.worker);
        if let Err(refused) = self.check(&partial) {
            effects.push(Effect::Answer(Err(refused)));
            return;
        }
        let Phase::Reducing { table, totals: fold, .. } = &mut self.phase else {
            unreachable!("check() finds leases only while reducing")
        };
        let node = partial.work.node;
        let lease = table.complete(partial.lease).expect("check() found it");
        if let Some(member) = self.members.get_mut(partial.worker) {
            let took = now.saturating_sub(lease.granted);
            member.credit(node.shards, totals.compute, took, partial.work.pass == Pass::Train);
        }
        fold.insert(node, totals, Totals::merge).expect("a leased node is not part of the sum yet");
        effects.push(Effect::Answer(Ok(())));
        if let Some(totals) = fold.take_root() {
            self.reduced(totals, effects);
        }
    }

    fn plausible(&self, work: &Work, totals: &Totals) -> Result<(), Refused> {
        let rows = self.run.plan.rows_of(work).len() as u64;
        let labels = if work.pass == Pass::Eval { self.run.labels.len() } else { 0 };
        let counts = 3 * labels;
        if totals.samples != rows {
            let found = totals.samples;
            return Err(Refused::Implausible(format!("{} has {rows} samples, not {found}", describe(work))));
        }
        if totals.counts.len() != counts {
            let found = totals.counts.len();
            return Err(Refused::Implausible(format!("{} has {counts} counts, not {found}", describe(work))));
        }
        if labels > 0 && !add_up(&totals.counts, labels, rows) {
            let text = format!("the counts of {} do not add up to its {rows} samples", describe(work));
            return Err(Refused::Implausible(text));
        }
        if work.pass == Pass::Train && !totals.loss.is_finite() {
            return Err(Refused::Implausible(format!("the loss of {} is {}", describe(work), totals.loss)));
        }
        Ok(())
    }

    /// Every shard of a step or evaluation is in.
    fn reduced(&mut self, totals: Totals, effects: &mut Vec<Effect>) {
        let Phase::Reducing { work, .. } = &self.phase else { unreachable!("called while reducing") };
        match work.pass {
            Pass::Train => {
                let step = work.step;
                let learning_rate = self.schedule.learning_rate(step.0);
                effects.push(Effect::Update { step, samples: totals.samples, learning_rate });
                self.phase = Phase::Updating { step, totals, learning_rate };
            }
            Pass::Eval => self.evaluated(totals, effects),
        }
    }

    fn updated(&mut self, step: Step, outcome: Result<Applied, NotFinite>, effects: &mut Vec<Effect>) {
        let Phase::Updating { step: expected, totals, learning_rate } = &mut self.phase else { return };
        debug_assert_eq!(step, *expected);
        let (totals, learning_rate) = (std::mem::take(totals), *learning_rate);
        let applied = match outcome {
            Ok(applied) => applied,
            Err(NotFinite { norm }) => {
                let detail =
                    format!("diverged in {step}: the gradient's norm is {norm}; lower learning_rate");
                return self.end(Exit::Diverged, detail, effects);
            }
        };
        self.version = Version(step.0 + 1);
        self.committed = true;
        self.last_loss = totals.loss / totals.samples as f64;
        let workers = self.members.ready().count();
        effects.push(Effect::Record(Record::Step { step, totals, learning_rate, applied, workers }));
        for (worker, _) in self.members.ready() {
            effects.push(Effect::Send(worker, ToWorker::Publish(self.version)));
        }
        match () {
            () if self.stop.is_some() => self.export(effects),
            () if self.schedule.evaluates(self.version.0) => self.begin(Pass::Eval, effects),
            () => self.next_step(effects),
        }
    }

    fn evaluated(&mut self, totals: Totals, effects: &mut Vec<Effect>) {
        let metrics = evaluation::metrics(&totals);
        self.committed = true;
        let verdict = self.best.judge(self.version, &metrics);
        self.last_eval = (self.version, metrics.clone());
        effects.push(Effect::Record(Record::Eval {
            version: self.version,
            metrics,
            samples: totals.samples,
        }));
        if verdict.best && self.run.spec.load_best_model_at_end {
            effects.push(Effect::KeepBest(self.version));
        }
        match verdict.stop {
            true => self.finish(effects),
            false => self.next_step(effects),
        }
    }

    fn next_step(&mut self, effects: &mut Vec<Effect>) {
        match self.version.0 >= self.run.plan.steps() {
            true => self.finish(effects),
            false => self.begin(Pass::Train, effects),
        }
    }

    fn begin(&mut self, pass: Pass, effects: &mut Vec<Effect>) {
        let step = Step(self.version.0);
        let tree = self.run.plan.tree(pass, step);
        if pass == Pass::Train {
            effects.push(Effect::OpenStep(step, tree));
        }
        self.not_finite.clear();
        self.failures.clear();
        let work = WorkKind { pass, step, version: self.version };
        self.phase = Phase::Reducing { work, table: LeaseTable::new(tree), totals: Fold::new(tree) };
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Saving;
        let best = self.run.spec.load_best_model_at_end && self.best.best().is_some();
        effects.push(Effect::Finish { best });
    }

    fn export(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Saving;
        effects.push(Effect::Export(self.version));
    }

    fn end(&mut self, exit: Exit, detail: String, effects: &mut Vec<Effect>) {
        let reason = match exit {
            Exit::Ok => StopReason::Finished,
            Exit::Interrupted | Exit::Terminated => StopReason::Stopped,
            _ => StopReason::Failed,
        };
        for (worker, _) in self.members.iter() {
            effects.push(Effect::Send(worker, ToWorker::Stop { reason, detail: detail.clone() }));
            effects.push(Effect::Close(worker));
        }
        self.phase = Phase::Ended;
        effects.push(Effect::End(exit, detail));
    }

    fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let silent: Vec<WorkerId> = self
            .members
            .iter()
            .filter(|(_, m)| now.saturating_sub(m.heard) > SILENCE)
            .map(|(id, _)| id)
            .collect();
        for worker in silent {
            self.left(worker, effects);
            effects.push(Effect::Close(worker));
        }
        let Phase::Reducing { table, .. } = &mut self.phase else { return };
        let expired: Vec<Lease> =
            table.expired(now).into_iter().filter_map(|id| table.get(id).copied()).collect();
        for Lease { worker, work, .. } in expired {
            // It hangs though it is heard: given another lease, it would hang again.
            let detail = format!("{} took too long", describe(&work));
            effects.push(Effect::Send(worker, ToWorker::Stop { reason: StopReason::Refused, detail }));
            effects.push(Effect::Close(worker));
            self.left(worker, effects);
        }
    }

    /// Gives every idle worker the lowest unleased node, sized by its speed and memory.
    fn assign(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Phase::Reducing { work, table, .. } = &mut self.phase else { return };
        if self.members.ready().count() < self.run.spec.cluster.min_workers.max(1) as usize {
            return;
        }
        let ready: Vec<WorkerId> = self.members.ready().map(|(worker, _)| worker).collect();
        let idle: Vec<WorkerId> =
            ready.iter().copied().filter(|&worker| table.of(worker).is_empty()).collect();
        let mut served = BTreeSet::new();
        for worker in idle {
            let share = self.members.fair_share(worker, table.unleased(), &served);
            served.insert(worker);
            let Some(member) = self.members.get_mut(worker) else { continue };
            let limit = match work.pass {
                Pass::Train => share.min(longest_node(member.join.memory, self.run.trainable)),
                Pass::Eval => share.min(LONGEST_EVAL),
            };
            let Some(node) = table.next(worker, limit, &ready) else { continue };
            self.leases_granted += 1;
            let id = LeaseId(self.leases_granted);
            let duration = member
                .lease_time
                .map_or(FIRST_LEASE, |each| (each * node.shards * LEASE_SLACK).max(SHORTEST_LEASE));
            let work = Work { pass: work.pass, step: work.step, node, version: work.version };
            table.grant(id, Lease { worker, work, granted: now, expires: now + duration });
            effects.push(Effect::Send(worker, ToWorker::Lease { lease: id, work, expires: duration }));
        }
    }
}

/// The most shards whose accumulators, `(1 + log2 shards) · 4` bytes per trainable parameter, fit a worker's memory.
fn longest_node(memory: u64, trainable: u64) -> u32 {
    let accumulators = memory / (4 * trainable.max(1));
    1 << accumulators.saturating_sub(1).min(31)
}

/// Whether counts of `rows` samples can be right: every row has one actual and one predicted label.
fn add_up(counts: &[u64], labels: usize, rows: u64) -> bool {
    let (hits, rest) = counts.split_at(labels);
    let (predicted, actual) = rest.split_at(labels);
    let sum = |counts: &[u64]| counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    let most = predicted.iter().zip(actual).map(|(predicted, actual)| predicted.min(actual));
    sum(predicted) == Some(rows)
        && sum(actual) == Some(rows)
        && hits.iter().zip(most).all(|(hits, most)| hits <= most)
}

fn turn_away(worker: WorkerId, rejected: Rejected, effects: &mut Vec<Effect>) {
    let reason = match rejected {
        Rejected::OtherClass(_) | Rejected::OtherCanary => StopReason::NumericClass,
        Rejected::Full(_) | Rejected::OtherParameters { .. } => StopReason::Refused,
    };
    effects.push(Effect::Send(worker, ToWorker::Stop { reason, detail: rejected.to_string() }));
    effects.push(Effect::Close(worker));
}

/// After the end, pushes are refused and newcomers are told.
fn refuse_after_end(event: &Event) -> Vec<Effect> {
    match event {
        Event::PushBegun(partial, _) | Event::PushEnded(partial, _) => {
            let refused = Refused::NotLeased { lease: partial.lease, worker: partial.worker };
            vec![Effect::Answer(Err(refused))]
        }
        Event::Joined(worker, _) => {
            let stop = ToWorker::Stop { reason: StopReason::Finished, detail: "the run is over".into() };
            vec![Effect::Send(*worker, stop), Effect::Close(*worker)]
        }
        _ => Vec::new(),
    }
}
