//! `SHA256SUMS`: every file of the directory with its hash, in the one way they can be written.

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{CONFIGS, Difference, EVENTS, REQUIRED, SUMS, VerifyError, WORKERS};
use crate::checkpoint::WrittenFile;
use crate::hash::hex;
use crate::store::{Location, StoreError};

/// Reads the file strictly: `HASH  NAME` on every line, names ascending. Sizes are not known yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<WrittenFile>, Difference> {
    let refuse = |line: usize, reason: &str| Difference::Line { file: SUMS, line, reason: reason.to_owned() };
    let mut files: Vec<WrittenFile> = Vec::new();
    for (line, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let text = text.strip_suffix(b"\n").ok_or_else(|| refuse(line, "it does not end with a new line"))?;
        let text = str::from_utf8(text).map_err(|_| refuse(line, "it is not text"))?;
        let (sha256, name) =
            text.split_once("  ").ok_or_else(|| refuse(line, "it is not a hash, two spaces and a name"))?;
        if !is_sha256(sha256) {
            return Err(refuse(line, "it does not begin with 64 lower-case hexadecimal digits"));
        }
        if name.is_empty() || name.contains(char::is_control) {
            return Err(refuse(line, "it does not end with a file name"));
        }
        if files.last().is_some_and(|before| before.name.as_str() >= name) {
            return Err(refuse(line, "it is out of order"));
        }
        files.push(WrittenFile { name: name.to_owned(), size: 0, sha256: sha256.to_owned() });
    }
    let lacks = |name: &str| files.iter().all(|file| file.name != name);
    let config = CONFIGS.into_iter().all(lacks).then_some(CONFIGS[0]);
    match config.or_else(|| REQUIRED.into_iter().find(|required| lacks(required))) {
        Some(missing) => {
            Err(Difference::File { file: SUMS.to_owned(), reason: format!("it does not list {missing}") })
        }
        None => Ok(files),
    }
}

/// Whether a text is a SHA-256 as it is written here.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Hashes every file and fills in its size; looks for files that are not listed.
pub(super) async fn check(
    directory: &Location,
    files: &mut [WrittenFile],
) -> Result<Vec<Difference>, VerifyError> {
    let mut differences = Vec::new();
    for file in files.iter_mut() {
        let name = || file.name.clone();
        let Ok(location) = directory.join(&file.name) else {
            differences.push(Difference::File { file: name(), reason: "no file has this name".to_owned() });
            continue;
        };
        match hash(&location).await {
            Ok((found, size)) => {
                if found != file.sha256 {
                    let expected = file.sha256.clone();
                    differences.push(Difference::Hash { file: name(), by: SUMS, expected, found });
                }
                file.size = size;
            }
            Err(StoreError::NotFound { .. }) => differences.push(Difference::Gone { file: name() }),
            Err(error) => return Err(error.into()),
        }
    }
    let prefix = format!("{}/", directory.url().trim_end_matches('/'));
    for (found, _) in directory.list().await? {
        let name = found.url().strip_prefix(&prefix).unwrap_or(found.url());
        // What file managers leave does not count.
        let unhashed = [SUMS, WORKERS, EVENTS].contains(&name) || name.starts_with('.');
        let expected = unhashed || files.iter().any(|file| file.name == name);
        if !expected {
            differences.push(Difference::Unlisted { file: name.to_owned() });
        }
    }
    Ok(differences)
}

/// Hash and size of a file of any size.
pub(super) async fn hash(location: &Location) -> Result<(String, u64), StoreError> {
    let meta = location.head().await?;
    let mut hash = Sha256::new();
    let mut pieces = std::pin::pin!(location.pieces(&meta, 0..meta.size));
    while let Some(piece) = pieces.try_next().await? {
        hash.update(&piece);
    }
    Ok((hex(&hash.finalize()), meta.size))
}
