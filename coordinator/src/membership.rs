//! The workers of a run, and who may be one.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headstart::checkpoint::Loading;
use headstart::id::WorkerId;
use headstart::message::{Join, NumericClass, Ready, TimeBreakdown};

use crate::lease::Lease;
use crate::machine::HEARTBEAT;

#[derive(Clone, Debug)]
pub struct Member {
    /// What it said of itself.
    pub join: Join,
    /// Whether it can compute.
    pub ready: bool,
    /// Whether it has the run's weights, or takes them with each lease.
    pub current: bool,
    /// Partials that it computed from other weights than the run's.
    pub strays: u32,
    /// Whether it keeps a replica.
    pub follows: bool,
    /// Whether its partials come over a network.
    pub remote: bool,
    /// Why it rests, if the run goes on faster without it.
    pub resting: Option<String>,
    /// Whether it computes a shard only to be measured again.
    pub trial: bool,
    /// When its last training partial was complete.
    pub last_shard: Option<Duration>,
    /// How often another worker's partial of the same node was complete first.
    pub overtaken: u32,
    /// Time from the grant of a step's first lease to computing it, smoothed: mostly, until the step's weights are there.
    pub fixed_time: Option<Duration>,
    /// Time from the end of computing to the complete partial, smoothed.
    pub partial_time: Option<Duration>,
    /// Shards of its partials that became part of a result.
    pub shards: u64,
    /// Compute time of one training shard, smoothed.
    pub shard_time: Option<Duration>,
    /// Time from grant to complete partial, per training shard, smoothed: what leases are measured by.
    pub lease_time: Option<Duration>,
    /// Whether a partial of an evaluation has come from it.
    pub evaluated: bool,
    /// When it was last heard.
    pub heard: Duration,
    /// Its time breakdown, as of its last heartbeat.
    pub spent: TimeBreakdown,
    /// How far it has loaded the checkpoint.
    pub loading: Loading,
}

/// All workers, and the numeric class they share.
#[derive(Debug, Default)]
pub struct Membership {
    members: BTreeMap<WorkerId, Member>,
    departed: BTreeMap<WorkerId, Member>,
    bound: Option<Bound>,
    /// Workers whose gradients were wrong, by name.
    banned: BTreeMap<String, String>,
}

/// What the workers of a run have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub class: NumericClass,
    pub canary: u128,
    /// Hash of the frozen weights; `None` if everything trains.
    pub base: Option<u128>,
}

/// Why a worker may not take part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There are enough.
    #[error("the run has {0} workers, as many as cluster.max_workers allows")]
    Full(u32),
    /// Its gradients were wrong before.
    #[error("{0}")]
    Banned(String),
    /// It built another network.
    #[error("its parameter table is {found}, the run's is {expected}: the checkpoint it read is another one")]
    OtherParameters {
        /// Its hash.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It read other frozen weights.
    #[error(
        "its frozen weights hash to {found}, the run's to {expected}: base_model is not the checkpoint that the run began \
         with; restore it, or choose another output_dir"
    )]
    OtherBase {
        /// Its hash.
        found: String,
        /// The run's.
        expected: String,
    },
    /// It would change bits.
    #[error(
        "its numeric class differs from the run's in {0}; the result would depend on which worker computed what"
    )]
    OtherClass(String),
    /// Same class by name, but its canary differs.
    #[error(
        "its canary differs from the run's, though its numeric class is the same: it computes other gradients, or it read \
         another checkpoint, tokenizer or image processor"
    )]
    OtherCanary,
}

/// Weight of a new measurement in a smoothed one.
const SMOOTHING: f64 = 0.3;

impl Membership {
    /// Adds a worker that asks to take part.
    pub fn join(&mut self, now: Duration, worker: WorkerId, join: Join, most: u32) -> Result<(), Rejected> {
        if let Some(reason) = self.banned.get(&join.name) {
            return Err(Rejected::Banned(reason.clone()));
        }
        if self.members.len() >= most as usize {
            return Err(Rejected::Full(most));
        }
        let member = Member {
            join,
            ready: false,
            current: false,
            strays: 0,
            follows: false,
            remote: false,
            resting: None,
            trial: false,
            last_shard: None,
            overtaken: 0,
            fixed_time: None,
            partial_time: None,
            shards: 0,
            shard_time: None,
            lease_time: None,
            evaluated: false,
            heard: now,
            spent: TimeBreakdown::default(),
            loading: Loading::default(),
        };
        self.members.insert(worker, member);
        Ok(())
    }

    /// The stale session of a worker that reconnects while the run is full: the worker has noticed that the session
    /// broke, the coordinator has not.
    pub fn replaced(&self, now: Duration, join: &Join, most: u32) -> Option<WorkerId> {
        let before =
            |member: &Member| member.join.name == join.name && now.saturating_sub(member.heard) > HEARTBEAT;
        let full = self.members.len() >= most as usize;
        self.iter().find(|(_, member)| full && before(member)).map(|(worker, _)| worker)
    }

    /// Marks a worker as ready if its parameters, numeric class and canary equal those of the run; otherwise refuses
    /// it.
    pub fn admit(&mut self, worker: WorkerId, ready: Ready, parameters: &str) -> Result<(), Rejected> {
        let Ready { class, canary, base, parameters: found, follows } = ready;
        if !self.members.contains_key(&worker) {
            return Ok(());
        }
        if found != parameters {
            return Err(Rejected::OtherParameters { found, expected: parameters.to_owned() });
        }
        match &mut self.bound {
            None => self.bound = Some(Bound { class, canary, base }),
            Some(bound) if bound.base.is_some() && bound.base != base => {
                return Err(Rejected::OtherBase { found: shown(base), expected: shown(bound.base) });
            }
            Some(bound) if bound.class != class => {
                return Err(Rejected::OtherClass(difference(&bound.class, &class)));
            }
            Some(bound) if bound.canary != canary => return Err(Rejected::OtherCanary),
            // What an older version committed has no such hash.
            Some(bound) => bound.base = base,
        }
        if let Some(member) = self.members.get_mut(&worker) {
            member.ready = true;
            (member.follows, member.current) = (follows, !follows);
            // Its partials will tell; a replica is kept across a network only.
            member.remote = follows;
        }
        Ok(())
    }

    /// Removes a worker. While nothing has been `committed`, the last one takes the numeric class with it.
    pub fn leave(&mut self, worker: WorkerId, committed: bool) -> Option<Member> {
        let member = self.members.remove(&worker)?;
        if !committed && self.ready().count() == 0 {
            self.bound = None;
        }
        if member.ready {
            self.departed.insert(worker, member.clone());
        }
        Some(member)
    }

    /// Turns a worker away for good, by its name.
    pub fn ban(&mut self, name: String, reason: String) {
        self.banned.insert(name, reason);
    }

    /// The numeric class of the run, once a worker is ready.
    pub fn class(&self) -> Option<&NumericClass> {
        self.bound.as_ref().map(|bound| &bound.class)
    }

    /// Hash of the frozen weights, once a worker is ready, if there are any.
    pub fn base(&self) -> Option<u128> {
        self.bound.as_ref()?.base
    }

    /// Binds the run to what an earlier coordinator's workers had in common.
    pub fn bind(&mut self, bound: Bound) {
        self.bound = Some(bound);
    }

    /// The numeric class and its canary, in hexadecimal.
    pub fn bound(&self) -> Option<(NumericClass, String)> {
        self.bound.as_ref().map(|bound| (bound.class.clone(), format!("{:032x}", bound.canary)))
    }

    /// A worker, while it is here.
    pub fn get(&self, worker: WorkerId) -> Option<&Member> {
        self.members.get(&worker)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Member> {
        self.members.get_mut(&worker)
    }

    /// All current workers.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.members.iter().map(|(&worker, member)| (worker, member))
    }

    /// All workers that ever computed, including those that have left.
    pub fn ever(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.departed
            .iter()
            .chain(self.members.iter().filter(|(_, member)| member.ready))
            .map(|(&id, m)| (id, m))
    }

    /// Those who can compute.
    pub fn ready(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.iter().filter(|(_, member)| member.ready)
    }

    /// Those who can compute now: a replica that has to catch up cannot, nor can those who rest.
    pub fn able(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.ready().filter(|(_, member)| member.is_able())
    }

    /// Those who rest.
    pub fn resting(&self) -> impl Iterator<Item = WorkerId> {
        self.ready().filter(|(_, member)| member.resting.is_some()).map(|(worker, _)| worker)
    }

    /// The share of `shards` that is fair for a worker by measured speed, at least 1. Those `served` a moment ago have
    /// theirs, and do not count.
    pub fn fair_share(&self, worker: WorkerId, shards: u32, served: &BTreeSet<WorkerId>) -> u32 {
        let known: Vec<f64> = self.ready().filter_map(|(_, m)| m.shard_time).map(speed).collect();
        let typical = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let of = |member: &Member| member.shard_time.map_or(typical, speed);
        let others = self.able().filter(|(id, _)| !served.contains(id));
        let all: f64 = others.map(|(_, member)| of(member)).sum();
        let own = self.members.get(&worker).map_or(typical, of);
        ((f64::from(shards) * own / all + 0.5) as u32).clamp(1, shards.max(1))
    }
}

/// What was measured of a completed node.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub shards: u32,
    pub compute: Duration,
    /// From the grant of the lease to the complete partial.
    pub lease: Duration,
    /// From the end of computing to the complete partial.
    pub partial: Duration,
    /// Whether it was the worker's first lease of the step.
    pub first: bool,
}

impl Member {
    /// Whether it can be given a lease.
    pub fn is_able(&self) -> bool {
        self.ready && self.current && self.resting.is_none()
    }

    /// Another worker's partial of the same node was complete first: this one takes longer than it has so far. Otherwise a
    /// worker that always comes too late would never be measured.
    pub fn was_overtaken(&mut self, now: Duration, lease: &Lease) {
        self.last_shard = Some(now);
        self.trial = false;
        let shards = lease.work.node.shards;
        let at_least = |known: &mut Option<Duration>, least| {
            *known = Some(known.map_or(least, |known| known.max(least)))
        };
        let begun = lease.computed.unwrap_or(now).saturating_sub(lease.granted);
        if let Some(computed) = lease.computed {
            at_least(&mut self.partial_time, now.saturating_sub(computed));
            self.shard_time.get_or_insert(begun / shards);
        }
        // A worker's first lease reads data, which no other does.
        if self.shards > 0 || self.overtaken > 0 {
            let computing = self.shard_time.unwrap_or_default() * shards;
            at_least(&mut self.fixed_time, begun.saturating_sub(computing));
        }
        self.overtaken += 1;
    }

    /// Takes note of a completed node.
    pub fn credit(&mut self, now: Duration, measured: Measured, training: bool) {
        let Measured { shards, compute, lease, partial, first } = measured;
        // A worker's first lease reads data, which no other does.
        let first = first && self.shards > 0;
        self.shards += u64::from(shards);
        self.evaluated |= !training;
        if !training || shards == 0 || compute.is_zero() {
            return;
        }
        self.last_shard = Some(now);
        if std::mem::take(&mut self.trial) {
            // What was known before is old.
            (self.shard_time, self.fixed_time, self.partial_time) = (None, None, None);
        }
        self.shard_time = Some(smooth(self.shard_time, compute / shards));
        self.lease_time = Some(smooth(self.lease_time, lease / shards));
        self.partial_time = Some(smooth(self.partial_time, partial));
        if first {
            let fixed = lease.saturating_sub(compute).saturating_sub(partial);
            self.fixed_time = Some(smooth(self.fixed_time, fixed));
        }
    }
}

fn smooth(before: Option<Duration>, now: Duration) -> Duration {
    before.map_or(now, |before| before.mul_f64(1.0 - SMOOTHING) + now.mul_f64(SMOOTHING))
}

/// Shards a second.
fn speed(shard_time: Duration) -> f64 {
    1.0 / shard_time.as_secs_f64().max(1e-6)
}

fn shown(base: Option<u128>) -> String {
    base.map_or("nothing".to_owned(), |base| format!("{base:032x}"))
}

/// Which parts of a numeric class differ, for people.
fn difference(run: &NumericClass, worker: &NumericClass) -> String {
    let NumericClass { headstart, libtorch, device, instructions, threads, precision } = worker;
    let (ours, theirs) = (run.threads.to_string(), threads.to_string());
    let parts = [
        ("headstart", &run.headstart, headstart),
        ("libtorch", &run.libtorch, libtorch),
        ("device", &run.device, device),
        ("instructions", &run.instructions, instructions),
        ("threads", &ours, &theirs),
        ("precision", &run.precision, precision),
    ];
    let differing = parts.iter().filter(|(_, run, worker)| run != worker);
    differing
        .map(|(name, run, worker)| format!("{name} ({worker}, the run has {run})"))
        .collect::<Vec<_>>()
        .join(", ")
}
