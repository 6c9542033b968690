//! Bulk traffic: pulling weights and row indexes, pushing partials, in chunks with checksums.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, stream};
use headstart::id::{CoordinatorEpoch, Version};
use headstart::message::{PartialId, Pass, Totals};
use headstart::run_file::Wire;
use headstart::shared_memory::{Address, Reader};
use headstart::telemetry::context::inject;
use headstart::trainable::{SEGMENT, Trainable};
use headstart::wire::{channel, payload, pb};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tracing::info;

use crate::engine::{Ended, Engine};
use crate::outgoing::{Outgoing, header};
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
    /// The sums after the replica's version are gone.
    #[error("{}", .0.message())]
    Behind(Status),
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
            Code::OutOfRange => ExchangeError::Behind(status),
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

    /// Tries the coordinator's memory, if it has told where that is; whether numbers are handed over there.
    pub fn try_memory(&self, address: Option<Address>) -> bool {
        let local = match address.map(|address| self.reader(address)) {
            None => false,
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                info!(%error, "the coordinator's memory is out of reach; numbers go over the network");
                false
            }
        };
        self.local.store(local, Ordering::Relaxed);
        local
    }

    /// Whether partials are handed over in memory.
    pub fn is_local(&self) -> bool {
        self.local.load(Ordering::Relaxed)
    }

    /// What keeps a replica up to date, from a version on; without one, from the state on, which comes first.
    pub async fn follow(
        &self,
        epoch: CoordinatorEpoch,
        known: Option<Version>,
    ) -> Result<Streaming<pb::ReplicaUpdate>, ExchangeError> {
        let request = pb::FollowRequest {
            run_id: self.run_id.clone(),
            coordinator_epoch: epoch.0,
            weights_version: known.map(|version| version.0),
        };
        Ok(self.client.clone().follow(request).await?.into_inner())
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

    /// Hands a partial over while it is computed. `false` if an equal copy had been there before.
    #[tracing::instrument(level = "debug", name = "push", skip_all)]
    pub async fn push_outgoing(&self, outgoing: &Outgoing) -> Result<bool, ExchangeError> {
        outgoing.has_begun().await;
        Ok(self.send(outgoing.messages()).await?)
    }

    /// Hands a partial over in memory; `None` if the coordinator cannot read it there.
    #[tracing::instrument(level = "debug", name = "push", skip_all)]
    pub async fn push_memory(
        &self,
        id: &PartialId,
        memory: Address,
        totals: Totals,
    ) -> Result<Option<bool>, ExchangeError> {
        let header = pb::SegmentChunk { memory: Some(memory.into()), ..header(id, totals, None, false) };
        match self.send(stream::iter([header])).await {
            Err(status) if status.code() == Code::NotFound => {
                info!(reason = status.message(), "gradients go over the network");
                self.local.store(false, Ordering::Relaxed);
                Ok(None)
            }
            sent => Ok(Some(sent?)),
        }
    }

    /// Hands over the sums of a pass that has no gradient.
    pub async fn push_totals(
        &self,
        id: &PartialId,
        totals: Totals,
        weights: Option<u128>,
    ) -> Result<bool, ExchangeError> {
        Ok(self.send(stream::iter([header(id, totals, weights, false)])).await?)
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
        let pb::SegmentChunk { segment, offset, payload, crc32, .. } = chunk;
        let at = segment as usize * SEGMENT + offset as usize;
        let fits = offset < SEGMENT as u32 && at < layout.len();
        if at != next || !fits {
            return Err(ExchangeError::Damaged(format!("element {at} came, expected element {next}")));
        }
        if crc32fast::hash(&payload) != crc32 {
            return Err(ExchangeError::Damaged(format!("checksum of element {at} on")));
        }
        let end = (at + payload::CHUNK).min(layout.segment(segment as usize).end);
        let mut values = vec![0.0; end - at];
        let decoded = payload::decode(Wire::F32, &payload, &mut values);
        decoded.map_err(|error| ExchangeError::Damaged(format!("element {at}: {error}")))?;
        next = end;
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
