//! From files to rows and back, on local files and on a store that has to be downloaded from.

mod folders;
mod formats;
mod kinds;
mod objects;
mod refused;
mod texts;
mod unlabelled;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;

use super::{Cache, Content, DataError, RowIndex, Rows, index_in};
use crate::chat::RowFormat;
use crate::exit::Exit;
use crate::run_file::{Dataset, Task};
use crate::store::Stores;

pub(super) const TEXTS: Task = Task::SequenceClassification;

pub(super) fn dataset(path: impl Into<String>) -> Dataset {
    Dataset {
        path: path.into(),
        text_column: "text".into(),
        text_pair_column: None,
        image_column: "image".into(),
        label_column: Some("label".into()),
        rows: RowFormat::default(),
    }
}

/// A fresh in-memory store with these objects.
pub(super) async fn stored(objects: &[(&str, &[u8])]) -> Stores {
    let stores = Stores::default();
    stores.mount("memory://data", Arc::new(InMemory::new()));
    for (name, content) in objects {
        let file = stores.locate(&format!("memory://data/{name}")).unwrap();
        file.write(Bytes::copy_from_slice(content)).await.unwrap();
    }
    stores
}

async fn scan(name: &str, content: &[u8]) -> Result<(RowIndex, Vec<String>), DataError> {
    let stores = stored(&[(name, content)]).await;
    index_in(&stores, &[dataset(format!("memory://data/{name}"))], TEXTS, None).await
}

async fn all(rows: &Rows) -> Vec<(u32, String)> {
    let numbers: Vec<u64> = (0..rows.index().len()).collect();
    let found = rows.read(&numbers).await.unwrap();
    found
        .into_iter()
        .map(|row| match row.content {
            Content::Text { text, pair: None } => (row.label, text),
            Content::Text { text, pair: Some(pair) } => (row.label, format!("{text} | {pair}")),
            Content::Image(bytes) => (row.label, shown(&bytes)),
            Content::Json(object) => (row.label, serde_json::Value::Object(object).to_string()),
        })
        .collect()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first bytes of a PNG of this size, and more that no test decodes.
fn picture(width: u32, height: u32, tail: &str) -> Vec<u8> {
    let head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    [head.as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), tail.as_bytes()].concat()
}

fn pairs(expected: &[(u32, &str)]) -> Vec<(u32, String)> {
    expected.iter().map(|(label, text)| (*label, (*text).to_owned())).collect()
}

const MIXED: &[(&str, &[u8])] = &[
    ("b.jsonl", "\u{feff}{\"label\": \"net\", \"text\": \"größe\", \"x\": [1, {\"text\": 2}]}\r\n\n  \n{\"text\":\"two\",\"label\":\"admin\"}".as_bytes()),
    ("a.csv", b"\xef\xbb\xbfid,text,label\r\n1,\"said \"\"hi\"\",\nthere\",net\r\n\r\n2,plain 5\" pipe,web\r\n3,last,net"),
];

fn mixed_rows() -> Vec<(u32, String)> {
    pairs(&[(1, "said \"hi\",\nthere"), (2, "plain 5\" pipe"), (1, "last"), (1, "größe"), (0, "two")])
}

#[tokio::test]
async fn rows_come_back_as_they_were_planned_with_and_without_a_cache() {
    let stores = stored(MIXED).await;
    let (index, labels) =
        index_in(&stores, &[dataset("memory://data/*.{csv,jsonl}")], TEXTS, None).await.unwrap();
    assert_eq!(labels, ["admin", "net", "web"]);
    let index = Arc::new(index);
    assert_eq!(RowIndex::decode(&index.encode(), 3).unwrap(), *index);
    assert_eq!(all(&Rows::new(index.clone(), None, stores.clone())).await, mixed_rows());

    let cache = tempfile::tempdir().unwrap();
    let cached =
        Rows::new(index.clone(), Some(Cache::new(cache.path().join("new"), 1 << 30)), stores.clone());
    let cached = Arc::new(cached);
    let other = cached.clone();
    let background = tokio::spawn(async move { all(&other).await });
    let (first, second) = (all(&cached).await, background.await.unwrap());
    assert_eq!((&first, &second), (&mixed_rows(), &mixed_rows()));
    let names = std::fs::read_dir(cache.path().join("new")).unwrap().count();
    assert_eq!(names, 2, "two files were downloaded, and no partial download was left");

    // A second worker finds the downloads, even with the store gone.
    for (file, _) in stores.locate("memory://data").unwrap().list().await.unwrap() {
        file.delete().await.unwrap();
    }
    let second_worker = Rows::new(index, Some(Cache::new(cache.path().join("new"), 1 << 30)), stores);
    assert_eq!(all(&second_worker).await, mixed_rows());
    let picked = second_worker.read(&[4, 0, 4]).await.unwrap();
    assert_eq!(picked.iter().map(|row| row.number).collect::<Vec<_>>(), [4, 0, 4]);
}

#[tokio::test]
async fn a_damaged_download_is_fetched_again() {
    let stores = stored(MIXED).await;
    let (index, _) = index_in(&stores, &[dataset("memory://data/a.csv")], TEXTS, None).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let index = Arc::new(index);
    let rows = Rows::new(index.clone(), Some(Cache::new(cache.path().to_owned(), 1 << 30)), stores.clone());
    let before = all(&rows).await;
    let path = std::fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
    let size = std::fs::metadata(&path).unwrap().len() as usize;
    std::fs::write(&path, vec![0; size]).unwrap();
    assert_eq!(
        all(&Rows::new(index, Some(Cache::new(cache.path().to_owned(), 1 << 30)), stores)).await,
        before
    );
}

fn write(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn local_data_that_changes_after_planning_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path =
        write(directory.path(), "t.jsonl", b"{\"text\":\"a\",\"label\":0}\n{\"text\":\"b\",\"label\":1}\n");
    let stores = Stores::default();
    let (index, _) = index_in(&stores, &[dataset(&path)], TEXTS, None).await.unwrap();
    let rows = Rows::new(Arc::new(index.clone()), None, stores.clone());
    assert_eq!(all(&rows).await, pairs(&[(0, "a"), (1, "b")]));

    // A copy with the same bytes is the same data; other bytes of the same length are not.
    let same = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &same).unwrap();
    assert_eq!(all(&Rows::new(Arc::new(index.clone()), None, stores.clone())).await.len(), 2);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"{\"text\":\"A\",\"label\":0}\n{\"text\":\"b\",\"label\":1}\n").unwrap();
    let error = Rows::new(Arc::new(index), None, stores).read(&[0]).await.unwrap_err();
    assert_eq!(error, DataError::Changed { url: path });
    assert_eq!(error.exit(), Exit::Data);
}

#[tokio::test]
async fn remote_data_that_changes_after_planning_is_refused() {
    let stores = stored(MIXED).await;
    let (index, _) = index_in(&stores, &[dataset("memory://data/b.jsonl")], TEXTS, None).await.unwrap();
    let file = stores.locate("memory://data/b.jsonl").unwrap();
    let changed = file.read(1000).await.unwrap();
    file.write(changed).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    for cache in [None, Some(Cache::new(cache.path().to_owned(), 1 << 30))] {
        let error = Rows::new(Arc::new(index.clone()), cache, stores.clone()).read(&[0]).await.unwrap_err();
        assert_eq!(error, DataError::Changed { url: "memory://data/b.jsonl".into() });
    }
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0, "a failed download leaves nothing");
}

#[tokio::test]
async fn labels_are_sorted_by_value_when_all_are_integers() {
    let lines = |labels: &[&str]| -> String {
        labels.iter().map(|label| format!("{{\"text\":\"x\",\"label\":{label}}}\n")).collect()
    };
    let cases: [(&[&str], &[&str]); 5] = [
        (&["10", "9", "0"], &["0", "9", "10"]),
        (&["10.0", "9", "0.0"], &["0", "9", "10"]),
        (&["\"10\"", "9", "\"x\""], &["10", "9", "x"]),
        (&["true", "false"], &["false", "true"]),
        (&["\"07\"", "\"1\""], &["07", "1"]),
    ];
    for (given, expected) in cases {
        let (index, labels) = scan("t.jsonl", lines(given).as_bytes()).await.unwrap();
        assert_eq!(labels, expected);
        let names: Vec<&str> = index.labels().iter().map(|&label| labels[label as usize].as_str()).collect();
        assert_eq!(
            names,
            given.iter().map(|label| label.trim_matches('"').trim_end_matches(".0")).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn evaluation_data_may_only_use_the_labels_of_training() {
    let stores =
        stored(&[("e.jsonl", b"{\"text\":\"a\",\"label\":\"net\"}\n{\"text\":\"b\",\"label\":\"games\"}\n")])
            .await;
    let datasets = [dataset("memory://data/e.jsonl")];
    let known = ["web".to_owned(), "net".to_owned()];
    let error = index_in(&stores, &datasets, TEXTS, Some(&known)).await.unwrap_err();
    let message = error.to_string();
    for part in ["e.jsonl:2", "\"games\"", "\"web\"", "\"net\""] {
        assert!(message.contains(part), "{message}");
    }
    let known = ["web".to_owned(), "net".to_owned(), "games".to_owned()];
    let (index, labels) = index_in(&stores, &datasets, TEXTS, Some(&known)).await.unwrap();
    assert_eq!((index.labels(), labels), ([1, 2].as_slice(), known.to_vec()));
}

#[tokio::test]
async fn images_are_labelled_by_their_folder() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (name, content) in [("10/a.png", "ten"), ("2/b.JPG", "two"), ("2/deep/c.jpeg", "deep")] {
        write(root, name, &picture(8, 8, content));
    }
    write(root, "README.md", b"Numbers, as images.");
    let stores = Stores::default();
    let datasets = [dataset(root.to_str().unwrap())];
    let (index, labels) = index_in(&stores, &datasets, Task::ImageClassification, None).await.unwrap();
    assert_eq!(labels, ["2", "10"]);
    let expected =
        [(1, "ten"), (0, "two"), (0, "deep")].map(|(label, tail)| (label, shown(&picture(8, 8, tail))));
    assert_eq!(all(&Rows::new(Arc::new(index.clone()), None, stores.clone())).await, expected);

    let remote = stored(&[("i/x/a.png", b"ex"), ("i/y/b.png", b"why")]).await;
    let datasets_remote = [dataset("memory://data/i")];
    let (remote_index, _) =
        index_in(&remote, &datasets_remote, Task::ImageClassification, None).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    for cache in [None, Some(Cache::new(cache.path().to_owned(), 1 << 30))] {
        let rows = Rows::new(Arc::new(remote_index.clone()), cache, remote.clone());
        assert_eq!(all(&rows).await, pairs(&[(0, "ex"), (1, "why")]));
    }

    write(root, "10/a.png", &picture(8, 8, "longer than before"));
    let error = Rows::new(Arc::new(index), None, stores.clone()).read(&[0]).await.unwrap_err();
    assert!(matches!(error, DataError::Changed { .. }), "{error}");
    let path = write(root, "loose.png", &picture(8, 8, ""));
    let error = index_in(&stores, &datasets, Task::ImageClassification, None).await.unwrap_err();
    assert!(error.to_string().contains("outside of the class folders"), "{error}");
    std::fs::remove_file(path).unwrap();
}
