//! The sum of a step does not depend on who sent what when, and strangers are refused by name.

use std::sync::Arc;

use headstart::id::{Segment, Step};
use headstart::rounding::Rounding;
use headstart::run_file::Wire;
use headstart::tree::{self, Node, Tree};
use headstart_coordinator::broadcast::Broadcast;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::reduce::{Inserted, Reducer, Refused};
use proptest::prelude::*;

fn reducer(segments: usize, pool: Pool) -> Reducer {
    let broadcast = Arc::new(Broadcast::new(Wire::F32, 0));
    Reducer::new(segments, pool, Rounding::new(Wire::F32, 42), broadcast)
}

fn leaf(shard: u32) -> Vec<f32> {
    (0..8).map(|element| 1.0 / (1.0 + shard as f32 * 0.37 + element as f32 * 1.7)).collect()
}

/// The partial of a node, folded as a worker folds it.
fn partial(node: Node) -> Vec<f32> {
    match Tree::children(node) {
        None => leaf(node.first),
        Some((left, right)) => {
            let mut sum = partial(left);
            tree::add(&mut sum, &partial(right));
            sum
        }
    }
}

fn cut(node: Node, coin: &mut impl FnMut() -> bool) -> Vec<Node> {
    match Tree::children(node) {
        Some((left, right)) if coin() => [cut(left, coin), cut(right, coin)].concat(),
        _ => vec![node],
    }
}

proptest! {
    /// Any split into nodes, any order of arrival, any repetition: one sum, to the bit.
    #[test]
    fn the_sum_does_not_depend_on_who_sent_what_when(
        shards in 1u32..20,
        coins in prop::collection::vec(any::<bool>(), 64),
        order in prop::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let tree = Tree::new(shards);
        let mut coins = coins.into_iter().cycle();
        let mut nodes = cut(tree.root(), &mut || coins.next().expect("endless"));
        for (at, other) in order.iter().enumerate().take(nodes.len()) {
            let other = other.index(nodes.len());
            nodes.swap(at, other);
        }
        let twice = [nodes.clone(), nodes].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let sum = runtime.block_on(async {
            let reducer = self::reducer(1, Pool::Threads);
            reducer.open(Step(3), tree);
            let open = reducer.current(Step(3)).expect("just opened");
            let pushes = twice.into_iter().map(|node| open.insert(node, Segment(0), partial(node)));
            for outcome in futures::future::join_all(pushes).await {
                outcome.expect("every node belongs to the tree");
            }
            reducer.take(Step(3)).expect("complete")
        });
        let expected = partial(tree.root());
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&sum[0].values), bits(&expected));
    }
}

#[tokio::test]
async fn partials_that_cannot_merge_wait_until_memory_is_free() {
    let reducer = self::reducer(1, Pool::Threads);
    reducer.open(Step(0), Tree::new(16));
    let open = reducer.current(Step(0)).expect("just opened");
    let leaf_node = |first| Node { first, shards: 1 };
    for first in [1, 3, 5, 7, 9, 11] {
        assert_eq!(open.insert(leaf_node(first), Segment(0), leaf(first)).await, Ok(Inserted::Added));
    }
    let mut waiting = Box::pin(open.insert(leaf_node(13), Segment(0), leaf(13)));
    assert!(futures::poll!(&mut waiting).is_pending(), "log2(16) + 2 values are held");
    open.insert(leaf_node(0), Segment(0), leaf(0)).await.expect("the lowest missing node is always welcome");
    open.insert(leaf_node(2), Segment(0), leaf(2)).await.expect("and so is the next");
    assert_eq!(waiting.await, Ok(Inserted::Added));
}

#[tokio::test]
async fn strangers_are_refused_by_name() {
    let reducer = self::reducer(2, Pool::Inline);
    reducer.open(Step(4), Tree::new(6));
    assert_eq!(reducer.current(Step(3)).err(), Some(Refused::WrongStep(Step(3))));
    let open = reducer.current(Step(4)).expect("open");
    let odd = Node { first: 1, shards: 2 };
    assert_eq!(open.insert(odd, Segment(0), leaf(0)).await, Err(Refused::NotANode(odd)));
    let root = Node { first: 0, shards: 6 };
    assert_eq!(open.insert(root, Segment(2), leaf(0)).await, Err(Refused::NoSegment(Segment(2))));
    assert!(reducer.take(Step(4)).is_none(), "nothing has arrived");
}
