//! Whole files on this machine's disk: local ones in place, remote ones downloaded once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{DataError, DataFile};
use crate::store::{Location, Meta, StoreError};

/// A file whose content was checked against the plan.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) path: PathBuf,
    stamp: Stamp,
}

/// What changes when somebody writes to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Checked {
    /// Opens the file again; refused if somebody wrote to it meanwhile. Blocks.
    pub(super) fn open(&self) -> std::io::Result<Option<File>> {
        let file = File::open(&self.path)?;
        Ok((stamp(&file)? == self.stamp).then_some(file))
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
    verify(path, planned, expected).await
}

/// Downloads a file into the cache, or finds it there.
pub(super) async fn download(
    cache: &Path,
    location: &Location,
    planned: &DataFile,
) -> Result<Checked, DataError> {
    let path = cache.join(name(planned));
    if tokio::fs::try_exists(&path).await.unwrap_or(false) {
        match verify(path.clone(), planned, planned.sha256).await {
            // Damaged, or cut short by a power failure: fetched anew.
            Err(DataError::Changed { .. }) => {}
            found => return found,
        }
    }
    let failed =
        |error: std::io::Error| DataError::from(StoreError::from_io(&path.to_string_lossy(), &error));
    tokio::fs::create_dir_all(cache).await.map_err(failed)?;
    static DOWNLOADS: AtomicU64 = AtomicU64::new(0);
    let number = DOWNLOADS.fetch_add(1, Ordering::Relaxed);
    let part = Part(cache.join(format!("{}.{}.{number}.part", name(planned), std::process::id())));
    let mut file = tokio::fs::File::create(&part.0).await.map_err(failed)?;
    let mut hash = Sha256::new();
    let meta = Meta { size: planned.size, etag: planned.etag.clone() };
    let mut pieces = std::pin::pin!(location.pieces(&meta, 0..meta.size));
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        hash.update(&piece);
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    if planned.sha256.is_some_and(|expected| expected != <[u8; 32]>::from(hash.finalize())) {
        return Err(DataError::Changed { url: planned.url.clone() });
    }
    tokio::fs::rename(&part.0, &path).await.map_err(failed)?;
    verify(path, planned, None).await
}

/// Checks size and, where `expected` is given, hash.
async fn verify(path: PathBuf, planned: &DataFile, expected: Option<[u8; 32]>) -> Result<Checked, DataError> {
    let (size, url) = (planned.size, planned.url.clone());
    let checking = tokio::task::spawn_blocking(move || {
        let failed =
            |error: std::io::Error| DataError::from(StoreError::from_io(&path.to_string_lossy(), &error));
        let file = File::open(&path).map_err(failed)?;
        let stamp = stamp(&file).map_err(failed)?;
        let same = stamp.size == size
            && match expected {
                Some(expected) => hash(file).map_err(failed)? == expected,
                None => true,
            };
        if same { Ok(Checked { path, stamp }) } else { Err(DataError::Changed { url }) }
    });
    checking.await.expect("checking a file does not panic")
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
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn stamp(file: &File) -> std::io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp { size: metadata.len(), modified: metadata.modified().ok() })
}

fn hash(mut file: File) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// A download in progress; removed when it does not become a file of the cache.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}
