//! Workers and the frozen weights that they read.

use super::*;

#[test]
fn a_worker_with_other_frozen_weights_is_refused_also_after_a_restart() {
    let mut first = Cluster::new(0, &["save_steps=1"]);
    let worker = first.join();
    first.deliver(worker);
    let (_, standing) = first.commits[0].clone();
    let mut later = Cluster::resumed(0, &["save_steps=1"], &standing);
    for cluster in [&mut first, &mut later] {
        cluster.join();
        let join = Join { name: "w".into(), device: "cpu".into(), memory: 1 };
        cluster.tell(Event::Joined(WorkerId(9), join));
        cluster.tell(Event::Ready(WorkerId(9), Ready { base: Some(8), ..ready(1) }));
        assert_eq!(cluster.refused, [(WorkerId(9), StopReason::OtherBase)]);
    }
    let rejected = Rejected::OtherBase { found: "8".into(), expected: "9".into() };
    assert!(rejected.to_string().contains("hash to 8, the run's to 9"), "both are named");
}
