//! The objects that hold a run's vectors: written once, named by a manifest afterwards, hashed on the way in and out.
//!
//! A file is a safetensors file with one tensor per segment. What it must look like follows from the run's layout, so
//! reading one is copying its bytes to their places and comparing its hash.

use bytes::Bytes;
use futures::TryStreamExt;
use headstart::checkpoint::{CheckpointError, HashedFile, safetensors_header};
use headstart::hash::hex;
use headstart::manifest::{Parts, Piece};
use headstart::store::{Location, StoreError};
use headstart::verify::EVENTS;
use sha2::{Digest, Sha256};

use crate::master::{Held, Master, Vectors};

/// Name of the file of vectors.
const FILE: &str = "state.safetensors";
/// Name of the ledger's file.
const LEDGER: &str = "ledger.jsonl";
/// Name of the metrics' file.
const METRICS: &str = "metrics.jsonl";

/// Why a part is not what the manifest says.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its content differs from what was written, or it is missing.
    #[error("{url}: {reason}")]
    Content {
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It could not be read, whatever it holds.
    #[error(transparent)]
    Store(StoreError),
}

impl Damage {
    fn new(location: &Location, reason: impl Into<String>) -> Damage {
        Damage::Content { url: location.url().to_owned(), reason: reason.into() }
    }
}

impl From<StoreError> for Damage {
    fn from(error: StoreError) -> Damage {
        match error {
            StoreError::NotFound { url } => Damage::Content { url, reason: "is missing".into() },
            StoreError::Changed { url } | StoreError::TooLarge { url, .. } => {
                Damage::Content { url, reason: "its size is not what was written".into() }
            }
            other => Damage::Store(other),
        }
    }
}

/// Lengths of the segments, and how many vectors there are: the weights, then the moments.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Elements of each segment.
    pub segments: Vec<usize>,
    pub vectors: usize,
}

impl Layout {
    /// Of everything a master holds.
    pub fn of(master: &Master) -> Layout {
        Layout { segments: master.segment_lens(), vectors: 1 + master.moments() }
    }

    /// Of the weights alone.
    pub fn weights(&self) -> Layout {
        Layout { segments: self.segments.clone(), vectors: 1 }
    }

    fn header(&self) -> Vec<u8> {
        let mut tensors = Vec::with_capacity(self.segments.len() * self.vectors);
        for (segment, len) in self.segments.iter().enumerate() {
            for vector in 0..self.vectors {
                let name = match vector {
                    0 => format!("weights.{segment:06}"),
                    moment => format!("moment{moment}.{segment:06}"),
                };
                tensors.push((name, [*len as u64]));
            }
        }
        safetensors_header(tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))
    }

    /// A file's tensors have this many elements each, in this order.
    fn lens(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().flat_map(|&len| std::iter::repeat_n(len, self.vectors))
    }
}

/// Writes the weights and moments that `held` has frozen, concurrently with the next step; returns the weights too.
pub async fn write_state(
    output: &Location,
    directory: String,
    held: &Held,
) -> Result<(Parts, Vec<Vec<f32>>), CheckpointError> {
    let layout = Layout::of(held.master());
    let mut file = HashedFile::create(&output.join(&directory)?, FILE.to_owned())?;
    file.put(layout.header()).await?;
    let mut weights = Vec::with_capacity(layout.segments.len());
    for segment in 0..layout.segments.len() {
        let vectors = held.take(segment);
        for vector in &vectors {
            file.put_values(vector).await?;
        }
        weights.extend(vectors.into_iter().next());
    }
    let files = vec![file.finish().await?.into()];
    Ok((Parts { directory, files }, weights))
}

/// Writes one vector, segment by segment.
pub async fn write_weights(
    output: &Location,
    directory: String,
    weights: &[Vec<f32>],
) -> Result<Parts, CheckpointError> {
    let layout = Layout { segments: weights.iter().map(Vec::len).collect(), vectors: 1 };
    let mut file = HashedFile::create(&output.join(&directory)?, FILE.to_owned())?;
    file.put(layout.header()).await?;
    for segment in weights {
        file.put_values(segment).await?;
    }
    Ok(Parts { directory, files: vec![file.finish().await?.into()] })
}

/// Reads what [`write_state`] or [`write_weights`] wrote: for each segment, its vectors.
pub async fn read(output: &Location, parts: &Parts, layout: &Layout) -> Result<Vec<Vectors>, Damage> {
    let directory = output.join(&parts.directory)?;
    let Some(piece) = parts.files.iter().find(|piece| piece.name == FILE) else {
        return Err(Damage::new(&directory, format!("the manifest names no {FILE} in it")));
    };
    let mut source = Hashed::open(directory.join(FILE)?, piece).await?;
    let header = layout.header();
    if source.take(header.len()).await? != header {
        return Err(Damage::new(&source.location, "does not hold this run's vectors"));
    }
    let mut tensors = Vec::new();
    for len in layout.lens() {
        let mut values = Vec::with_capacity(len);
        while values.len() < len {
            let bytes = source.take(4 * (len - values.len()).min(CHUNK)).await?;
            let (numbers, _) = bytes.as_chunks();
            values.extend(numbers.iter().map(|&number| f32::from_le_bytes(number)));
        }
        tensors.push(values);
    }
    source.end(piece)?;
    let mut tensors = tensors.into_iter();
    let segments = layout.segments.iter().map(|_| tensors.by_ref().take(layout.vectors).collect());
    Ok(segments.collect())
}

/// Elements per conversion.
const CHUNK: usize = 1 << 18;

/// A file's bytes in order, and the hash of those that have passed.
struct Hashed {
    location: Location,
    pieces: futures::stream::BoxStream<'static, Result<Bytes, StoreError>>,
    ready: Bytes,
    hash: Sha256,
}

impl Hashed {
    async fn open(location: Location, piece: &Piece) -> Result<Hashed, Damage> {
        let meta = location.head().await?;
        if meta.size != piece.size {
            let reason = format!("has {} bytes, {} were written", meta.size, piece.size);
            return Err(Damage::new(&location, reason));
        }
        let pieces = Box::pin(location.pieces(&meta, 0..meta.size));
        Ok(Hashed { location, pieces, ready: Bytes::new(), hash: Sha256::new() })
    }

    /// The next `count` bytes; fails when there are fewer.
    async fn take(&mut self, count: usize) -> Result<Bytes, Damage> {
        let mut taken = Vec::new();
        loop {
            let part = self.ready.split_to((count - taken.len()).min(self.ready.len()));
            if taken.is_empty() && part.len() == count {
                return Ok(part);
            }
            taken.extend_from_slice(&part);
            if taken.len() == count {
                return Ok(taken.into());
            }
            match self.pieces.try_next().await? {
                Some(bytes) => {
                    self.hash.update(&bytes);
                    self.ready = bytes;
                }
                None => return Err(Damage::new(&self.location, "ends early")),
            }
        }
    }

    /// Nothing may follow, and the hash must be the one that was written.
    fn end(self, piece: &Piece) -> Result<(), Damage> {
        // The layout decides how many bytes were taken, the manifest how many there are.
        let whole = self.ready.is_empty();
        match whole && hex(&self.hash.finalize()) == piece.sha256 {
            true => Ok(()),
            false => Err(Damage::new(&self.location, "its content is not what was written")),
        }
    }
}

/// What a run has written down so far, one JSON object a line.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub ledger: String,
    pub metrics: String,
    pub events: String,
}

impl Texts {
    /// The files that hold them, by name.
    pub fn files(self) -> [(&'static str, String); 3] {
        let Texts { ledger, metrics, events } = self;
        [(LEDGER, ledger), (METRICS, metrics), (EVENTS, events)]
    }
}

/// Writes a run's texts.
pub async fn write_texts(output: &Location, directory: String, texts: Texts) -> Result<Parts, StoreError> {
    let mut files = Vec::new();
    for (name, text) in texts.files() {
        let bytes = Bytes::from(text);
        let (size, sha256) = (bytes.len() as u64, headstart::hash::sha256(&bytes));
        output.join(&directory)?.join(name)?.write(bytes).await?;
        files.push(Piece { name: name.to_owned(), size, sha256 });
    }
    Ok(Parts { directory, files })
}

/// Reads what [`write_texts`] wrote. Events are missing in what older versions wrote.
pub async fn read_texts(output: &Location, parts: &Parts) -> Result<Texts, Damage> {
    let has_events = parts.files.iter().any(|piece| piece.name == EVENTS);
    Ok(Texts {
        ledger: read_text(output, parts, LEDGER).await?,
        metrics: read_text(output, parts, METRICS).await?,
        events: if has_events { read_text(output, parts, EVENTS).await? } else { String::new() },
    })
}

async fn read_text(output: &Location, parts: &Parts, name: &str) -> Result<String, Damage> {
    let location = output.join(&parts.directory)?.join(name)?;
    let Some(piece) = parts.files.iter().find(|piece| piece.name == name) else {
        return Err(Damage::new(&location, "the manifest does not name it"));
    };
    let bytes = location.read(piece.size).await?;
    if bytes.len() as u64 != piece.size || headstart::hash::sha256(&bytes) != piece.sha256 {
        return Err(Damage::new(&location, "its content is not what was written"));
    }
    String::from_utf8(bytes.into()).map_err(|_| Damage::new(&location, "is not text"))
}
