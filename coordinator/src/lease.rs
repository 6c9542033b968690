//! Who computes which node. A node is leased whole, and when it comes back it is leased again whole.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
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
    /// Who has tried a node in vain.
    failed: BTreeSet<(Node, WorkerId)>,
    out: BTreeMap<LeaseId, Lease>,
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
}

impl LeaseTable {
    /// All of a tree's shards, unleased.
    pub fn new(tree: Tree) -> LeaseTable {
        LeaseTable {
            tree,
            frontier: 0,
            returned: BTreeSet::new(),
            failed: BTreeSet::new(),
            out: BTreeMap::new(),
            done: 0,
        }
    }

    /// Shards that nobody computes at the moment and that are not done.
    pub fn unleased(&self) -> u32 {
        let returned: u32 = self.returned.iter().map(|node| node.shards).sum();
        self.tree.shards() - self.frontier + returned
    }

    /// Shards whose partials have been added.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Number of shards.
    pub fn shards(&self) -> u32 {
        self.tree.shards()
    }

    /// Takes the lowest unleased node for a worker: one that came back, whole, or else a new one of at most `limit`
    /// shards. A node that the worker has failed at is for the `others`, unless all of them have failed at it too.
    pub fn next(&mut self, worker: WorkerId, limit: u32, others: &[WorkerId]) -> Option<Node> {
        let failed = |node: Node, worker: WorkerId| self.failed.contains(&(node, worker));
        let suits = |node: Node| !failed(node, worker) || others.iter().all(|&other| failed(node, other));
        if let Some(node) = self.returned.iter().copied().find(|&node| suits(node)) {
            self.returned.remove(&node);
            return Some(node);
        }
        if self.frontier == self.tree.shards() {
            return None;
        }
        let node = self.tree.largest_at(self.frontier, limit);
        self.frontier = node.end();
        Some(node)
    }

    /// Records that a node taken with [`LeaseTable::next`] was granted.
    pub fn grant(&mut self, id: LeaseId, lease: Lease) {
        self.out.insert(id, lease);
    }

    /// A lease that is out.
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.out.get(&id)
    }

    /// Ends a lease whose partial is complete.
    pub fn complete(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.out.remove(&id)?;
        self.done += lease.work.node.shards;
        Some(lease)
    }

    /// Takes a lease back; its node is leased again before any new one.
    pub fn give_back(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.out.remove(&id)?;
        self.returned.insert(lease.work.node);
        Some(lease)
    }

    /// Takes back a lease that its worker failed at.
    pub fn fail(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.give_back(id)?;
        self.failed.insert((lease.work.node, lease.worker));
        Some(lease)
    }

    /// Gives a lease more time.
    pub fn extend(&mut self, id: LeaseId, expires: Duration) {
        if let Some(lease) = self.out.get_mut(&id) {
            lease.expires = lease.expires.max(expires);
        }
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
