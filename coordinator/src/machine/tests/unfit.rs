//! Partials that were wanted and did not come in: for lack of room, or because their sum is not finite.

use super::*;
use crate::event::Unfit;

impl Cluster {
    /// A worker begins to push what it was leased, which breaks.
    fn push_breaks(&mut self, worker: WorkerId, unfit: Unfit) {
        let (lease, work) = self.leases[&worker];
        let partial = PartialId { run_id: "r".into(), epoch: CoordinatorEpoch(1), worker, lease, work };
        let (_, totals) = compute(&self.machine.run.plan, &work, work.node, &self.machine.skipped);
        let wanted = self.tell(Event::PushBegun(partial.clone(), totals, Offer::default()));
        assert!(matches!(wanted, Some(Ok(_))), "{wanted:?}");
        if unfit == Unfit::NotFinite {
            // The worker is told by the answer to its push.
            self.leases.remove(&worker);
        }
        self.tell(Event::PushBroke(partial, unfit));
    }

    fn node(&self, worker: WorkerId) -> Option<Node> {
        self.leases.get(&worker).map(|(_, work)| work.node)
    }
}

#[test]
fn those_who_wait_for_room_compute_the_earlier_nodes_that_were_lost() {
    for sets in [&["cluster.min_workers=4"][..], &["cluster.min_workers=4", "audit=0.5"]] {
        let expected = undisturbed(&sets[1..]);
        let mut cluster = Cluster::new(0, sets);
        let workers: Vec<WorkerId> = (0..4).map(|_| cluster.join()).collect();
        let nodes: Vec<Node> = workers.iter().filter_map(|&worker| cluster.node(worker)).collect();
        assert_eq!(nodes.iter().map(|node| node.first).collect::<Vec<_>>(), [0, 2, 4, 6]);
        cluster.push_breaks(workers[3], Unfit::Crowded);
        assert_eq!(cluster.node(workers[3]), Some(nodes[3]), "every earlier node is being computed");

        cluster.machine.run.spec.cluster.min_workers = 1;
        cluster.kill(workers[0]);
        cluster.kill(workers[1]);
        cluster.push_breaks(workers[2], Unfit::Crowded);
        assert_eq!(cluster.node(workers[2]).map(|node| node.first), Some(0), "the earliest comes first");
        while cluster.ended.is_none() {
            let worker = cluster.busy();
            match cluster.node(worker) {
                Some(node) if node == nodes[3] && cluster.records.is_empty() && cluster.draw(2) == 0 => {
                    cluster.push_breaks(worker, Unfit::Crowded);
                }
                _ => cluster.deliver(worker),
            }
        }
        assert_eq!(cluster.records, expected.records);
    }
}

#[test]
fn a_sum_that_is_not_finite_for_two_workers_is_a_divergence() {
    let mut cluster = Cluster::new(0, &["cluster.min_workers=2"]);
    let (first, second) = (cluster.join(), cluster.join());
    cluster.push_breaks(first, Unfit::NotFinite);
    assert_eq!(cluster.ended, None, "one worker may be wrong");
    cluster.push_breaks(second, Unfit::NotFinite);
    let (exit, detail) = cluster.ended.expect("two agree");
    assert_eq!(exit, Exit::Diverged);
    assert!(detail.contains("the sum of the gradients") && detail.contains("learning_rate"), "{detail}");
}

#[test]
fn who_alone_finds_sums_that_are_not_finite_is_turned_away() {
    for sets in [&["cluster.min_workers=2"][..], &["cluster.min_workers=2", "audit=0.5"]] {
        let expected = undisturbed(&sets[1..]);
        let mut cluster = Cluster::new(0, sets);
        let (first, _, _) = (cluster.join(), cluster.join(), cluster.join());
        cluster.push_breaks(first, Unfit::NotFinite);
        assert!(cluster.refused.is_empty(), "once can be chance");
        // It is the same one in another session.
        cluster.kill(first);
        let again = cluster.join_as("w1");
        while !cluster.leases.contains_key(&again) {
            let worker = cluster.busy();
            cluster.deliver(worker);
        }
        assert!(cluster.records.is_empty(), "still the same step");
        cluster.push_breaks(again, Unfit::NotFinite);
        assert_eq!(cluster.refused, [(again, StopReason::NumericClass)]);
        cluster.leases.remove(&again);
        while cluster.ended.is_none() {
            let worker = cluster.busy();
            cluster.deliver(worker);
        }
        assert_eq!(cluster.ended, Some((Exit::Ok, "the run is complete".into())));
        assert_eq!(cluster.records, expected.records);
    }
}

#[test]
fn an_auditor_whose_sum_is_not_finite_gives_an_answer_like_any_other() {
    let expected = undisturbed(&["audit=1", "shards_per_step=1"]);
    let mut cluster = Cluster::new(0, &["audit=1", "shards_per_step=1"]);
    let (holder, _, _) = (cluster.join(), cluster.join(), cluster.join());
    cluster.deliver(holder);
    let auditor = cluster.busy();
    assert_ne!(auditor, holder);
    cluster.push_breaks(auditor, Unfit::NotFinite);
    assert_eq!(cluster.ended, None);
    while cluster.ended.is_none() {
        let worker = cluster.busy();
        cluster.deliver(worker);
    }
    assert_eq!(cluster.ended, Some((Exit::Ok, "the run is complete".into())));
    assert_eq!(cluster.records, expected.records);
}
