//! The reducer's threads, under every interleaving that a random scheduler finds: partials of several workers, sent twice, and a
//! step that begins anew, give one sum. Compiled only with `--cfg shuttle`, which replaces the locks: `make test-threads`.

#![cfg(shuttle)]

use headstart::id::{Segment, Step};
use headstart::tree::{self, Node, Tree};
use headstart_coordinator::pool::Pool;
use headstart_coordinator::reduce::{Attempt, Reducer};
use shuttle::sync::Arc;

const SEGMENTS: u32 = 2;
const SHARDS: u32 = 5;
const ITERATIONS: usize = 5000;

fn leaf(shard: u32, segment: u32) -> Vec<f32> {
    (0..4).map(|element| 1.0 / (1.3 + (shard * 7 + segment * 3 + element) as f32)).collect()
}

fn partial(node: Node, segment: u32) -> Vec<f32> {
    match Tree::children(node) {
        None => leaf(node.first, segment),
        Some((left, right)) => {
            let mut sum = partial(left, segment);
            tree::add(&mut sum, &partial(right, segment));
            sum
        }
    }
}

/// Delivers a node's segments, trying again where there is no room.
fn deliver(reducer: &Reducer, node: Node) {
    let Ok(open) = reducer.current(Step(0)) else { return };
    for segment in 0..SEGMENTS {
        let mut values = partial(node, segment);
        loop {
            match open.attempt(node, Segment(segment), values) {
                Attempt::Done(outcome) => {
                    outcome.expect("it is a node of the tree");
                    break;
                }
                Attempt::Full(back) => {
                    values = back;
                    shuttle::thread::yield_now();
                }
            }
        }
    }
}

#[test]
fn any_interleaving_gives_one_sum() {
    let tree = Tree::new(SHARDS);
    let expected: Vec<Vec<u32>> = (0..SEGMENTS)
        .map(|segment| partial(tree.root(), segment).into_iter().map(f32::to_bits).collect())
        .collect();
    let story = move || {
        let reducer = Arc::new(Reducer::new(SEGMENTS as usize, Pool::Inline));
        reducer.open(Step(0), tree);
        // Two workers share the nodes, a third computes one of them as well.
        let shares = [vec![(0, 2), (4, 1)], vec![(2, 1), (3, 1)], vec![(3, 1), (0, 2)]];
        let workers = shares.map(|nodes| {
            let reducer = reducer.clone();
            shuttle::thread::spawn(move || {
                for (first, shards) in nodes {
                    deliver(&reducer, Node { first, shards });
                }
            })
        });
        for worker in workers {
            worker.join().expect("nobody panics");
        }
        let sums = reducer.take(Step(0)).expect("all nodes are in");
        for (sum, expected) in sums.iter().zip(&expected) {
            let bits: Vec<u32> = sum.values.iter().map(|value| value.to_bits()).collect();
            assert_eq!(bits, *expected);
        }
        assert!(reducer.take(Step(0)).is_none(), "a sum is taken once");
    };
    shuttle::check_random(story, ITERATIONS);
}
