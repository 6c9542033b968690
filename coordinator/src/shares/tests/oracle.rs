//! Plans against the best of all assignments of canonical nodes to workers.

use std::collections::BTreeMap;

use headstart::draw;
use headstart::id::WorkerId;
use headstart::tree::{Fold, Node, Tree};

use crate::shares::pace::Worker;
use crate::shares::{Pace, Paces, Shares, choose, time};

/// Most of the step's time by which the oracle may be faster.
const WORST: f64 = 1.05;
/// The oracle looks for steps that are shorter by this factor at least, so that it needn't look at equal ones.
const TOLD_APART: f64 = 1.01;

/// Searches all assignments depth first, shards in order, and cuts branches that cannot be shorter than `best`.
struct Oracle<'a> {
    workers: &'a [Worker],
    tree: Tree,
    shared: f64,
    nodes: Vec<Vec<Node>>,
    best: f64,
    /// Branches left; 0 when it has given up.
    budget: u64,
}

impl Oracle<'_> {
    fn search(&mut self, first: u32) {
        if self.budget == 0 || !self.can_be_shorter(first) {
            return;
        }
        self.budget -= 1;
        if first == self.tree.shards() {
            self.best = time::timing(self.workers, &self.nodes, self.shared).end;
            return;
        }
        let mut node = self.tree.largest_at(first, u32::MAX);
        loop {
            for index in 0..self.workers.len() {
                if node.shards <= self.workers[index].longest {
                    self.nodes[index].push(node);
                    self.search(node.end());
                    self.nodes[index].pop();
                }
            }
            let Some((left, _)) = Tree::children(node) else { break };
            node = left;
        }
    }

    /// Whether what is assigned takes less than `best`, and the rest may fit into what is left of it.
    fn can_be_shorter(&self, first: u32) -> bool {
        let left = self.tree.shards() - first;
        let room = |(worker, nodes): (&Worker, &Vec<Node>)| {
            let computed: u32 = nodes.iter().map(|node| node.shards).sum();
            let time = self.best - worker.fixed - worker.partial - worker.shard * f64::from(computed);
            (time / worker.shard).max(0.0) as u64
        };
        let room: u64 = self.workers.iter().zip(&self.nodes).map(room).sum();
        room >= u64::from(left)
            && time::timing(self.workers, &self.nodes, self.shared).end < self.best * (1.0 - 1e-9)
    }
}

/// A time below which the oracle finds nothing shorter, starting from `bound`; `None` if it gave up.
fn oracle(paces: &Paces, tree: Tree, bound: f64, budget: u64) -> Option<f64> {
    let workers = paces.resolve();
    let nodes = vec![Vec::new(); workers.len()];
    let shared = paces.shared();
    let mut oracle = Oracle { workers: &workers, tree, shared, nodes, best: bound, budget };
    oracle.search(0);
    (oracle.budget > 0).then_some(oracle.best)
}

/// Draws for one case.
pub(super) struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    pub(super) fn new(seed: u64) -> Draws {
        Draws { seed, drawn: 0 }
    }

    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.drawn += 1;
        draw::unit(self.seed, "shares", self.drawn)
    }

    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.unit() * f64::from(high - low + 1)) as u32
    }

    /// Any order of magnitude between two is as likely as any other.
    fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        low * libm::pow(high / low, self.unit())
    }
}

pub(super) const KINDS: [&str; 9] = [
    "equal and near",
    "equal and far",
    "one slow link",
    "all links slow",
    "one slow processor",
    "mixed",
    "little memory",
    "more workers than shards",
    "one narrow link at the coordinator",
];

fn pace(kind: &str, index: u32, draws: &mut Draws) -> Pace {
    let near = Pace {
        shard: Some(0.9 + 0.2 * draws.unit()),
        fixed: Some(0.0),
        partial: Some(0.0),
        remote: false,
        longest: u32::MAX,
    };
    let far = Pace { partial: Some(0.02 + 0.1 * draws.unit()), fixed: Some(0.1), remote: true, ..near };
    match kind {
        "equal and near" => Pace { shard: Some(1.0), ..near },
        "equal and far" => Pace { shard: Some(1.0), partial: Some(0.3), ..far },
        "one slow link" if index == 1 => {
            Pace { partial: Some(draws.magnitude(0.1, 30.0)), fixed: Some(draws.magnitude(0.1, 3.0)), ..far }
        }
        "one slow link" => far,
        "all links slow" => Pace { partial: Some(draws.magnitude(1.0, 20.0)), ..far },
        "one slow processor" if index == 1 => Pace { shard: Some(draws.magnitude(1.0, 100.0)), ..near },
        "one slow processor" => near,
        "one narrow link at the coordinator" => far,
        "more workers than shards" if index == 0 => near,
        kind => Pace {
            shard: Some(draws.magnitude(0.2, 5.0)),
            fixed: Some(draws.magnitude(0.01, 3.0)),
            partial: Some(draws.magnitude(0.01, 10.0)),
            remote: draws.unit() < 0.7,
            longest: if kind == "little memory" { 1 << draws.between(0, 2) } else { u32::MAX },
        },
    }
}

/// A case of a kind: paces of 1 to `most` workers.
pub(super) fn paces(kind: &str, most: u32, draws: &mut Draws) -> Paces {
    let count = draws.between(1, most);
    let workers = (0..count).map(|index| (WorkerId(u64::from(index)), pace(kind, index, draws))).collect();
    let shared = match kind {
        "one narrow link at the coordinator" => draws.magnitude(0.02, 2.0),
        "mixed" | "little memory" => draws.magnitude(0.001, 0.5),
        "all links slow" => 0.5 * draws.unit(),
        _ => 0.0,
    };
    Paces { workers, shared: Some(shared) }
}

/// Every shard once, in canonical nodes that fit, ascending; the predicted time is the plan's.
fn check(shares: &Shares, paces: &Paces) {
    let tree = shares.tree;
    assert!(!shares.members.is_empty());
    let mut all: Vec<Node> = shares.members.values().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(
        all.iter().fold(0, |next, node| if node.first == next { node.end() } else { u32::MAX }),
        tree.shards()
    );
    assert!(all.iter().all(|&node| tree.contains(node)));
    for (worker, nodes) in &shares.members {
        assert!(!nodes.is_empty() && nodes.is_sorted());
        assert!(nodes.iter().all(|node| node.shards <= paces.workers[worker].longest));
    }
    let mut seen: Vec<WorkerId> = shares.members.keys().chain(shares.idle.keys()).copied().collect();
    seen.sort_unstable();
    assert!(seen.iter().eq(paces.workers.keys()));
    let workers = paces.resolve();
    let nodes: Vec<Vec<Node>> =
        workers.iter().map(|worker| shares.members.get(&worker.id).cloned().unwrap_or_default()).collect();
    assert_eq!(time::timing(&workers, &nodes, paces.shared()).end, shares.time);
    assert!(shares.idle.values().all(|&with| with >= shares.time));
    reduce(shares);
}

/// The coordinator holds a few unmerged partials; beyond that it admits the lowest missing node, or one whose sibling is there.
/// Every worker sends in order. However the others hurry ahead, the sum becomes complete.
fn reduce(shares: &Shares) {
    let mut fold = Fold::new(shares.tree);
    let room = shares.tree.shards().ilog2() as usize + 2;
    let mut waiting: Vec<&[Node]> = shares.members.values().map(Vec::as_slice).collect();
    while let Some(missing) = fold.first_missing() {
        let admitted =
            |node: &Node| fold.unmerged() < room || node.first == missing || fold.has_sibling_of(*node);
        let heads = waiting.iter_mut().filter(|nodes| nodes.first().is_some_and(admitted));
        let highest = heads.max_by_key(|nodes| nodes[0].first).expect("some partial can always be added");
        fold.insert(highest[0], (), |_, (), ()| ()).expect("each node comes once");
        *highest = &highest[1..];
    }
}

/// How much longer than the oracle's the steps are: the worst ratio by kind, and how many cases the oracle decided.
fn ratios(cases: u64, workers: u32, shards: u32, budget: u64) -> BTreeMap<&'static str, (f64, u64, String)> {
    let mut worst: BTreeMap<&str, (f64, u64, String)> = BTreeMap::new();
    for case in 0..cases {
        let kind = KINDS[case as usize % KINDS.len()];
        let mut draws = Draws::new(case);
        let paces = paces(kind, workers, &mut draws);
        let shards = if kind == "more workers than shards" { shards.min(3) } else { shards };
        let tree = Tree::new(draws.between(1, shards));
        let shares = choose(&paces, tree, None).expect("there are workers");
        check(&shares, &paces);
        let Some(best) = oracle(&paces, tree, shares.time / TOLD_APART, budget) else { continue };
        let (ratio, decided, which) = worst.entry(kind).or_insert((1.0, 0, String::new()));
        *decided += 1;
        if best < shares.time / TOLD_APART && shares.time / best > *ratio {
            *ratio = shares.time / best;
            *which = format!("case {case}: {shares:?} of {paces:?}");
        }
    }
    worst
}

fn assert_good(worst: &BTreeMap<&str, (f64, u64, String)>, least: u64) {
    let table: Vec<String> = worst
        .iter()
        .map(|(kind, (ratio, decided, _))| format!("{kind}: {ratio:.4} in {decided} cases"))
        .collect();
    println!("{table:#?}");
    for (kind, (ratio, decided, which)) in worst {
        assert!(*ratio <= WORST, "{kind}: {ratio:.4} times the oracle's step, {which}; {table:#?}");
        assert!(*decided >= least, "the oracle decided {decided} cases of {kind} only; {table:#?}");
    }
}

#[test]
fn no_assignment_of_few_shards_is_much_shorter() {
    assert_good(&ratios(3600, 5, 8, 1_000_000), 395);
}

#[test]
fn no_assignment_of_more_shards_is_much_shorter() {
    assert_good(&ratios(540, 4, 20, 50_000), 40);
}

/// Where no assignment can be shorter than whole shards at each worker's speed, plans come close to that.
#[test]
fn many_workers_come_close_to_the_least_time() {
    let mut worst: f64 = 0.0;
    for case in 0..120 {
        let kind =
            ["equal and near", "equal and far", "one slow link", "one slow processor"][case as usize % 4];
        let mut draws = Draws::new(case);
        let paces = paces(kind, 40, &mut draws);
        let tree = Tree::new(draws.between(1, 300));
        let shares = choose(&paces, tree, None).expect("there are workers");
        check(&shares, &paces);
        worst = worst.max(shares.time / time::least(&paces.resolve(), tree.shards()));
    }
    assert!(worst <= WORST, "{worst:.4} times the least time");
}
