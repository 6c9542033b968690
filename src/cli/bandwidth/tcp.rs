//! One TCP stream over loopback, as fast as it goes.

use std::time::Instant;

use headstart::client::ClientError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{elsewhere, failed};

/// Bytes of one read or write.
const PIECE: usize = 1 << 20;

/// Bytes a second of a stream, from the first byte after `before` to the last of `bytes` more.
pub(super) async fn stream([before, bytes]: [usize; 2]) -> Result<f64, ClientError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let send = async move || {
        let mut stream = TcpStream::connect(address).await.map_err(failed)?;
        let piece = vec![1; PIECE];
        let mut left = before + bytes;
        while left > 0 {
            let next = left.min(PIECE);
            stream.write_all(&piece[..next]).await.map_err(failed)?;
            left -= next;
        }
        stream.shutdown().await.map_err(failed)
    };
    let receive = async {
        let (mut stream, _) = listener.accept().await.map_err(failed)?;
        let (mut piece, mut received) = (vec![0; PIECE], 0);
        let mut began = None;
        loop {
            match stream.read(&mut piece).await.map_err(failed)? {
                0 => break,
                read => received += read,
            }
            if began.is_none() && received >= before {
                began = Some((Instant::now(), received));
            }
        }
        let (began, ignored) = began.ok_or_else(|| failed("the stream ended early"))?;
        Ok((received - ignored) as f64 / began.elapsed().as_secs_f64())
    };
    let ((), speed) = tokio::try_join!(elsewhere(send), receive)?;
    Ok(speed)
}
