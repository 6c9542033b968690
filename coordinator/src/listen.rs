//! Where workers and clients come from: a socket, or the network of a simulation.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Connections as they come.
pub type Connections<Io> = BoxStream<'static, io::Result<Io>>;

/// An address that is taken but does not listen yet.
pub trait Listen: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static;

    /// Listens from now on: where, and to whom.
    fn listen(self) -> impl Future<Output = io::Result<(SocketAddr, Connections<Self::Io>)>> + Send;
}

impl Listen for TcpSocket {
    type Io = TcpStream;

    async fn listen(self) -> io::Result<(SocketAddr, Connections<TcpStream>)> {
        let listener = TcpSocket::listen(self, BACKLOG)?;
        let address = listener.local_addr()?;
        let connections = TcpListenerStream::new(listener).filter_map(async |stream| {
            let Ok(stream) = stream else {
                // Out of file descriptors, most likely: some become free when others hang up.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                return None;
            };
            // Small control messages must not wait for a full segment of TCP.
            stream.set_nodelay(true).ok()?;
            Some(Ok(stream))
        });
        Ok((address, connections.boxed()))
    }
}
