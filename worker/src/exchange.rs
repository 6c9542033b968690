//! Bulk traffic: pulling weights and row indexes, pushing partials, in chunks with checksums.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use headstart::id::{CoordinatorEpoch, Version, WorkerId};
use headstart::message::{PartialId, Pass, Totals};
use headstart::telemetry::context::inject;
use headstart::trainable::{SEGMENT, Trainable};
use headstart::wire::{self, CHUNK, FRAME, MESSAGE_LIMIT, WINDOW, pb};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::engine::{Ended, Engine};
use crate::trainer::TrainError;

/// The bulk connection of a session.
#[derive(Clone)]
pub struct Exchange {
    client: pb::bulk_client::BulkClient<Channel>,
    run_id: String,
    epoch: CoordinatorEpoch,
    worker: WorkerId,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The coordinator no longer wants it: the lease has ended, or the version was replaced.
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
    /// libtorch.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The compute thread.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl From<Status> for ExchangeError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::FailedPrecondition => ExchangeError::Refused(status),
            Code::ResourceExhausted => ExchangeError::Crowded(status),
            _ => ExchangeError::Broken(status),
        }
    }
}

/// A connection tuned for bulk: big windows and frames, no delay, a bounded silence.
pub async fn connect(url: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(url.to_owned())?
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect()
        .await
}

/// Longest time for one pull or push; a slow link moves a large network in it.
const DEADLINE: Duration = Duration::from_secs(3600);

impl Exchange {
    /// Bulk traffic of one membership.
    pub fn new(channel: Channel, run_id: String, epoch: CoordinatorEpoch, worker: WorkerId) -> Exchange {
        let client = pb::bulk_client::BulkClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        Exchange { client, run_id, epoch, worker }
    }

    /// Pulls the trainable vector of a version into the trainer.
    pub async fn pull_weights(
        &self,
        version: Version,
        layout: &Trainable,
        engine: &Engine,
    ) -> Result<(), ExchangeError> {
        let mut request = tonic::Request::new(pb::PullRequest {
            run_id: self.run_id.clone(),
            coordinator_epoch: self.epoch.0,
            weights_version: version.0,
            worker_id: self.worker.0,
        });
        request.set_timeout(DEADLINE);
        inject(&mut request);
        let mut chunks = self.client.clone().pull_weights(request).await?.into_inner();
        let mut next = 0;
        while let Some(chunk) = chunks.message().await? {
            let pb::SegmentChunk { partial: _, segment, offset, payload, crc32, totals: _ } = chunk;
            let at = segment as usize * SEGMENT + offset as usize;
            let (values, rest) = payload.as_chunks::<4>();
            if at != next || at + values.len() > layout.len() || !rest.is_empty() {
                let place = format!("{} bytes for element {at}, expected element {next}", payload.len());
                return Err(ExchangeError::Damaged(place));
            }
            if crc32fast::hash(&payload) != crc32 {
                return Err(ExchangeError::Damaged(format!("checksum of element {at} on")));
            }
            next += values.len();
            let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            engine.run(move |trainer| trainer.set_trainable(at, &values)).await??;
        }
        match next == layout.len() {
            true => Ok(()),
            false => Err(ExchangeError::Damaged(format!("{next} of {} elements arrived", layout.len()))),
        }
    }

    /// Pushes a partial, whole: the gradient sum (empty for evaluations) and the totals. `false` if an equal copy had
    /// been there before.
    #[tracing::instrument(level = "debug", skip_all, fields(lease = partial.lease.0, bytes = 4 * gradient.len()))]
    pub async fn push(
        &self,
        partial: PartialId,
        gradient: Arc<Vec<f32>>,
        totals: Totals,
    ) -> Result<bool, ExchangeError> {
        let mut request = tonic::Request::new(chunks(partial, gradient, totals));
        request.set_timeout(DEADLINE);
        inject(&mut request);
        let pb::PushSummary { accepted } = self.client.clone().push_partial(request).await?.into_inner();
        Ok(accepted)
    }

    /// Pulls the encoded row index of a pass.
    pub async fn pull_index(&self, pass: Pass) -> Result<Vec<u8>, ExchangeError> {
        let request = pb::IndexRequest { run_id: self.run_id.clone(), pass: pb::Pass::from(pass).into() };
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

/// A partial as messages: its name and totals, then its segments.
fn chunks(
    partial: PartialId,
    gradient: Arc<Vec<f32>>,
    totals: Totals,
) -> impl Stream<Item = pb::SegmentChunk> + Send + 'static {
    let header =
        pb::SegmentChunk { partial: Some(partial.into()), totals: Some(totals.into()), ..Default::default() };
    let step = CHUNK / size_of::<f32>();
    let body = stream::iter((0..gradient.len()).step_by(step)).map(move |start| {
        let payload = wire::payload(&gradient[start..(start + step).min(gradient.len())]);
        pb::SegmentChunk {
            partial: None,
            segment: (start / SEGMENT) as u32,
            offset: (start % SEGMENT) as u32,
            crc32: crc32fast::hash(&payload),
            payload,
            totals: None,
        }
    });
    stream::iter([header]).chain(body)
}
