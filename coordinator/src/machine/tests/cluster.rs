//! A machine and its workers in one thread, and what an undisturbed run of them records.

use headstart::tree::{self, Tree};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;
use crate::event::Record;
use crate::master::Applied;
use headstart::message::ProbedRow;

const RUN_FILE: &str = "
base_model: nowhere
task: sequence-classification
datasets: [{path: nowhere.jsonl}]
eval_datasets: [{path: nowhere.jsonl}]
output_dir: nowhere
per_device_train_batch_size: 2
global_batch_size: 16
per_device_eval_batch_size: 3
shards_per_step: 7
num_train_epochs: 2
eval_strategy: steps
eval_steps: 3
metric_for_best_model: accuracy
load_best_model_at_end: true
";

pub(super) fn run(sets: &[&str]) -> Run {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    let spec = headstart::run_file::parse("run.yaml", RUN_FILE, &sets).expect("the run file is good");
    let plan = Plan::new(&spec, 45, 20).expect("there are rows");
    Run {
        id: "r".into(),
        epoch: CoordinatorEpoch(1),
        spec,
        plan,
        labels: vec!["a".into(), "b".into()],
        parameters: "p".into(),
        train_rows: 45,
        trainable: 4,
        data_bytes: 0,
        counts: Default::default(),
        base: None,
        weights: 0,
        memory: None,
        probing: Probing::No,
    }
}

pub(super) fn ready(threads: u32) -> Ready {
    let class = NumericClass {
        headstart: "1".into(),
        libtorch: "t".into(),
        device: "cpu".into(),
        instructions: "x".into(),
        threads,
        precision: "f32".into(),
    };
    Ready { class, canary: 7, base: Some(9), parameters: "p".into(), follows: false }
}

/// A machine, workers that hold leases, and the sums, all in one thread.
pub(super) struct Cluster {
    pub(super) machine: Machine,
    pub(super) now: Duration,
    draws: u64,
    seed: u64,
    workers: u64,
    pub(super) leases: BTreeMap<WorkerId, (LeaseId, Work)>,
    sums: Option<Fold<Vec<f32>>>,
    pub(super) records: Vec<String>,
    pub(super) best: Option<Version>,
    pub(super) ended: Option<(Exit, String)>,
    pub(super) refused: Vec<(WorkerId, StopReason)>,
    /// Names of workers that computed different gradients.
    pub(super) disputes: Vec<Vec<String>>,
    /// Who was told to follow, and whether anew; who was told to rest, and why.
    pub(super) following: Vec<(WorkerId, bool)>,
    pub(super) resting: Vec<(WorkerId, String)>,
    /// Attempts at steps so far.
    pub(super) opened: u32,
    pub(super) reassigned: u32,
    /// Records made before each commit, and what was committed.
    pub(super) commits: Vec<(usize, RunState)>,
    pub(super) slow_commits: bool,
    /// What a stop left behind.
    pub(super) exports: Vec<RunState>,
    /// What was to be judged of a probe.
    pub(super) judged: Vec<Result<Vec<ProbedRow>, String>>,
}

impl Cluster {
    pub(super) fn new(seed: u64, sets: &[&str]) -> Cluster {
        Cluster::resumed(seed, sets, &RunState::default())
    }

    pub(super) fn resumed(seed: u64, sets: &[&str], standing: &RunState) -> Cluster {
        Cluster::of(seed, run(sets), standing)
    }

    pub(super) fn of(seed: u64, run: Run, standing: &RunState) -> Cluster {
        let (machine, effects) = Machine::new(run, standing, true);
        let mut cluster = Cluster {
            machine,
            now: Duration::ZERO,
            draws: 0,
            seed,
            workers: 0,
            leases: BTreeMap::new(),
            sums: None,
            records: Vec::new(),
            best: None,
            ended: None,
            refused: Vec::new(),
            disputes: Vec::new(),
            following: Vec::new(),
            resting: Vec::new(),
            opened: 0,
            reassigned: 0,
            commits: Vec::new(),
            slow_commits: false,
            exports: Vec::new(),
            judged: Vec::new(),
        };
        cluster.perform(effects);
        cluster
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.draws += 1;
        xxh3_64_with_seed(&self.draws.to_le_bytes(), self.seed) % below
    }

    pub(super) fn tell(&mut self, event: Event) -> Option<Result<SegmentUse, Refused>> {
        self.now += Duration::from_millis(10);
        let effects = self.machine.apply(self.now, event);
        self.perform(effects)
    }

    pub(super) fn join(&mut self) -> WorkerId {
        self.join_as(&format!("w{}", self.workers + 1))
    }

    /// Another session, of a worker with this name.
    pub(super) fn join_as(&mut self, name: &str) -> WorkerId {
        self.join_with(name, ready(1))
    }

    /// A worker that keeps a replica. It has no lease before that is current.
    pub(super) fn join_following(&mut self) -> WorkerId {
        self.join_with(&format!("w{}", self.workers + 1), Ready { follows: true, ..ready(1) })
    }

    fn join_with(&mut self, name: &str, ready: Ready) -> WorkerId {
        self.workers += 1;
        let worker = WorkerId(self.workers);
        let join = Join { name: name.to_owned(), device: "cpu".into(), memory: 1 << 30 };
        self.tell(Event::Joined(worker, join));
        self.tell(Event::Ready(worker, ready));
        worker
    }

    /// A replica has caught up.
    pub(super) fn current(&mut self, worker: WorkerId) {
        let version = self.machine.version;
        self.tell(Event::Current(worker, version));
    }

    pub(super) fn kill(&mut self, worker: WorkerId) {
        self.reassigned += u32::from(self.leases.remove(&worker).is_some());
        self.tell(Event::Left(worker, "killed".into()));
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Option<Result<SegmentUse, Refused>> {
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Answer(verdict) => answer = Some(verdict),
                Effect::Send(worker, ToWorker::Lease { lease, work, .. }) => {
                    assert!(self.leases.insert(worker, (lease, work)).is_none(), "one lease at a time");
                }
                Effect::Send(worker, ToWorker::Revoke { lease, .. }) => {
                    if self.leases.get(&worker).is_some_and(|(held, _)| *held == lease) {
                        self.leases.remove(&worker);
                    }
                }
                Effect::Send(worker, ToWorker::Stop { reason, .. }) => self.refused.push((worker, reason)),
                Effect::Send(worker, ToWorker::Follow { anew }) => self.following.push((worker, anew)),
                Effect::Send(worker, ToWorker::Rest { reason }) => self.resting.push((worker, reason)),
                Effect::Send(..) | Effect::Close(_) => {}
                Effect::Disputed { workers, .. } => self.disputes.push(workers),
                Effect::OpenStep(_, tree) => {
                    self.sums = Some(Fold::new(tree));
                    self.opened += 1;
                }
                Effect::Update { step, .. } => {
                    let sum =
                        self.sums.take().and_then(|mut fold| fold.take_root()).expect("all nodes are in");
                    let weights = xxh3_128(bytemuck::cast_slice(&sum));
                    let applied = Applied { norm: 1.0, gradient: weights, weights };
                    self.tell(Event::Updated(step, Ok(applied)));
                }
                Effect::Record(record) => self.records.push(facts(record)),
                Effect::KeepBest(version) => self.best = Some(version),
                Effect::Commit(standing) => {
                    self.commits.push((self.records.len(), standing));
                    if !self.slow_commits {
                        self.tell(Event::Committed);
                    }
                }
                Effect::Conclude { .. } => drop(self.tell(Event::Concluded)),
                Effect::Finish(_) => drop(self.tell(Event::Finished)),
                Effect::Export(standing) => {
                    self.exports.push(standing);
                    self.tell(Event::Exported);
                }
                Effect::Judge(rows) => {
                    self.judged.push(rows);
                    self.tell(Event::Judged(Box::new(Err("nobody judges it".into()))));
                }
                Effect::End(exit, detail) => self.ended = Some((exit, detail)),
            }
        }
        answer
    }

    /// A worker delivers its lease.
    pub(super) fn deliver(&mut self, worker: WorkerId) {
        self.deliver_with(worker, 0.0);
    }

    /// A worker delivers its lease, with an error in every element.
    pub(super) fn deliver_with(&mut self, worker: WorkerId, error: f32) {
        let (lease, work) = self.leases.remove(&worker).expect("it holds a lease");
        let partial = PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker, lease, work };
        let (mut gradient, totals) = compute(&self.machine.run.plan, &work, work.node, &self.machine.skipped);
        gradient.iter_mut().for_each(|value| *value += error);
        let hash = xxh3_128(bytemuck::cast_slice(&gradient));
        let offer = Offer { weights: Some(self.machine.weights), computing: false };
        let wanted = self.tell(Event::PushBegun(partial.clone(), totals.clone(), offer));
        let wanted = wanted.expect("an answer").expect("it is leased");
        if wanted.adds() {
            self.add(&work, gradient);
        }
        let ended = self.tell(Event::PushEnded(partial, totals, wanted.hashes().then_some(hash)));
        assert!(matches!(ended, Some(Ok(_))), "{ended:?}");
    }

    /// A worker begins to push what it was leased, as far as the machine sees it.
    pub(super) fn begin_push(&mut self, worker: WorkerId, offer: Offer) -> Result<SegmentUse, Refused> {
        let (lease, work) = self.leases[&worker];
        let partial = PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker, lease, work };
        let (_, totals) = compute(&self.machine.run.plan, &work, work.node, &self.machine.skipped);
        self.tell(Event::PushBegun(partial, totals, offer)).expect("an answer")
    }

    /// A worker gives its lease up.
    pub(super) fn fail(&mut self, worker: WorkerId, failure: Failure) {
        let (lease, _) = self.leases.remove(&worker).expect("it holds a lease");
        self.tell(Event::LeaseFailed(worker, lease, failure));
    }

    /// Adds a node's gradient to the step's sum.
    pub(super) fn add(&mut self, work: &Work, gradient: Vec<f32>) {
        if let (Pass::Train, Some(sums)) = (work.pass, &mut self.sums) {
            sums.insert(work.node, gradient, |_, left, right| add(left, right)).expect("a new node");
        }
    }

    pub(super) fn busy(&mut self) -> WorkerId {
        let at = self.draw(self.leases.len() as u64) as usize;
        *self.leases.keys().nth(at).expect("somebody is busy")
    }
}

fn add(mut left: Vec<f32>, right: Vec<f32>) -> Vec<f32> {
    tree::add(&mut left, &right);
    left
}

/// What a worker would send: a pure function of what was leased.
pub(super) fn compute(
    plan: &Plan,
    work: &Work,
    node: Node,
    skipped: &BTreeMap<u32, Vec<u64>>,
) -> (Vec<f32>, Totals) {
    if let Some((left, right)) = Tree::children(node) {
        let ((left, left_totals), (right, right_totals)) =
            (compute(plan, work, left, skipped), compute(plan, work, right, skipped));
        return (add(left, right), Totals::merge(left_totals, right_totals));
    }
    if work.pass == Pass::Train && skipped.contains_key(&node.first) {
        return (vec![0.0; 4], Totals::default());
    }
    let rows = plan.rows(work.pass, work.step, node.first);
    let loss = rows.iter().map(|row| 1.0 / (*row as f64 + 1.7)).sum();
    let gradient = (0..4).map(|element| 1.0 / (rows[0] as f32 + element as f32 * 0.3 + 0.1)).collect();
    let samples = rows.len() as u64;
    let hits = (samples + work.step.0) % 2;
    let counts = match work.pass {
        Pass::Eval => vec![hits, 0, samples, 0, samples, 0],
        Pass::Train | Pass::Golden | Pass::Probe => Vec::new(),
    };
    let row = ProbedRow { values: vec![rows[0] as f32, node.first as f32], ..ProbedRow::default() };
    let probed = if work.pass == Pass::Probe { vec![row] } else { Vec::new() };
    let compute = Duration::from_millis(5);
    (
        gradient,
        Totals {
            samples,
            divisor: samples,
            loss,
            counts,
            tokens: samples,
            probed,
            compute,
            ..Totals::default()
        },
    )
}

/// A record without what may depend on the schedule.
fn facts(record: Record) -> String {
    match record {
        Record::Step { step, totals, learning_rate, applied, skipped, workers: _, metrics: _ } => {
            format!(
                "{step} {} {:x} {learning_rate} {:x} {skipped:?}",
                totals.samples,
                totals.loss.to_bits(),
                applied.weights
            )
        }
        Record::Eval { version, metrics, samples } => format!("{version} {metrics:?} {samples}"),
    }
}

/// One worker, nothing goes wrong.
pub(super) fn undisturbed(sets: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(0, sets);
    let worker = cluster.join();
    while cluster.ended.is_none() {
        cluster.deliver(worker);
    }
    cluster
}
