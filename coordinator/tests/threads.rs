//! The reducer under every interleaving of its threads that a random scheduler finds: partials of several workers, some
//! sent twice, and a step that begins anew while they arrive, give one sum.
//!
//! The reducer is compiled into this test with shuttle's locks.

use headstart::id::{Segment, Step};
use headstart::rounding::Rounding;
use headstart::run_file::Wire;
use headstart::tree::{self, Node, Tree};
use headstart_coordinator::{broadcast, pool};
use shuttle::thread;
use sync::Arc;

#[allow(dead_code, unreachable_pub)]
#[path = "../src/reduce.rs"]
mod reduce;

/// What the reducer finds in place of the standard library's locks.
mod sync {
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
}

use reduce::{Attempt, Reducer};

const SEGMENTS: u32 = 2;
const SHARDS: u32 = 5;
const SCHEDULES: usize = 3000;

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

/// Delivers a node's segments to the step as it is now, trying again where there is no room; `false` when the step has
/// begun anew meanwhile.
fn deliver(reducer: &Reducer, node: Node) -> bool {
    let open = reducer.current(Step(0)).expect("it is open");
    for segment in 0..SEGMENTS {
        let mut values = partial(node, segment);
        loop {
            match open.attempt(node, Segment(segment), values) {
                Attempt::Done(outcome) => {
                    outcome.expect("it is a node of the tree");
                    break;
                }
                Attempt::Full(back) => values = back,
            }
            if !Arc::ptr_eq(&open, &reducer.current(Step(0)).expect("it is open")) {
                return false;
            }
            thread::yield_now();
        }
    }
    Arc::ptr_eq(&open, &reducer.current(Step(0)).expect("it is open"))
}

/// The bits of the sum, whoever delivers what.
fn sum(workers: &'static [&'static [(u32, u32)]], begins_anew: bool) -> Vec<Vec<u32>> {
    let broadcast = std::sync::Arc::new(broadcast::Broadcast::new(Wire::F32, 0));
    let rounding = Rounding::new(Wire::F32, 42);
    let reducer = Arc::new(Reducer::new(SEGMENTS as usize, pool::Pool::Inline, rounding, broadcast));
    reducer.open(Step(0), Tree::new(SHARDS));
    let mut threads: Vec<_> = workers
        .iter()
        .map(|nodes| {
            let reducer = reducer.clone();
            thread::spawn(move || {
                for &(first, shards) in *nodes {
                    while !deliver(&reducer, Node { first, shards }) {}
                }
            })
        })
        .collect();
    if begins_anew {
        let reducer = reducer.clone();
        threads.push(thread::spawn(move || reducer.open(Step(0), Tree::new(SHARDS))));
    }
    for thread in threads {
        thread.join().expect("nobody panics");
    }
    if begins_anew {
        // What arrived before it began anew is sent again, as leases of the new attempt would have it.
        for &(first, shards) in workers.iter().copied().flatten() {
            deliver(&reducer, Node { first, shards });
        }
    }
    let sums = reducer.take(Step(0)).expect("all nodes are in");
    assert!(reducer.take(Step(0)).is_none(), "a sum is taken once");
    sums.iter().map(|sum| sum.values.iter().map(|value| value.to_bits()).collect()).collect()
}

/// A tree of five shards by three workers, two of which send the same nodes in another order.
const WORKERS: &[&[(u32, u32)]] = &[&[(0, 2), (4, 1)], &[(2, 1), (3, 1)], &[(3, 1), (2, 1), (0, 2)]];

fn expected() -> Vec<Vec<u32>> {
    let root = Tree::new(SHARDS).root();
    (0..SEGMENTS).map(|segment| partial(root, segment).into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn any_interleaving_of_partials_gives_one_sum() {
    shuttle::check_random(|| assert_eq!(sum(WORKERS, false), expected()), SCHEDULES);
}

#[test]
fn so_does_a_step_that_begins_anew_while_they_arrive() {
    shuttle::check_random(|| assert_eq!(sum(WORKERS, true), expected()), SCHEDULES);
}
