//! The commit log beside `final/`: every manifest, and what the newest one names.

use std::collections::BTreeSet;

use super::{Difference, LEDGER, VerifyError, sums};
use crate::manifest::{self, Manifest, Piece};
use crate::store::{Location, StoreError};

/// What the commit log of a run says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Manifests in it.
    pub commits: usize,
    /// Updates that the newest state has seen.
    pub step: u64,
    /// Whether the result has been written, and nothing is left to write it from.
    pub closed: bool,
}

/// Times that a log is read at most while commits are made, which remove what earlier ones needed.
const ATTEMPTS: usize = 5;

/// Verifies the log of an `output_dir`; `None` when there is none. `ledger`: hash of the finished run's.
pub(super) async fn check(
    output: &Location,
    ledger: Option<&str>,
) -> Result<Option<(Log, Vec<Difference>)>, VerifyError> {
    let mut found = once(output, ledger).await?;
    for _ in 1..ATTEMPTS {
        let Some((Log { commits, .. }, differences)) = &found else { break };
        let now = output.join("manifests")?.list().await?.len();
        if differences.is_empty() || now == *commits {
            break;
        }
        found = once(output, ledger).await?;
    }
    Ok(found)
}

async fn once(
    output: &Location,
    ledger: Option<&str>,
) -> Result<Option<(Log, Vec<Difference>)>, VerifyError> {
    let mut differences = Vec::new();
    let mut newest: Option<Manifest> = None;
    let mut hashes = BTreeSet::new();
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
        let follows = newest.as_ref().is_none_or(|before| {
            before.run_id == manifest.run_id
                && before.pins.precede(&manifest.pins)
                && before.epoch <= manifest.epoch
        });
        if !follows {
            refuse("it is of another run than the one before it, or of an earlier owner".to_owned());
        } else if number > 0 && !hashes.contains(&manifest.previous) {
            refuse(format!("it continues {}, which is not here", manifest.previous));
        }
        hashes.insert(hash);
        newest = Some(manifest);
    }
    let commits = files.len();
    let Some(newest) = newest else {
        return Ok((commits > 0).then_some((Log { commits, ..Log::default() }, differences)));
    };
    let log = Log { commits, step: newest.state.standing.version, closed: newest.state.is_closed() };
    differences.extend(state(output, &newest, ledger).await?);
    Ok(Some((log, differences)))
}

/// Hashes what a manifest names.
async fn state(
    output: &Location,
    manifest: &Manifest,
    ledger: Option<&str>,
) -> Result<Vec<Difference>, VerifyError> {
    let mut differences = Vec::new();
    for parts in manifest.state.parts() {
        for piece in &parts.files {
            differences.extend(object(output, &parts.directory, piece).await?);
        }
    }
    let committed = manifest.state.texts.iter().flat_map(|texts| &texts.files);
    let committed = committed.filter(|piece| piece.name == LEDGER).map(|piece| piece.sha256.as_str()).next();
    if ledger.is_some() && committed != ledger && manifest.state.standing.finished {
        let reason = "it is not what was committed".to_owned();
        differences.push(Difference::File { file: format!("final/{LEDGER}"), reason });
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
