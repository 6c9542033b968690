//! A URL becomes an object store and a path: local files, buckets, web servers and memory behind one type.

mod cloud;
pub mod conformance;
mod environment;
mod error;
mod find;
mod home;
mod odd_keys;
mod open;
mod outages;
mod refusal;
mod stand_in;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod transport;
mod variables;
mod walk;
mod web;
mod writer;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

pub use environment::Environment;
pub use error::StoreError;
pub use find::{Listing, is_pattern};
pub use open::{DEFAULT_RETRY_SECONDS, Stores};
pub use outages::{Outage, Outages};
pub use stand_in::{STAND_IN, stand_in};
pub use writer::Writer;

/// Bytes of one request of a large read.
pub const PIECE: u64 = 8 << 20;
/// Requests of one large read in flight at once.
const PIECES_IN_FLIGHT: usize = 4;

/// A file or a directory in a store. Cheap to clone.
#[derive(Clone)]
pub struct Location {
    store: Arc<dyn ObjectStore>,
    key: Path,
    url: Arc<str>,
    kind: Kind,
}

/// What differs between stores beyond their client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// This machine: URLs are paths, and names can be links.
    Local,
    /// Named objects that can be listed and written.
    Bucket,
    /// A web server: files cannot be listed or written, and URLs are percent-encoded.
    Web,
}

/// What identifies the content of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Bytes.
    pub size: u64,
    /// Changes when the content does, where the store has one.
    pub etag: Option<String>,
}

impl Meta {
    fn of(meta: &ObjectMeta) -> Meta {
        // A server without marks leaves the date of the last change, or none: then the epoch.
        let changed = meta.last_modified.timestamp();
        let date = || (changed != 0).then(|| format!("@{changed}"));
        Meta { size: meta.size, etag: meta.e_tag.clone().or_else(date) }
    }

    /// The etag, if the server itself compares it: neither a weak one nor a date in place of one.
    fn comparable(&self) -> Option<String> {
        self.etag.clone().filter(|etag| !etag.starts_with("W/") && !etag.starts_with('@'))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Location {
    /// The location as a URL (an absolute path for local files) that resolves to it again.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path on this machine, for local files.
    pub fn local_path(&self) -> Option<PathBuf> {
        (self.kind == Kind::Local).then(|| PathBuf::from(&*self.url))
    }

    /// A file below this directory. Names that could leave it are refused.
    pub fn join(&self, name: &str) -> Result<Location, StoreError> {
        let refuse = || StoreError::BadName { url: self.url.to_string(), name: name.to_owned() };
        if escapes(name) {
            return Err(refuse());
        }
        let url = format!("{}/{name}", self.url.trim_end_matches('/'));
        let below =
            if self.key.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        let (key, url) = match self.kind {
            Kind::Local => (Path::from_absolute_path(&url).map_err(|_| refuse())?, url),
            Kind::Bucket => (Path::parse(below).map_err(|_| refuse())?, url),
            Kind::Web => {
                let (root, _) = web::parse(&self.url)?;
                let key = Path::parse(below).map_err(|_| refuse())?;
                let url = web::url(&root, &key);
                (key, url)
            }
        };
        Ok(Location { store: self.store.clone(), key, url: url.into(), kind: self.kind })
    }

    /// Size and identity of the object.
    pub async fn head(&self) -> Result<Meta, StoreError> {
        match self.store.head(&self.key).await {
            Ok(head) => Ok(Meta::of(&head)),
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// An error of a HEAD request, whose answer has no body to say why: reading a byte tells.
    async fn explained(&self, error: object_store::Error) -> StoreError {
        if StoreError::is_unexplained(&error) {
            let options = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
            if let Err(said) = self.store.get_opts(&self.key, options).await
                && StoreError::is_refusal(&said)
            {
                return self.error(said);
            }
        }
        self.error(error)
    }

    /// When the object was written, by the storage's clock: time since 1970.
    pub async fn modified(&self) -> Result<Duration, StoreError> {
        let head = self.store.head(&self.key).await.map_err(|error| self.error(error))?;
        Ok(Duration::from_millis(u64::try_from(head.last_modified.timestamp_millis()).unwrap_or_default()))
    }

    /// Whether the object is there.
    pub async fn exists(&self) -> Result<bool, StoreError> {
        match self.head().await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A small object, whole. `limit` bounds its size, whatever the store claims.
    pub async fn read(&self, limit: u64) -> Result<Bytes, StoreError> {
        let answer =
            self.store.get_opts(&self.key, GetOptions::default()).await.map_err(|error| self.error(error))?;
        let size = answer.meta.size;
        if size > limit {
            return Err(StoreError::TooLarge { url: self.url.to_string(), size, limit });
        }
        let bytes = answer.bytes().await.map_err(|error| self.error(error))?;
        self.whole(bytes, size)
    }

    /// Bytes `range` of the object whose `meta` was seen before; [`StoreError::Changed`] if it is another by now.
    pub async fn read_range(&self, meta: &Meta, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        let expected = range.end - range.start;
        if range.end > meta.size {
            let found = meta.size.saturating_sub(range.start);
            return Err(StoreError::Short { url: self.url.to_string(), expected, found });
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: meta.comparable(),
            ..GetOptions::default()
        };
        let answer = self.store.get_opts(&self.key, options).await.map_err(|error| self.error(error))?;
        if Meta::of(&answer.meta) != *meta {
            return Err(StoreError::Changed { url: self.url.to_string() });
        }
        let bytes = answer.bytes().await.map_err(|error| self.error(error))?;
        self.whole(bytes, expected)
    }

    /// A large range in pieces of [`PIECE`] bytes, in order, a few of them in flight at once.
    pub fn pieces(
        &self,
        meta: &Meta,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + use<> {
        let (location, meta) = (self.clone(), meta.clone());
        let starts = (range.start..range.end).step_by(PIECE as usize);
        futures::stream::iter(starts)
            .map(move |start| {
                let (location, meta) = (location.clone(), meta.clone());
                let piece = start..start.saturating_add(PIECE).min(range.end);
                async move { location.read_range(&meta, piece).await }
            })
            .buffered(PIECES_IN_FLIGHT)
    }

    /// A large range in one buffer, read in parallel.
    pub async fn read_large(&self, meta: &Meta, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if range.end > meta.size {
            let expected = range.end.saturating_sub(range.start);
            let found = meta.size.saturating_sub(range.start);
            return Err(StoreError::Short { url: self.url.to_string(), expected, found });
        }
        let buffer = Vec::with_capacity(range.end.saturating_sub(range.start) as usize);
        let pieces = std::pin::pin!(self.pieces(meta, range));
        pieces
            .try_fold(buffer, |mut buffer, piece| async move {
                buffer.extend_from_slice(&piece);
                Ok(buffer)
            })
            .await
    }

    /// Writes the object whole: readers see the old content or the new, never a part.
    pub async fn write(&self, bytes: Bytes) -> Result<(), StoreError> {
        self.put(bytes, PutMode::Overwrite).await
    }

    /// Writes the object only if there is none; [`StoreError::AlreadyExists`] otherwise.
    ///
    /// A retried success can report `AlreadyExists` for one's own write: read it back to know.
    pub async fn create(&self, bytes: Bytes) -> Result<(), StoreError> {
        self.put(bytes, PutMode::Create).await
    }

    /// As [`Location::create`]; but on a local disk, where a write that is cut off leaves a file behind that is named almost
    /// like this one, that file is named like `staging`.
    pub async fn create_through(&self, staging: &Location, bytes: Bytes) -> Result<(), StoreError> {
        let (Some(path), Some(staged)) = (self.local_path(), staging.local_path()) else {
            return self.create(bytes).await;
        };
        staging.write(bytes).await?;
        match tokio::fs::hard_link(staged, path).await {
            Ok(()) => staging.delete().await,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                staging.delete().await?;
                Err(StoreError::AlreadyExists { url: self.url.to_string() })
            }
            Err(error) => Err(StoreError::from_io(&self.url, &error)),
        }
    }

    /// Writes a large object as a stream. It appears, whole, when the writer is finished.
    pub fn writer(&self) -> Writer {
        Writer::new(self.store.clone(), self.key.clone(), self.url.clone())
    }

    /// Removes the object; not an error when it is gone already.
    pub async fn delete(&self) -> Result<(), StoreError> {
        self.writable()?;
        match self.store.delete(&self.key).await.map_err(|error| self.error(error)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes a directory with all that is in it; not an error when it is gone already.
    pub async fn remove_all(&self) -> Result<(), StoreError> {
        if let Some(path) = self.local_path() {
            // Not by listing: what a write that was cut off left behind is not listed.
            return match tokio::fs::remove_dir_all(path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreError::from_io(&self.url, &error))
                }
                _ => Ok(()),
            };
        }
        for (file, _) in self.list().await? {
            file.delete().await?;
        }
        Ok(())
    }

    async fn put(&self, bytes: Bytes, mode: PutMode) -> Result<(), StoreError> {
        self.writable()?;
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&self.key, bytes.into(), options).await.map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Refuses locations that can only be read.
    pub fn writable(&self) -> Result<(), StoreError> {
        match self.kind {
            Kind::Local | Kind::Bucket => Ok(()),
            Kind::Web => Err(StoreError::ReadOnly { url: self.url.to_string() }),
        }
    }

    fn whole(&self, bytes: Bytes, expected: u64) -> Result<Bytes, StoreError> {
        let found = bytes.len() as u64;
        if found != expected {
            return Err(StoreError::Short { url: self.url.to_string(), expected, found });
        }
        Ok(bytes)
    }

    fn error(&self, error: object_store::Error) -> StoreError {
        match StoreError::from_object(&self.url, error) {
            StoreError::NotFound { url } => self.absent(url),
            other => other,
        }
    }

    /// Why nothing is there: caches lose what their links lead to.
    fn absent(&self, url: String) -> StoreError {
        match self.local_path().map(std::fs::read_link) {
            Some(Ok(target)) => StoreError::DeadLink { url, target: target.display().to_string() },
            _ => StoreError::NotFound { url },
        }
    }
}

/// Whether a relative name could lead out of its directory, or is no name at all.
fn escapes(name: &str) -> bool {
    let decoded = name.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    decoded.contains(['\\', '\0']) || decoded.split('/').any(|part| matches!(part, "" | "." | ".."))
}
