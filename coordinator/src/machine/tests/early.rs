//! Partials that are pushed while they are computed: how long they may take, and what becomes of a step that got half of one.

use super::*;

const COMPUTING: Offer = Offer { weights: None, computing: true };
const COMPUTED: Offer = Offer { weights: None, computing: false };

/// Time passes in which only heartbeats come.
fn wait(cluster: &mut Cluster, time: Duration) {
    for _ in 0..time.as_secs() {
        cluster.now += Duration::from_secs(1);
        let here: Vec<WorkerId> = cluster.machine.members.iter().map(|(worker, _)| worker).collect();
        for worker in here {
            cluster.tell(Event::Heard(worker, TimeBreakdown::default()));
        }
        cluster.tell(Event::Tick);
    }
}

/// A cluster whose only worker has a known pace, and holds a lease.
fn at_work() -> (Cluster, WorkerId) {
    let mut cluster = Cluster::new(0, &["shards_per_step=1"]);
    let worker = cluster.join();
    while cluster.records.len() < 2 {
        cluster.deliver(worker);
    }
    (cluster, worker)
}

#[test]
fn a_lease_that_still_computes_keeps_its_own_limit() {
    let (mut cluster, worker) = at_work();
    cluster.begin_push(worker, COMPUTING).expect("it is leased");
    wait(&mut cluster, Duration::from_secs(90));
    assert_eq!(cluster.refused, [(worker, StopReason::Refused)], "it hangs, though it pushes");
}

#[test]
fn a_lease_that_is_computed_may_take_as_long_as_a_push() {
    let (mut cluster, worker) = at_work();
    cluster.begin_push(worker, COMPUTED).expect("it is leased");
    wait(&mut cluster, Duration::from_secs(90));
    assert!(cluster.refused.is_empty());

    let (mut cluster, worker) = at_work();
    cluster.begin_push(worker, COMPUTING).expect("it is leased");
    let (lease, _) = cluster.leases[&worker];
    cluster.tell(Event::Computed(worker, lease));
    wait(&mut cluster, Duration::from_secs(90));
    assert!(cluster.refused.is_empty());
    cluster.deliver(worker);
    while cluster.ended.is_none() {
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, undisturbed(&["shards_per_step=1"]).records);
}

#[test]
fn the_next_lease_is_given_while_a_partial_travels_but_not_a_third() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2", "shards_per_step=11"]);
    let (first, second) = (cluster.join(), cluster.join());
    let (lease, work) = cluster.leases.remove(&first).expect("it holds a lease");
    cluster.tell(Event::Computed(first, lease));
    assert!(cluster.leases.contains_key(&first), "it computes on");
    assert_ne!(cluster.leases[&first].1.node, work.node);
    let (lease, _) = cluster.leases.remove(&first).expect("just given");
    cluster.tell(Event::Computed(first, lease));
    assert!(!cluster.leases.contains_key(&first), "two partials wait for its link");
    cluster.kill(first);
    while cluster.ended.is_none() && cluster.leases.contains_key(&second) {
        cluster.deliver(second);
        cluster.machine.run.spec.cluster.min_workers = 1;
        cluster.tell(Event::Tick);
    }
    assert_eq!(
        cluster.records,
        undisturbed(&["shards_per_step=11"]).records,
        "both nodes were computed anew"
    );
}

/// Fails a shard of the first step wherever it is leased, after its partial had begun to leave, until the run ends.
fn with_a_bad_shard(mut cluster: Cluster, shard: u32) -> Cluster {
    let mut begun = 0;
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        let (_, work) = cluster.leases[&worker];
        let bad = (work.pass, work.step) == (Pass::Train, Step(0))
            && work.node.range().contains(&shard)
            && !cluster.machine.skipped.contains_key(&shard);
        if !bad {
            cluster.deliver(worker);
            continue;
        }
        begun += 1;
        assert!(begun < 10, "the step begins anew for ever");
        let opened = cluster.opened;
        cluster.begin_push(worker, COMPUTING).expect("it is leased");
        cluster.fail(worker, Failure::NotFinite { shard });
        if cluster.ended.is_none() {
            assert_eq!(cluster.opened, opened + 1, "what has left of the partial must not count");
        }
    }
    assert_eq!(begun, 2, "computed twice, and no more");
    cluster
}

#[test]
fn a_bad_shard_after_an_early_push_makes_the_step_begin_anew_and_is_skipped_the_second_time() {
    let sets = ["nonfinite_shards=skip", "cluster.min_workers=2"];
    let mut cluster = Cluster::new(3, &sets);
    let workers = [cluster.join(), cluster.join(), cluster.join()];
    let cluster = with_a_bad_shard(cluster, 2);
    assert_eq!(cluster.ended, Some((Exit::Ok, "the run is complete".into())));
    assert!(cluster.records[0].contains("{2: "), "the ledger names the shard: {}", cluster.records[0]);
    let dismissed: Vec<_> = workers.map(|worker| (worker, StopReason::Finished)).into();
    assert_eq!(cluster.refused, dismissed, "nobody did anything wrong");
    assert!(!cluster.records[1].contains("{2: "), "the next step has it");
}

#[test]
fn a_bad_shard_after_an_early_push_ends_a_run_that_skips_none() {
    let mut cluster = Cluster::new(3, &["nonfinite_shards=fail", "cluster.min_workers=2"]);
    let _ = [cluster.join(), cluster.join(), cluster.join()];
    let cluster = with_a_bad_shard(cluster, 2);
    assert_eq!(cluster.ended.expect("it ends").0, Exit::Data);
}

#[test]
fn a_shard_that_failed_goes_to_another_worker_in_the_next_attempt() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2", "shards_per_step=1"]);
    let (first, second) = (cluster.join(), cluster.join());
    let holder = cluster.busy();
    let other = if holder == first { second } else { first };
    cluster.begin_push(holder, COMPUTING).expect("it is leased");
    cluster.fail(holder, Failure::NotFinite { shard: 0 });
    assert_eq!(cluster.opened, 2);
    assert!(cluster.leases.contains_key(&other), "who failed at it is not asked first");
    assert!(!cluster.leases.contains_key(&holder));
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, undisturbed(&["shards_per_step=1"]).records);
}

#[test]
fn a_bad_shard_before_anything_has_left_costs_only_its_lease() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, _) = (cluster.join(), cluster.join());
    cluster.fail(first, Failure::NotFinite { shard: 0 });
    assert_eq!(cluster.opened, 1);
}

#[test]
fn a_sum_that_a_worker_finds_not_finite_makes_the_step_begin_anew_and_two_workers_are_a_divergence() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, second) = (cluster.join(), cluster.join());
    cluster.begin_push(first, COMPUTING).expect("it is leased");
    cluster.fail(first, Failure::SumNotFinite);
    assert_eq!((cluster.ended.clone(), cluster.opened), (None, 2), "one worker may be wrong");
    cluster.begin_push(second, COMPUTING).expect("it is leased");
    cluster.fail(second, Failure::SumNotFinite);
    let (exit, detail) = cluster.ended.expect("two agree");
    assert_eq!(exit, Exit::Diverged);
    assert!(detail.contains("the sum of the gradients"), "{detail}");
}

#[test]
fn who_alone_finds_sums_that_are_not_finite_twice_is_banned() {
    let expected = undisturbed(&[]);
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, _, _) = (cluster.join(), cluster.join(), cluster.join());
    cluster.fail(first, Failure::SumNotFinite);
    assert!(cluster.refused.is_empty());
    while !cluster.leases.contains_key(&first) {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert!(cluster.records.is_empty(), "still the same step");
    cluster.fail(first, Failure::SumNotFinite);
    assert_eq!(cluster.refused, [(first, StopReason::NumericClass)]);
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, expected.records);
}
