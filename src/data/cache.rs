//! Data on this machine's disk: local files in place, remote ones downloaded and packed ones unpacked, once each.

use std::fs::{File, FileTimes};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::parquet::{ParquetRow, ParquetTable, Source, contradicts};
use super::unpack::{Broken, Budget, Unpacked, read_through};
use super::{DataError, DataFile, FilePosition, Packing, RowProblem};
use crate::hash::hex;
use crate::store::{Location, Meta, StoreError};

/// Ends the names of files being written.
const PART: &str = ".part";

/// A directory for data, which workers of one machine can share, and the bytes it may hold.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    limit: u64,
}

/// A file whose content was checked against the plan.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) path: PathBuf,
    /// Offset in the planned file of its first byte.
    pub(super) start: u64,
    stamp: Stamp,
    cached: bool,
}

/// Metadata that changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

/// What opening a checked file again finds.
pub(super) enum Opened {
    /// The file as it was.
    Same(File),
    /// The file was modified.
    Changed,
    /// It made room for others.
    Evicted,
}

impl Checked {
    /// Opens the file again. Blocks.
    pub(super) fn open(&self) -> io::Result<Opened> {
        let file = match File::open(&self.path) {
            Err(error) if self.cached && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Opened::Evicted);
            }
            file => file?,
        };
        if self.cached {
            touch(&file);
        }
        Ok(if stamp(&file)? == self.stamp { Opened::Same(file) } else { Opened::Changed })
    }
}

/// Checks a local file against the plan. Its hash is computed only if it may be another than planning saw.
pub(super) async fn check_local(
    path: PathBuf,
    location: &Location,
    planned: &DataFile,
) -> Result<Checked, DataError> {
    let meta = location.head().await?;
    let known = meta == Meta { size: planned.size, etag: planned.etag.clone() };
    let expected = if known { None } else { planned.sha256 };
    let whole = PartRequest { planned, range: 0..planned.size, expected, cached: false };
    whole.verify(path).await
}

impl Cache {
    /// A cache in `directory`, made when it is needed. It holds about `limit` bytes: what was used longest ago goes first.
    pub fn new(directory: PathBuf, limit: u64) -> Cache {
        Cache { directory, limit }
    }

    /// Bytes `range` of a remote file, downloaded or found here. A part is pinned by the file's etag in its store alone.
    pub(super) async fn download(
        &self,
        location: &Location,
        planned: &DataFile,
        range: Range<u64>,
    ) -> Result<Checked, DataError> {
        let whole = range == (0..planned.size);
        let expected = planned.sha256.filter(|_| whole);
        let name = if whole { name(planned) } else { format!("{}-{}", name(planned), range.start) };
        let path = self.directory.join(&name);
        let wanted = PartRequest { planned, range: range.clone(), expected, cached: true };
        if let Some(found) = wanted.find(&path).await? {
            return Ok(found);
        }
        let failed = |error: io::Error| failed(&path, &error);
        let part = self.part(&name).await?;
        let mut file = tokio::fs::File::create(&part.0).await.map_err(failed)?;
        let mut hash = Sha256::new();
        let meta = Meta { size: planned.size, etag: planned.etag.clone() };
        let mut pieces = std::pin::pin!(location.pieces(&meta, range));
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            hash.update(&piece);
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        if expected.is_some_and(|expected| expected != <[u8; 32]>::from(hash.finalize())) {
            return Err(DataError::Changed { url: planned.url.clone() });
        }
        self.keep(part, path, wanted).await
    }

    /// What a packed file unpacks to, unpacked or found here.
    pub(super) async fn unpack(&self, location: &Location, planned: &DataFile) -> Result<Checked, DataError> {
        let Some(flat) = planned.flat else {
            return Err(DataError::Index("a packed file must say what it unpacks to"));
        };
        let name = format!("{}-rows", name(planned));
        let path = self.directory.join(&name);
        let wanted = PartRequest { planned, range: 0..flat.size, expected: Some(flat.sha256), cached: true };
        if let Some(found) = wanted.find(&path).await? {
            return Ok(found);
        }
        let part = self.part(&name).await?;
        // A copy with another time has another etag; what it unpacks to is compared below.
        let meta = location.head().await?;
        if meta.size != planned.size {
            return Err(DataError::Changed { url: planned.url.clone() });
        }
        let found = unpack_into(part.0.clone(), location, &meta, planned.clone(), flat.size).await?;
        if found != flat.sha256 {
            return Err(DataError::Changed { url: planned.url.clone() });
        }
        self.keep(part, path, wanted).await
    }

    /// A name for a file while it is written.
    async fn part(&self, name: &str) -> Result<Part, DataError> {
        static PARTS: AtomicU64 = AtomicU64::new(0);
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let directory = &self.directory;
        tokio::fs::create_dir_all(directory).await.map_err(|error| failed(directory, &error))?;
        Ok(Part(directory.join(format!("{name}.{}.{number}{PART}", std::process::id()))))
    }

    /// Gives a written file its name, and makes room for it.
    async fn keep(&self, part: Part, path: PathBuf, wanted: PartRequest<'_>) -> Result<Checked, DataError> {
        tokio::fs::rename(&part.0, &path).await.map_err(|error| failed(&path, &error))?;
        let (directory, limit, kept) = (self.directory.clone(), self.limit, path.clone());
        let evicting = tokio::task::spawn_blocking(move || evict(&directory, limit, &kept));
        evicting.await.expect("making room does not panic");
        PartRequest { expected: None, ..wanted }.verify(path).await
    }
}

/// A file's bytes that are wanted here.
struct PartRequest<'a> {
    planned: &'a DataFile,
    range: Range<u64>,
    expected: Option<[u8; 32]>,
    cached: bool,
}

impl PartRequest<'_> {
    /// The bytes, if the cache has them whole.
    async fn find(&self, path: &Path) -> Result<Option<Checked>, DataError> {
        if !tokio::fs::try_exists(path).await.unwrap_or(false) {
            return Ok(None);
        }
        match self.verify(path.to_owned()).await {
            // Damaged, cut short by a power failure, or just evicted: made anew.
            Err(DataError::Changed { .. } | DataError::Store(StoreError::NotFound { .. })) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Checks size and, where it is known, hash.
    async fn verify(&self, path: PathBuf) -> Result<Checked, DataError> {
        let PartRequest { planned, ref range, expected, cached } = *self;
        let (start, size, url) = (range.start, range.end - range.start, planned.url.clone());
        let checking = tokio::task::spawn_blocking(move || {
            let failed = |error: io::Error| failed(&path, &error);
            let file = File::open(&path).map_err(failed)?;
            let stamp = stamp(&file).map_err(failed)?;
            let same = stamp.size == size
                && match expected {
                    Some(expected) => hash(file).map_err(failed)? == expected,
                    None => true,
                };
            match same {
                true => Ok(Checked { path, start, stamp, cached }),
                false => Err(DataError::Changed { url }),
            }
        });
        checking.await.expect("checking a file does not panic")
    }
}

/// Writes what a packed file unpacks to, at most `size` bytes, and returns its hash.
async fn unpack_into(
    path: PathBuf,
    location: &Location,
    meta: &Meta,
    planned: DataFile,
    size: u64,
) -> Result<[u8; 32], DataError> {
    let budget = Budget::new(planned.size, size, size);
    if planned.packing != Packing::Parquet {
        return read_through(location, meta, move |pieces| {
            let broken = |error: io::Error| Broken::from(error).at(&planned.url, FilePosition::File);
            let mut unpacked = Unpacked::new(pieces, planned.packing, budget).map_err(broken)?;
            let mut output = Hashed::create(path)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match unpacked.read(&mut buffer).map_err(broken)? {
                    0 => return output.finish(),
                    count => output.write(&buffer[..count])?,
                }
            }
        })
        .await;
    }
    let (source, url) = (Source::new(location, meta), planned.url.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut budget = budget;
        let table = ParquetTable::open(source, &planned, None)?;
        let mut output = Hashed::create(path)?;
        let mut full = None;
        let read = table.read(|ParquetRow { content, .. }: ParquetRow<'_>| {
            budget.spend(content.len() as u64)?;
            output.write(content).map_err(|error| {
                full = Some(error);
                RowProblem::EmptyFile
            })
        });
        match full {
            Some(error) => Err(error),
            None => read.and_then(|()| output.finish()),
        }
    });
    reading.await.unwrap_or_else(|_| Err(contradicts(url)))
}

/// A file being written, and the hash of what was written.
struct Hashed {
    path: PathBuf,
    file: io::BufWriter<File>,
    hash: Sha256,
}

impl Hashed {
    fn create(path: PathBuf) -> Result<Hashed, DataError> {
        let file = File::create(&path).map_err(|error| failed(&path, &error))?;
        Ok(Hashed { path, file: io::BufWriter::with_capacity(1 << 20, file), hash: Sha256::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| failed(&self.path, &error))
    }

    fn finish(mut self) -> Result<[u8; 32], DataError> {
        self.file.flush().map_err(|error| failed(&self.path, &error))?;
        Ok(self.hash.finalize().into())
    }
}

/// Removes what was used longest ago until the rest fits, but never `kept`. Another process may be doing the same.
pub(super) fn evict(directory: &Path, limit: u64, kept: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let (path, metadata) = (entry.path(), entry.metadata().ok()?);
            let finished = metadata.is_file() && !path.to_string_lossy().ends_with(PART);
            finished.then_some((metadata.accessed().ok()?, metadata.len(), path))
        })
        .collect();
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort();
    for (_, size, path) in files {
        if total <= limit {
            return;
        }
        if path != kept {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
            total -= size;
        }
    }
}

/// Marks a file as used now, whatever the file system's own habits are.
#[allow(clippy::disallowed_methods)]
fn touch(file: &File) {
    // A cache that cannot tell the order of use still works.
    let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
}

/// The file's name in the cache: one per content, so that several workers of a machine share it.
fn name(planned: &DataFile) -> String {
    let mut hash = Sha256::new();
    hash.update(planned.url.as_bytes());
    hash.update([0]);
    hash.update(planned.size.to_le_bytes());
    hash.update(planned.etag.as_deref().unwrap_or_default().as_bytes());
    hash.update([0]);
    hash.update(planned.sha256.unwrap_or_default());
    hash.update(planned.flat.map(|flat| flat.sha256).unwrap_or_default());
    hex(&hash.finalize()[..16])
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp { size: metadata.len(), modified: metadata.modified().ok() })
}

fn hash(mut file: File) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> DataError {
    StoreError::from_io(&path.to_string_lossy(), error).into()
}

/// A file being written; removed when it does not become a file of the cache.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}
