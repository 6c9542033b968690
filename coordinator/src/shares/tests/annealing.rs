//! Plans for more shards than can be enumerated, against simulated annealing over nodes and their owners.

use headstart::tree::{Node, Tree};

use super::oracle::{Draws, KINDS, paces};
use crate::shares::pace::Worker;
use crate::shares::{choose, time};

const ROUNDS: u32 = 1500;

/// Some assignment: a partition of the tree, and who computes each node.
#[derive(Clone)]
struct State {
    tree: Tree,
    owned: Vec<(Node, usize)>,
}

impl State {
    fn time(&self, workers: &[Worker], shared: f64) -> f64 {
        let mut nodes = vec![Vec::new(); workers.len()];
        for &(node, owner) in &self.owned {
            if node.shards > workers[owner].longest {
                return f64::INFINITY;
            }
            nodes[owner].push(node);
        }
        nodes.iter_mut().for_each(|nodes| nodes.sort_unstable());
        time::timing(workers, &nodes, shared).end
    }

    /// Gives a node to another worker, swaps two nodes' owners, cuts a node, or joins two halves.
    fn change(&mut self, workers: u32, draws: &mut Draws) {
        let index = draws.between(0, self.owned.len() as u32 - 1) as usize;
        let (node, owner) = self.owned[index];
        let anybody = draws.between(0, workers - 1) as usize;
        match draws.between(0, 3) {
            0 => self.owned[index].1 = anybody,
            1 => {
                let other = draws.between(0, self.owned.len() as u32 - 1) as usize;
                self.owned[index].1 = self.owned[other].1;
                self.owned[other].1 = owner;
            }
            2 => {
                let Some((left, right)) = Tree::children(node) else { return };
                self.owned[index] = (left, owner);
                self.owned.push((right, anybody));
            }
            _ => {
                let Some(parent) = self.tree.parent(node) else { return };
                let halves = [parent.left, parent.right];
                if halves.iter().all(|half| self.owned.iter().any(|(other, _)| other == half)) {
                    self.owned.retain(|(other, _)| !halves.contains(other));
                    self.owned.push((parent.node, owner));
                }
            }
        }
    }
}

/// The shortest time that annealing finds from a start.
fn anneal(mut state: State, workers: &[Worker], shared: f64, draws: &mut Draws) -> f64 {
    let mut now = state.time(workers, shared);
    let (mut best, mut heat) = (now, 0.3);
    for _ in 0..ROUNDS {
        let mut other = state.clone();
        for _ in 0..draws.between(1, 3) {
            other.change(workers.len() as u32, draws);
        }
        let then = other.time(workers, shared);
        if then < now * (1.0 + heat * draws.unit()) {
            (state, now) = (other, then);
        }
        best = best.min(now);
        heat *= 0.997;
    }
    best
}

#[test]
fn annealing_finds_no_much_shorter_step() {
    let mut worst = (1.0, String::new());
    for case in 0..180 {
        let kind = KINDS[case as usize % KINDS.len()];
        let mut draws = Draws::new(case);
        let paces = paces(kind, 6, &mut draws);
        let tree = Tree::new(draws.between(9, 64));
        let shares = choose(&paces, tree, None).expect("there are workers");
        let workers = paces.resolve();
        let owner = |id| workers.iter().position(|worker| worker.id == id).expect("a worker");
        let ours =
            shares.members.iter().flat_map(|(&id, nodes)| nodes.iter().map(move |&node| (node, owner(id))));
        let ours = State { tree, owned: ours.collect() };
        let leaves =
            (0..tree.shards()).map(|first| (Node { first, shards: 1 }, first as usize % workers.len()));
        let leaves = State { tree, owned: leaves.collect() };
        for start in [ours, leaves] {
            let ratio = shares.time / anneal(start, &workers, paces.shared(), &mut draws);
            if ratio > worst.0 {
                worst = (ratio, format!("{kind}, case {case}: {shares:?} of {paces:?}"));
            }
        }
    }
    println!("worst {}", worst.0);
    assert!(worst.0 <= 1.05, "{:.4} times what annealing found: {}", worst.0, worst.1);
}
