//! A worker that comes back before the coordinator knows that it was gone.

use super::*;

#[test]
fn a_worker_that_comes_back_takes_the_place_it_had_in_a_full_run() {
    let mut cluster = Cluster::new(0, &["cluster.max_workers=1"]);
    let before = cluster.join();
    let (_, lost) = cluster.leases[&before];
    let name = format!("w{}", before.0);
    let again = |cluster: &mut Cluster, worker: u64, name: &str| {
        let join = Join { name: name.to_owned(), device: "cpu".into(), memory: 1 << 30 };
        cluster.tell(Event::Joined(WorkerId(worker), join));
        cluster.tell(Event::Ready(WorkerId(worker), ready(1)));
    };
    again(&mut cluster, 2, &name);
    assert_eq!(cluster.refused, [(WorkerId(2), StopReason::Refused)], "the member was heard a moment ago");
    cluster.now += HEARTBEAT * 2;
    again(&mut cluster, 3, "another");
    assert_eq!(cluster.refused.len(), 2, "a stranger takes nobody's place");
    again(&mut cluster, 4, &name);
    assert_eq!(cluster.refused.len(), 2);
    cluster.leases.remove(&before);
    assert_eq!(cluster.leases[&WorkerId(4)].1.node, lost.node, "what it had is leased again");
}
