//! Files passing by as a stream, decompressed on the way, within limits.

use std::io::{self, BufReader, Read};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{DataError, FilePosition, Packing, RowProblem};
use crate::store::{Location, Meta, StoreError};

/// Capacity of the channel to the reader, in pieces of a file.
const PIECES_AHEAD: usize = 2;
/// A file that grows by more than this factor is treated as a decompression bomb …
const HIGHEST_RATIO: u64 = 200;
/// … once it has grown to this number of bytes.
const UNSUSPICIOUS: u64 = 64 << 20;
/// Largest window of a zstd stream, as a power of two: zstd's own default limit.
pub(super) const ZSTD_WINDOW: u32 = 27;

/// Reads a file from its start on a thread of its own while the next pieces are on their way.
pub(super) async fn read_through<T: Send + 'static>(
    file: &Location,
    meta: &Meta,
    work: impl FnOnce(Pieces) -> T + Send + 'static,
) -> T {
    let (send, receiver) = mpsc::channel(PIECES_AHEAD);
    let pieces = Pieces { receiver, piece: Bytes::new(), hash: Sha256::new(), passed: 0 };
    let working = tokio::task::spawn_blocking(move || work(pieces));
    let feeding = async move {
        let mut stream = std::pin::pin!(file.pieces(meta, 0..meta.size));
        while let Some(piece) = stream.next().await {
            let failed = piece.is_err();
            // The reader hangs up at the first bad row; its own error says why.
            if send.send(piece).await.is_err() || failed {
                break;
            }
        }
    };
    let ((), worked) = futures::join!(feeding, working);
    worked.expect("reading data does not panic")
}

/// A file's bytes, hashed as they pass.
pub(super) struct Pieces {
    receiver: mpsc::Receiver<Result<Bytes, StoreError>>,
    piece: Bytes,
    hash: Sha256,
    passed: u64,
}

impl Pieces {
    /// Bytes in memory as if they were a file passing by.
    pub(super) fn of(bytes: Bytes) -> Pieces {
        // Nobody sends: the file ends with these.
        let (_, receiver) = mpsc::channel(1);
        let mut hash = Sha256::new();
        hash.update(&bytes);
        Pieces { receiver, piece: bytes, hash, passed: 0 }
    }

    /// The hash of what has passed.
    fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
            }
            self.hash.update(&self.piece);
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        self.passed += count as u64;
        Ok(count)
    }
}

/// How much a packed file may grow to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    left: u64,
    problem: Exceeded,
}

#[derive(Clone, Copy, Debug)]
enum Exceeded {
    Ratio,
    Room(u64),
}

impl Budget {
    /// For a file of `size` bytes where `room` bytes are left for unpacked data, of `data_cache` in all.
    pub(super) fn new(size: u64, room: u64, data_cache: u64) -> Budget {
        let unsuspicious = size.saturating_mul(HIGHEST_RATIO).max(UNSUSPICIOUS);
        match unsuspicious < room {
            true => Budget { left: unsuspicious, problem: Exceeded::Ratio },
            false => Budget { left: room, problem: Exceeded::Room(data_cache) },
        }
    }

    /// Takes note of bytes that came out.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), RowProblem> {
        self.left = self.left.checked_sub(bytes).ok_or(match self.problem {
            Exceeded::Ratio => RowProblem::Bomb { ratio: HIGHEST_RATIO },
            Exceeded::Room(data_cache) => RowProblem::NoRoom { data_cache },
        })?;
        Ok(())
    }
}

/// A file as rows see it: decompressed if need be.
pub(super) struct Unpacked<R: Read> {
    stream: Stream<R>,
    budget: Budget,
}

enum Stream<R: Read> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(zstd::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Unpacked<R> {
    /// Decompresses what `packing` says is compressed.
    pub(super) fn new(reader: R, packing: Packing, budget: Budget) -> io::Result<Unpacked<R>> {
        let stream = match packing {
            Packing::Plain | Packing::Parquet => Stream::Plain(reader),
            Packing::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Stream::Zstd(decoder)
            }
        };
        Ok(Unpacked { stream, budget })
    }
}

impl Unpacked<Pieces> {
    /// Whether other bytes come out than go in.
    pub(super) fn is_packed(&self) -> bool {
        !matches!(self.stream, Stream::Plain(_))
    }

    /// The hash of the file itself; it must have been read to its end.
    pub(super) fn stored_hash(&self) -> [u8; 32] {
        self.pieces().hash()
    }

    /// Bytes of the file itself that went into decompression.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.pieces().passed
    }

    fn pieces(&self) -> &Pieces {
        match &self.stream {
            Stream::Plain(pieces) => pieces,
            Stream::Gzip(decoder) => decoder.get_ref(),
            Stream::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.stream {
            Stream::Plain(reader) => return reader.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer)?,
            Stream::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.budget.spend(count as u64).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// Why a stream broke off: storage, a limit, or damage.
pub(super) enum Broken {
    /// It cannot be read.
    Data(DataError),
    /// It cannot be used.
    Row(RowProblem),
}

impl Broken {
    /// Why a stream broke off, and where.
    pub(super) fn at(self, url: &str, place: FilePosition) -> DataError {
        match self {
            Broken::Data(error) => error,
            Broken::Row(problem) => DataError::Row { url: url.to_owned(), place, problem },
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        let text = error.to_string();
        let Some(cause) = error.into_inner() else {
            return Broken::Row(RowProblem::Packed(text));
        };
        match cause.downcast::<StoreError>() {
            Ok(error) => Broken::Data((*error).into()),
            Err(cause) => match cause.downcast::<RowProblem>() {
                Ok(problem) => Broken::Row(*problem),
                Err(_) => Broken::Row(RowProblem::Packed(text)),
            },
        }
    }
}
