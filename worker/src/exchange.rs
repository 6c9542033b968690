//! Bulk traffic: pulling weights and row indexes, pushing partials, in chunks with checksums.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use headstart::id::Version;
use headstart::message::{PartialId, Pass, Totals};
use headstart::shared_memory::{Address, Reader};
use headstart::telemetry::context::inject;
use headstart::trainable::{SEGMENT, Trainable};
use headstart::wire::{self, CHUNK, channel, pb};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tracing::info;

use crate::compute::Gradient;
use crate::engine::{Ended, Engine};
use crate::trainer::{TrainError, Trainer};

/// The bulk connection of a session.
#[derive(Clone)]
pub struct Exchange {
    client: pb::bulk_client::BulkClient<Channel>,
    run_id: String,
    /// Whether memory is tried before the network.
    local: Arc<AtomicBool>,
    /// The coordinator's weights, once found.
    weights: Arc<Mutex<Option<PeerMemory>>>,
}

/// Memory of the coordinator that this process can read.
struct PeerMemory {
    address: Address,
    reader: Arc<Reader>,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The coordinator refuses it: the lease has ended, the version was replaced, or a sum is non-finite.
    #[error("{}", .0.message())]
    Refused(Status),
    /// Too many partials wait for their siblings: to be sent again.
    #[error("{}", .0.message())]
    Crowded(Status),
    /// The connection broke, or the other side misbehaved.
    #[error("{}", .0.message())]
    Broken(Status),
    /// What arrived is not what was sent.
    #[error("weights damaged on the way: {0}")]
    Damaged(String),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl From<Status> for ExchangeError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::FailedPrecondition | Code::Aborted => ExchangeError::Refused(status),
            Code::ResourceExhausted => ExchangeError::Crowded(status),
            _ => ExchangeError::Broken(status),
        }
    }
}

/// Longest time for one pull or push; a slow link moves a large network in it.
const DEADLINE: Duration = Duration::from_secs(3600);

impl Exchange {
    /// Bulk traffic of one membership, over the network.
    pub fn new(connected: Channel, run_id: String) -> Exchange {
        let client = channel::bulk_client(connected);
        Exchange { client, run_id, local: Arc::default(), weights: Arc::default() }
    }

    /// Whether a coordinator on the same machine may hand over numbers in memory.
    pub fn share_memory(&self, local: bool) {
        self.local.store(local, Ordering::Relaxed);
    }

    /// Brings the trainable vector of a version into the trainer.
    pub async fn pull_weights(
        &self,
        version: Version,
        layout: &Trainable,
        engine: &Engine,
    ) -> Result<(), ExchangeError> {
        let mut chunks = self.request_weights(version).await?;
        let Some(first) = chunks.message().await? else { return Err(incomplete(0, layout)) };
        let Some(memory) = first.memory else { return receive(first, chunks, layout, engine).await };
        match self.reader(memory.into()) {
            // The coordinator may begin the next update meanwhile. Then the step that these weights are for has ended, so
            // nothing that is computed with them will be accepted.
            Ok(reader) => {
                let load = move |trainer: &mut dyn Trainer| {
                    trainer.load_trainable(&|at, into| reader.read(at, into))
                };
                Ok(engine.run(load).await??)
            }
            Err(error) => {
                info!(%error, "the coordinator's memory is out of reach; weights come over the network");
                self.local.store(false, Ordering::Relaxed);
                let mut chunks = self.request_weights(version).await?;
                let Some(first) = chunks.message().await? else { return Err(incomplete(0, layout)) };
                receive(first, chunks, layout, engine).await
            }
        }
    }

    async fn request_weights(&self, version: Version) -> Result<Streaming<pb::SegmentChunk>, ExchangeError> {
        let mut request = tonic::Request::new(pb::PullRequest {
            run_id: self.run_id.clone(),
            weights_version: version.0,
            local: self.local.load(Ordering::Relaxed),
        });
        request.set_timeout(DEADLINE);
        inject(&mut request);
        Ok(self.client.clone().pull_weights(request).await?.into_inner())
    }

    /// The reader of the coordinator's weights, opened once.
    fn reader(&self, address: Address) -> std::io::Result<Arc<Reader>> {
        let mut known = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(found) if found.address == address => Ok(found.reader.clone()),
            _ => {
                let reader = Arc::new(Reader::open(&address)?);
                *known = Some(PeerMemory { address, reader: reader.clone() });
                Ok(reader)
            }
        }
    }

    /// Hands a partial over, whole: the gradient sum (none for evaluations) and the totals. `false` if an equal copy had
    /// been there before.
    #[tracing::instrument(level = "debug", skip_all, fields(lease = partial.lease.0, bytes = size(gradient.as_deref())))]
    pub async fn push(
        &self,
        partial: PartialId,
        gradient: Option<Arc<Gradient>>,
        totals: Totals,
    ) -> Result<bool, ExchangeError> {
        let header = pb::SegmentChunk {
            partial: Some(partial.into()),
            totals: Some(totals.into()),
            ..Default::default()
        };
        let local = self.local.load(Ordering::Relaxed);
        if let Some(address) = gradient.as_ref().filter(|_| local).and_then(|gradient| gradient.address()) {
            let header = pb::SegmentChunk { memory: Some(address.into()), ..header.clone() };
            match self.send(stream::iter([header])).await {
                Err(status) if status.code() == Code::NotFound => {
                    info!(reason = status.message(), "gradients go over the network");
                    self.local.store(false, Ordering::Relaxed);
                }
                sent => return Ok(sent?),
            }
        }
        Ok(self.send(stream::iter([header]).chain(chunks(gradient))).await?)
    }

    async fn send(
        &self,
        chunks: impl Stream<Item = pb::SegmentChunk> + Send + 'static,
    ) -> Result<bool, Status> {
        let mut request = tonic::Request::new(chunks);
        request.set_timeout(DEADLINE);
        inject(&mut request);
        let pb::PushSummary { accepted } = self.client.clone().push_partial(request).await?.into_inner();
        Ok(accepted)
    }

    /// Pulls the encoded row index of a pass.
    pub async fn pull_index(&self, pass: Pass) -> Result<Vec<u8>, ExchangeError> {
        let index = pb::IndexRequest { run_id: self.run_id.clone(), pass: pb::Pass::from(pass).into() };
        let mut request = Request::new(index);
        request.set_timeout(DEADLINE);
        let mut chunks = self.client.clone().pull_index(request).await?.into_inner();
        let mut index = Vec::new();
        while let Some(pb::IndexChunk { payload, crc32 }) = chunks.message().await? {
            if crc32fast::hash(&payload) != crc32 {
                return Err(ExchangeError::Damaged(format!("row index, byte {} on", index.len())));
            }
            index.extend_from_slice(&payload);
        }
        Ok(index)
    }
}

/// Copies weights into the trainer as they arrive.
async fn receive(
    first: pb::SegmentChunk,
    mut chunks: Streaming<pb::SegmentChunk>,
    layout: &Trainable,
    engine: &Engine,
) -> Result<(), ExchangeError> {
    let mut next = 0;
    let mut arrived = Some(first);
    while let Some(chunk) = arrived {
        let pb::SegmentChunk { partial: _, segment, offset, payload, crc32, totals: _, memory: _ } = chunk;
        let at = segment as usize * SEGMENT + offset as usize;
        let values = wire::decode(&payload).filter(|values| at == next && at + values.len() <= layout.len());
        let Some(values) = values else {
            let place = format!("{} bytes for element {at}, expected element {next}", payload.len());
            return Err(ExchangeError::Damaged(place));
        };
        if crc32fast::hash(&payload) != crc32 {
            return Err(ExchangeError::Damaged(format!("checksum of element {at} on")));
        }
        next += values.len();
        let values: Vec<f32> = values.collect();
        engine.run(move |trainer| trainer.set_trainable(at, &values)).await??;
        arrived = chunks.message().await?;
    }
    match next == layout.len() {
        true => Ok(()),
        false => Err(incomplete(next, layout)),
    }
}

fn incomplete(arrived: usize, layout: &Trainable) -> ExchangeError {
    ExchangeError::Damaged(format!("{arrived} of {} elements arrived", layout.len()))
}

/// Bytes of a gradient.
fn size(gradient: Option<&Gradient>) -> usize {
    gradient.map_or(0, |gradient| size_of_val(gradient.values()))
}

/// The segments of a gradient as messages.
fn chunks(gradient: Option<Arc<Gradient>>) -> impl Stream<Item = pb::SegmentChunk> + Send + 'static {
    let step = CHUNK / size_of::<f32>();
    let len = gradient.as_ref().map_or(0, |gradient| gradient.values().len());
    stream::iter((0..len).step_by(step)).map(move |start| {
        let values = gradient.as_ref().map_or(&[][..], |gradient| gradient.values());
        let payload = wire::payload(&values[start..(start + step).min(len)]);
        pb::SegmentChunk {
            segment: (start / SEGMENT) as u32,
            offset: (start % SEGMENT) as u32,
            crc32: crc32fast::hash(&payload),
            payload,
            ..Default::default()
        }
    })
}
