//! Where a run's files are: in `final/`, or among the parts that the newest manifest names.

use headstart::manifest::{self, Manifest};
use headstart::store::{Location, StoreError};

use super::{LARGEST, Metrics, RunError};

/// Times that a run is looked for at most while it goes on: each commit removes what earlier ones wrote.
const ATTEMPTS: usize = 5;
const METRICS: &str = "metrics.jsonl";

/// Where the files of a run are.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Files {
    /// The directory that a user knows: `final/`, or the run's output_dir.
    directory: Location,
    /// Where its texts are.
    texts: Location,
    /// Of a run without `final/`.
    manifest: Option<Manifest>,
}

impl Files {
    /// Finds the run at `place`, and reads its metrics.
    pub(super) async fn find(place: &str) -> Result<(Files, Metrics), RunError> {
        let given = Location::parse(place.trim_end_matches('/'))?;
        for _ in 1..ATTEMPTS {
            let found = attempt(&given).await;
            // Of a running run the files may be gone by the time they are read.
            if !matches!(found, Err(RunError::Store(StoreError::NotFound { .. }))) {
                return found;
            }
        }
        attempt(&given).await
    }

    /// The directory that a user knows.
    pub(in crate::cli) fn directory(&self) -> &Location {
        &self.directory
    }

    /// Whether these are the files of a finished run.
    pub(in crate::cli) fn is_final(&self) -> bool {
        self.manifest.is_none()
    }

    /// The newest manifest of a run that is not finished.
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// One of its texts, whole; `None` if it is not there.
    pub(in crate::cli) async fn read(&self, name: &str) -> Result<Option<String>, RunError> {
        read(&self.texts.join(name)?).await
    }

    /// The first `limit` bytes of one of its texts at most.
    pub(super) async fn read_start(&self, name: &str, limit: u64) -> Result<Option<String>, RunError> {
        let file = self.texts.join(name)?;
        let meta = match file.head().await {
            Ok(meta) => meta,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = file.read_range(&meta, 0..meta.size.min(limit)).await?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The place of one of its texts, for messages.
    pub(super) fn place(&self, name: &str) -> Result<Location, RunError> {
        Ok(self.texts.join(name)?)
    }
}

async fn read(file: &Location) -> Result<Option<String>, RunError> {
    match file.read(LARGEST).await {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn attempt(given: &Location) -> Result<(Files, Metrics), RunError> {
    for directory in [given.join("final")?, given.clone()] {
        let file = directory.join(METRICS)?;
        if let Some(text) = read(&file).await? {
            let files = Files { directory: directory.clone(), texts: directory, manifest: None };
            return Ok((files, Metrics::parse(&text, file.url())?));
        }
    }
    let manifest = newest(given).await?;
    let Some(parts) = &manifest.state.texts else {
        return Err(RunError::Uncommitted { url: given.url().to_owned() });
    };
    let texts = given.join(&parts.directory)?;
    let file = texts.join(METRICS)?;
    let text = String::from_utf8_lossy(&file.read(LARGEST).await?).into_owned();
    let metrics = Metrics::parse(&text, file.url())?;
    Ok((Files { directory: given.clone(), texts, manifest: Some(manifest) }, metrics))
}

/// The newest manifest of a commit log that can be read.
async fn newest(output: &Location) -> Result<Manifest, RunError> {
    let no_run = || RunError::NoRun { url: output.url().to_owned() };
    let files = match output.join("manifests")?.list().await {
        Ok(files) => files,
        // Web servers have no listings.
        Err(StoreError::NotFound { .. } | StoreError::Unlisted { .. }) => return Err(no_run()),
        Err(error) => return Err(error.into()),
    };
    let mut found: Vec<(u64, Location)> = files
        .into_iter()
        .filter_map(|(file, _)| Some((Manifest::number_of(file.url().rsplit('/').next()?)?, file)))
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut broken = None;
    for (number, file) in found {
        match Manifest::open(number, &file.read(manifest::LARGEST).await?) {
            Ok((manifest, _)) => return Ok(manifest),
            Err(unreadable) => drop(broken.get_or_insert_with(|| RunError::damaged(&file, unreadable))),
        }
    }
    Err(broken.unwrap_or_else(no_run))
}
