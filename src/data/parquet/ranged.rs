//! A Parquet file as ranges of bytes, read ahead; page headers are judged on the way to the `parquet` crate.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::header;
use crate::data::RowProblem;
use crate::store::{Location, Meta, StoreError};

/// Bytes fetched at once, at least: pages of a column follow each other.
const AHEAD: u64 = 4 << 20;
/// Bytes of the longest page header; statistics make them long.
const LONGEST_HEADER: u64 = 1 << 20;

type Fetch = dyn Fn(Range<u64>) -> std::result::Result<Bytes, StoreError> + Send + Sync;

/// A file whose ranges can be read, from a thread that may block.
#[derive(Clone)]
pub(in crate::data) struct Source {
    pub(super) url: Arc<str>,
    pub(super) size: u64,
    fetch: Arc<Fetch>,
}

impl Source {
    /// A file in a store. Within a runtime; its ranges are then read from a blocking thread of that runtime.
    pub(in crate::data) fn new(location: &Location, meta: &Meta) -> Source {
        let (runtime, location, meta) = (Handle::current(), location.clone(), meta.clone());
        let (url, size) = (location.url().into(), meta.size);
        let fetch = move |range| runtime.block_on(location.read_range(&meta, range));
        Source { url, size, fetch: Arc::new(fetch) }
    }

    /// Bytes of the file, which must hold them.
    pub(super) fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.size {
            return Err(ParquetError::EOF("it points beyond its own end".to_owned()));
        }
        (self.fetch)(range).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// One column chunk's way through a file.
pub(super) struct Ranged {
    source: Source,
    /// Whether pages are gzip, whose decoder does not stop at the size that the header announces.
    gzip: bool,
    ahead: Mutex<(u64, Bytes)>,
    /// Unpacked size of the page whose header was read last.
    announced: Mutex<u64>,
}

impl Ranged {
    pub(super) fn new(source: Source, gzip: bool) -> Ranged {
        Ranged { source, gzip, ahead: Mutex::default(), announced: Mutex::new(0) }
    }

    fn bytes(&self, start: u64, length: u64) -> Result<Bytes> {
        let end = start.checked_add(length).filter(|end| *end <= self.source.size);
        let end = end.ok_or_else(|| ParquetError::EOF("it points beyond its own end".to_owned()))?;
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = |(first, bytes): &(u64, Bytes)| *first <= start && end <= first + bytes.len() as u64;
        if !inside(&ahead) {
            let until = end.max(start.saturating_add(AHEAD)).min(self.source.size);
            *ahead = (start, self.source.bytes(start..until)?);
        }
        let from = (start - ahead.0) as usize;
        Ok(ahead.1.slice(from..from + length as usize))
    }

    fn announced(&self) -> std::sync::MutexGuard<'_, u64> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Length for Ranged {
    fn len(&self) -> u64 {
        self.source.size
    }
}

impl ChunkReader for Ranged {
    type T = bytes::buf::Reader<Bytes>;

    /// The `parquet` crate reads page headers this way, and nothing else.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let length = self.source.size.saturating_sub(start).min(LONGEST_HEADER);
        let bytes = self.bytes(start, length)?;
        let page = header::page(&bytes).map_err(refused)?;
        *self.announced() = page.unpacked;
        Ok(bytes.reader())
    }

    /// And pages this way.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if length as u64 > header::LARGEST_PAGE {
            return Err(refused(format!("a page of {} MiB", length >> 20)));
        }
        let bytes = self.bytes(start, length as u64)?;
        if self.gzip {
            let most = *self.announced();
            let mut unpacked = io::Read::take(MultiGzDecoder::new(bytes.as_ref()), most + 1);
            if io::copy(&mut unpacked, &mut io::sink())? > most {
                return Err(refused("a page is larger than its header says".to_owned()));
            }
        }
        Ok(bytes)
    }
}

/// A reason of ours, on its way through the `parquet` crate.
pub(super) fn refused(reason: String) -> ParquetError {
    ParquetError::External(Box::new(RowProblem::Parquet(reason)))
}
