//! Leases: which worker computes which node. A node is leased whole, and leased again whole after a lease has failed.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use headstart::id::{LeaseId, WorkerId};
use headstart::message::Work;
use headstart::tree::{Node, Tree};

/// The nodes of one step: unleased, leased, done.
#[derive(Debug)]
pub struct LeaseTable {
    tree: Tree,
    /// Shards from here on have never been leased.
    frontier: u32,
    /// Nodes that were leased and came back, lowest first.
    returned: BTreeSet<Node>,
    /// Nodes that are meant for a worker, in order.
    planned: BTreeMap<WorkerId, VecDeque<Node>>,
    /// Workers that have failed on a node.
    failed: BTreeSet<(Node, WorkerId)>,
    out: BTreeMap<LeaseId, Lease>,
    /// Workers that were granted a lease.
    served: BTreeSet<WorkerId>,
    done: u32,
}

/// One granting of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who computes it.
    pub worker: WorkerId,
    /// What is computed.
    pub work: Work,
    /// When it was granted.
    pub granted: Duration,
    /// When it is taken back.
    pub expires: Duration,
    /// Whether its partial is only compared with one that has been added.
    pub audit: bool,
    /// Whether its partial is on the way in, so that segments of it may have been added.
    pub pushing: bool,
    /// When its worker had computed it, and could compute another.
    pub computed: Option<Duration>,
    /// Whether it is its worker's first of the step.
    pub first: bool,
}

impl LeaseTable {
    /// All of a tree's shards, unleased.
    pub fn new(tree: Tree) -> LeaseTable {
        LeaseTable {
            tree,
            frontier: 0,
            returned: BTreeSet::new(),
            planned: BTreeMap::new(),
            failed: BTreeSet::new(),
            out: BTreeMap::new(),
            served: BTreeSet::new(),
            done: 0,
        }
    }

    /// Number of shards that are neither done nor leased.
    pub fn unleased(&self) -> u32 {
        let waiting = self.returned.iter().chain(self.planned.values().flatten());
        self.tree.shards() - self.frontier + waiting.map(|node| node.shards).sum::<u32>()
    }

    /// Shards whose partials have been added.
    pub fn done(&self) -> u32 {
        self.done
    }

    pub fn shards(&self) -> u32 {
        self.tree.shards()
    }

    /// Whether a worker was granted a lease before.
    pub fn was_served(&self, worker: WorkerId) -> bool {
        self.served.contains(&worker)
    }

    /// The tree whose nodes these are.
    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// Whether nothing was ever leased or planned.
    pub fn is_untouched(&self) -> bool {
        self.frontier == 0
    }

    /// Sets apart for each worker the nodes that it is to compute, which cover the tree.
    pub fn plan(&mut self, members: BTreeMap<WorkerId, Vec<Node>>) {
        debug_assert!(self.is_untouched(), "a step is planned before its first lease");
        self.frontier = self.tree.shards();
        self.planned = members.into_iter().map(|(worker, nodes)| (worker, nodes.into())).collect();
    }

    /// Drops the plan: whoever is free takes the nodes that are left.
    pub fn unplan(&mut self) {
        let planned = std::mem::take(&mut self.planned);
        self.returned.extend(planned.into_values().flatten());
    }

    /// Takes a node for a worker: the next one planned for it, or the lowest one that came back, whole, or else a new one of at
    /// most `limit` shards. A node with shards that the worker has failed at, in this attempt at the step or in one before, is for
    /// the `others`, unless all of them have failed there too.
    pub fn next(&mut self, worker: WorkerId, limit: u32, others: &[WorkerId]) -> Option<Node> {
        while let Some(node) = self.planned.get_mut(&worker).and_then(VecDeque::pop_front) {
            if self.suits(node, worker, others) {
                return Some(node);
            }
            self.returned.insert(node);
        }
        if let Some(node) = self.returned(worker, others) {
            self.returned.remove(&node);
            return Some(node);
        }
        while self.frontier < self.tree.shards() {
            let node = self.tree.largest_at(self.frontier, limit);
            self.frontier = node.end();
            if self.suits(node, worker, others) {
                return Some(node);
            }
            self.returned.insert(node);
        }
        None
    }

    /// The lowest node that came back and that a worker may take.
    pub fn returned(&self, worker: WorkerId, others: &[WorkerId]) -> Option<Node> {
        self.returned.iter().copied().find(|&node| self.suits(node, worker, others))
    }

    fn suits(&self, node: Node, worker: WorkerId, others: &[WorkerId]) -> bool {
        let failed = |worker: WorkerId| {
            let shared = |other: Node| other.first < node.end() && node.first < other.end();
            self.failed.iter().any(|&(other, by)| by == worker && shared(other))
        };
        !failed(worker) || others.iter().all(|&other| failed(other))
    }

    /// Records that a node taken with [`LeaseTable::next`] was granted.
    pub fn grant(&mut self, id: LeaseId, lease: Lease) {
        self.served.insert(lease.worker);
        self.out.insert(id, lease);
    }

    /// A lease that is out.
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.out.get(&id)
    }

    /// Ends a lease whose partial is complete, and with it a second lease of the same node, which comes second in the
    /// answer.
    pub fn complete(&mut self, id: LeaseId) -> Option<(Lease, Option<(LeaseId, Lease)>)> {
        let lease = self.out.remove(&id)?;
        if lease.audit {
            return Some((lease, None));
        }
        self.done += lease.work.node.shards;
        let rival = self.rival(lease.work.node);
        let rival = rival.and_then(|rival| self.out.remove(&rival).map(|lease| (rival, lease)));
        Some((lease, rival))
    }

    /// Ends a lease without a partial. Its node is leased again before any new one, unless another worker is already
    /// computing it.
    pub fn give_back(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.out.remove(&id)?;
        if !lease.audit && self.rival(lease.work.node).is_none() {
            self.returned.insert(lease.work.node);
        }
        Some(lease)
    }

    /// The lease that has been out for longest, of those that are `overdue` and leased once: its node, for a second
    /// worker that neither holds it nor has failed at it.
    pub fn second(&self, worker: WorkerId, overdue: impl Fn(&Lease) -> bool) -> Option<Node> {
        let alone =
            |lease: &Lease| self.out.values().filter(|other| other.work.node == lease.work.node).count() == 1;
        self.out
            .values()
            .filter(|lease| lease.worker != worker && !self.failed.contains(&(lease.work.node, worker)))
            .filter(|lease| !lease.audit && overdue(lease) && alone(lease))
            .min_by_key(|lease| lease.granted)
            .map(|lease| lease.work.node)
    }

    /// A lease of this very node whose partial would be added.
    fn rival(&self, node: Node) -> Option<LeaseId> {
        self.out.iter().find(|(_, lease)| lease.work.node == node && !lease.audit).map(|(&id, _)| id)
    }

    /// Takes back a lease that its worker failed at.
    pub fn fail(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.give_back(id)?;
        self.failed.insert((lease.work.node, lease.worker));
        Some(lease)
    }

    /// The partial of a lease is on its way in. It may take until `expires`, unless the lease is still computed.
    pub fn push(&mut self, id: LeaseId, expires: Option<Duration>) {
        if let Some(lease) = self.out.get_mut(&id) {
            lease.expires = lease.expires.max(expires.unwrap_or_default());
            lease.pushing = true;
        }
    }

    /// A lease is computed, and its worker could compute another; the partial may take until `expires`.
    pub fn computed(&mut self, id: LeaseId, now: Duration, expires: Duration) {
        if let Some(lease) = self.out.get_mut(&id) {
            lease.expires = lease.expires.max(expires);
            lease.computed = Some(now);
        }
    }

    /// Takes over which workers have failed on which nodes, from an attempt before.
    pub fn remember_failures(&mut self, before: &LeaseTable) {
        self.failed.clone_from(&before.failed);
    }

    /// Whether a worker computes nothing: it holds no lease, or one whose partial is on its way.
    pub fn is_free(&self, worker: WorkerId) -> bool {
        let mut held = self.out.values().filter(|lease| lease.worker == worker);
        held.next().is_none_or(|lease| lease.computed.is_some()) && held.next().is_none()
    }

    /// Whether a worker has failed on a node.
    pub fn has_failed(&self, node: Node, worker: WorkerId) -> bool {
        self.failed.contains(&(node, worker))
    }

    /// Whether a worker is computing this node for an audit.
    pub fn audits(&self, node: Node) -> bool {
        self.out.values().any(|lease| lease.audit && lease.work.node == node)
    }

    /// Every lease that is out.
    pub fn all(&self) -> impl Iterator<Item = (LeaseId, Lease)> {
        self.out.iter().map(|(&id, &lease)| (id, lease))
    }

    /// The leases a worker holds.
    pub fn of(&self, worker: WorkerId) -> Vec<LeaseId> {
        self.out.iter().filter(|(_, lease)| lease.worker == worker).map(|(&id, _)| id).collect()
    }

    /// The leases whose time is up.
    pub fn expired(&self, now: Duration) -> Vec<LeaseId> {
        self.out.iter().filter(|(_, lease)| lease.expires <= now).map(|(&id, _)| id).collect()
    }
}
