//! Single plans and trials, checked by hand.

use headstart::id::WorkerId;
use headstart::tree::{Node, Tree};

use super::{far, near, paces, plan};
use crate::shares::trial::Trial;
use crate::shares::{Pace, Paces, choose, time, with};

/// By hand: two nodes of a worker whose partials take longer than its shards, and the line at the coordinator.
#[test]
fn a_step_takes_what_its_pipeline_takes() {
    let nodes = [Node { first: 0, shards: 1 }, Node { first: 2, shards: 2 }];
    let paces =
        Paces { shared: Some(1.5), ..paces(&[Pace { fixed: Some(0.5), ..far(1.0, 3.0) }, far(1.0, 1.5)]) };
    let workers = paces.resolve();
    // Computed at 1.5 and 3.5; sent from 1.5 to 4.5 and from 4.5 to 7.5.
    let mut starts = Vec::new();
    assert_eq!(time::pipeline(&workers[0], &nodes, &mut starts), 7.5);
    assert_eq!(starts, [1.5, 4.5]);
    // The other one sends from 1 to 2.5; the coordinator's link is busy from 1 to 4 and from 4.5 to 6.
    let all = [nodes.to_vec(), vec![Node { first: 1, shards: 1 }]];
    let timing = time::timing(&workers, &all, paces.shared());
    assert_eq!(timing.end, 7.5);
    // With 2.5 seconds a partial it is busy from 1 to 8.5.
    assert_eq!(time::timing(&workers, &all, 2.5).end, 8.5);
}

#[test]
fn a_trial_is_due_when_it_costs_a_fiftieth_of_the_time_since_the_last() {
    let trial = Trial { with: 7.3, without: 0.4, since: Some(340.0), idle: 1 };
    assert!(!trial.is_due());
    assert!(Trial { since: Some(346.0), ..trial }.is_due());
    assert!(!Trial { since: Some(346.0), idle: 2, ..trial }.is_due());
    assert!(Trial { since: None, ..trial }.is_due());
    // Where there is no shard for it, a trial costs a step: weights may have to be pulled.
    let spare = Trial { with: 0.4, since: Some(19.0), ..trial };
    assert!(!spare.is_due() && Trial { since: Some(21.0), ..spare }.is_due());
}

#[test]
fn a_trial_gives_the_idle_worker_one_shard() {
    let paces = paces(&[near(0.1), near(0.1), far(0.1, 7.2)]);
    let shares = plan(&paces, 8);
    let trial = with(&shares, &paces, WorkerId(2)).expect("it idles");
    assert_eq!(trial.members[&WorkerId(2)].iter().map(|node| node.shards).sum::<u32>(), 1);
    assert!((trial.time - shares.idle[&WorkerId(2)]).abs() < 1e-9);
    assert_eq!(with(&shares, &paces, WorkerId(0)), None);
}

#[test]
fn shares_are_balanced_as_far_as_the_tree_allows() {
    for (workers, shards) in [(1, 1), (1, 7), (2, 8), (3, 8), (5, 32), (6, 8), (31, 32), (8, 8), (7, 4096)] {
        let shares = plan(&paces(&vec![near(0.3); workers]), shards);
        let of = |nodes: &Vec<Node>| nodes.iter().map(|node| node.shards).sum::<u32>();
        let sizes: Vec<u32> = shares.members.values().map(of).collect();
        assert!(shares.idle.is_empty(), "{workers} workers, {shards} shards");
        assert_eq!(
            sizes.iter().max(),
            Some(&shards.div_ceil(workers as u32)),
            "{workers} workers, {shards} shards"
        );
    }
}

#[test]
fn a_plan_is_kept_until_another_is_shorter_by_the_margin() {
    let shares = plan(&paces(&[near(1.0), near(1.0)]), 8);
    let noisy = paces(&[near(1.03), near(0.97)]);
    let again = choose(&noisy, Tree::new(8), Some(&shares)).expect("there are workers");
    assert_eq!((&again.members, again.time), (&shares.members, 4.0 * 1.03));
    let slow = paces(&[near(3.0), near(1.0)]);
    let other = choose(&slow, Tree::new(8), Some(&shares)).expect("there are workers");
    assert_eq!(other.time, 6.0);
    // A node that no longer fits makes a new plan, and so does another number of shards.
    let little = paces(&[Pace { longest: 1, ..near(1.0) }, near(1.0)]);
    let small = choose(&little, Tree::new(8), Some(&shares)).expect("there are workers");
    assert!(small.members[&WorkerId(0)].iter().all(|node| node.shards == 1));
    let short = choose(&noisy, Tree::new(3), Some(&shares)).expect("there are workers");
    assert_eq!(short.members.values().flatten().map(|node| node.shards).sum::<u32>(), 3);
}

#[test]
fn senseless_measurements_do_no_harm() {
    let odd = |value| Pace { shard: Some(value), fixed: Some(value), partial: Some(value), ..far(1.0, 1.0) };
    for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MIN_POSITIVE, f64::MAX] {
        for paces in [paces(&[odd(value)]), paces(&[odd(value), near(0.1)]), paces(&[odd(value); 3])] {
            let paces = Paces { shared: Some(value), ..paces };
            assert!(plan(&paces, 9).time.is_finite());
        }
    }
    assert_eq!(choose(&Paces::default(), Tree::new(1), None), None);
}
