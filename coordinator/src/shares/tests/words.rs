//! What people read about idle workers.

use std::collections::BTreeMap;

use headstart::id::WorkerId;

use super::{far, near, paces, plan};
use crate::shares::idle::{Idle, Reason, Traffic, reason};
use crate::shares::trial::due;
use crate::shares::{Pace, Paces};

const F32: Traffic = Traffic { wire: "f32", adapter: false };

/// Why a worker idles, in words.
fn said(paces: &Paces, shards: u32, worker: u64, traffic: Traffic) -> Option<String> {
    let worker = WorkerId(worker);
    let reason = reason(&plan(paces, shards), worker, &paces.workers[&worker])?;
    Some(Idle { worker, reason, traffic }.to_string())
}

#[test]
fn a_slow_link_is_named_with_a_cure_that_is_not_in_force() {
    let paces = paces(&[near(0.1), near(0.1), far(0.1, 7.2)]);
    let cures = [
        (F32, "wire: int8 or LoRA"),
        (Traffic { wire: "bf16", adapter: true }, "wire: int8"),
        (Traffic { wire: "int8", adapter: false }, "LoRA"),
        (Traffic { wire: "int8", adapter: true }, "a faster link"),
    ];
    for (traffic, cure) in cures {
        let expected = format!(
            "worker 2 idles: its link would make a step 7.3 s, the others take 0.4 s; {cure} would change that"
        );
        assert_eq!(said(&paces, 8, 2, traffic), Some(expected));
    }
    assert_eq!(said(&paces, 8, 0, F32), None);
}

#[test]
fn a_slow_processor_is_not_blamed_on_the_link() {
    let paces = paces(&[near(0.01), near(0.01), near(0.01), far(9.1, 0.02)]);
    let expected = "worker 3 idles: a shard takes it 9.1 s, a step takes the others 0.030 s; a larger shards_per_step \
                    would change that";
    assert_eq!(said(&paces, 8, 3, F32).as_deref(), Some(expected));
}

#[test]
fn workers_without_a_shard_are_told_so() {
    let expected = "worker 2 idles: 2 workers compute the step's 2 shards as fast without it; a larger shards_per_step \
                    would change that";
    assert_eq!(said(&paces(&[near(1.0); 3]), 2, 2, F32).as_deref(), Some(expected));
    let one = "worker 1 idles: 1 worker computes the step's 1 shard as fast without it; a larger shards_per_step would \
               change that";
    assert_eq!(said(&paces(&[near(1.0); 2]), 1, 1, F32).as_deref(), Some(one));
}

#[test]
fn a_worker_that_was_never_measured_is_not_blamed() {
    let unknown = Pace { shard: None, partial: None, ..far(1.0, 1.0) };
    let paces = paces(&[near(0.1), far(0.1, 5.0), unknown]);
    assert_eq!(said(&paces, 4, 2, F32).as_deref(), Some("worker 2 idles: no shard of it has been timed yet"));
    let shares = plan(&paces, 4);
    assert_eq!(
        reason(&shares, WorkerId(1), &paces.workers[&WorkerId(1)]),
        Some(Reason::Link { with: 5.1, without: 0.4 })
    );
    // It is tried at once, before the one that is known to be slow.
    assert_eq!(due(&shares, &BTreeMap::from([(WorkerId(1), 100.0)])), Some(WorkerId(2)));
}
