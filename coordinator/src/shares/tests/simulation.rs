//! Many steps with measured times that scatter and links that change.

use std::collections::{BTreeMap, BTreeSet};

use headstart::id::WorkerId;
use headstart::tree::{Node, Tree};

use super::oracle::{self, Draws, KINDS};
use super::{far, near};
use crate::shares::{Pace, Paces, Shares, choose, time, trial, with};

/// Weight of a new measurement in a smoothed one, as the coordinator smooths.
const SMOOTHING: f64 = 0.3;

/// A cluster whose true paces only the simulation knows.
struct Cluster {
    truth: Paces,
    measured: Paces,
    tree: Tree,
    draws: Draws,
    /// Measured times are true ones times 1 ± this.
    noise: f64,
    now: f64,
    plan: Option<Shares>,
    /// When each worker last computed a shard.
    last: BTreeMap<WorkerId, f64>,
    /// How much longer trials made their steps, in seconds.
    regret: f64,
    trials: u32,
    /// Changes of the set of members.
    changes: u32,
}

impl Cluster {
    fn new(truth: Paces, shards: u32, noise: f64, seed: u64) -> Cluster {
        let unknown = |pace: &Pace| Pace { shard: None, fixed: None, partial: None, ..*pace };
        let workers = truth.workers.iter().map(|(&worker, pace)| (worker, unknown(pace))).collect();
        Cluster {
            measured: Paces { workers, shared: truth.shared },
            truth,
            tree: Tree::new(shards),
            draws: Draws::new(seed),
            noise,
            now: 0.0,
            plan: None,
            last: BTreeMap::new(),
            regret: 0.0,
            trials: 0,
            changes: 0,
        }
    }

    /// One step; its true time.
    fn step(&mut self) -> f64 {
        let plan = choose(&self.measured, self.tree, self.plan.as_ref()).expect("there are workers");
        if self.plan.as_ref().is_some_and(|before| !before.members.keys().eq(plan.members.keys())) {
            self.changes += 1;
        }
        let since = self.last.iter().map(|(&worker, last)| (worker, self.now - last)).collect();
        let tried = trial::due(&plan, &since);
        let trial = tried.map(|tried| with(&plan, &self.measured, tried).expect("it idles"));
        let real = self.scattered();
        let took = took(&real, trial.as_ref().unwrap_or(&plan));
        if trial.is_some() {
            self.trials += 1;
            self.regret += took - self::took(&real, &plan);
        }
        self.now += took;
        for &worker in trial.as_ref().unwrap_or(&plan).members.keys() {
            self.last.insert(worker, self.now);
            self.measure(worker, real.workers[&worker], tried == Some(worker));
        }
        self.plan = Some(plan);
        took
    }

    /// This step's true paces.
    fn scattered(&mut self) -> Paces {
        let mut paces = self.truth.clone();
        for pace in paces.workers.values_mut() {
            for time in [&mut pace.shard, &mut pace.fixed, &mut pace.partial] {
                let factor = 1.0 + self.noise * (2.0 * self.draws.unit() - 1.0);
                *time = time.map(|time| time * factor);
            }
        }
        paces
    }

    fn measure(&mut self, worker: WorkerId, now: Pace, replace: bool) {
        let pace = self.measured.workers.get_mut(&worker).expect("a worker");
        let weight = if replace { 1.0 } else { SMOOTHING };
        let smooth = |before: Option<f64>, now: Option<f64>| match (before, now) {
            (Some(before), Some(now)) => Some(before * (1.0 - weight) + now * weight),
            (before, now) => now.or(before),
        };
        pace.shard = smooth(pace.shard, now.shard);
        pace.fixed = smooth(pace.fixed, now.fixed);
        pace.partial = smooth(pace.partial, now.partial);
    }

    fn steps(&mut self, steps: u32) -> f64 {
        (0..steps).map(|_| self.step()).sum()
    }

    fn idles(&self, worker: u64) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.idle.contains_key(&WorkerId(worker)))
    }
}

/// How long a plan's step takes at other paces than those it was made for.
fn took(paces: &Paces, plan: &Shares) -> f64 {
    let workers = paces.resolve();
    let nodes: Vec<Vec<Node>> =
        workers.iter().map(|worker| plan.members.get(&worker.id).cloned().unwrap_or_default()).collect();
    time::timing(&workers, &nodes, paces.shared()).end
}

/// A worker across a link, over which the step's sums take as long down to it as its partial takes up.
fn across(shard: f64, partial: f64) -> Pace {
    Pace { fixed: Some(partial), ..far(shard, partial) }
}

fn cluster(paces: &[Pace], shards: u32, noise: f64, seed: u64) -> Cluster {
    Cluster::new(super::paces(paces), shards, noise, seed)
}

#[test]
fn equal_workers_all_take_part_in_every_step() {
    for seed in 0..10 {
        let mut cluster = cluster(&[near(0.1); 5], 32, 0.2, seed);
        cluster.steps(200);
        assert_eq!((cluster.changes, cluster.trials), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_slow_link_idles_and_trials_cost_little() {
    for seed in 0..10 {
        let mut cluster = cluster(&[near(0.1), near(0.1), across(0.1, 4.0)], 8, 0.2, seed);
        let time = cluster.steps(2000);
        let (regret, trials, changes) = (cluster.regret / time, cluster.trials, cluster.changes);
        assert!(cluster.idles(2) && regret <= 0.03 && changes <= 2, "{seed}: {regret} {trials} {changes}");
    }
}

#[test]
fn a_link_that_recovers_is_used_again() {
    for seed in 0..10 {
        let mut cluster = cluster(&[near(0.1), near(0.1), across(0.1, 4.0)], 8, 0.2, seed);
        cluster.steps(200);
        assert!(cluster.idles(2), "seed {seed}");
        cluster.truth.workers.insert(WorkerId(2), across(0.1, 0.01));
        let then = cluster.now;
        while cluster.idles(2) {
            cluster.step();
            // A trial cost 8 s at most, a fiftieth of the time until the next, and noise is a fifth.
            assert!(cluster.now - then < 1.2 * 8.0 / trial::COST, "seed {seed}");
        }
        let changes = cluster.changes;
        cluster.steps(500);
        assert!(cluster.changes == changes && !cluster.idles(2), "seed {seed}");
    }
}

#[test]
fn a_link_that_degrades_is_dropped_within_a_few_steps() {
    let mut most = 0;
    for seed in 0..10 {
        let mut cluster = cluster(&[near(0.1), near(0.1), across(0.1, 0.01)], 8, 0.2, seed);
        cluster.steps(200);
        assert!(!cluster.idles(2), "seed {seed}");
        cluster.truth.workers.insert(WorkerId(2), across(0.1, 4.0));
        let steps = (1..).find(|_| {
            cluster.step();
            cluster.idles(2)
        });
        most = most.max(steps.expect("it ends"));
        let changes = cluster.changes;
        cluster.steps(500);
        assert!(cluster.changes - changes <= 2, "seed {seed}");
    }
    assert!(most <= 3, "dropped after {most} steps");
}

#[test]
fn a_worker_that_joins_or_leaves_makes_a_new_plan() {
    let mut cluster = cluster(&[near(0.1), near(0.1)], 8, 0.1, 1);
    cluster.steps(10);
    let newcomer = Pace { shard: None, fixed: None, partial: None, ..near(0.1) };
    cluster.truth.workers.insert(WorkerId(2), near(0.1));
    cluster.measured.workers.insert(WorkerId(2), newcomer);
    cluster.step();
    assert!(!cluster.idles(2) && cluster.plan.as_ref().is_some_and(|plan| plan.members.len() == 3));
    for paces in [&mut cluster.truth, &mut cluster.measured] {
        paces.workers.remove(&WorkerId(0));
    }
    cluster.step();
    let members: Option<BTreeSet<u64>> =
        cluster.plan.as_ref().map(|plan| plan.members.keys().map(|worker| worker.0).collect());
    assert_eq!(members, Some(BTreeSet::from([1, 2])));
}

/// Any cluster, with measurements that scatter by a fifth: trials cost little, and members seldom change.
#[test]
fn noise_costs_little_in_any_cluster() {
    let (mut regret, mut most, mut all) = (0.0f64, 0, 0);
    for kind in KINDS {
        for seed in 0..4 {
            let mut draws = Draws::new(seed);
            let truth = oracle::paces(kind, 6, &mut draws);
            let mut cluster = Cluster::new(truth, draws.between(4, 32), 0.2, seed);
            cluster.steps(30);
            (cluster.changes, cluster.regret) = (0, 0.0);
            let time = cluster.steps(300);
            regret = regret.max(cluster.regret / time);
            most = most.max(cluster.changes);
            all += cluster.changes;
        }
    }
    // Those that change are as fast with a worker as without it.
    let found = format!("regret {regret:.4}; {all} changes in all, {most} of 300 steps at most");
    assert!(regret <= 0.03 && most <= 12 && all <= 36, "{found}");
    println!("{found}");
}
