//! Messages between coordinator, worker and client; the first byte says which.
#![no_main]

use headstart::client::RunStatus;
use headstart::id::Step;
use headstart::message::{FromWorker, PartialId, Pass, ToWorker, Totals};
use headstart::plan::Plan;
use headstart::run_file::RunSpec;
use headstart::wire::pb;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => from_worker(bytes),
        1 => to_worker(bytes),
        2 => chunk(bytes),
        _ => {
            if let Ok(status) = pb::RunStatus::decode(bytes) {
                let status = RunStatus::from(status);
                assert!(status.ready() <= status.workers.len());
            }
        }
    }
});

/// What the coordinator hears.
fn from_worker(bytes: &[u8]) {
    let Ok(event) = pb::WorkerEvent::decode(bytes) else { return };
    let Ok(message) = FromWorker::try_from(event) else { return };
    let again = pb::WorkerEvent::from(message.clone()).encode_to_vec();
    let again = FromWorker::try_from(pb::WorkerEvent::decode(&again[..]).expect("it was encoded"));
    // Long texts are cut when they are sent.
    if bytes.len() < 4096 {
        assert_eq!(again, Ok(message));
    }
}

/// What a worker hears.
fn to_worker(bytes: &[u8]) {
    let Ok(command) = pb::Command::decode(bytes) else { return };
    match ToWorker::try_from(command) {
        Ok(ToWorker::Welcome(welcome)) => {
            let Ok(spec) = serde_json::from_str::<RunSpec>(&welcome.spec_json) else { return };
            let Ok(plan) = Plan::new(&spec, welcome.train_rows, welcome.eval_rows) else { return };
            let tree = plan.tree(Pass::Train, Step(0));
            assert!(tree.shards() >= 1 && plan.samples(Step(0)) >= 1);
        }
        Ok(ToWorker::Lease { work, .. }) => {
            assert!(work.node.shards > 0 && work.node.end() >= work.node.first)
        }
        Ok(_) | Err(_) => {}
    }
}

/// The head of a partial.
fn chunk(bytes: &[u8]) {
    let Ok(chunk) = pb::SegmentChunk::decode(bytes) else { return };
    if let Some(Ok(partial)) = chunk.partial.map(PartialId::try_from) {
        assert_eq!(PartialId::try_from(pb::PartialId::from(partial.clone())), Ok(partial));
    }
    if let Some(totals) = chunk.totals {
        let totals = Totals::from(totals);
        let again = Totals::from(pb::Totals::from(totals.clone()));
        assert_eq!(
            (again.samples, again.divisor, again.counts, again.compute),
            (totals.samples, totals.divisor, totals.counts, totals.compute)
        );
    }
}
