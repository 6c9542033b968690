//! Partials over loopback, from a sender that packs as a worker does to a receiver that adds as a coordinator does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use headstart::client::ClientError;
use headstart::run_file::Wire;
use headstart::trainable::SEGMENT;
use headstart::tree;
use headstart::wire::{channel, payload, pb};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::{LOOPBACK, Partials, client, elsewhere, failed, refused};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Receives pushes as the coordinator does: verifies the checksum, unpacks the data into a segment, and adds whole segments to a
/// sum on the compute pool.
struct Sink {
    wire: Wire,
    sum: Arc<Mutex<Vec<f32>>>,
    /// Segments that are not measured.
    warm_up: usize,
    /// Takes the time from then on.
    took: Arc<Mutex<Duration>>,
}

impl Sink {
    /// Adds a segment; returns its buffer.
    async fn add(&self, segment: Vec<f32>) -> Vec<f32> {
        let (done, added) = oneshot::channel();
        let sum = self.sum.clone();
        rayon::spawn(move || {
            tree::add(&mut sum.lock().unwrap_or_else(PoisonError::into_inner), &segment);
            // Whoever waits for it may be gone.
            let _ = done.send(segment);
        });
        added.await.expect("the compute pool runs every job it is given")
    }
}

#[tonic::async_trait]
impl pb::bulk_server::Bulk for Sink {
    type PullWeightsStream = Answers<pb::SegmentChunk>;
    type PullIndexStream = Answers<pb::IndexChunk>;
    type FollowStream = Answers<pb::ReplicaUpdate>;

    async fn push_partial(
        &self,
        request: Request<Streaming<pb::SegmentChunk>>,
    ) -> Result<Response<pb::PushSummary>, Status> {
        let mut chunks = request.into_inner();
        let mut segment = vec![0.0f32; SEGMENT];
        let (mut segments, mut began) = (0, Instant::now());
        while let Some(chunk) = chunks.message().await? {
            if crc32fast::hash(&chunk.payload) != chunk.crc32 {
                return Err(Status::data_loss("the checksum is wrong"));
            }
            let place = (chunk.offset as usize).min(SEGMENT - payload::CHUNK);
            let values = &mut segment[place..place + payload::CHUNK];
            let decoded = payload::decode(self.wire, &chunk.payload, values);
            decoded.map_err(|error| Status::invalid_argument(error.to_string()))?;
            if !tree::all_finite(values) {
                return Err(Status::aborted("a value is not finite"));
            }
            if place + payload::CHUNK == SEGMENT {
                segment = self.add(segment).await;
                segments += 1;
                if segments == self.warm_up {
                    began = Instant::now();
                }
            }
        }
        *self.took.lock().unwrap_or_else(PoisonError::into_inner) = began.elapsed();
        Ok(Response::new(pb::PushSummary { accepted: true }))
    }

    async fn pull_weights(
        &self,
        _: Request<pb::PullRequest>,
    ) -> Result<Response<Self::PullWeightsStream>, Status> {
        Err(Status::unimplemented("only pushes are measured"))
    }

    async fn follow(&self, _: Request<pb::FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        Err(Status::unimplemented("only pushes are measured"))
    }

    async fn pull_index(
        &self,
        _: Request<pb::IndexRequest>,
    ) -> Result<Response<Self::PullIndexStream>, Status> {
        Err(Status::unimplemented("only pushes are measured"))
    }
}

/// The speed of one push of some segments after others that are not measured.
pub(super) async fn push(wire: Wire, [warm_up, segments]: [usize; 2]) -> Result<Partials, ClientError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let took = Arc::new(Mutex::new(Duration::ZERO));
    let sink = Sink { wire, sum: Arc::new(Mutex::new(vec![0.0; SEGMENT])), warm_up, took: took.clone() };
    let server = channel::server()
        .add_service(channel::bulk_server(sink))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let sent = elsewhere(move || send(format!("http://{address}"), wire, warm_up + segments)).await;
    server.abort();
    let (bytes, elements) = (segments * sent?, segments * SEGMENT);
    let seconds = took.lock().unwrap_or_else(PoisonError::into_inner).as_secs_f64();
    Ok(Partials { wire, bytes: bytes as f64 / seconds, elements: elements as f64 / seconds })
}

/// Sends segments; returns the bytes of each.
async fn send(url: String, wire: Wire, segments: usize) -> Result<usize, ClientError> {
    let mut client = client(&url).await?;
    let values: Arc<[f32]> = numbers(wire).into();
    let bytes = payload::chunks(wire, &values).map(|(_, bytes)| bytes.len()).sum();
    let chunks = (0..segments).flat_map(move |segment| {
        let values = values.clone();
        (0..SEGMENT).step_by(payload::CHUNK).map(move |offset| {
            let mut packed = Vec::new();
            payload::encode(wire, &values[offset..offset + payload::CHUNK], &mut packed);
            let payload = bytes::Bytes::from(packed);
            let crc32 = crc32fast::hash(&payload);
            let (segment, offset) = (segment as u32, offset as u32);
            pb::SegmentChunk { segment, offset, payload, crc32, ..Default::default() }
        })
    });
    client.push_partial(stream::iter(chunks)).await.map_err(|status| refused(LOOPBACK, &status))?;
    Ok(bytes)
}

/// Numbers that every format holds exactly.
fn numbers(wire: Wire) -> Vec<f32> {
    let largest = if wire == Wire::Int8 { 127 } else { 255 };
    (0..SEGMENT).map(|element| (element % largest) as f32 - 60.0).collect()
}
