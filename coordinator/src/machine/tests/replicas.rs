//! Replicas: when they are given leases, and what becomes of one that differs from the run's weights.

use super::*;

#[test]
fn a_replica_has_no_lease_before_it_is_current() {
    let mut cluster = Cluster::new(0, &[]);
    let worker = cluster.join_following();
    assert!(cluster.leases.is_empty(), "it has no weights yet");
    cluster.current(worker);
    assert!(cluster.leases.contains_key(&worker));
    while cluster.ended.is_none() {
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, undisturbed(&[]).records);
}

#[test]
fn a_partial_from_other_weights_is_refused_and_its_worker_follows_anew() {
    let expected = undisturbed(&[]);
    let mut cluster = Cluster::new(0, &[]);
    let (first, second) = (cluster.join_following(), cluster.join_following());
    cluster.current(first);
    cluster.current(second);
    // After the first step the weights are not those that the test began with.
    while cluster.records.is_empty() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    let expected_hash = cluster.machine.weights;
    let worker = cluster.busy();
    let right = Offer { weights: Some(expected_hash), ..Offer::default() };
    assert!(cluster.begin_push(worker, right).is_ok(), "these are the run's");
    let stray = Offer { weights: Some(expected_hash ^ 1), computing: true };
    let refused = cluster.begin_push(worker, stray);
    let found = expected_hash ^ 1;
    assert!(
        matches!(refused, Err(Refused::OtherWeights { found: f, expected: e, .. }) if (f, e) == (found, expected_hash)),
        "{refused:?}"
    );
    assert_eq!(cluster.following, [(worker, true)]);
    assert!(cluster.refused.is_empty(), "once can be chance");
    cluster.leases.remove(&worker);

    // Until it has caught up it is given nothing; the other one takes over what it had.
    let other = if worker == first { second } else { first };
    for _ in 0..3 {
        cluster.deliver(other);
        assert!(!cluster.leases.contains_key(&worker));
    }
    cluster.current(worker);
    while !cluster.leases.contains_key(&worker) {
        cluster.deliver(other);
    }
    let stray = Offer { weights: Some(cluster.machine.weights ^ 1), ..Offer::default() };
    assert!(cluster.begin_push(worker, stray).is_err());
    assert_eq!(cluster.refused, [(worker, StopReason::NumericClass)], "twice is not");
    cluster.leases.remove(&worker);
    let again = cluster.join_as(&worker.to_string().replace("worker ", "w"));
    assert_eq!(cluster.refused.last(), Some(&(again, StopReason::Refused)), "nor may it come back");
    while cluster.ended.is_none() {
        cluster.deliver(other);
    }
    assert_eq!(cluster.records, expected.records);
}

#[test]
fn an_evaluation_from_other_weights_is_refused_too() {
    let mut cluster = Cluster::new(0, &["eval_on_start=true"]);
    let worker = cluster.join_following();
    cluster.current(worker);
    assert_eq!(cluster.leases[&worker].1.pass, Pass::Eval);
    let stray = Offer { weights: Some(cluster.machine.weights ^ 1), ..Offer::default() };
    let refused = cluster.begin_push(worker, stray);
    assert!(matches!(refused, Err(Refused::OtherWeights { .. })), "{refused:?}");
    assert_eq!(cluster.following, [(worker, true)]);
}

#[test]
fn a_run_that_resumes_compares_with_the_weights_that_it_resumes_with() {
    let (run, standing) = (Run { weights: 77, ..run(&[]) }, RunState::default());
    let (machine, _) = Machine::new(run, &standing, true);
    assert_eq!(machine.weights, 77);
}
