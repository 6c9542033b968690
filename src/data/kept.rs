//! What planning found out, in files of the user's cache. A file is whole or does not count.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache;

/// Bytes of all kept files.
const MOST: u64 = 2 << 30;
const HASH: usize = 32;

/// The place of one file.
#[derive(Clone, Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
}

impl KeptFile {
    pub(crate) fn new(directory: &Path, name: String) -> KeptFile {
        KeptFile { path: directory.join(name) }
    }

    /// What is kept there, if it is whole: a head in JSON, and a body.
    pub(crate) async fn read(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let bytes = tokio::fs::read(&self.path).await.ok()?;
        let (hash, content) = bytes.split_at_checked(HASH)?;
        if Sha256::digest(content).as_slice() != hash {
            return None;
        }
        let (length, content) = content.split_first_chunk::<8>()?;
        let (head, body) = content.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some((head.to_vec(), body.to_vec()))
    }

    /// Keeps a head and a body. A full or read-only disk is no reason to fail.
    pub(crate) async fn write(&self, head: Vec<u8>, body: Vec<u8>) {
        let length = (head.len() as u64).to_le_bytes();
        let content = [length.as_slice(), &head, &body].concat();
        let hash: [u8; HASH] = Sha256::digest(&content).into();
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || write(&path, &[&hash, &content]));
        if let Ok(Err(error)) = writing.await {
            tracing::debug!(path = %self.path.display(), %error, "not kept");
        }
    }
}

fn write(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = std::fs::write(&part, parts.concat()).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // It may not even have come to exist.
        let _ = std::fs::remove_file(&part);
    }
    cache::evict(directory, MOST, path);
    written
}
