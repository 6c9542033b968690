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
    /// When it is taken back.
    pub expires: Duration,
}

impl LeaseTable {
    /// All of a tree's shards, unleased.
    pub fn new(tree: Tree) -> LeaseTable {
        LeaseTable { tree, frontier: 0, returned: BTreeSet::new(), out: BTreeMap::new(), done: 0 }
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

    /// Takes the lowest unleased node: one that came back, whole, or else a new one of at most `limit` shards.
    pub fn next(&mut self, limit: u32) -> Option<Node> {
        if let Some(node) = self.returned.pop_first() {
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

    /// The leases a worker holds.
    pub fn of(&self, worker: WorkerId) -> Vec<LeaseId> {
        self.out.iter().filter(|(_, lease)| lease.worker == worker).map(|(&id, _)| id).collect()
    }

    /// The leases whose time is up.
    pub fn expired(&self, now: Duration) -> Vec<LeaseId> {
        self.out.iter().filter(|(_, lease)| lease.expires <= now).map(|(&id, _)| id).collect()
    }

    /// Whether every shard is done.
    pub fn is_complete(&self) -> bool {
        self.done == self.tree.shards()
    }
}
