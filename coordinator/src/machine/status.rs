//! What people see of the machine.

use std::collections::BTreeMap;
use std::time::Duration;

use headstart::checkpoint::Loading;
use headstart::id::{Version, WorkerId};

use super::audit::AUDITORS;
use super::{Machine, Phase};
use crate::event::describe;
use crate::lease::Lease;
use crate::membership::Member;
use headstart::message::{NumericClass, Pass, TimeBreakdown};

/// The state of a run at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What it is doing.
    pub activity: Activity,
    /// Updates applied.
    pub step: u64,
    /// Updates to apply.
    pub total_steps: u64,
    /// Passes over the data.
    pub epoch: f64,
    /// Mean loss of the last step.
    pub loss: f64,
    /// Norm of the last step's mean gradient, before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step in flight.
    pub learning_rate: f64,
    /// The last evaluation: which weights, and their metrics, none before the first.
    pub eval: (Version, BTreeMap<&'static str, f64>),
    /// All current workers.
    pub workers: Vec<WorkerLine>,
    /// What has happened so far.
    pub counts: Counts,
}

/// What has happened since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub leases_granted: u64,
    /// Leases that ended without a partial.
    pub leases_released: u64,
    /// Partials accepted, of training and of evaluations.
    pub partials: [u64; 2],
    /// Shards of the accepted partials.
    pub shards: [u64; 2],
    /// Time that workers spent computing the accepted partials.
    pub compute: Duration,
    pub refused: u64,
    /// Leases that failed because a shard's gradient or loss is non-finite.
    pub not_finite: u64,
    /// Commits made while the run went on.
    pub commits: u64,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Too few workers are ready.
    Waiting { ready: usize, needed: u32 },
    /// Computing or applying a step.
    Training,
    /// Judging a weights version.
    Evaluating {
        /// Shards done.
        done: u32,
        /// All shards.
        total: u32,
    },
    /// Finding out what the first weights know of the task.
    Probing {
        /// Rows done, of both kinds of weights.
        done: u32,
        /// All.
        total: u32,
    },
    /// Writing weights.
    Saving,
    /// Over.
    Ended,
}

/// A worker at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerLine {
    /// Its number.
    pub worker: WorkerId,
    /// What it said of itself.
    pub name: String,
    pub device: String,
    /// Whether it can compute.
    pub ready: bool,
    /// Shards that became part of a result.
    pub shards: u64,
    /// What it computes, in words.
    pub activity: String,
    /// Seconds of compute for one shard.
    pub shard_seconds: f64,
    /// Its time breakdown, as of its last heartbeat.
    pub spent: TimeBreakdown,
    /// How far it has loaded the checkpoint.
    pub loading: Loading,
    /// When the oldest lease it holds was granted.
    pub leased_since: Option<Duration>,
}

/// Shards a worker delivered to the run.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Delivered {
    /// Its number.
    pub worker_id: u64,
    /// What it said of itself.
    pub name: String,
    /// Accepted shards.
    pub shards: u64,
}

impl Machine {
    /// The state at a glance.
    pub fn snapshot(&self) -> Snapshot {
        let workers = self.members.iter().map(|(worker, member)| self.line(worker, member)).collect();
        Snapshot {
            activity: self.activity(),
            step: self.version.0,
            total_steps: self.run.plan.steps(),
            epoch: self.run.plan.epoch_after(self.version.0),
            loss: self.last_loss,
            grad_norm: self.last_norm,
            learning_rate: self.schedule.learning_rate(self.version.0),
            eval: self.last_eval.clone(),
            workers,
            counts: self.counts,
        }
    }

    /// Who delivered how much, over the whole run.
    pub fn delivered(&self) -> Vec<Delivered> {
        let line = |(worker, member): (WorkerId, &Member)| Delivered {
            worker_id: worker.0,
            name: member.join.name.clone(),
            shards: member.shards,
        };
        self.members.ever().map(line).collect()
    }

    /// Hash of the frozen weights that every worker must have read, once one is ready; `None` too if everything trains.
    pub fn base(&self) -> Option<u128> {
        self.members.base()
    }

    /// What must be equal on every worker, once one is ready.
    pub fn numeric_class(&self) -> Option<&NumericClass> {
        self.members.class()
    }

    fn activity(&self) -> Activity {
        let (ready, needed) = (self.members.ready().count(), self.run.spec.cluster.min_workers.max(1));
        match &self.phase {
            Phase::Reducing { .. } if ready < needed as usize => Activity::Waiting { ready, needed },
            Phase::Reducing { .. } if self.audits.are_disputed() && ready < AUDITORS => {
                Activity::Waiting { ready, needed: AUDITORS as u32 }
            }
            Phase::Reducing { work, table, .. } if work.pass == Pass::Eval => {
                Activity::Evaluating { done: table.done(), total: table.shards() }
            }
            Phase::Reducing { work, table, .. } if work.pass == Pass::Probe => {
                Activity::Probing { done: table.done(), total: table.shards() }
            }
            Phase::Reducing { work, .. } if work.pass == Pass::Golden => Activity::Saving,
            Phase::Reducing { .. } | Phase::Updating { .. } => Activity::Training,
            Phase::Saving => Activity::Saving,
            Phase::Ended(_) => Activity::Ended,
        }
    }

    fn line(&self, worker: WorkerId, member: &Member) -> WorkerLine {
        let leases: Vec<&Lease> = match &self.phase {
            Phase::Reducing { table, .. } => {
                table.of(worker).iter().filter_map(|&id| table.get(id)).collect()
            }
            _ => Vec::new(),
        };
        let works: Vec<String> = leases.iter().map(|lease| describe(&lease.work)).collect();
        let activity = match (member, leases.is_empty()) {
            (Member { ready: false, .. }, _) => "loading".to_owned(),
            (_, false) => works.join("; "),
            (Member { resting: Some(reason), .. }, true) => reason.clone(),
            (Member { current: false, .. }, true) => "catching up".to_owned(),
            (_, true) => "idle".to_owned(),
        };
        WorkerLine {
            worker,
            name: member.join.name.clone(),
            device: member.join.device.clone(),
            ready: member.ready,
            shards: member.shards,
            activity,
            shard_seconds: member.shard_time.map_or(f64::NAN, |time| time.as_secs_f64()),
            spent: member.spent,
            loading: member.loading,
            leased_since: leases.iter().map(|lease| lease.granted).min(),
        }
    }
}
