//! Audits: who is believed, and what becomes of a step.

use super::*;
use crate::membership::Rejected;

#[test]
fn audits_change_nothing_where_everybody_is_right() {
    let expected = undisturbed(&[]).records;
    let mut cluster = Cluster::new(0, &["audit=1"]);
    for _ in 0..3 {
        cluster.join();
    }
    let mut delivered = 0;
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
        delivered += 1;
    }
    assert_eq!((cluster.records, cluster.disputes), (expected, vec![]));
    assert!(delivered > 2 * 6 * 2, "every training lease was computed twice: {delivered}");
}

#[test]
fn an_audit_finds_who_computes_wrongly_and_the_step_begins_anew() {
    let expected = undisturbed(&[]).records;
    let mut cluster = Cluster::new(0, &["audit=1"]);
    let (wrong, _, _) = (cluster.join(), cluster.join(), cluster.join());
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver_with(worker, if worker == wrong { 1.0 } else { 0.0 });
    }
    assert_eq!(cluster.records, expected);
    assert_eq!(cluster.refused[0], (wrong, StopReason::NumericClass));
    assert!(
        !cluster.disputes.is_empty() && cluster.disputes.iter().all(|names| names.contains(&"w1".to_owned()))
    );
    assert!(
        cluster.refused[1..].iter().all(|(_, reason)| *reason == StopReason::Finished),
        "{:?}",
        cluster.refused
    );
    let join = Join { name: "w1".into(), device: "cpu".into(), memory: 1 };
    let effects = cluster.machine.members.join(cluster.now, WorkerId(9), join, 9);
    assert!(matches!(effects, Err(Rejected::Banned(_))), "{effects:?}");
}

#[test]
fn a_difference_waits_for_a_third_worker_even_when_one_of_the_two_is_gone() {
    let mut cluster = Cluster::new(0, &["audit=1", "shards_per_step=1"]);
    let (first, second) = (cluster.join(), cluster.join());
    let holder = if cluster.leases.contains_key(&first) { first } else { second };
    cluster.deliver_with(holder, 1.0);
    let auditor = cluster.busy();
    assert_ne!(auditor, holder);
    cluster.deliver(auditor);
    assert_eq!(cluster.machine.snapshot().activity, Activity::Waiting { ready: 2, needed: 3 });
    cluster.kill(holder);
    assert_eq!(cluster.machine.snapshot().step, 0);
    let third = cluster.join();
    cluster.deliver(third);
    assert_eq!(cluster.refused.len(), 1, "the wrong one is banned, even if it comes back");
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    let sets = ["shards_per_step=1"];
    assert_eq!(cluster.records, undisturbed(&sets).records);
}

#[test]
fn one_worker_alone_is_not_audited() {
    let cluster = undisturbed(&["audit=1"]);
    assert_eq!(cluster.records, undisturbed(&[]).records);
}

/// Two workers and a third: the first two have a lease of the only shard and an audit of it.
fn audited() -> (Cluster, WorkerId, WorkerId) {
    let mut cluster = Cluster::new(0, &["audit=1", "shards_per_step=1"]);
    let (first, second) = (cluster.join(), cluster.join());
    let holder = if cluster.leases.contains_key(&first) { first } else { second };
    cluster.deliver(holder);
    let auditor = cluster.busy();
    assert_ne!(auditor, holder);
    (cluster, holder, auditor)
}

fn finish(mut cluster: Cluster) {
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, undisturbed(&["shards_per_step=1"]).records);
}

#[test]
fn an_auditor_that_finds_no_finite_gradient_is_outvoted() {
    let (mut cluster, _, auditor) = audited();
    cluster.join();
    let (lease, _) = cluster.leases.remove(&auditor).expect("it audits");
    cluster.tell(Event::LeaseFailed(auditor, lease, Failure::NotFinite { shard: 0 }));
    assert!(cluster.machine.skipped.is_empty() && !cluster.leases.contains_key(&auditor));
    let third = cluster.busy();
    cluster.deliver(third);
    assert_eq!(cluster.refused, [(auditor, StopReason::NumericClass)]);
    finish(cluster);
}

#[test]
fn an_audit_that_nobody_can_compute_is_dropped() {
    let (mut cluster, _, auditor) = audited();
    let (lease, _) = cluster.leases.remove(&auditor).expect("it audits");
    cluster.tell(Event::LeaseFailed(auditor, lease, Failure::Error("no memory".into())));
    assert_eq!(cluster.machine.snapshot().step, 1, "the step is over");
    finish(cluster);
}

#[test]
fn a_push_that_breaks_off_begins_an_audited_step_anew() {
    let mut cluster = Cluster::new(0, &["audit=1", "cluster.min_workers=2"]);
    let (first, second) = (cluster.join(), cluster.join());
    let (lease, work) = cluster.leases[&first];
    let (before, _) = cluster.leases[&second];
    let partial = PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker: first, lease, work };
    let (_, totals) = compute(&cluster.machine.run.plan, &work, work.node, &BTreeMap::new());
    let wanted = cluster.tell(Event::PushBegun(partial, totals, Offer::default()));
    assert!(matches!(wanted, Some(Ok(SegmentUse::SumAndHash))), "{wanted:?}");
    cluster.join();
    cluster.kill(first);
    assert_ne!(cluster.leases[&second].0, before, "what it computed for the old attempt is not wanted");
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, undisturbed(&[]).records);
}

#[test]
fn a_worker_says_nothing_of_shards_that_it_does_not_compute() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, second) = (cluster.join(), cluster.join());
    for worker in [first, second] {
        let (lease, work) = cluster.leases.remove(&worker).expect("it holds a lease");
        let shard = (work.node.end()) % 7;
        assert!(!work.node.range().contains(&shard));
        cluster.tell(Event::LeaseFailed(worker, lease, Failure::NotFinite { shard }));
    }
    assert!(cluster.machine.skipped.is_empty());
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.records, undisturbed(&[]).records);
}
