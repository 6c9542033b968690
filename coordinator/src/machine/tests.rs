//! Stories about runs, told to the machine alone: a seeded schedule of deliveries, deaths and arrivals.

use std::collections::BTreeMap;

use headstart::id::LeaseId;
use headstart::message::{Failure, Join, NumericClass, PartialId, Ready, TimeBreakdown, Work};
use xxhash_rust::xxh3::xxh3_128;

use super::assign::FIRST_LEASE;
use super::*;
use crate::event::{Offer, Refused, SegmentUse};
use crate::membership::Rejected;

mod audits;
mod base;
mod cluster;
mod early;
mod participation;
mod probing;
mod rejoin;
mod replicas;
mod unfit;

use cluster::*;

#[test]
fn any_schedule_of_crashes_and_joins_gives_the_same_records() {
    let expected = undisturbed(&[]);
    assert_eq!(expected.ended, Some((Exit::Ok, "the run is complete".into())));
    assert_eq!(expected.records.len(), 6 + 2, "45 rows in batches of 16, twice; an evaluation every 3 steps");
    let mut reassigned = 0;
    for seed in 1..=500 {
        let mut cluster = Cluster::new(seed, &[]);
        for _ in 0..cluster.draw(6) {
            cluster.join();
        }
        while cluster.ended.is_none() {
            match cluster.draw(10) {
                0 => drop(cluster.join()),
                1 if !cluster.leases.is_empty() => {
                    let worker = cluster.busy();
                    cluster.kill(worker);
                }
                _ if cluster.leases.is_empty() => drop(cluster.join()),
                _ => {
                    let worker = cluster.busy();
                    cluster.deliver(worker);
                }
            }
        }
        assert_eq!(cluster.records, expected.records, "seed {seed}");
        assert_eq!(cluster.best, expected.best, "seed {seed}");
        reassigned += cluster.reassigned;
    }
    assert!(reassigned > 500, "only {reassigned} leases were lost: the schedules are too kind");
}

#[test]
fn a_full_node_goes_to_another_worker_when_its_first_dies() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let first = cluster.join();
    assert!(cluster.leases.is_empty(), "one of two workers is not enough");
    let second = cluster.join();
    let (_, lost) = cluster.leases[&first];
    assert_eq!(lost.node, Node { first: 0, shards: 4 }, "half of seven shards, as a node of the tree");
    cluster.kill(first);
    let third = cluster.join();
    assert_eq!(cluster.leases[&third].1, lost, "leased again whole");
    assert_eq!(cluster.leases[&second].1.node, Node { first: 4, shards: 3 }, "the rest");
}

#[test]
fn a_worker_that_lets_its_lease_expire_is_let_go_and_its_partial_refused() {
    let mut cluster = Cluster::new(0, &[]);
    let slow = cluster.join();
    let (lease, work) = cluster.leases[&slow];
    cluster.leases.clear();
    cluster.now += FIRST_LEASE * (work.node.shards - 1);
    cluster.tell(Event::Heard(slow, TimeBreakdown::default()));
    assert_eq!(
        cluster.machine.apply(cluster.now, Event::Tick),
        [],
        "nobody knows how long a shard takes here"
    );
    cluster.now += FIRST_LEASE;
    cluster.tell(Event::Heard(slow, TimeBreakdown::default()));
    let effects = cluster.machine.apply(cluster.now, Event::Tick);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Send(to, ToWorker::Stop { .. }) if *to == slow)),
        "{effects:?}"
    );
    assert!(effects.contains(&Effect::Close(slow)));
    let partial = PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker: slow, lease, work };
    assert_eq!(
        cluster.tell(Event::PushBegun(partial, Totals::default(), Offer::default())),
        Some(Err(Refused::NotLeased { lease, worker: slow }))
    );
}

#[test]
fn a_worker_that_would_change_bits_is_turned_away() {
    let mut cluster = Cluster::new(0, &[]);
    let first = cluster.join();
    let join = Join { name: "w".into(), device: "cpu".into(), memory: 1 };
    cluster.tell(Event::Joined(WorkerId(9), join.clone()));
    cluster.tell(Event::Ready(WorkerId(9), ready(2)));
    assert_eq!(cluster.refused, [(WorkerId(9), StopReason::NumericClass)]);
    cluster.kill(first);
    cluster.tell(Event::Joined(WorkerId(10), join));
    cluster.tell(Event::Ready(WorkerId(10), ready(2)));
    assert!(cluster.leases.contains_key(&WorkerId(10)), "nothing was committed, so the class is free again");
}

#[test]
fn sums_that_cannot_be_right_are_refused() {
    let mut cluster = Cluster::new(0, &[]);
    let worker = cluster.join();
    let (lease, work) = cluster.leases[&worker];
    let partial = |work| PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker, lease, work };
    let samples = Totals { samples: 3, ..Totals::default() };
    let refused = cluster.tell(Event::PushBegun(partial(work), samples, Offer::default()));
    assert!(matches!(refused, Some(Err(Refused::Implausible(_)))), "{refused:?}");
    let (_, mut totals) = compute(&cluster.machine.run.plan, &work, work.node, &BTreeMap::new());
    totals.loss = f64::NAN;
    let refused = cluster.tell(Event::PushBegun(partial(work), totals, Offer::default()));
    assert!(matches!(refused, Some(Err(Refused::Implausible(_)))), "{refused:?}");
    let other = Work { version: Version(5), ..work };
    let refused = cluster.tell(Event::PushBegun(partial(other), Totals::default(), Offer::default()));
    assert!(matches!(refused, Some(Err(Refused::OtherWork { .. }))), "{refused:?}");
}

/// Whoever has a lease with this shard finds it not finite, twice.
fn poison(cluster: &mut Cluster, shard: u32) {
    for _ in 0..2 {
        let holder = cluster.leases.iter().find(|(_, (_, work))| work.node.range().contains(&shard));
        let (&worker, &(lease, _)) = holder.expect("somebody computes it");
        cluster.leases.remove(&worker);
        cluster.tell(Event::LeaseFailed(worker, lease, Failure::NotFinite { shard }));
        while cluster.ended.is_none()
            && !cluster.leases.values().any(|(_, work)| work.node.range().contains(&shard))
        {
            let worker = cluster.busy();
            cluster.deliver(worker);
        }
    }
}

#[test]
fn a_shard_that_is_not_finite_goes_to_another_worker_first() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, second) = (cluster.join(), cluster.join());
    let (lease, failed) = cluster.leases.remove(&first).expect("it is at work");
    cluster.tell(Event::LeaseFailed(first, lease, Failure::NotFinite { shard: 1 }));
    assert!(!cluster.leases.contains_key(&first), "the node is not for the one that failed at it");
    cluster.deliver(second);
    assert_eq!(cluster.leases[&second].1, failed);
}

#[test]
fn one_bad_shard_ends_the_run_with_its_rows_once_the_others_are_seen_to_be_fine() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    cluster.join();
    cluster.join();
    poison(&mut cluster, 1);
    assert_eq!(cluster.ended, None, "the step begins anew without it");
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    let (exit, detail) = cluster.ended.expect("ended");
    assert_eq!(exit, Exit::Data);
    assert!(detail.contains("shard 1 (rows [") && detail.contains("nonfinite_shards: skip"), "{detail}");
}

#[test]
fn a_bad_shard_can_be_left_out_and_the_records_say_so() {
    let mut cluster = Cluster::new(0, &["nonfinite_shards=skip"]);
    cluster.join();
    poison(&mut cluster, 1);
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.ended, Some((Exit::Ok, "the run is complete".into())));
    assert!(cluster.records[0].contains("{1: ["), "{:?}", cluster.records);
    assert!(
        cluster.records[0].starts_with("step 0 14 "),
        "two of 16 samples are missing: {:?}",
        cluster.records
    );
    assert!(cluster.records[1].contains("{}"), "the next step has all its shards: {:?}", cluster.records);
}

#[test]
fn more_than_a_quarter_of_bad_shards_is_divergence() {
    let mut cluster = Cluster::new(0, &["nonfinite_shards=skip"]);
    cluster.join();
    poison(&mut cluster, 1);
    poison(&mut cluster, 6);
    let (exit, detail) = cluster.ended.expect("ended");
    assert_eq!(exit, Exit::Diverged);
    assert!(detail.contains("shards 1, 6 of 7") && detail.contains("learning_rate"), "{detail}");
}

#[test]
fn a_lease_that_lasts_too_long_is_given_to_a_second_worker_and_the_first_partial_counts() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (slow, fast) = (cluster.join(), cluster.join());
    // A step together, so that it is known how long a lease takes.
    cluster.deliver(slow);
    cluster.deliver(fast);
    let (lease, work) = cluster.leases[&slow];
    cluster.deliver(fast);
    assert!(!cluster.leases.contains_key(&fast), "nothing is left to do, and the other is not late yet");
    cluster.now += Duration::from_secs(5);
    cluster.tell(Event::Heard(slow, TimeBreakdown::default()));
    assert_eq!(cluster.leases[&fast].1, work, "the late one's node");
    cluster.deliver(fast);
    let (next, _) = cluster.leases[&slow];
    assert_ne!(next, lease, "its lease was revoked, and the next step has begun");
    let partial = PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker: slow, lease, work };
    assert_eq!(
        cluster.tell(Event::PushBegun(partial, Totals::default(), Offer::default())),
        Some(Err(Refused::NotLeased { lease, worker: slow }))
    );
}

#[test]
fn numeric_classes_are_not_mixed_in_a_first_step() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, second) = (cluster.join(), cluster.join());
    cluster.deliver(first);
    cluster.kill(second);
    cluster.kill(first);
    let join = Join { name: "w".into(), device: "cpu".into(), memory: 1 << 30 };
    for worker in [WorkerId(10), WorkerId(11)] {
        cluster.tell(Event::Joined(worker, join.clone()));
        cluster.tell(Event::Ready(worker, ready(2)));
    }
    let leased: u32 = cluster.leases.values().map(|(_, work)| work.node.shards).sum();
    assert_eq!(leased, 7, "what the others delivered is computed again");
}

#[test]
fn early_stopping_ends_before_the_last_step() {
    let sets = ["early_stopping_patience=1", "eval_steps=1"];
    let cluster = undisturbed(&sets);
    let steps = cluster.records.iter().filter(|record| record.starts_with("step")).count();
    assert!(steps < 6, "{:?}", cluster.records);
}

#[test]
fn a_run_goes_on_from_any_commit_as_if_nothing_had_happened() {
    goes_on_from_any_commit(&["save_steps=1"], 5);
    // It stops two evaluations after the best one, before or after which it may be interrupted.
    goes_on_from_any_commit(&["save_steps=1", "eval_steps=1", "early_stopping_patience=2"], 2);
}

fn goes_on_from_any_commit(sets: &[&str], least: usize) {
    let first = undisturbed(sets);
    assert!(first.commits.len() >= least, "after each step");
    goes_on_from(&first.commits, sets);
}

/// `commits`: states that a run committed, and how many records it had made by then.
fn goes_on_from(commits: &[(usize, RunState)], sets: &[&str]) {
    let expected = undisturbed(sets).records;
    for (made, standing) in commits {
        let mut later = Cluster::resumed(0, sets, standing);
        let worker = later.join();
        while later.ended.is_none() {
            later.deliver(worker);
        }
        assert_eq!(
            [&expected[..*made], &later.records].concat(),
            expected,
            "from version {}",
            standing.version
        );
    }
}

#[test]
fn a_resumed_run_keeps_its_numeric_class() {
    let mut first = Cluster::new(0, &["save_steps=1"]);
    let worker = first.join();
    first.deliver(worker);
    let (_, standing) = first.commits[0].clone();
    let mut later = Cluster::resumed(0, &["save_steps=1"], &standing);
    let join = Join { name: "w".into(), device: "cpu".into(), memory: 1 };
    later.tell(Event::Joined(WorkerId(9), join));
    later.tell(Event::Ready(WorkerId(9), ready(2)));
    assert_eq!(later.refused, [(WorkerId(9), StopReason::NumericClass)]);
}

/// One worker, and a store that writes a commit only when the run cannot go on without it.
fn with_slow_commits(sets: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(0, sets);
    cluster.slow_commits = true;
    let worker = cluster.join();
    while cluster.ended.is_none() {
        match cluster.leases.contains_key(&worker) {
            true => cluster.deliver(worker),
            false => drop(cluster.tell(Event::Committed)),
        }
    }
    cluster
}

#[test]
fn every_step_that_is_due_is_saved_however_slow_the_store_is() {
    let cases: [(&[&str], &[u64]); 5] = [
        (&["save_steps=1"], &[1, 2, 3, 4, 5, 6]),
        (&["save_steps=2", "eval_steps=1"], &[2, 4, 6]),
        (&["save_steps=4"], &[4]),
        (&["save_strategy=epoch"], &[3, 6]),
        (&["save_strategy=no"], &[]),
    ];
    for (sets, due) in cases {
        let cluster = with_slow_commits(sets);
        assert_eq!(cluster.ended, Some((Exit::Ok, "the run is complete".into())), "{sets:?}");
        let saved: Vec<u64> = cluster.commits.iter().map(|(_, standing)| standing.version).collect();
        assert_eq!(saved, due, "{sets:?}");
        assert_eq!(cluster.records, undisturbed(sets).records, "waiting changes no bit: {sets:?}");
        goes_on_from(&cluster.commits, sets);
    }
}

#[test]
fn a_run_waits_for_a_slow_commit_only_when_the_next_is_due() {
    let mut cluster = Cluster::new(0, &["save_steps=2"]);
    cluster.slow_commits = true;
    let worker = cluster.join();
    let step = |cluster: &Cluster| cluster.machine.snapshot().step;
    while cluster.leases.contains_key(&worker) {
        cluster.deliver(worker);
    }
    assert_eq!((cluster.commits.len(), step(&cluster)), (1, 4), "two steps while the first is written");
    assert_eq!(cluster.machine.snapshot().activity, Activity::Saving);
    cluster.tell(Event::Committed);
    assert_eq!((cluster.commits.len(), cluster.commits[1].1.version), (2, 4));
    assert_eq!(cluster.machine.snapshot().activity, Activity::Training);
    assert!(cluster.leases.contains_key(&worker), "the next step has begun");
}

#[test]
fn a_stop_while_a_save_waits_keeps_the_step_that_was_to_be_saved() {
    let mut cluster = Cluster::new(0, &["save_steps=1"]);
    cluster.slow_commits = true;
    let worker = cluster.join();
    while cluster.leases.contains_key(&worker) {
        cluster.deliver(worker);
    }
    cluster.tell(Event::StopRequested { reason: "enough".into(), exit: Exit::Interrupted });
    assert_eq!((cluster.exports.clone(), cluster.ended.clone()), (vec![], None), "one write at a time");
    cluster.tell(Event::Committed);
    let exported: Vec<(u64, bool)> =
        cluster.exports.iter().map(|standing| (standing.version, standing.evaluated)).collect();
    assert_eq!(exported, [(2, false)]);
    assert_eq!(cluster.ended, Some((Exit::Interrupted, "enough".into())));
}

#[test]
fn the_end_waits_for_the_commit_in_flight() {
    let mut cluster = Cluster::new(0, &["save_steps=5", "max_steps=6"]);
    cluster.slow_commits = true;
    let worker = cluster.join();
    while cluster.leases.contains_key(&worker) {
        cluster.deliver(worker);
    }
    assert_eq!((cluster.ended.clone(), cluster.machine.snapshot().step), (None, 6));
    cluster.tell(Event::Committed);
    assert_eq!(cluster.ended, Some((Exit::Ok, "the run is complete".into())));
}

#[test]
fn the_workers_of_a_coordinator_that_another_is_to_replace_are_not_dismissed() {
    let ended = |exit| {
        let mut cluster = Cluster::new(0, &[]);
        let worker = cluster.join();
        cluster.deliver(worker);
        cluster.tell(Event::StopRequested { reason: "enough".into(), exit });
        let late = cluster.join();
        (worker, late, cluster.ended.expect("it was asked to").0, cluster.refused)
    };
    let (.., exit, dismissed) = ended(Exit::Terminated);
    assert_eq!((exit, dismissed), (Exit::Terminated, vec![]));
    let (worker, late, _, dismissed) = ended(Exit::Interrupted);
    assert_eq!(dismissed, [(worker, StopReason::Stopped), (late, StopReason::Stopped)]);
}

#[test]
fn a_stop_keeps_what_was_finished() {
    let mut cluster = Cluster::new(0, &[]);
    let worker = cluster.join();
    cluster.deliver(worker);
    cluster.tell(Event::StopRequested { reason: "enough".into(), exit: Exit::Interrupted });
    assert_eq!(cluster.ended, Some((Exit::Interrupted, "enough".into())));
    assert_eq!(cluster.machine.snapshot().step, 1);
}
