//! A partial on its way in: over the network in chunks, or out of the memory of a worker on this machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use headstart::hash;
use headstart::id::Segment;
use headstart::message::PartialId;
use headstart::shared_memory::{Address, Reader};
use headstart::trainable::SEGMENT;
use headstart::tree;
use headstart::wire::{payload, pb};
use tonic::{Code, Status, Streaming};

use crate::event::{SegmentUse, Unfit};
use crate::reduce::{self, Inserted, OpenStep};
use crate::services::Services;

/// Longest pause between two messages of a push.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);
/// The same, of one that began before its lease was computed: until then, the lease has a limit of its own.
const COMPUTING: Duration = Duration::from_secs(3600);
/// Maximum incomplete segments of one push; each holds a buffer.
const OPEN_SEGMENTS: usize = 4;

/// One partial on its way in.
pub(crate) struct Push<'a> {
    services: &'a Services,
    open: Arc<OpenStep>,
    partial: &'a PartialId,
    /// Segments with some, but not all, chunks received.
    parts: Vec<(Segment, Vec<f32>, usize)>,
    /// Per segment, whether it has arrived whole.
    whole: Vec<bool>,
    /// What is to be done with them.
    wanted: SegmentUse,
    /// Per segment, its hash, where it is wanted.
    hashes: Vec<u128>,
    added: bool,
    /// Computing time, where it came last.
    compute: Option<Duration>,
}

/// What became of a partial.
pub(crate) struct Taken {
    /// Whether any of it was new.
    pub(crate) added: bool,
    /// Its hash, where it was wanted.
    pub(crate) hash: Option<u128>,
    /// How long it was computed, where only its end tells.
    pub(crate) compute: Option<Duration>,
}

impl<'a> Push<'a> {
    /// A partial without any segment received yet.
    pub(crate) fn new(
        services: &'a Services,
        open: Arc<OpenStep>,
        partial: &'a PartialId,
        wanted: SegmentUse,
    ) -> Push<'a> {
        let segments = services.master.segments();
        let (whole, hashes) = (vec![false; segments], vec![0; segments]);
        Push {
            services,
            open,
            partial,
            parts: Vec::new(),
            whole,
            wanted,
            hashes,
            added: false,
            compute: None,
        }
    }

    /// Copies every segment from the worker's memory, several concurrently.
    pub(crate) async fn copy(mut self, address: Address) -> Result<Taken, Status> {
        let unreadable = |error: std::io::Error| {
            Status::not_found(format!("the memory of {} cannot be read: {error}", self.partial.worker))
        };
        let reader = Arc::new(Reader::open(&address).map_err(unreadable)?);
        let segments = (0..self.whole.len() as u32).map(Segment);
        let copies = segments.map(|segment| self.copy_segment(&reader, segment));
        let copies = stream::iter(copies).buffer_unordered(self.services.reducer.pool().width());
        let copied: Vec<(Segment, u128, bool)> = copies.try_collect().await?;
        for (segment, hash, added) in copied {
            self.hashes[segment.0 as usize] = hash;
            self.added |= added;
        }
        Ok(self.taken())
    }

    fn taken(&self) -> Taken {
        let hash = self.wanted.hashes().then(|| hash::of_segments(&self.hashes));
        Taken { added: self.added, hash, compute: self.compute }
    }

    async fn copy_segment(
        &self,
        reader: &Arc<Reader>,
        segment: Segment,
    ) -> Result<(Segment, u128, bool), Status> {
        let len = self.services.master.segment_len(segment).expect("segments are numbered from 0");
        let (reader, buffer) = (reader.clone(), self.services.reducer.buffer(len));
        let pool = self.services.reducer.pool();
        let values = pool.run(move || read_finite(&reader, segment, buffer)).await;
        let values = values.map_err(|unusable| self.refuse(segment, &unusable))?;
        let bytes = size_of_val(values.as_slice()) as u64;
        self.count(bytes);
        let (hash, added) = self.take(segment, values).await?;
        Ok((segment, hash, added))
    }

    /// Counts bytes of the partial that have arrived.
    fn count(&self, bytes: u64) {
        let traffic = self.services.handle.traffic();
        traffic.up.fetch_add(bytes, Ordering::Relaxed);
        traffic.arrivals.add(self.partial.lease, bytes);
    }

    /// Adds a whole segment and hashes it, as the machine wants it; whether it was new.
    async fn take(&self, segment: Segment, values: Vec<f32>) -> Result<(u128, bool), Status> {
        let (values, hash) = match self.wanted.hashes() {
            true => {
                let hashed = move || {
                    let hash = hash::segment(&values);
                    (values, hash)
                };
                self.services.reducer.pool().run(hashed).await
            }
            false => (values, 0),
        };
        if !self.services.reducer.is_current(&self.open) {
            return Err(reduce::Refused::WrongStep(self.partial.work.step).into());
        }
        if !self.wanted.adds() {
            self.services.reducer.recycle(values);
            return Ok((hash, false));
        }
        let inserted = self.open.insert(self.partial.work.node, segment, values).await?;
        Ok((hash, inserted == Inserted::Added))
    }

    fn refuse(&self, segment: Segment, unusable: &Unusable) -> Status {
        let text = format!("{segment}: {unusable}");
        match unusable {
            Unusable::Unreadable(_) => Status::invalid_argument(text),
            Unusable::NotFinite => {
                self.services.handle.meter().not_finite.fetch_add(1, Ordering::Relaxed);
                Status::aborted(text)
            }
        }
    }

    /// Takes every segment in. `computing`: the worker sends while it computes.
    pub(crate) async fn receive(
        mut self,
        chunks: &mut Streaming<pb::SegmentChunk>,
        computing: bool,
    ) -> Result<Taken, Status> {
        let pause = if computing { COMPUTING } else { PAUSE };
        while let Some(message) = next(chunks, pause).await? {
            let pb::SegmentChunk { segment, offset, payload, crc32, compute_micros, .. } = message;
            if computing && payload.is_empty() {
                self.compute = Some(Duration::from_micros(compute_micros));
                continue;
            }
            self.count(payload.len() as u64);
            self.place(Segment(segment), offset as usize, &payload, crc32).await?;
        }
        let arrived = self.whole.iter().filter(|&&whole| whole).count();
        match arrived == self.whole.len() {
            true => Ok(self.taken()),
            false => {
                let (node, segments) = (self.partial.work.node, self.whole.len());
                Err(Status::invalid_argument(format!(
                    "the partial of {node} has {arrived} of {segments} segments"
                )))
            }
        }
    }

    /// Copies a chunk to its place. Chunks of a segment arrive in order, so a segment is whole when the last has come.
    async fn place(
        &mut self,
        segment: Segment,
        offset: usize,
        payload: &[u8],
        crc32: u32,
    ) -> Result<(), Status> {
        let bad = |what: &str| Status::invalid_argument(format!("{segment}, offset {offset}: {what}"));
        if crc32fast::hash(payload) != crc32 {
            return Err(Status::data_loss(format!("{segment}, offset {offset}: the checksum is wrong")));
        }
        let len = self.services.master.segment_len(segment).ok_or_else(|| bad("no such segment"))?;
        if self.whole[segment.0 as usize] {
            return Err(bad("the segment was sent twice"));
        }
        let at = match self.parts.iter().position(|(part, ..)| *part == segment) {
            Some(at) => at,
            None if self.parts.len() >= OPEN_SEGMENTS => return Err(bad("too many segments at once")),
            None => {
                self.parts.push((segment, self.services.reducer.buffer(len), 0));
                self.parts.len() - 1
            }
        };
        let (_, buffer, filled) = &mut self.parts[at];
        if offset != *filled {
            return Err(bad("the chunk is out of order"));
        }
        let end = (offset + payload::CHUNK).min(len);
        let decoded = payload::decode(self.services.reducer.wire(), payload, &mut buffer[offset..end]);
        decoded.map_err(|malformed| bad(&format!("the chunk does not fit: {malformed}")))?;
        if !tree::all_finite(&buffer[offset..end]) {
            self.services.handle.meter().not_finite.fetch_add(1, Ordering::Relaxed);
            return Err(Status::aborted(format!("{segment}: {}", Unusable::NotFinite)));
        }
        *filled = end;
        if *filled == len {
            self.whole[segment.0 as usize] = true;
            let (_, buffer, _) = self.parts.swap_remove(at);
            let (hash, added) = self.take(segment, buffer).await?;
            self.hashes[segment.0 as usize] = hash;
            self.added |= added;
        }
        Ok(())
    }
}

/// What the machine must know of a push that ended like this.
pub(crate) fn unfit(status: &Status) -> Option<Unfit> {
    match status.code() {
        Code::ResourceExhausted => Some(Unfit::Crowded),
        Code::Aborted => Some(Unfit::NotFinite),
        _ => None,
    }
}

/// Elements copied and checked together, while they are in a core's cache.
const PIECE: usize = 1 << 16;

/// Why a segment in a worker's memory is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    #[error("a value is not finite")]
    NotFinite,
}

fn read_finite(reader: &Reader, segment: Segment, mut values: Vec<f32>) -> Result<Vec<f32>, Unusable> {
    for (at, piece) in values.chunks_mut(PIECE).enumerate() {
        let start = segment.0 as usize * SEGMENT + at * PIECE;
        reader.read(start, piece)?;
        if !tree::all_finite(piece) {
            return Err(Unusable::NotFinite);
        }
    }
    Ok(values)
}

/// The next message of a push.
pub(crate) async fn next(
    chunks: &mut Streaming<pb::SegmentChunk>,
    pause: Duration,
) -> Result<Option<pb::SegmentChunk>, Status> {
    tokio::time::timeout(pause, chunks.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the push paused for too long"))?
}
