//! The coordinator's decisions: a pure function of what happened. No clock, no randomness, no I/O, no await.
//!
//! What goes in is an [`Event`] and the time it happened at; what comes out is a list of [`Effect`]s, which the actor performs
//! in their order. A run is a cycle of phases. `begin` opens a step (or an evaluation), and every event ends with `assign`, which
//! leases nodes of the step's tree to idle workers. Partials end leases until every shard is in; then `reduced` asks for the
//! update, `updated` records it, saves the state if that is due, and begins what follows. `saving` says how writes and steps
//! wait for each other, `leases` and `partials` what can go wrong with a node, `audit` how wrong gradients are found.
//!
//! Two rules keep the bits. Only sums of whole nodes are taken in, each once, so it does not matter who computed a node or how
//! often it was lost; and effects are performed in order, so a state that is committed holds exactly the records made before
//! it. Nothing here may read a clock, ask a random generator or iterate over a hash map: tests and simulations replay the same
//! events and expect the same effects, and a coordinator that takes a run over must decide as the one before would have.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headstart::data::RowCounts;
use headstart::exit::Exit;
use headstart::id::{CoordinatorEpoch, Step, Version, WorkerId};
use headstart::manifest::RunState;
use headstart::message::{Pass, StopReason, ToWorker, Totals, Welcome};
use headstart::plan::Plan;
use headstart::run_file::RunSpec;
use headstart::shared_memory::Address;
use headstart::tree::{Fold, Node};

use crate::evaluation::Best;
use crate::event::{Effect, Event};
use crate::lease::{Lease, LeaseTable};

use crate::membership::Membership;
use crate::objective::Objective;
use crate::schedule::Schedule;
use crate::shares::Shares;

mod advance;
mod assign;
mod audit;
mod leases;
mod partials;
mod participation;
mod probing;
mod refusals;
mod resume;
mod saving;
mod status;
#[cfg(test)]
mod tests;

use audit::Audits;
pub use probing::Probing;
use probing::longest_probe;
use refusals::{refuse_after_end, turn_away};
use saving::Saving;
pub use status::{Activity, Counts, Delivered, Snapshot, WorkerLine};

/// What the machine knows of the run from the start.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the run.
    pub id: String,
    /// This coordinator's term.
    pub epoch: CoordinatorEpoch,
    pub spec: RunSpec,
    pub plan: Plan,
    pub labels: Vec<String>,
    /// Hash of the parameter table.
    pub parameters: String,
    /// Number of training rows.
    pub train_rows: u64,
    /// Elements of the trainable vector.
    pub trainable: u64,
    /// Bytes of all data files.
    pub data_bytes: u64,
    /// The rows of training and evaluation.
    pub counts: [RowCounts; 2],
    /// Hash of the frozen weights, as an earlier coordinator's workers read them; `None` if it is not known, or everything
    /// trains.
    pub base: Option<u128>,
    /// Hash of the weights that the run begins or resumes with.
    pub weights: u128,
    /// Where they lie, for workers on this machine.
    pub memory: Option<Address>,
    /// Whether the run begins with a probe.
    pub probing: Probing,
}

impl Run {
    /// The rows that a pass computes.
    fn counts_of(&self, pass: Pass) -> &RowCounts {
        let [train, eval] = &self.counts;
        match pass {
            Pass::Train | Pass::Probe => train,
            Pass::Golden if self.plan.eval_rows() == 0 => train,
            Pass::Eval | Pass::Golden => eval,
        }
    }
}

/// The state of a run.
#[derive(Debug)]
pub struct Machine {
    run: Run,
    schedule: Schedule,
    objective: Objective,
    best: Best,
    members: Membership,
    /// Who takes part in steps and who rests, where workers are across a network.
    shares: Option<Shares>,
    phase: Phase,
    version: Version,
    /// Hash of the weights of this version.
    weights: u128,
    /// Something has been recorded, which binds the numeric class.
    committed: bool,
    saving: Saving,
    audits: Audits,
    stop: Option<(String, Exit)>,
    counts: Counts,
    /// Number of times that each shard of this step was non-finite.
    not_finite: BTreeMap<u32, u32>,
    /// Shards that this step skips, and their rows.
    skipped: BTreeMap<u32, Vec<u64>>,
    failures: BTreeMap<Node, u32>,
    /// Names of workers whose node sum overflowed although every shard was finite, and the step in which it happened.
    overflows: (Step, BTreeSet<String>),
    last_loss: f64,
    last_norm: f64,
    last_eval: (Version, BTreeMap<&'static str, f64>),
    /// Rows of one lease of the probe.
    longest_probe: u32,
}

#[derive(Debug)]
enum Phase {
    /// Partials of a step or an evaluation are being computed.
    Reducing { work: WorkKind, table: LeaseTable, totals: Fold<Totals> },
    /// All are in; the weights are being updated.
    Updating { step: Step, totals: Totals, learning_rate: f64 },
    /// Weights are being written.
    Saving,
    /// The run is over. Holds the reason to send to workers, or `None` if another coordinator continues the run.
    Ended(Option<StopReason>),
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

impl Machine {
    /// A run that resumes from `standing`, and its first effects. If it was not `exported`, its owner died between the
    /// commit and writing the checkpoint, so the state is committed once more.
    pub fn new(run: Run, standing: &RunState, exported: bool) -> (Machine, Vec<Effect>) {
        let schedule = Schedule::new(&run.spec, run.plan.steps(), run.plan.steps_per_epoch());
        let mut machine = Machine {
            schedule,
            longest_probe: longest_probe(&run),
            objective: Objective::new(run.spec.task, run.labels.len()),
            best: Best::new(&run.spec),
            weights: run.weights,
            run,
            members: Membership::default(),
            shares: None,
            phase: Phase::Saving,
            version: Version(standing.version),
            committed: false,
            saving: Saving::default(),
            audits: Audits::default(),
            stop: None,
            counts: Counts::default(),
            not_finite: BTreeMap::new(),
            skipped: BTreeMap::new(),
            failures: BTreeMap::new(),
            overflows: Default::default(),
            last_loss: f64::NAN,
            last_norm: f64::NAN,
            last_eval: (Version(0), BTreeMap::new()),
        };
        machine.resume(standing);
        let mut effects = Vec::new();
        if !exported && !standing.finished {
            machine.saving.in_flight = true;
            effects.push(Effect::Commit(standing.clone()));
        }
        match () {
            () if standing.finished => machine.finish(&mut effects),
            () if machine.run.probing != Probing::No => machine.begin(Pass::Probe, &mut effects),
            () if !standing.evaluated && machine.schedule.evaluates(standing.version) => {
                machine.begin(Pass::Eval, &mut effects)
            }
            () => machine.next_step(&mut effects),
        }
        (machine, effects)
    }

    /// Takes in what happened at `now` (time since the run began); returns what to do, in order.
    pub fn apply(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Phase::Ended(reason) = self.phase {
            return refuse_after_end(reason, &event);
        }
        match event {
            Event::Joined(worker, join) => {
                if let Some(before) = self.members.replaced(now, &join, self.run.spec.cluster.max_workers) {
                    self.left(before, &mut effects);
                    effects.push(Effect::Close(before));
                }
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
            Event::Heard(worker, spent) => {
                self.heard(now, worker);
                if let Some(member) = self.members.get_mut(worker) {
                    member.spent = spent;
                }
            }
            Event::Loading(worker, loading) => {
                if let Some(member) = self.members.get_mut(worker) {
                    member.loading = loading;
                }
            }
            Event::LeaseFailed(worker, lease, failure) => {
                self.lease_failed(worker, lease, failure, &mut effects)
            }
            Event::Computed(worker, lease) => self.computed(now, worker, lease),
            Event::Current(worker, _) => {
                if let Some(member) = self.members.get_mut(worker) {
                    member.current = true;
                }
            }
            Event::Left(worker, _) => {
                self.left(worker, &mut effects);
                self.complete(&mut effects);
            }
            Event::PushBegun(partial, totals, offer) => {
                self.push_begun(now, &partial, &totals, offer, &mut effects)
            }
            Event::PushEnded(partial, totals, hash) => {
                self.push_ended(now, partial, totals, hash, &mut effects)
            }
            Event::PushBroke(partial, unfit) => self.push_broke(now, &partial, unfit, &mut effects),
            Event::Updated(step, outcome) => self.updated(step, outcome, &mut effects),
            Event::Committed => self.commit_made(&mut effects),
            Event::Concluded => self.concluded(&mut effects),
            Event::Finished => self.end(Exit::Ok, "the run is complete".into(), &mut effects),
            Event::StopRequested { reason, exit } => {
                self.stop = Some((reason, exit));
                match &self.phase {
                    // All is committed; whoever resumes the run writes final/.
                    Phase::Reducing { work, .. } if work.pass == Pass::Golden => {
                        let (reason, exit) = self.stop.clone().expect("set above");
                        self.end(exit, reason, &mut effects);
                    }
                    Phase::Reducing { work, .. } => self.export(work.pass == Pass::Train, &mut effects),
                    // A save that waits becomes the export.
                    Phase::Saving if self.saving.is_save_waiting() => self.export(false, &mut effects),
                    Phase::Updating { .. } | Phase::Saving | Phase::Ended(_) => {}
                }
            }
            Event::Exported => {
                let (reason, exit) = self.stop.clone().expect("only a stop asks for an export");
                self.end(exit, reason, &mut effects);
            }
            Event::Judged(_) => self.judged(&mut effects),
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
            heartbeat: HEARTBEAT,
            train_rows: self.run.train_rows,
            eval_rows: self.run.plan.eval_rows(),
            memory: self.run.memory.clone(),
        }
    }

    fn heard(&mut self, now: Duration, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(worker) {
            member.heard = now;
        }
    }

    /// A worker has left: its nodes are leased again at once.
    fn left(&mut self, worker: WorkerId, effects: &mut Vec<Effect>) {
        let had_class = self.members.class().is_some();
        self.members.leave(worker, self.committed);
        let Phase::Reducing { work, table, .. } = &mut self.phase else { return };
        let pass = work.pass;
        table.unplan();
        let mut torn = false;
        for lease in table.of(worker) {
            torn |= table.give_back(lease).is_some_and(|lease| lease.pushing);
            self.counts.leases_released += 1;
        }
        // Whoever comes next may bind another numeric class: what this one has computed must not be mixed with it.
        let unbound = had_class && self.members.class().is_none();
        if unbound || (torn && self.run.spec.audit > 0.0 && pass == Pass::Train) {
            self.begin(pass, effects);
        }
    }

    fn begin(&mut self, pass: Pass, effects: &mut Vec<Effect>) {
        let step = Step(self.version.0);
        let tree = self.run.plan.tree(pass, step);
        if pass == Pass::Train {
            effects.push(Effect::OpenStep(step, tree));
        }
        let mut table = LeaseTable::new(tree);
        match &self.phase {
            // A step that begins anew: what is being computed for it is not wanted any more. But what failed before counts, or a
            // shard that always fails would make it begin anew for ever.
            Phase::Reducing { table: before, work, .. } if (work.pass, work.step) == (pass, step) => {
                for (lease, Lease { worker, .. }) in before.all() {
                    let reason = "the step begins anew".to_owned();
                    effects.push(Effect::Send(worker, ToWorker::Revoke { lease, reason }));
                }
                table.remember_failures(before);
            }
            _ => {
                self.not_finite.clear();
                self.failures.clear();
            }
        }
        self.audits = Audits::default();
        // The final weights are published after all others.
        let version = if pass == Pass::Golden { Version(self.version.0 + 1) } else { self.version };
        let work = WorkKind { pass, step, version };
        self.phase = Phase::Reducing { work, table, totals: Fold::new(tree) };
    }

    fn end(&mut self, exit: Exit, detail: String, effects: &mut Vec<Effect>) {
        let reason = match exit {
            Exit::Ok => Some(StopReason::Finished),
            Exit::Interrupted => Some(StopReason::Stopped),
            // Whoever is started in this one's place finds the workers waiting.
            Exit::Terminated | Exit::Storage | Exit::Owned => None,
            _ => Some(StopReason::Failed),
        };
        for (worker, _) in self.members.iter() {
            let stop = reason.map(|reason| ToWorker::Stop { reason, detail: detail.clone() });
            effects.extend(stop.map(|stop| Effect::Send(worker, stop)));
            effects.push(Effect::Close(worker));
        }
        self.phase = Phase::Ended(reason);
        effects.push(Effect::End(exit, detail));
    }
}
