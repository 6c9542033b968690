//! How fast bulk data moves: over loopback, in raw TCP and in partials like a worker's; as weights, from a coordinator.

mod partials;
mod tcp;

use std::time::{Duration, Instant};

use headstart::client::{ClientError, RunStatus};
use headstart::run_file::Wire;
use headstart::trainable::SEGMENT;
use headstart::wire::{channel, pb};
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

/// Segments of one measurement: 256 MiB in 32-bit floats. They are preceded by a few that are not measured: windows open and memory is
/// touched for the first time only once in a run.
const SEGMENTS: usize = 64;
const WARM_UP: usize = 16;
const SEGMENT_BYTES: usize = SEGMENT * size_of::<f32>();
/// Bytes of weights that are enough to know how fast a coordinator sends them.
const BYTES: usize = 16 * SEGMENT_BYTES;
/// Longest time of one measurement.
const PATIENCE: Duration = Duration::from_secs(30);
/// Measurements of which the median counts.
const ROUNDS: usize = 3;
const LOOPBACK: &str = "http://127.0.0.1";

/// What loopback carries.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loopback {
    /// Bytes a second of one TCP stream that nobody looks at.
    pub(super) tcp: f64,
    /// Of partials, in each wire format.
    pub(super) partials: Vec<Partials>,
}

/// How fast partials in a wire format are packed, sent, checked, unpacked and added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Partials {
    pub(super) wire: Wire,
    /// Bytes a second, as packed.
    pub(super) bytes: f64,
    /// Elements a second.
    pub(super) elements: f64,
}

/// Measures all that loopback carries, in turns, so that whatever else the machine does hits each alike.
pub(super) async fn all() -> Result<Loopback, ClientError> {
    let (mut tcp, mut partials) = (Vec::new(), [const { Vec::new() }; 3]);
    let formats = [Wire::F32, Wire::Bf16, Wire::Int8];
    for _ in 0..ROUNDS {
        tcp.push(within(tcp::stream([WARM_UP, SEGMENTS].map(|segments| segments * SEGMENT_BYTES))).await?);
        for (measured, wire) in partials.iter_mut().zip(formats) {
            measured.push(within(partials::push(wire, [WARM_UP, SEGMENTS])).await?);
        }
    }
    let partials = partials.into_iter().map(|measured| median(measured, |one| one.elements)).collect();
    Ok(Loopback { tcp: median(tcp, |&bytes| bytes), partials })
}

/// Bytes a second of partials in 32-bit floats over loopback.
pub(super) async fn loopback() -> Result<f64, ClientError> {
    Ok(within(partials::push(Wire::F32, [WARM_UP, SEGMENTS])).await?.bytes)
}

/// Does something on a thread of its own, as another process would: tasks of one runtime wait for each other.
async fn elsewhere<T, F>(sending: impl FnOnce() -> F + Send + 'static) -> Result<T, ClientError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ClientError>>,
{
    let send = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(sending())
    };
    tokio::task::spawn_blocking(send).await.map_err(failed)?
}

async fn within<T>(measurement: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let late = || failed(format!("a measurement took more than {PATIENCE:?}"));
    timeout(PATIENCE, measurement).await.unwrap_or_else(|_| Err(late()))
}

fn median<T>(mut measured: Vec<T>, by: impl Fn(&T) -> f64) -> T {
    measured.sort_by(|a, b| by(a).total_cmp(&by(b)));
    measured.swap_remove(measured.len() / 2)
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

/// Loopback itself does not work.
fn failed(reason: impl ToString) -> ClientError {
    ClientError::Unreachable { url: LOOPBACK.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_format_moves_over_loopback() {
        assert!(tcp::stream([1 << 20, 8 << 20]).await.unwrap() > 1e6);
        for (wire, element) in [(Wire::F32, 4.0), (Wire::Bf16, 2.0), (Wire::Int8, 1.0)] {
            let Partials { bytes, elements, .. } = partials::push(wire, [1, 2]).await.unwrap();
            assert!(elements > 1e5, "{elements} elements a second in {wire:?}");
            let found = bytes / elements;
            assert!((element..element + 0.01).contains(&found), "{found} bytes an element in {wire:?}");
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3, 1, 2], |&one| f64::from(one)), 2);
    }
}
