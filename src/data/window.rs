//! A file passing by: pieces come in, records go out, and the hash of all of it remains.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{DataError, RowProblem};
use crate::store::StoreError;

/// Bytes of the longest row.
pub(super) const LONGEST_ROW: u64 = 16 << 20;

/// The unread part of a file, of which only the current record and a piece are in memory.
pub(super) struct Window {
    pieces: mpsc::Receiver<Result<Bytes, StoreError>>,
    buffer: Vec<u8>,
    consumed: usize,
    /// Offset in the file of the first unread byte.
    pub(super) position: u64,
    /// Line of the first unread byte, from 1.
    pub(super) line: u64,
    hash: Sha256,
}

impl Window {
    pub(super) fn new(pieces: mpsc::Receiver<Result<Bytes, StoreError>>) -> Window {
        Window { pieces, buffer: Vec::new(), consumed: 0, position: 0, line: 1, hash: Sha256::new() }
    }

    /// The unread bytes in memory.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.consumed..]
    }

    /// Marks bytes as read.
    pub(super) fn consume(&mut self, count: usize) {
        self.line += memchr::memchr_iter(b'\n', &self.bytes()[..count]).count() as u64;
        self.consumed += count;
        self.position += count as u64;
    }

    /// Brings more bytes into memory; false at the end of the file.
    pub(super) fn more(&mut self, csv: bool) -> Result<bool, MoreError> {
        if self.bytes().len() as u64 > LONGEST_ROW {
            return Err(MoreError::Row(RowProblem::TooLong { limit: LONGEST_ROW, csv }));
        }
        let Some(piece) = self.pieces.blocking_recv() else {
            return Ok(false);
        };
        let piece = piece.map_err(|error| MoreError::Data(error.into()))?;
        self.hash.update(&piece);
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(&piece);
        Ok(true)
    }

    /// The hash of the whole file; it must have been read to its end.
    pub(super) fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

/// Why no more bytes come.
pub(super) enum MoreError {
    /// The current row is too long.
    Row(RowProblem),
    /// The file cannot be read.
    Data(DataError),
}
