//! The commit log beside `final/`: every manifest, and what the newest one names.

use std::collections::BTreeMap;

use super::{Difference, LARGEST, LEDGER, VerifyError, sums};
use crate::hash;
use crate::manifest::{self, Manifest, Piece};
use crate::store::{Location, StoreError};

/// What the commit log of a run says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Manifests in it.
    pub commits: usize,
    /// Updates that the newest state has seen.
    pub step: u64,
}

/// Verifies the log of an `output_dir`; `None` when there is none. `ledger`: hash of the finished run's.
pub(super) async fn check(
    output: &Location,
    ledger: Option<&str>,
) -> Result<Option<(Log, Vec<Difference>)>, VerifyError> {
    let mut differences = Vec::new();
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut hashes: BTreeMap<String, u64> = BTreeMap::new();
    let files = output.join("manifests")?.list().await?;
    for (file, _) in &files {
        let name = format!("manifests/{}", file.url().rsplit('/').next().unwrap_or_default());
        let mut refuse = |reason: String| differences.push(Difference::File { file: name.clone(), reason });
        let Some(number) = name.strip_prefix("manifests/").and_then(Manifest::number_of) else {
            refuse("no manifest has this name".to_owned());
            continue;
        };
        let (manifest, hash) = match Manifest::open(number, &file.read(manifest::LARGEST).await?) {
            Ok(opened) => opened,
            Err(unreadable) => {
                refuse(unreadable.to_string());
                continue;
            }
        };
        let before = manifests.last();
        let follows = before.is_none_or(|before| {
            before.run_id == manifest.run_id && before.pins == manifest.pins && before.epoch <= manifest.epoch
        });
        if !follows {
            refuse("it is of another run than the one before it, or of an earlier owner".to_owned());
        } else if number > 0 && !hashes.contains_key(&manifest.previous) {
            refuse(format!("it continues {}, which is not here", manifest.previous));
        }
        hashes.insert(hash, number);
        manifests.push(manifest);
    }
    let Some(newest) = manifests.last() else {
        return Ok((!files.is_empty()).then_some((Log { commits: 0, step: 0 }, differences)));
    };
    let log = Log { commits: files.len(), step: newest.state.standing.version };
    differences.extend(state(output, newest, ledger).await?);
    Ok(Some((log, differences)))
}

/// Hashes what a manifest names.
async fn state(
    output: &Location,
    manifest: &Manifest,
    ledger: Option<&str>,
) -> Result<Vec<Difference>, VerifyError> {
    let state = &manifest.state;
    let mut differences = Vec::new();
    let best = state.best.iter().map(|best| &best.parts);
    let parts = state.vectors.iter().chain(best);
    let named = parts.flat_map(|parts| parts.files.iter().map(|piece| (parts.directory.as_str(), piece)));
    let texts = [("ledger", &state.ledger), ("metrics", &state.metrics)];
    let texts = texts.into_iter().flat_map(|(directory, pieces)| pieces.iter().map(move |p| (directory, p)));
    for (directory, piece) in named.chain(texts) {
        differences.extend(object(output, directory, piece).await?);
    }
    // A finished run's ledger is what its commits added.
    if let (Some(expected), true) = (ledger, differences.is_empty()) {
        let mut whole = Vec::new();
        for piece in &state.ledger {
            whole.extend_from_slice(&output.join("ledger")?.join(&piece.name)?.read(LARGEST).await?);
        }
        let found = hash::sha256(&whole);
        if found != expected {
            let file = format!("final/{LEDGER}");
            let reason = "it is not what the commits added".to_owned();
            differences.push(Difference::File { file, reason });
        }
    }
    Ok(differences)
}

async fn object(
    output: &Location,
    directory: &str,
    piece: &Piece,
) -> Result<Option<Difference>, VerifyError> {
    let file = format!("{directory}/{}", piece.name);
    let Ok(location) = output.join(&file) else {
        return Ok(Some(Difference::File { file, reason: "no file has this name".to_owned() }));
    };
    match sums::hash(&location).await {
        Ok((found, _)) if found == piece.sha256 => Ok(None),
        Ok((found, _)) => {
            let expected = piece.sha256.clone();
            Ok(Some(Difference::Hash { file, by: "the newest manifest", expected, found }))
        }
        Err(StoreError::NotFound { .. }) => Ok(Some(Difference::File {
            file,
            reason: "it is gone, but the newest manifest names it".to_owned(),
        })),
        Err(error) => Err(error.into()),
    }
}
