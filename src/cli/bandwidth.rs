//! How fast bulk data moves: gradients through a push like a worker's, over loopback; weights from a coordinator.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use headstart::client::{ClientError, RunStatus};
use headstart::run_file::Wire;
use headstart::wire::{channel, payload, pb};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of one measurement.
const BYTES: usize = 256 << 20;
/// Longest time of one.
const PATIENCE: Duration = Duration::from_secs(30);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Receives pushes as the coordinator does: verifies the checksum, then copies the data to its place.
struct Sink;

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
        let mut place = vec![0.0f32; payload::CHUNK];
        while let Some(chunk) = chunks.message().await? {
            if crc32fast::hash(&chunk.payload) != chunk.crc32 {
                return Err(Status::data_loss("the checksum is wrong"));
            }
            let decoded = payload::decode(Wire::F32, &chunk.payload, &mut place);
            decoded.map_err(|error| Status::invalid_argument(error.to_string()))?;
        }
        Ok(Response::new(pb::PushSummary { accepted: std::hint::black_box(&place).len() > 1 }))
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

/// Bytes a second of one push over loopback.
pub(super) async fn loopback() -> Result<f64, ClientError> {
    let url = "http://127.0.0.1".to_owned();
    let failed = |reason: String| ClientError::Unreachable { url: url.clone(), reason };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(error.to_string()))?;
    let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
    let server = channel::server()
        .add_service(channel::bulk_server(Sink))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let pushed = timeout(PATIENCE, push(&format!("http://{address}"))).await;
    server.abort();
    match pushed {
        Ok(pushed) => pushed,
        Err(_) => Err(failed(format!("{BYTES} bytes took more than {PATIENCE:?}"))),
    }
}

async fn push(url: &str) -> Result<f64, ClientError> {
    let mut client = client(url).await?;
    let values = vec![0.5f32; payload::CHUNK];
    let bytes = size_of_val(values.as_slice());
    let chunks = stream::iter(0..BYTES / bytes).map(move |_| {
        let mut payload = Vec::new();
        payload::encode(Wire::F32, &values, &mut payload);
        let payload = bytes::Bytes::from(payload);
        pb::SegmentChunk { crc32: crc32fast::hash(&payload), payload, ..Default::default() }
    });
    let began = Instant::now();
    client.push_partial(chunks).await.map_err(|status| refused(url, &status))?;
    Ok(BYTES as f64 / began.elapsed().as_secs_f64())
}

/// Bytes a second of a pull of the weights that a coordinator has; ends early when enough have come.
pub(super) async fn from_coordinator(url: &str, status: &RunStatus) -> Result<f64, ClientError> {
    let request =
        pb::PullRequest { run_id: status.run_id.clone(), weights_version: status.step, local: false };
    let mut client = client(url).await?;
    let pull = async {
        let mut chunks =
            client.pull_weights(request).await.map_err(|status| refused(url, &status))?.into_inner();
        let (began, mut bytes) = (Instant::now(), 0);
        while let Some(chunk) = chunks.message().await.map_err(|status| refused(url, &status))? {
            bytes += chunk.payload.len();
            if bytes >= BYTES {
                break;
            }
        }
        Ok(bytes as f64 / began.elapsed().as_secs_f64())
    };
    let late =
        ClientError::Unreachable { url: url.to_owned(), reason: format!("nothing within {PATIENCE:?}") };
    timeout(PATIENCE, pull).await.unwrap_or(Err(late))
}

/// A connection as a worker opens it for bulk data.
async fn client(url: &str) -> Result<pb::bulk_client::BulkClient<Channel>, ClientError> {
    let bad = |reason: String| ClientError::BadUrl { url: url.to_owned(), reason };
    let endpoint = channel::endpoint(url).map_err(|error| bad(error.to_string()))?;
    let connected = endpoint
        .connect()
        .await
        .map_err(|error| ClientError::Unreachable { url: url.to_owned(), reason: error.to_string() })?;
    Ok(channel::bulk_client(connected))
}

fn refused(url: &str, status: &Status) -> ClientError {
    ClientError::Refused { url: url.to_owned(), reason: status.message().to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_push_over_loopback_is_measured() {
        let bytes_per_second = loopback().await.unwrap();
        assert!(bytes_per_second > 1e6, "{bytes_per_second} bytes a second over loopback");
    }
}
