//! Shares: which workers take part in a step and which nodes each computes, so that the step is as short as the links allow.
//!
//! [`choose`] is a pure function of measured paces. Bits never depend on it: it only decides who computes a node of the
//! canonical tree. A step is as long as its slowest member (`shares/time.rs` computes how long that is), so a worker with a
//! slow link or processor makes it longer and had better idle. A plan is kept until another one is shorter by [`MARGIN`],
//! because paces are measured with noise. [`trial`] decides when an idle worker is tried again, and [`idle`] says to people why
//! it idles.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod idle;
mod improve;
mod layout;
mod pace;
mod search;
#[cfg(test)]
mod tests;
mod time;
pub mod trial;

use std::collections::BTreeMap;

use headstart::id::WorkerId;
use headstart::tree::{Node, Tree};

pub use pace::{Pace, Paces};

use pace::Worker;
use time::Timing;

/// A new plan for the same workers must be predicted to be shorter by this part.
pub const MARGIN: f64 = 0.05;

/// Members that are asked for a shard when an idle worker is tried: those that finish last.
const GIVERS: usize = 64;

/// Who computes what in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// The tree whose nodes are shared out.
    pub tree: Tree,
    /// The nodes of each worker that takes part, in the order in which it computes them, which is ascending: a partial
    /// that waits for lower ones then never waits for its own sender.
    pub members: BTreeMap<WorkerId, Vec<Node>>,
    /// Predicted time of the step, in seconds.
    pub time: f64,
    /// The other workers, and the predicted time of a step in which each would compute one shard, in seconds.
    pub idle: BTreeMap<WorkerId, f64>,
}

/// Chooses the members of a step and their nodes; `None` if there are no workers.
///
/// `before` is the plan of the step before, and not that of a trial. It is kept, with its times predicted anew, if workers
/// and tree are still the same and no other plan is shorter by [`MARGIN`]. For another tree, as at the end of an epoch, its
/// members are kept in the same way.
pub fn choose(paces: &Paces, tree: Tree, before: Option<&Shares>) -> Option<Shares> {
    let workers = paces.resolve();
    if workers.is_empty() {
        return None;
    }
    let shared = paces.shared();
    let kept = before.and_then(|before| keep(&workers, tree, shared, before));
    // Most steps end here: if none can be shorter by the margin, there is nothing to search for.
    let enough = time::least(&workers, tree.shards());
    let worth_it = |end: f64, kept: &Plan| end < kept.timing.end * (1.0 - MARGIN);
    let kept = match kept {
        Some(kept) if !worth_it(enough, &kept) => return Some(kept.shares(&workers, tree, shared)),
        kept => kept,
    };
    let everybody: Vec<usize> = (0..workers.len()).collect();
    let best = plan(&workers, &everybody, tree, shared);
    let chosen = kept.filter(|kept| !worth_it(best.timing.end, kept)).unwrap_or(best);
    Some(chosen.shares(&workers, tree, shared))
}

/// The plan of a step in which an idle worker is tried: it computes one shard, which the member gives away that can do so at
/// the least cost. `None` if the worker is no idle worker of `plan`, or `plan` was made for other workers.
pub fn with(plan: &Shares, paces: &Paces, worker: WorkerId) -> Option<Shares> {
    let (workers, shared) = (paces.resolve(), paces.shared());
    let tried = workers.iter().position(|other| other.id == worker && plan.idle.contains_key(&worker))?;
    let before = nodes_of(&workers, plan)?;
    let finish = |&index: &usize| time::pipeline(&workers[index], &before[index], &mut Vec::new());
    let mut givers: Vec<usize> = (0..workers.len()).filter(|&index| !before[index].is_empty()).collect();
    givers.sort_by(|one, other| finish(other).total_cmp(&finish(one)));
    let given = givers.into_iter().take(GIVERS).map(|giver| {
        let mut nodes = before.clone();
        let leaf = split_off_leaf(&mut nodes[giver]);
        nodes[tried].push(leaf);
        Plan { timing: time::timing(&workers, &nodes, shared), nodes }
    });
    let best = given.min_by(|one, other| one.timing.end.total_cmp(&other.timing.end))?;
    Some(best.shares(&workers, plan.tree, shared))
}

/// Nodes for each worker by index, and what time they take.
struct Plan {
    nodes: Vec<Vec<Node>>,
    timing: Timing,
}

impl Plan {
    fn shares(self, workers: &[Worker], tree: Tree, shared: f64) -> Shares {
        let Plan { nodes, timing } = self;
        let out = |(worker, nodes): (&Worker, &Vec<Node>)| {
            nodes.is_empty().then(|| (worker.id, timing.with(worker, shared)))
        };
        let idle = workers.iter().zip(&nodes).filter_map(out).collect();
        let ids = workers.iter().map(|worker| worker.id);
        let members = ids.zip(nodes).filter(|(_, nodes)| !nodes.is_empty()).collect();
        Shares { tree, members, time: timing.end, idle }
    }
}

/// The shortest plan in which only the workers at `allowed` take part.
fn plan(workers: &[Worker], allowed: &[usize], tree: Tree, shared: f64) -> Plan {
    let some: Vec<Worker> = allowed.iter().map(|&index| workers[index].clone()).collect();
    let found = search::search(&some, tree, shared);
    let found = improve::improve(&some, tree, shared, found);
    let mut nodes = vec![Vec::new(); workers.len()];
    for (&index, of) in allowed.iter().zip(layout::layout(&some, tree, &found.split)) {
        nodes[index] = of;
    }
    Plan { timing: time::timing(workers, &nodes, shared), nodes }
}

/// What remains of an earlier plan, timed anew; `None` if a worker has joined, has left, or can no longer hold its nodes.
fn keep(workers: &[Worker], tree: Tree, shared: f64, before: &Shares) -> Option<Plan> {
    let nodes = nodes_of(workers, before)?;
    if tree != before.tree {
        let members: Vec<usize> = (0..workers.len()).filter(|&index| !nodes[index].is_empty()).collect();
        return Some(plan(workers, &members, tree, shared));
    }
    Some(Plan { timing: time::timing(workers, &nodes, shared), nodes })
}

/// The nodes of a plan by index of the worker; `None` if the plan was made for other workers or other memory.
fn nodes_of(workers: &[Worker], plan: &Shares) -> Option<Vec<Vec<Node>>> {
    let fits = |worker: &Worker| match plan.members.get(&worker.id) {
        Some(nodes) => nodes.iter().all(|node| node.shards <= worker.longest),
        None => plan.idle.contains_key(&worker.id),
    };
    let same = workers.len() == plan.members.len() + plan.idle.len() && workers.iter().all(fits);
    let nodes = |worker: &Worker| plan.members.get(&worker.id).cloned().unwrap_or_default();
    same.then(|| workers.iter().map(nodes).collect())
}

/// Takes the first shard out of a worker's nodes and leaves the rest of its node in as few nodes as possible.
fn split_off_leaf(nodes: &mut Vec<Node>) -> Node {
    let mut leaf = nodes.remove(0);
    let mut rest = Vec::new();
    while let Some((left, right)) = Tree::children(leaf) {
        rest.push(right);
        leaf = left;
    }
    nodes.splice(0..0, rest.into_iter().rev());
    leaf
}
