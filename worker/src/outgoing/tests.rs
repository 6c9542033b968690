//! A partial's messages: when they can be read, how often, and what the last one says.

use futures::{FutureExt, StreamExt};
use headstart::id::{CoordinatorEpoch, LeaseId, Step, Version, WorkerId};
use headstart::message::{Pass, Work};
use headstart::tree::Node;

use super::*;

fn partial() -> PartialId {
    let node = Node { first: 2, shards: 1 };
    let work = Work { pass: Pass::Train, step: Step(3), node, version: Version(3) };
    let (epoch, worker) = (CoordinatorEpoch(1), WorkerId(5));
    PartialId { run_id: "r".into(), epoch, worker, lease: LeaseId(7), work }
}

fn totals() -> Totals {
    Totals { samples: 4, divisor: 4, loss: 0.5, ..Totals::default() }
}

#[test]
fn a_reader_waits_for_what_is_not_there_yet() {
    let outgoing = Outgoing::new(partial(), Some(9), Wire::Int8);
    let mut messages = Box::pin(outgoing.messages());
    assert_eq!(outgoing.has_begun().now_or_never(), None);
    assert!(messages.next().now_or_never().is_none());
    outgoing.send(totals, Segment(1), &[1.0; 300]);
    assert_eq!(outgoing.has_begun().now_or_never(), Some(()));
    let head = messages.next().now_or_never().flatten().expect("the first names the partial");
    assert_eq!(PartialId::try_from(head.partial.expect("it does")), Ok(partial()));
    assert_eq!(head.totals.map(Totals::from), Some(totals()));
    assert_eq!((head.computing, head.weights.to_vec()), (true, 9u128.to_be_bytes().to_vec()));
    let chunk = messages.next().now_or_never().flatten().expect("then comes the segment");
    assert_eq!((chunk.segment, chunk.offset, chunk.crc32), (1, 0, crc32fast::hash(&chunk.payload)));
    assert!(messages.next().now_or_never().is_none(), "more follows");
    outgoing.end(Duration::from_millis(70));
    let last = messages.next().now_or_never().flatten().expect("the end says how long it took");
    assert_eq!((last.compute_micros, last.payload.len()), (70_000, 0));
    assert_eq!(messages.next().now_or_never(), Some(None));
}

#[test]
fn messages_can_be_read_again_from_the_first() {
    let outgoing = Outgoing::new(partial(), None, Wire::F32);
    let long = vec![0.25; payload::CHUNK + 5];
    outgoing.send(totals, Segment(1), &[1.0; 7]);
    let mut first = Box::pin(outgoing.messages());
    assert!(first.next().now_or_never().is_some());
    drop(first);
    outgoing.send(|| panic!("only the first message has them"), Segment(0), &long);
    outgoing.end(Duration::from_secs(1));
    let read = || outgoing.messages().collect::<Vec<_>>().now_or_never().expect("all are there");
    let all = read();
    assert_eq!(all, read());
    let places: Vec<(u32, u32)> = all.iter().map(|message| (message.segment, message.offset)).collect();
    assert_eq!(places, [(0, 0), (1, 0), (0, 0), (0, payload::CHUNK as u32), (0, 0)]);
    let mut values = vec![0.0; 5];
    payload::decode(Wire::F32, &all[3].payload, &mut values).expect("it was packed");
    assert_eq!(values, [0.25; 5]);
}

#[tokio::test]
async fn who_waits_is_woken() {
    let outgoing = Outgoing::new(partial(), None, Wire::Bf16);
    let reader = outgoing.clone();
    let reading = tokio::spawn(async move {
        reader.has_begun().await;
        reader.messages().collect::<Vec<_>>().await.len()
    });
    tokio::task::yield_now().await;
    outgoing.send(totals, Segment(0), &[1.0]);
    tokio::task::yield_now().await;
    outgoing.end(Duration::from_secs(1));
    assert_eq!(reading.await.expect("it does not panic"), 3);
}
