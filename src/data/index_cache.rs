//! Indexes of earlier runs, kept on this machine so that the same files are not scanned twice.
//!
//! An index is found again by all that it depends on: addresses, sizes and marks of the files, columns, labels and limits.
//! It never changes a result: what is damaged, or may be out of date, is scanned anew.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::collected::Indexed;
use super::kept::KeptFile;
use super::request::{DataRequest, scanned_files};
use super::{DataError, Note, RowIndex};
use crate::hash::hex;
use crate::store::{Location, Stores};

/// Changes when scanning does.
const VERSION: u32 = 3;
/// Bytes of the smallest data whose index is kept; less is scanned in no time.
const SMALLEST: u64 = 8 << 20;
/// A file written to more recently may be written to again without a change of its time.
const SETTLED: Duration = Duration::from_secs(2);

/// Where indexes are kept, by the environment: `HEADSTART_CACHE`, else the user's cache directory.
pub fn directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = || {
        let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(caches?.join("headstart"))
    };
    Some(variable("HEADSTART_CACHE").or_else(own)?.join("indexes"))
}

/// The place of one index.
pub(super) struct CachedIndex {
    file: KeptFile,
}

impl CachedIndex {
    /// Where the index of this data is kept; `None` if it is not to be kept.
    pub(super) async fn of(
        stores: &Stores,
        wanted: &DataRequest<'_>,
    ) -> Result<Option<CachedIndex>, DataError> {
        let Some(directory) = wanted.kept else { return Ok(None) };
        let (mut hash, mut total) = (Sha256::new(), 0);
        let settings =
            (VERSION, env!("CARGO_PKG_VERSION"), wanted.datasets, wanted.labels, wanted.data_cache);
        hash.update(serde_json::to_vec(&settings).expect("settings are JSON"));
        hash.update(serde_json::to_vec(&wanted.task).expect("a task is JSON"));
        for dataset in wanted.datasets {
            let Some(files) = scanned_files(stores, dataset, wanted.task).await? else { return Ok(None) };
            for (file, meta) in files {
                let Some(etag) = meta.etag.as_ref().filter(|_| is_settled(&file)) else { return Ok(None) };
                let pinned = (file.url(), meta.size, etag);
                hash.update(serde_json::to_vec(&pinned).expect("texts and numbers are JSON"));
                total += meta.size;
            }
        }
        let name = hex(&hash.finalize());
        Ok((total >= SMALLEST).then(|| CachedIndex { file: KeptFile::new(directory, name) }))
    }

    /// The index kept there, if it is whole.
    pub(super) async fn read(&self) -> Option<Indexed> {
        let (head, index) = self.file.read().await?;
        let (labels, notes): (Vec<String>, Vec<Note>) = serde_json::from_slice(&head).ok()?;
        Some(Indexed { index: RowIndex::decode(&index, labels.len()).ok()?, labels, notes })
    }

    /// Keeps an index.
    pub(super) async fn write(&self, Indexed { index, labels, notes }: &Indexed) {
        let head = serde_json::to_vec(&(labels, notes)).expect("texts are JSON");
        self.file.write(head, index.encode()).await;
    }
}

/// Whether a file's etag would tell of a change: a store's does, that of a local file is its time.
#[allow(clippy::disallowed_methods)]
fn is_settled(file: &Location) -> bool {
    let Some(path) = file.local_path() else { return true };
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > SETTLED))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{DataRequest, index};
    use super::*;
    use crate::chat::RowFormat;
    use crate::run_file::{Dataset, Task};
    use crate::store::Stores;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    fn content(label: &str) -> Vec<u8> {
        format!(
            "{{\"text\":\"{}\",\"label\":\"{label}\"}}\n{{\"text\":\"b\",\"label\":\"x\"}}\n",
            "a".repeat(9 << 20)
        )
        .into()
    }

    #[tokio::test]
    async fn an_index_is_found_again_unless_the_data_or_the_settings_changed() {
        let (stores, directory) = (Stores::default(), tempfile::tempdir().unwrap());
        stores.mount("memory://data", Arc::new(InMemory::new()));
        let file = stores.locate("memory://data/t.jsonl").unwrap();
        file.write(content("y").into()).await.unwrap();
        let datasets = vec![Dataset {
            path: file.url().to_owned(),
            text_column: "text".into(),
            text_pair_column: None,
            image_column: "image".into(),
            label_column: Some("label".into()),
            rows: RowFormat::default(),
        }];
        let (task, kept) = (Task::SequenceClassification, Some(directory.path()));
        let wanted = |labels| DataRequest { datasets: &datasets, task, labels, data_cache: 1 << 30, kept };
        let files = || std::fs::read_dir(directory.path()).unwrap().count();

        let first = index(&stores, wanted(None)).await.unwrap();
        let place = CachedIndex::of(&stores, &wanted(None)).await.unwrap().unwrap();
        assert_eq!((place.read().await, files()), (Some(first.clone()), 1));
        // That it is used shows where a wrong one is put there, well formed.
        let other = Indexed { labels: vec!["p".to_owned(), "q".to_owned()], ..first.clone() };
        place.write(&other).await;
        assert_eq!(index(&stores, wanted(None)).await.unwrap(), other);
        let path = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(index(&stores, wanted(None)).await.unwrap(), first, "a damaged one is scanned anew");

        let labels = ["y".to_owned(), "x".to_owned()];
        assert_eq!(index(&stores, wanted(Some(&labels))).await.unwrap().labels, labels);
        file.write(content("z").into()).await.unwrap();
        assert_eq!(index(&stores, wanted(None)).await.unwrap().labels, ["x", "z"]);
        assert_eq!(files(), 3);
    }
}
