//! One TCP stream over loopback, as fast as it goes.

use std::time::Instant;

use headstart::client::ClientError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::failed;

/// Bytes of one read or write.
const PIECE: usize = 1 << 20;

/// Bytes a second of a stream of `bytes` bytes, until the last was read.
pub(super) async fn stream(bytes: usize) -> Result<f64, ClientError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let sender = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await?;
        let piece = vec![1; PIECE];
        let mut left = bytes;
        while left > 0 {
            let next = left.min(PIECE);
            stream.write_all(&piece[..next]).await?;
            left -= next;
        }
        stream.shutdown().await
    });
    let (mut stream, _) = listener.accept().await.map_err(failed)?;
    let (mut piece, mut received) = (vec![0; PIECE], 0);
    let began = Instant::now();
    while received < bytes {
        match stream.read(&mut piece).await.map_err(failed)? {
            0 => break,
            read => received += read,
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    sender.await.map_err(failed)?.map_err(failed)?;
    Ok(received as f64 / seconds)
}
