//! The canonical reduction tree, and folding along it.
//!
//! The tree over `n` shards splits at the largest power of two below `n`. Sums follow its edges, never the order of
//! arrival, so a sum's bits depend on the shards alone. Workers and coordinator fold with the same code.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::fmt;

use pulp::Arch;

/// A sub-tree of the canonical tree: the shards `first .. first + shards`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node {
    /// First shard.
    pub first: u32,
    /// Number of shards, at least 1.
    pub shards: u32,
}

impl Node {
    /// One past the last shard.
    pub fn end(self) -> u32 {
        self.first + self.shards
    }

    /// The node's shards in order.
    pub fn range(self) -> std::ops::Range<u32> {
        self.first..self.end()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards {}..{}", self.first, self.end())
    }
}

/// The canonical tree over a number of shards.
///
/// An epoch's last step may leave shards at the end empty. They have no leaf: the tree is taken over the shards that
/// have samples, which gives the same sums as passing the sibling of an empty sub-tree upwards unchanged, because
/// splitting at powers of two makes a prefix of the shards a sub-tree of the same shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tree {
    shards: u32,
}

impl Tree {
    /// The tree over `shards` leaves. Panics when there are none: a step has at least one sample.
    pub fn new(shards: u32) -> Tree {
        assert!(shards > 0, "a tree has at least one leaf");
        Tree { shards }
    }

    /// The whole tree as a node.
    pub fn root(self) -> Node {
        Node { first: 0, shards: self.shards }
    }

    /// Number of leaves.
    pub fn shards(self) -> u32 {
        self.shards
    }

    /// The two halves of an inner node, or nothing for a leaf.
    pub fn children(node: Node) -> Option<(Node, Node)> {
        if node.shards == 1 {
            return None;
        }
        let left = node.shards.next_power_of_two() / 2;
        Some((
            Node { first: node.first, shards: left },
            Node { first: node.first + left, shards: node.shards - left },
        ))
    }

    /// The node one edge up together with its two halves; `None` for the root and for ranges not in the tree.
    pub fn parent(self, node: Node) -> Option<Parent> {
        let mut at = self.root();
        while let Some((left, right)) = Tree::children(at) {
            if node == left || node == right {
                return Some(Parent { node: at, left, right });
            }
            at = if node.first < right.first { left } else { right };
        }
        None
    }

    /// Whether the range is a node of this tree.
    pub fn contains(self, node: Node) -> bool {
        node.shards > 0 && node.end() <= self.shards && (node == self.root() || self.parent(node).is_some())
    }

    /// The largest node that begins at `first` and has at most `limit` shards (at least the leaf itself).
    pub fn largest_at(self, first: u32, limit: u32) -> Node {
        debug_assert!(first < self.shards);
        let mut at = self.root();
        while at.first != first || at.shards > limit.max(1) {
            let Some((left, right)) = Tree::children(at) else { break };
            at = if first < right.first { left } else { right };
        }
        at
    }
}

/// An inner node and its halves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent {
    /// The inner node.
    pub node: Node,
    /// Its first half.
    pub left: Node,
    /// Its second half.
    pub right: Node,
}

/// Why a fold refused a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfoldable {
    /// The range is not a node of the tree.
    #[error("{0} is no node of the tree")]
    NotANode(Node),
    /// This node, or one that contains it or lies in it, is already part of the sum.
    #[error("{0} has already been added")]
    Duplicate(Node),
}

/// A sum under construction: values of nodes arrive in any order, and merge along the tree as siblings meet.
///
/// Holds at most one value per unmerged node; feeding leaves in order keeps at most `1 + log2(shards)` of them.
#[derive(Debug)]
pub struct Fold<T> {
    tree: Tree,
    unmerged: BTreeMap<Node, T>,
}

impl<T> Fold<T> {
    /// An empty sum over a tree.
    pub fn new(tree: Tree) -> Fold<T> {
        Fold { tree, unmerged: BTreeMap::new() }
    }

    /// Adds a node's value; `merge(node, left, right)` is called once for every inner node whose halves are there.
    pub fn insert(
        &mut self,
        node: Node,
        value: T,
        mut merge: impl FnMut(Node, T, T) -> T,
    ) -> Result<(), Unfoldable> {
        self.check(node)?;
        let (mut node, mut value) = (node, value);
        while let Some(parent) = self.tree.parent(node) {
            let sibling = if node == parent.left { parent.right } else { parent.left };
            let Some(other) = self.unmerged.remove(&sibling) else { break };
            let (left, right) = if node == parent.left { (value, other) } else { (other, value) };
            value = merge(parent.node, left, right);
            node = parent.node;
        }
        self.unmerged.insert(node, value);
        Ok(())
    }

    /// Whether the node could be inserted now.
    pub fn check(&self, node: Node) -> Result<(), Unfoldable> {
        if !self.tree.contains(node) {
            return Err(Unfoldable::NotANode(node));
        }
        if self.unmerged.keys().any(|have| have.first < node.end() && node.first < have.end()) {
            return Err(Unfoldable::Duplicate(node));
        }
        Ok(())
    }

    /// Number of values held.
    pub fn unmerged(&self) -> usize {
        self.unmerged.len()
    }

    /// Whether the sibling of `node` is here, so that inserting it would free a value.
    pub fn has_sibling_of(&self, node: Node) -> bool {
        self.tree.parent(node).is_some_and(|parent| {
            let sibling = if node == parent.left { parent.right } else { parent.left };
            self.unmerged.contains_key(&sibling)
        })
    }

    /// The first shard that no value covers, or `None` when the sum is complete.
    pub fn first_missing(&self) -> Option<u32> {
        let mut next = 0;
        for node in self.unmerged.keys() {
            if node.first != next {
                break;
            }
            next = node.end();
        }
        (next < self.tree.shards).then_some(next)
    }

    /// Takes the whole sum out, once every shard is in it.
    pub fn take_root(&mut self) -> Option<T> {
        self.unmerged.remove(&self.tree.root())
    }
}

/// `left += right`, element by element in f32: the one addition that every sum of gradients is made of.
pub fn add(left: &mut [f32], right: &[f32]) {
    debug_assert_eq!(left.len(), right.len());
    Arch::new().dispatch(|| {
        for (left, right) in left.iter_mut().zip(right) {
            *left += right;
        }
    });
}

/// Whether no element is NaN or infinite, at the speed of memory: exponents of all ones are the largest.
pub fn all_finite(values: &[f32]) -> bool {
    const INFINITE: u32 = 0x7F80_0000;
    let largest = |chunk: &[f32]| chunk.iter().map(|value| value.to_bits() & 0x7FFF_FFFF).fold(0, u32::max);
    Arch::new().dispatch(|| values.chunks(4096).all(|chunk| largest(chunk) < INFINITE))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn node(first: u32, shards: u32) -> Node {
        Node { first, shards }
    }

    /// The sum over a node by its definition.
    fn sum(node: Node, leaves: &[f32]) -> f32 {
        match Tree::children(node) {
            Some((left, right)) => sum(left, leaves) + sum(right, leaves),
            None => leaves[node.first as usize],
        }
    }

    /// Nodes that cover the tree once, cut as `cuts` says.
    fn cover(tree: Tree, cuts: &[bool]) -> Vec<Node> {
        let (mut open, mut cover) = (vec![tree.root()], Vec::new());
        let mut cuts = cuts.iter();
        while let Some(node) = open.pop() {
            match Tree::children(node).filter(|_| cuts.next() == Some(&true)) {
                Some((left, right)) => open.extend([left, right]),
                None => cover.push(node),
            }
        }
        cover
    }

    proptest! {
        /// Whoever computes which nodes, in whatever order they arrive, and however often: the same bits.
        #[test]
        fn every_delivery_gives_the_same_bits(
            leaves in prop::collection::vec(-1e3f32..1e3, 1..80),
            cuts in prop::collection::vec(any::<bool>(), 80),
            order in prop::collection::vec(any::<u64>(), 240),
        ) {
            let tree = Tree::new(leaves.len() as u32);
            let nodes = cover(tree, &cuts);
            let mut deliveries: Vec<(u64, Node)> = order.into_iter().zip([&nodes[..]; 3].concat()).collect();
            deliveries.sort_unstable();
            let (mut fold, mut delivered) = (Fold::new(tree), BTreeSet::new());
            for (_, node) in deliveries {
                prop_assert_eq!(fold.first_missing().is_none(), delivered.len() == nodes.len());
                let expected = if delivered.insert(node) { Ok(()) } else { Err(Unfoldable::Duplicate(node)) };
                let inserted = fold.insert(node, sum(node, &leaves), |_, left, right| left + right);
                prop_assert_eq!(inserted, expected);
            }
            prop_assert_eq!(fold.take_root().map(f32::to_bits), Some(sum(tree.root(), &leaves).to_bits()));
        }

        /// A part of what another partial has delivered, or a whole that contains it, never counts twice.
        #[test]
        fn overlapping_nodes_are_refused(
            shards in 2u32..80,
            cuts in prop::collection::vec(any::<bool>(), 80),
            other_cuts in prop::collection::vec(any::<bool>(), 80),
            first: prop::sample::Index,
        ) {
            let tree = Tree::new(shards);
            let nodes = cover(tree, &cuts);
            let held = nodes[first.index(nodes.len())];
            let mut fold = Fold::new(tree);
            fold.insert(held, (), |_, (), ()| ()).expect("a node of the tree");
            for node in cover(tree, &other_cuts) {
                let overlaps = node.first < held.end() && held.first < node.end();
                prop_assert_eq!(fold.check(node).is_err(), overlaps, "{} and {}", held, node);
            }
        }

        #[test]
        fn the_largest_node_is_a_node_within_its_limit(shards in 1u32..5000, first: prop::sample::Index, limit in 0u32..6000) {
            let (tree, first) = (Tree::new(shards), first.index(shards as usize) as u32);
            let largest = tree.largest_at(first, limit);
            prop_assert!(tree.contains(largest) && largest.first == first && largest.shards <= limit.max(1));
            if let Some(Parent { node, .. }) = tree.parent(largest) {
                prop_assert!(node.first != first || node.shards > limit, "{} would do", node);
            }
        }
    }

    #[test]
    fn the_nodes_are_those_that_halving_reaches_and_no_others() {
        for shards in 1..40 {
            let tree = Tree::new(shards);
            let (mut open, mut nodes) = (vec![tree.root()], BTreeSet::new());
            while let Some(node) = open.pop() {
                open.extend(Tree::children(node).into_iter().flat_map(|(left, right)| [left, right]));
                nodes.insert(node);
            }
            assert_eq!(nodes.len() as u32, 2 * shards - 1);
            for node in (0..shards + 2).flat_map(|first| (0..shards + 2).map(move |count| node(first, count)))
            {
                assert_eq!(tree.contains(node), nodes.contains(&node), "{node} of {shards}");
            }
        }
    }

    #[test]
    fn the_tree_splits_at_the_largest_power_of_two_below() {
        assert_eq!(Tree::children(node(0, 6)), Some((node(0, 4), node(4, 2))));
        assert_eq!(Tree::children(node(0, 8)), Some((node(0, 4), node(4, 4))));
        assert_eq!(Tree::children(node(4, 1)), None);
        let tree = Tree::new(6);
        assert!(tree.contains(node(4, 2)) && tree.contains(node(5, 1)) && tree.contains(node(0, 6)));
        assert!(!tree.contains(node(1, 2)) && !tree.contains(node(2, 4)) && !tree.contains(node(5, 2)));
    }

    #[test]
    fn a_prefix_of_the_shards_has_the_same_sums() {
        // Five of eight shards have samples: shard 4 passes upwards unchanged and meets the sum of 0..4.
        assert_eq!(Tree::children(Tree::new(5).root()), Some((node(0, 4), node(4, 1))));
        assert_eq!(Tree::children(Tree::new(3).root()), Some((node(0, 2), node(2, 1))));
    }

    #[test]
    fn the_largest_node_within_a_limit() {
        let tree = Tree::new(8);
        assert_eq!(tree.largest_at(0, 3), node(0, 2));
        assert_eq!(tree.largest_at(4, 100), node(4, 4));
        assert_eq!(tree.largest_at(6, 100), node(6, 2));
        assert_eq!(tree.largest_at(3, 4), node(3, 1));
        assert_eq!(Tree::new(6).largest_at(4, 4), node(4, 2));
    }

    #[test]
    fn folding_leaves_in_order_holds_few_values() {
        let mut fold = Fold::new(Tree::new(32));
        let mut most = 0;
        for shard in 0..32 {
            fold.insert(node(shard, 1), format!("{shard} "), |_, left, right| left + &right).expect("a leaf");
            most = most.max(fold.unmerged());
        }
        assert_eq!(most, 5, "log2(32), the value being added aside");
        assert!(fold.take_root().expect("complete").starts_with("0 1 2 3 4 5"));
    }

    #[test]
    fn what_is_covered_already_is_a_duplicate() {
        let mut fold = Fold::new(Tree::new(4));
        fold.insert(node(0, 2), 1, |_, left, right| left + right).expect("a node");
        assert_eq!(fold.check(node(0, 1)), Err(Unfoldable::Duplicate(node(0, 1))));
        assert_eq!(fold.check(node(0, 4)), Err(Unfoldable::Duplicate(node(0, 4))));
        assert_eq!(fold.check(node(1, 2)), Err(Unfoldable::NotANode(node(1, 2))));
        assert_eq!(fold.first_missing(), Some(2));
        assert!(!fold.has_sibling_of(node(2, 1)) && fold.has_sibling_of(node(2, 2)));
    }

    #[test]
    fn what_is_not_finite_is_seen_wherever_it_stands() {
        let mut values = vec![f32::MAX; 9000];
        assert!(all_finite(&values));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            for place in [0, 4095, 4096, 8999] {
                values[place] = bad;
                assert!(!all_finite(&values));
                values[place] = f32::MIN_POSITIVE;
            }
        }
    }
}
