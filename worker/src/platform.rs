//! What a worker stands on: a network, threads, stores. A simulation brings its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use headstart::store::Stores;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Error, Uri};

/// All of it; real ones by default.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// How the coordinator is reached.
    pub connector: Connector,
    /// Where work that takes long is done.
    pub place: Executor,
    /// Where checkpoint and data are read; `None` for what the run file and this process's environment say.
    pub stores: Option<Stores>,
}

/// Where work that takes long is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Executor {
    /// On threads of its own.
    #[default]
    Threads,
    /// Where it is asked for, at once: for simulations, in which everything has one order.
    Inline {
        /// What a job of the trainer lasts in simulated time.
        job: Duration,
    },
}

impl Executor {
    /// Does a piece of work away from the async threads.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Executor::Threads => {
                tokio::task::spawn_blocking(work).await.expect("work that takes long does not panic")
            }
            Executor::Inline { .. } => work(),
        }
    }
}

/// Opens connections.
#[derive(Clone, Default)]
pub enum Connector {
    /// Over TCP.
    #[default]
    Tcp,
    /// Over another network.
    Other(Arc<dyn Fn(Uri) -> Connecting + Send + Sync>),
}

/// A connection of another network, being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send>>;

/// Bytes in both directions.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Connector::Tcp => "Tcp",
            Connector::Other(_) => "Other",
        })
    }
}

impl Connector {
    /// Connects to an endpoint.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        let Connector::Other(open) = self else { return endpoint.connect().await };
        let open = open.clone();
        let service = tower::service_fn(move |address| {
            let connecting = open(address);
            async move { connecting.await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(service).await
    }
}
