//! What a worker pushes is judged before it counts: a peer that sends damaged, foreign or implausible partials is refused
//! with the reason, and the run that it was part of has the bits of one that never met it.

use std::time::Duration;

use headstart::id::{LeaseId, Step, Version};
use headstart::message::{FromWorker, Join, NumericClass, PartialId, Ready, ToWorker, Totals, Work};
use headstart::run_file::Wire;
use headstart::wire::{payload, pb};
use headstart_tests::processes::{address, coordinator, worker};
use headstart_tests::{outcome, succeed, text, texts};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A member of a run that speaks the protocol by hand.
struct Peer {
    bulk: pb::bulk_client::BulkClient<Channel>,
    /// Its session lasts as long as this.
    _events: mpsc::Sender<pb::WorkerEvent>,
    /// The partial it was leased.
    partial: PartialId,
    /// Elements of the one segment.
    len: usize,
}

impl Peer {
    /// Joins, and waits for a lease.
    async fn join(address: &str) -> Peer {
        let channel = Endpoint::from_shared(address.to_owned()).expect("a URL").connect().await;
        let channel = channel.expect("it listens");
        let (events, outgoing) = mpsc::channel(4);
        let join = Join { name: "peer".into(), device: "cpu".into(), memory: 1 << 30 };
        events.send(FromWorker::Join(join).into()).await.expect("the session is open");
        let mut control = pb::control_client::ControlClient::new(channel.clone());
        let session = control.session(ReceiverStream::new(outgoing)).await;
        let mut commands = session.expect("it is welcome").into_inner();
        let mut next = async || {
            let command = commands.message().await.expect("the session goes on").expect("a command");
            ToWorker::try_from(command).expect("it is well-formed")
        };
        let ToWorker::Welcome(welcome) = next().await else { panic!("a session begins with a welcome") };
        let class = NumericClass {
            headstart: "none".into(),
            libtorch: "none".into(),
            device: "cpu".into(),
            instructions: "none".into(),
            threads: 1,
            precision: "f32".into(),
        };
        let ready = Ready { class, canary: 7, parameters: welcome.parameters, base: None, follows: false };
        events.send(FromWorker::Ready(ready).into()).await.expect("the session is open");
        let mut bulk = pb::bulk_client::BulkClient::new(channel);
        let pull = pb::PullRequest { run_id: welcome.run_id.clone(), weights_version: 0, local: false };
        let mut weights = bulk.pull_weights(pull).await.expect("version 0 is there").into_inner();
        let mut len = 0;
        while let Some(chunk) = weights.message().await.expect("it arrives") {
            assert_eq!(chunk.segment, 0, "the network is a small one");
            len += elements(&chunk.payload);
        }
        let (lease, work) = loop {
            if let ToWorker::Lease { lease, work, .. } = next().await {
                break (lease, work);
            }
        };
        let partial =
            PartialId { run_id: welcome.run_id, epoch: welcome.epoch, worker: welcome.worker, lease, work };
        Peer { bulk, _events: events, partial, len }
    }

    async fn push(&mut self, chunks: Vec<pb::SegmentChunk>) -> Result<bool, Status> {
        let pushed = self.bulk.push_partial(tokio_stream::iter(chunks)).await?;
        Ok(pushed.into_inner().accepted)
    }

    /// The first message of a push.
    fn head(&self, partial: &PartialId, totals: Totals) -> pb::SegmentChunk {
        pb::SegmentChunk {
            partial: Some(partial.clone().into()),
            totals: Some(totals.into()),
            ..Default::default()
        }
    }

    /// Pushes chunks under the lease, which is refused; returns how.
    async fn refused(&mut self, samples: u64, chunks: Vec<pb::SegmentChunk>) -> (Code, String) {
        let mut all = vec![self.head(&self.partial, totals(samples))];
        all.extend(chunks);
        self.refused_as_it_is(all).await
    }

    /// The samples of what it was leased, as the refusal of another number says.
    async fn samples(&mut self) -> u64 {
        let (code, message) = self.refused(1_000_000, vec![]).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        let samples = message.split(" samples, not").next().and_then(|text| text.rsplit(' ').next());
        samples.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{message}"))
    }

    async fn refused_as_it_is(&mut self, chunks: Vec<pb::SegmentChunk>) -> (Code, String) {
        let status = self.push(chunks).await.expect_err("nothing of it can be used");
        (status.code(), status.message().to_owned())
    }
}

fn totals(samples: u64) -> Totals {
    let compute = Duration::from_millis(1);
    Totals { samples, divisor: samples, loss: 1.0, tokens: samples, compute, ..Totals::default() }
}

/// Elements of a chunk of 32-bit floats whose last one is not zero.
fn elements(payload: &[u8]) -> usize {
    let fits = |&len: &usize| payload::decode(Wire::F32, payload, &mut vec![0.0; len]).is_ok();
    (1..=payload::CHUNK).find(fits).expect("it is a chunk")
}

fn chunk(segment: u32, offset: usize, values: &[f32]) -> pb::SegmentChunk {
    let mut bytes = Vec::new();
    payload::encode(Wire::F32, values, &mut bytes);
    let (crc32, payload) = (crc32fast::hash(&bytes), bytes.into());
    pb::SegmentChunk { segment, offset: offset as u32, crc32, payload, ..Default::default() }
}

/// Every way to push something that does not count, and the reason that is given.
async fn everything_bad(peer: &mut Peer) {
    let len = peer.len;
    let values = vec![0.5; len];
    let (whole, second) = (chunk(0, 0, &values), chunk(0, len / 2, &values[len / 2..]));
    let says = |(code, message): (Code, String), expected: Code, part: &str| {
        assert!(code == expected && message.contains(part), "{code:?}: {message}; expected {part}");
    };

    // The name and the totals.
    says(peer.refused_as_it_is(vec![]).await, Code::InvalidArgument, "the push is empty");
    says(
        peer.refused_as_it_is(vec![whole.clone()]).await,
        Code::InvalidArgument,
        "does not name its partial",
    );
    let samples = peer.samples().await;
    let not_a_number = Totals { loss: f64::NAN, ..totals(samples) };
    let head = peer.head(&peer.partial, not_a_number);
    says(peer.refused_as_it_is(vec![head]).await, Code::InvalidArgument, "has the loss NaN");
    let head = peer.head(&peer.partial, Totals { divisor: samples + 1, ..totals(samples) });
    says(peer.refused_as_it_is(vec![head]).await, Code::InvalidArgument, "has the divisor");
    let own = peer.partial.clone();
    let Work { step, node, version, .. } = own.work;
    for (other, code, part) in [
        (PartialId { run_id: "another".into(), ..own.clone() }, Code::FailedPrecondition, "belongs to run"),
        (PartialId { lease: LeaseId(u64::MAX), ..own.clone() }, Code::FailedPrecondition, "is not held by"),
        (
            PartialId { work: Work { version: Version(version.0 + 1), ..own.work }, ..own.clone() },
            Code::InvalidArgument,
            "is about",
        ),
        (
            PartialId { work: Work { step: Step(step.0 + 1), ..own.work }, ..own.clone() },
            Code::FailedPrecondition,
            "step",
        ),
    ] {
        let head = peer.head(&other, totals(samples));
        says(peer.refused_as_it_is(vec![head, whole.clone()]).await, code, part);
    }

    // The segments.
    let mut corrupt = whole.clone();
    corrupt.payload = vec![1; 3].into();
    says(peer.refused(samples, vec![corrupt]).await, Code::DataLoss, "the checksum is wrong");
    says(
        peer.refused(samples, vec![]).await,
        Code::InvalidArgument,
        &format!("the partial of {node} has 0 of"),
    );
    says(peer.refused(samples, vec![second, whole.clone()]).await, Code::InvalidArgument, "out of order");
    says(
        peer.refused(samples, vec![whole.clone(), whole.clone()]).await,
        Code::InvalidArgument,
        "sent twice",
    );
    let half = chunk(0, 0, &values[..len / 2]);
    says(peer.refused(samples, vec![half]).await, Code::InvalidArgument, "does not fit");
    says(peer.refused(samples, vec![chunk(1, 0, &[0.0])]).await, Code::InvalidArgument, "no such segment");
    let long = chunk(0, 0, &[&values[..], &[0.5]].concat());
    says(peer.refused(samples, vec![long]).await, Code::InvalidArgument, "does not fit");
    let far = pb::SegmentChunk { offset: u32::MAX, ..whole.clone() };
    says(peer.refused(samples, vec![far]).await, Code::InvalidArgument, "out of order");
    let huge = chunk(0, 0, &vec![0.5; 3 << 20]);
    says(peer.refused(samples, vec![huge]).await, Code::OutOfRange, "message length too large");
    let mut odd = chunk(0, 0, &[0.5]);
    odd.payload = odd.payload.slice(..3);
    odd.crc32 = crc32fast::hash(&odd.payload);
    says(peer.refused(samples, vec![odd]).await, Code::InvalidArgument, "does not fit");
    let elsewhere = pb::Memory { process: std::process::id(), file: 1, name: "headstart".into() };
    let mut head = peer.head(&own, totals(samples));
    head.memory = Some(elsewhere);
    says(peer.refused_as_it_is(vec![head]).await, Code::NotFound, "cannot be read");

    // The lease is still the peer's; one good push ends it, and the same again is refused.
    let good = vec![peer.head(&own, totals(samples)), whole];
    let is_new = peer.push(good.clone()).await.expect("it is well-formed");
    assert!(!is_new, "an equal copy came with the push that sent it twice");
    says(peer.refused_as_it_is(good).await, Code::FailedPrecondition, "is not held by");
}

/// A sum that is not finite lets the step begin anew: no lease of it holds any more.
async fn not_finite(peer: &mut Peer) {
    let samples = peer.samples().await;
    let mut values = vec![0.0; peer.len];
    values[peer.len - 1] = f32::NAN;
    let (code, message) = peer.refused(samples, vec![chunk(0, 0, &values)]).await;
    assert_eq!((code, message.as_str()), (Code::Aborted, "segment 0: a value is not finite"));
    let (code, message) = peer.refused(samples, vec![]).await;
    assert!(code == Code::FailedPrecondition && message.contains("is not held by"), "{code:?}: {message}");
}

#[test]
fn a_peer_that_pushes_what_cannot_be_used_is_refused_and_changes_no_bit() {
    let undisturbed = texts();
    succeed(undisturbed.path(), &["train", "run.yaml", "--workers", "1"]);

    let directory = texts();
    let mut running = coordinator(directory.path(), &["cluster.min_workers=2"]);
    let address = address(&mut running).expect("it listens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (mut one, mut other) = tokio::join!(Peer::join(&address), Peer::join(&address));
        everything_bad(&mut one).await;
        not_finite(&mut other).await;
    });
    // Both are gone. What was computed was of another numeric class, so the step begins anew with whoever comes.
    drop(runtime);
    let mut helpers = [(); 2].map(|()| worker(directory.path(), &address));
    let output = running.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for helper in &mut helpers {
        helper.wait().expect("it ends");
    }
    assert_eq!(outcome(&directory.path().join("out")), outcome(&undisturbed.path().join("out")));
}
