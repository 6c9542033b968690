//! The conditional create on which everything rests: of two coordinators, one gets a manifest's number.

use bytes::Bytes;
use headstart::manifest::{self, Manifest};
use headstart::store::{Location, StoreError};

use super::JournalError;

/// Tries to write a manifest whose fate is unknown.
const ATTEMPTS: u32 = 5;

/// Writes a manifest if its number is free. Whatever the store says, the outcome is certain: the manifest is there and
/// ours, or an error says otherwise.
pub(super) async fn create(output: &Location, manifest: &Manifest) -> Result<String, JournalError> {
    let file = output.join(&format!("manifests/{}", Manifest::file_name(manifest.number)))?;
    let (content, hash) = manifest.seal();
    let content = Bytes::from(content);
    let mut attempt = 1;
    loop {
        let failed = match file.create(content.clone()).await {
            Ok(()) => return Ok(hash),
            Err(error) => error,
        };
        // A store can fail after it has written, and can call a request that it repeated a conflict.
        match file.read(manifest::LARGEST).await {
            Ok(found) if found == content => return Ok(hash),
            Ok(found) => return Err(taken(output, manifest, &found)),
            Err(StoreError::NotFound { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(_) => return Err(failed.into()),
        }
    }
}

/// Another coordinator has written the manifest with this number.
pub(super) fn taken(output: &Location, ours: &Manifest, found: &[u8]) -> JournalError {
    let theirs = Manifest::open(ours.number, found).map(|(manifest, _)| manifest);
    let (owner, epoch) = theirs.map_or(("another address".to_owned(), ours.epoch), |m| (m.owner, m.epoch));
    JournalError::Owned { run_id: ours.run_id.clone(), output: output.url().to_owned(), owner, epoch }
}
