//! The simulated network: turmoil's sockets for the coordinator's listener and the workers' connector.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{StreamExt, stream};
use headstart_coordinator::listen::{Connections, Listen};
use headstart_worker::platform::{Connection, Connector};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

/// The coordinator's host.
pub const COORDINATOR: &str = "coordinator";
const PORT: u16 = 7070;

/// The coordinator's URL.
pub fn url() -> String {
    format!("http://{COORDINATOR}:{PORT}")
}

/// Connects as workers do.
pub fn connector() -> Connector {
    Connector::Other(Arc::new(|address: Uri| {
        Box::pin(async move {
            let host = address.host().unwrap_or_default().to_owned();
            let stream = TcpStream::connect((host, address.port_u16().unwrap_or(PORT))).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }))
}

/// The coordinator's address.
#[derive(Debug)]
pub struct Port;

impl Listen for Port {
    type Io = Accepted;

    async fn listen(self) -> io::Result<(SocketAddr, Connections<Accepted>)> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let address = listener.local_addr()?;
        let accepted = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
            Some((accepted, listener))
        });
        Ok((address, accepted.boxed()))
    }
}

/// A connection that tonic can serve.
#[derive(Debug)]
pub struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
