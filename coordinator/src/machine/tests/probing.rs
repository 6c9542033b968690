//! The probe before the first step: its rows come in their order, and it never stops a run.

use super::cluster::{Cluster, run, undisturbed};
use super::*;

const PROBE: &[&str] = &["probe=20"];

fn cluster(seed: u64, probing: Probing) -> Cluster {
    Cluster::of(seed, Run { probing, ..run(PROBE) }, &RunState::default())
}

fn to_the_end(cluster: &mut Cluster) {
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
}

/// The values that a row of each shard has.
fn expected(cluster: &Cluster) -> Vec<Vec<f32>> {
    let rows = cluster.machine.run.plan.probed().iter().map(|&row| row as f32);
    rows.clone().chain(rows).zip(0..).map(|(row, shard)| vec![row, shard as f32]).collect()
}

#[test]
fn rows_come_in_their_order_whatever_happens_to_workers() {
    let calm = undisturbed(&[]);
    for seed in 0..40 {
        let mut cluster = cluster(seed, Probing::First);
        for _ in 0..3 {
            cluster.join();
        }
        for _ in 0..cluster.draw(4) {
            let worker = cluster.busy();
            if cluster.draw(2) == 0 {
                cluster.join();
                cluster.kill(worker);
            } else {
                cluster.deliver(worker);
            }
        }
        to_the_end(&mut cluster);
        let [Ok(rows)] = &cluster.judged[..] else { panic!("judged once: {:?}", cluster.judged) };
        let values: Vec<Vec<f32>> = rows.iter().map(|row| row.values.clone()).collect();
        assert_eq!(values, expected(&cluster), "seed {seed}");
        assert_eq!(cluster.records, calm.records, "seed {seed}: the result is that of a run without a probe");
    }
}

#[test]
fn a_probe_that_cannot_be_computed_is_left_out() {
    let failures =
        [Failure::Error("no memory".into()), Failure::Data("row 3".into()), Failure::Storage("gone".into())];
    for failure in failures {
        let mut cluster = cluster(1, Probing::First);
        let (first, second) = (cluster.join(), cluster.join());
        let place = cluster.leases[&first].1.node;
        while cluster.judged.is_empty() {
            match cluster.leases.iter().find(|(_, (_, work))| work.node == place).map(|(worker, _)| *worker) {
                Some(worker) => cluster.fail(worker, failure.clone()),
                None => cluster.deliver(second),
            }
        }
        assert!(matches!(&cluster.judged[..], [Err(reason)] if reason.contains("failed 3 times")));
        assert!(cluster.leases.values().all(|(_, work)| work.pass == Pass::Train), "the run goes on");
        to_the_end(&mut cluster);
        assert_eq!(cluster.records, undisturbed(&[]).records);
    }
}

#[test]
fn what_is_only_a_probe_ends_with_it() {
    let mut probed = cluster(1, Probing::Only);
    probed.join();
    to_the_end(&mut probed);
    assert_eq!(probed.ended.as_ref().map(|(exit, _)| *exit), Some(Exit::Ok));
    assert!(probed.records.is_empty(), "nothing was trained: {:?}", probed.records);
    let mut failing = cluster(1, Probing::Only);
    let worker = failing.join();
    while failing.ended.is_none() {
        failing.fail(worker, Failure::Error("no memory".into()));
    }
    assert_eq!(failing.ended.map(|(exit, _)| exit), Some(Exit::Internal), "there is no run to go on with");
}
