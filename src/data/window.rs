//! A file passing by: bytes come in, records go out, and the hash of all of it remains.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::unpack::{Broken, Pieces, Unpacked};
use super::{Flat, RowProblem};

/// Bytes of the longest row.
pub(super) const LONGEST_ROW: u64 = 16 << 20;
/// Bytes of one read.
const STEP: usize = 1 << 20;

/// The unread part of a file. Only the current record and a little more are in memory.
pub(super) struct Window {
    source: Unpacked<Pieces>,
    buffer: Vec<u8>,
    consumed: usize,
    /// Offset of the first unread byte in the unpacked file.
    pub(super) position: u64,
    /// Line of the first unread byte, from 1.
    pub(super) line: u64,
    /// For files whose stored bytes are not these.
    hash: Option<Sha256>,
}

impl Window {
    pub(super) fn new(source: Unpacked<Pieces>) -> Window {
        let hash = source.is_packed().then(Sha256::new);
        Window { source, buffer: Vec::new(), consumed: 0, position: 0, line: 1, hash }
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
    pub(super) fn more(&mut self, csv: bool) -> Result<bool, Broken> {
        if self.bytes().len() as u64 > LONGEST_ROW {
            return Err(Broken::Row(RowProblem::TooLong { limit: LONGEST_ROW, csv }));
        }
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let start = self.buffer.len();
        self.buffer.resize(start + STEP, 0);
        let read = self.source.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        let count = read?;
        if let Some(hash) = &mut self.hash {
            hash.update(&self.buffer[start..]);
        }
        Ok(count > 0)
    }

    /// Bytes of the file itself that were read so far, about: some are read ahead.
    pub(super) fn passed(&self) -> u64 {
        if self.hash.is_some() { self.source.stored_bytes() } else { self.position }
    }

    /// The hash of the file, and what it unpacks to if it is packed; it must have been read to its end.
    pub(super) fn finish(self) -> ([u8; 32], Option<Flat>) {
        let size = self.position;
        let flat = self.hash.map(|hash| Flat { size, sha256: hash.finalize().into() });
        (self.source.stored_hash(), flat)
    }
}
