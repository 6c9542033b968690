//! What a pass found, kept for later runs over the same rows with the same tokenizer, template and keys.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::pass::Found;
use super::summary::Summary;
use super::{Tokenising, WrongRow};
use crate::data::{KeptFile, RowIndex, RowTokens};
use crate::hash::hex;

/// Changes when tokenising does.
const VERSION: u32 = 2;
/// Bytes of the smallest data for which it is worth a file.
const SMALLEST: u64 = 64 << 10;
/// Bytes of a row's counts.
const COUNTS: usize = 8;
/// Tokens of a dropped row, which no other row has.
const DROPPED: u32 = u32::MAX;

/// The place of a pass.
pub(super) struct KeptPass(KeptFile);

impl KeptPass {
    /// Where the pass over these rows is kept; `None` if they are too few, or their bytes are not known by hash.
    pub(super) fn of(directory: &Path, index: &RowIndex, with: &Tokenising<'_>) -> Option<KeptPass> {
        if index.content_size() < SMALLEST {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(with.hash.to_le_bytes());
        for file in index.files() {
            let content = file.sha256.or(file.flat.map(|flat| flat.sha256))?;
            hash.update(content);
            // An entry by what it says, not by its number: evaluation data changes nothing for training rows.
            hash.update(with.entries.get(file.entry as usize)?.to_le_bytes());
            let read = (file.kind(), &file.columns, file.delimiter, &file.url);
            hash.update(serde_json::to_vec(&read).expect("texts and numbers are JSON"));
        }
        for row in 0..index.len() {
            let place = index.row(row).ok()?;
            hash.update((place.file as u64).to_le_bytes());
            hash.update(place.offset.to_le_bytes());
            hash.update(place.length.to_le_bytes());
        }
        Some(KeptPass(KeptFile::new(directory, format!("{}.tokens", hex(&hash.finalize())))))
    }

    /// What was found over `rows` rows, if it is there.
    pub(super) async fn read(&self, rows: u64) -> Option<Found> {
        let (head, body) = self.0.read().await?;
        let (summary, wrong): (Summary, Option<WrongRow>) = serde_json::from_slice(&head).ok()?;
        let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
        let counts = body.chunks_exact(COUNTS).map(|bytes| {
            let (tokens, trained) = (number(&bytes[..4])?, number(&bytes[4..])?);
            Some((tokens != DROPPED).then_some(RowTokens { tokens, trained }))
        });
        let found = Found { rows: counts.collect::<Option<_>>()?, summary, wrong };
        (found.wrong.is_some() || found.rows.len() as u64 == rows).then_some(found)
    }

    pub(super) async fn write(&self, Found { rows, summary, wrong }: &Found) {
        let head = serde_json::to_vec(&(summary, wrong)).expect("texts and numbers are JSON");
        let mut body = Vec::with_capacity(rows.len() * COUNTS);
        for row in rows {
            let RowTokens { tokens, trained } = row.unwrap_or(RowTokens { tokens: DROPPED, trained: 0 });
            body.extend(tokens.to_le_bytes());
            body.extend(trained.to_le_bytes());
        }
        self.0.write(head, body).await;
    }
}
