//! Messages between coordinator, worker and client, and the numbers in them; the first byte says which.
#![no_main]

use headstart::client::RunStatus;
use headstart::id::Step;
use headstart::message::{FromWorker, PartialId, Pass, ToWorker, Totals};
use headstart::plan::Plan;
use headstart::run_file::{RunSpec, Wire};
use headstart::wire::{self, payload, pb};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => from_worker(bytes),
        1 => to_worker(bytes),
        2 => chunk(bytes),
        4 => packed(bytes),
        5 => again::<pb::ReplicaUpdate>(bytes),
        6 => again::<pb::FollowRequest>(bytes),
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
    let hash = wire::weights_hash(&chunk.weights);
    assert!(hash.is_err() || chunk.weights.len() == if hash == Ok(None) { 0 } else { 16 });
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

/// Numbers of a chunk, in a format and of a length that the first three bytes say. Whatever is accepted is packed again, and
/// unpacked to the same bits.
fn packed(bytes: &[u8]) {
    let [format, low, high, bytes @ ..] = bytes else { return };
    let wire = [Wire::F32, Wire::Bf16, Wire::Int8][usize::from(format % 3)];
    let mut values = vec![f32::NAN; usize::from(u16::from_le_bytes([*low, *high]))];
    if payload::decode(wire, bytes, &mut values).is_err() {
        return;
    }
    let mut packed = Vec::new();
    payload::encode(wire, &values, &mut packed);
    let mut again = vec![f32::NAN; values.len()];
    payload::decode(wire, &packed, &mut again).expect("it was packed");
    assert!(values.iter().zip(&again).all(|(one, other)| one.to_bits() == other.to_bits()));
    if wire == Wire::Int8 {
        assert!(values.iter().all(|value| value.is_finite()));
    }
}

/// A message that nothing is made of before it is used: read, written and read again, it is the same.
fn again<M: Message + Default>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let written = message.encode_to_vec();
    // Bytes, because a number in it may be no number.
    assert_eq!(M::decode(&written[..]).expect("it was encoded").encode_to_vec(), written);
}
