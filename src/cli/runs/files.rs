//! Where a run's files are: in `final/`, or among the parts that the newest manifest names. Of a run that goes on, what a manifest
//! names may be gone by the time it is read, since each commit removes what earlier ones wrote: [`StoreError::NotFound`].

use headstart::manifest::{self, Manifest, Parts};
use headstart::store::{Location, StoreError};
use headstart::verify::SUMS;

use super::{LARGEST, Metrics, RunError};

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
        let end = given.join("final")?;
        // Written last: without it the directory may not be whole yet.
        let is_whole = found(end.join(SUMS)?.head().await)?.is_some();
        for directory in is_whole.then_some(&end).into_iter().chain([&given]) {
            if let Some(files) = Files::finished(directory).await? {
                return Ok(files);
            }
        }
        let manifest = match newest(&given).await {
            // A copy of some files of a finished run.
            Err(RunError::NoRun { url }) => {
                return Files::finished(&end).await?.ok_or(RunError::NoRun { url });
            }
            found => found?,
        };
        let Some(Parts { directory, .. }) = &manifest.state.texts else {
            return Err(RunError::Uncommitted { url: given.url().to_owned() });
        };
        let texts = given.join(directory)?;
        let file = texts.join(METRICS)?;
        let metrics = Metrics::parse(&lossy(&file.read(LARGEST).await?), file.url())?;
        Ok((Files { directory: given, texts, manifest: Some(manifest) }, metrics))
    }

    /// Those of a finished run, if metrics are there.
    async fn finished(directory: &Location) -> Result<Option<(Files, Metrics)>, RunError> {
        let file = directory.join(METRICS)?;
        let Some(text) = found(file.read(LARGEST).await)? else { return Ok(None) };
        let (directory, texts) = (directory.clone(), directory.clone());
        let files = Files { directory, texts, manifest: None };
        Ok(Some((files, Metrics::parse(&lossy(&text), file.url())?)))
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

    /// One of its texts, whole; `None` if the run has none of this name.
    pub(super) async fn read(&self, name: &str) -> Result<Option<String>, RunError> {
        let file = self.place(name)?;
        let bytes = self.there(name, file.read(LARGEST).await)?;
        Ok(bytes.map(|bytes| lossy(&bytes)))
    }

    /// The first `limit` bytes of one of its texts at most.
    pub(super) async fn read_start(&self, name: &str, limit: u64) -> Result<Option<String>, RunError> {
        let file = self.place(name)?;
        let Some(meta) = self.there(name, file.head().await)? else { return Ok(None) };
        let bytes = file.read_range(&meta, 0..meta.size.min(limit)).await?;
        Ok(Some(lossy(&bytes)))
    }

    /// What was asked of a text. A text that the manifest names and storage lacks is an error.
    fn there<T>(&self, name: &str, asked: Result<T, StoreError>) -> Result<Option<T>, RunError> {
        let parts = self.manifest.as_ref().and_then(|manifest| manifest.state.texts.as_ref());
        match parts.is_some_and(|parts| parts.files.iter().any(|piece| piece.name == name)) {
            true => Ok(Some(asked?)),
            false => found(asked),
        }
    }

    /// The place of one of its texts, for messages.
    pub(super) fn place(&self, name: &str) -> Result<Location, RunError> {
        Ok(self.texts.join(name)?)
    }
}

fn found<T>(asked: Result<T, StoreError>) -> Result<Option<T>, RunError> {
    match asked {
        Ok(there) => Ok(Some(there)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
