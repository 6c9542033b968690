//! Who takes part: a worker whose link makes steps longer rests, is told why, and is called back when it is worth it.

use super::*;

/// Workers, and the time that a partial of each travels: none from the coordinator's own machine. Each computes one shard a
/// second.
struct Links {
    cluster: Cluster,
    travels: BTreeMap<WorkerId, Duration>,
    /// When leases will have been computed.
    computing: BTreeMap<LeaseId, Duration>,
    /// Whoever has computed a lease, in order.
    computed: Vec<WorkerId>,
    /// Partials on their way, and when they arrive.
    flying: Vec<(Duration, WorkerId, LeaseId, Work)>,
}

impl Links {
    fn new(sets: &[&str], travels: &[Duration]) -> Links {
        let least = format!("cluster.min_workers={}", travels.len());
        let sets: Vec<&str> = sets.iter().copied().chain([least.as_str()]).collect();
        let mut cluster = Cluster::new(0, &sets);
        let join = |travels: &Duration| match travels.is_zero() {
            true => cluster.join(),
            false => cluster.join_following(),
        };
        let workers: Vec<WorkerId> = travels.iter().map(join).collect();
        let remote = workers.iter().zip(travels).filter(|(_, travels)| !travels.is_zero());
        remote.for_each(|(&worker, _)| cluster.current(worker));
        cluster.machine.run.spec.cluster.min_workers = 1;
        let travels = workers.into_iter().zip(travels.iter().copied()).collect();
        Links { cluster, travels, computing: BTreeMap::new(), computed: Vec::new(), flying: Vec::new() }
    }

    fn partial(worker: WorkerId, lease: LeaseId, work: Work) -> PartialId {
        PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker, lease, work }
    }

    fn compute(&self, work: &Work) -> (Vec<f32>, Totals) {
        let skipped = &self.cluster.machine.skipped;
        let (gradient, totals) = compute(&self.cluster.machine.run.plan, work, work.node, skipped);
        (gradient, Totals { compute: SHARD * work.node.shards, ..totals })
    }

    /// The next thing happens: a worker has computed its lease, or a partial arrives. Returns whose arrived.
    fn happen(&mut self) -> Option<WorkerId> {
        let now = self.cluster.now;
        for (lease, work) in self.cluster.leases.values() {
            self.computing.entry(*lease).or_insert(now + SHARD * work.node.shards);
        }
        self.computing.retain(|lease, _| self.cluster.leases.values().any(|(held, _)| held == lease));
        let computed = |(worker, (lease, _)): (&WorkerId, &(LeaseId, Work))| (self.computing[lease], *worker);
        let computed = self.cluster.leases.iter().map(computed).min();
        let arrives = self.flying.iter().map(|(arrives, ..)| *arrives).min();
        match computed {
            Some((at, worker)) if arrives.is_none_or(|arrives| at <= arrives) => {
                self.computed(at, worker);
                None
            }
            _ => self.arrived(),
        }
    }

    fn computed(&mut self, at: Duration, worker: WorkerId) {
        self.cluster.now = at.max(self.cluster.now);
        self.computed.push(worker);
        let offer = Offer { weights: Some(self.cluster.machine.weights), computing: true };
        self.cluster.begin_push(worker, offer).expect("it is leased");
        let (lease, work) = self.cluster.leases.remove(&worker).expect("picked");
        let before = self.flying.iter().filter(|(_, other, ..)| *other == worker).map(|(at, ..)| *at).max();
        let free = before.unwrap_or(at).max(at);
        self.flying.push((free + self.travels[&worker], worker, lease, work));
        if !self.travels[&worker].is_zero() {
            self.cluster.tell(Event::Computed(worker, lease));
        }
    }

    fn arrived(&mut self) -> Option<WorkerId> {
        let first = (0..self.flying.len()).min_by_key(|&index| self.flying[index].0)?;
        let (at, worker, lease, work) = self.flying.remove(first);
        self.cluster.now = at.max(self.cluster.now);
        let partial = Links::partial(worker, lease, work);
        let (gradient, totals) = self.compute(&work);
        if self.cluster.machine.check(&partial).is_err() {
            // Somebody else was faster.
            return None;
        }
        self.cluster.add(&work, gradient);
        let ended = self.cluster.tell(Event::PushEnded(partial, totals, None));
        assert!(matches!(ended, Some(Ok(_))), "{ended:?}");
        Some(worker)
    }

    fn leave(&mut self, worker: WorkerId) {
        self.travels.remove(&worker);
        self.flying.retain(|(_, other, ..)| *other != worker);
        self.cluster.kill(worker);
    }

    /// Makes a number of steps; says who delivered in them.
    fn steps(&mut self, count: u64) -> BTreeSet<WorkerId> {
        let until = self.cluster.machine.version.0 + count;
        let mut delivered = BTreeSet::new();
        while self.cluster.machine.version.0 < until {
            assert_eq!(self.cluster.ended, None);
            delivered.extend(self.happen());
        }
        delivered
    }

    /// Makes steps for so long; says who delivered in them.
    fn pass(&mut self, time: Duration) -> BTreeSet<WorkerId> {
        let until = self.cluster.now + time;
        let mut delivered = BTreeSet::new();
        while self.cluster.now < until {
            delivered.extend(self.steps(1));
        }
        delivered
    }
}

/// Time of a shard on any of them.
const SHARD: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(60);
const LONG: [&str; 6] = [
    "num_train_epochs=1000",
    "eval_strategy=no",
    "load_best_model_at_end=false",
    "shards_per_step=8",
    "global_batch_size=8",
    "per_device_train_batch_size=1",
];

fn slow_and_fast() -> (Links, WorkerId, BTreeSet<WorkerId>) {
    let mut links = Links::new(&LONG, &[FAST, SLOW, FAST]);
    let slow = *links.travels.iter().find(|(_, travels)| **travels == SLOW).expect("there is one").0;
    let fast = links.travels.keys().copied().filter(|&worker| worker != slow).collect();
    links.steps(3);
    (links, slow, fast)
}

#[test]
fn a_worker_whose_link_makes_steps_longer_rests_and_is_told_why() {
    let (mut links, slow, fast) = slow_and_fast();
    let [(worker, reason)] = &links.cluster.resting[..] else { panic!("{:?}", links.cluster.resting) };
    assert_eq!(*worker, slow);
    let says = format!("{slow} idles: its link would make a step ");
    assert!(reason.starts_with(&says), "{reason}");
    assert!(reason.contains("the others take 4."), "{reason}");
    assert!(reason.ends_with("; wire: int8 or LoRA would change that"), "{reason}");
    let line = links.cluster.machine.snapshot().workers.into_iter().find(|line| line.worker == slow);
    assert_eq!(line.map(|line| line.activity), Some(reason.clone()), "status says it too");
    assert_eq!(links.steps(10), fast);
    assert_eq!(links.cluster.resting.len(), 1, "it is told once");
}

#[test]
fn a_worker_that_rests_is_called_back_when_the_others_leave() {
    let (mut links, slow, fast) = slow_and_fast();
    links.steps(1);
    let leaving: Vec<WorkerId> = fast.into_iter().collect();
    for worker in leaving {
        links.leave(worker);
    }
    assert_eq!(links.cluster.following, [(slow, false)]);
    assert!(links.cluster.leases.is_empty(), "it has to catch up first");
    links.cluster.current(slow);
    assert_eq!(links.steps(3), BTreeSet::from([slow]));
}

#[test]
fn a_worker_that_rests_is_tried_again_when_that_is_cheap_and_stays_if_its_link_is_better() {
    let (mut links, slow, fast) = slow_and_fast();
    assert_eq!(links.pass(Duration::from_secs(1000)), fast);
    assert!(links.cluster.following.is_empty(), "half a minute is more than a fiftieth of 1000 s");
    links.pass(Duration::from_secs(2000));
    assert_eq!(links.cluster.following, [(slow, false)]);
    // Nothing has changed: one shard, and it rests again.
    links.cluster.current(slow);
    links.computed.clear();
    assert_eq!(links.steps(7), fast, "another one computes its shard as well, and is faster");
    let tried = links.computed.iter().filter(|worker| **worker == slow).count();
    assert_eq!(tried, 1);
    assert_eq!(links.cluster.resting.len(), 2);

    links.travels.insert(slow, FAST);
    links.pass(Duration::from_secs(4000));
    assert_eq!(links.cluster.following, [(slow, false), (slow, false)]);
    links.cluster.current(slow);
    links.steps(3);
    let all = fast.into_iter().chain([slow]).collect();
    assert_eq!(links.steps(5), all, "it takes part again");
    assert_eq!(links.cluster.resting.len(), 2);
}

#[test]
fn the_only_worker_across_a_network_rests_and_is_tried_again() {
    let mut links = Links::new(&LONG, &[Duration::ZERO, SLOW]);
    let [local, slow] = [1, 2].map(WorkerId);
    links.steps(3);
    assert_eq!(links.cluster.resting.len(), 1, "{:?}", links.cluster.resting);
    assert_eq!(links.steps(10), BTreeSet::from([local]));
    links.travels.insert(slow, FAST);
    links.pass(Duration::from_secs(4000));
    assert_eq!(links.cluster.following, [(slow, false)], "its time for a trial has come");
    links.cluster.current(slow);
    links.steps(3);
    assert_eq!(links.steps(5), BTreeSet::from([local, slow]));
    links.leave(local);
    assert_eq!(links.steps(3), BTreeSet::from([slow]));
}

#[test]
fn on_one_machine_nobody_rests() {
    let mut cluster = Cluster::new(0, &LONG);
    let workers = [cluster.join(), cluster.join(), cluster.join()];
    for _ in 0..60 {
        let worker = cluster.busy();
        if worker == workers[1] {
            cluster.now += SLOW;
        }
        cluster.deliver(worker);
    }
    assert!(cluster.resting.is_empty());
}
