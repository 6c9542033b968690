//! What every store must do, as one suite to run on each of them.

use bytes::Bytes;

use super::{Location, Meta, PIECE, StoreError, Stores};

/// What a store promises of a create while others create the same object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// One of them wins, however close they are.
    Atomic,
    /// Whoever comes later loses; at the same time, several may win.
    Checked,
}

/// Attempts at one object at the same time.
const RIVALS: u8 = 16;

/// Runs the whole suite in `root`, an empty directory, and leaves it empty.
///
/// # Panics
///
/// When the store breaks a promise.
pub async fn run(root: &Location, stores: &Stores, creation: Creation) {
    small_objects(root).await;
    odd_objects(root).await;
    exclusive_creation(root).await;
    if creation == Creation::Atomic {
        one_of_many_creations(root).await;
    }
    large_objects(root).await;
    changed_objects(root).await;
    unfinished_uploads(root).await;
    listings_and_patterns(root, stores).await;
    names_that_would_escape(root);
}

async fn small_objects(root: &Location) {
    let file = at(root, "small/one.txt");
    assert!(!ok(file.exists().await), "an object that was never written exists");
    assert!(matches!(file.head().await, Err(StoreError::NotFound { .. })));
    assert!(matches!(file.read(10).await, Err(StoreError::NotFound { .. })));
    ok(file.write(Bytes::from_static(b"first")).await);
    ok(file.write(Bytes::from_static(b"second")).await);
    assert_eq!(ok(file.read(6).await), "second");
    assert!(matches!(file.read(5).await, Err(StoreError::TooLarge { size: 6, limit: 5, .. })));
    let meta = ok(file.head().await);
    assert_eq!(meta.size, 6);
    assert_eq!(ok(file.read_range(&meta, 1..4).await), "eco");
    assert_eq!(ok(file.read_range(&meta, 3..3).await), "");
    assert!(matches!(file.read_range(&meta, 3..7).await, Err(StoreError::Short { .. })));
    ok(file.delete().await);
    ok(file.delete().await);
    assert!(!ok(file.exists().await), "a deleted object exists");
}

/// Empty ones, and names that URLs and XML write differently.
async fn odd_objects(root: &Location) {
    let empty = at(root, "odd/empty");
    ok(empty.write(Bytes::new()).await);
    assert_eq!(ok(empty.head().await).size, 0);
    assert_eq!(ok(empty.read(0).await), "");
    let names =
        ["odd/100%.txt", "odd/a+b=c&d;e.txt", "odd/größe, 大.txt", "odd/quote's (1).txt", "odd/x%20y"];
    for name in names {
        ok(at(root, name).write(Bytes::from(name)).await);
    }
    for name in names {
        let bytes = ok(at(root, name).read(100).await);
        assert_eq!(bytes, name, "{name} came back as {}", String::from_utf8_lossy(&bytes));
    }
    let listed = ok(at(root, "odd").list().await);
    let mut expected: Vec<String> =
        names.iter().chain(&["odd/empty"]).map(|name| format!("{root}/{name}")).collect();
    expected.sort();
    assert_eq!(listed.iter().map(|(file, _)| file.url()).collect::<Vec<_>>(), expected);
    for (file, _) in listed {
        ok(file.delete().await);
    }
}

async fn one_of_many_creations(root: &Location) {
    let file = at(root, "manifests/8.json");
    let rivals = (0..RIVALS).map(|rival| {
        let file = file.clone();
        tokio::spawn(async move { file.create(Bytes::from(vec![rival])).await.map(|()| rival) })
    });
    let mut winners = Vec::new();
    for rival in rivals.collect::<Vec<_>>() {
        match rival.await.expect("creating does not panic") {
            Ok(winner) => winners.push(winner),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?} created one object");
    assert_eq!(ok(file.read(1).await)[0], winners[0], "the winner's content is another's");
    ok(file.delete().await);
}

async fn exclusive_creation(root: &Location) {
    let file = at(root, "manifests/7.json");
    ok(file.create(Bytes::from_static(b"mine")).await);
    let again = file.create(Bytes::from_static(b"theirs")).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    assert_eq!(ok(file.read(100).await), "mine");
    ok(file.delete().await);
}

async fn large_objects(root: &Location) {
    let file = at(root, "large.bin");
    let size = (2 * PIECE + 12_345) as usize;
    let content: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
    let mut writer = file.writer();
    for chunk in content.chunks(1_000_003) {
        ok(writer.put(Bytes::copy_from_slice(chunk)).await);
    }
    assert!(!ok(file.exists().await), "an unfinished object is visible");
    ok(writer.finish().await);
    let meta = ok(file.head().await);
    assert!(ok(file.read_large(&meta, 0..meta.size).await) == content, "a large object came back different");
    let middle = ok(file.read_large(&meta, 5..meta.size - 5).await);
    assert!(middle == content[5..size - 5], "a large range came back different");
    assert!(matches!(file.read_large(&meta, 0..meta.size + 1).await, Err(StoreError::Short { .. })));
    ok(file.delete().await);
}

async fn changed_objects(root: &Location) {
    let file = at(root, "changing.txt");
    ok(file.write(Bytes::from_static(b"as planned")).await);
    let planned = ok(file.head().await);
    ok(file.write(Bytes::from_static(b"different!")).await);
    let changed = |result: &Result<Bytes, StoreError>| matches!(result, Err(StoreError::Changed { .. }));
    let read = file.read_range(&planned, 0..4).await;
    assert!(changed(&read), "another object was read as if it were the planned one: {read:?}");
    let shrunk = Meta { size: 4, etag: ok(file.head().await).etag };
    let read = file.read_range(&shrunk, 0..4).await;
    assert!(changed(&read), "an object of another size was read: {read:?}");
    ok(file.delete().await);
}

async fn unfinished_uploads(root: &Location) {
    let file = at(root, "abandoned.bin");
    let mut writer = file.writer();
    ok(writer.put(Bytes::from(vec![1; 11 << 20])).await);
    drop(writer);
    assert!(!ok(file.exists().await), "an abandoned upload is visible");
    assert!(ok(root.list().await).is_empty(), "an abandoned upload is listed");
}

async fn listings_and_patterns(root: &Location, stores: &Stores) {
    let names =
        ["data/train-1.jsonl", "data/train-10.jsonl", "data/deep/train-2.jsonl", "data/a b.txt", "data2/x"];
    for name in names {
        ok(at(root, name).write(Bytes::from(name)).await);
    }
    let data = at(root, "data");
    let listed = ok(data.list().await);
    let urls: Vec<&str> = listed.iter().map(|(file, _)| file.url()).collect();
    let mut expected: Vec<String> = names[..4].iter().map(|name| format!("{root}/{name}")).collect();
    expected.sort();
    assert_eq!(urls, expected);
    for (file, meta) in &listed {
        assert_eq!(*meta, ok(file.head().await), "listing and head disagree on {file}");
        let bytes = ok(ok(stores.locate(file.url())).read(100).await);
        assert!(file.url().ends_with(std::str::from_utf8(&bytes).unwrap_or("?")));
    }
    let matched = |pattern: &str| format!("{data}/{pattern}");
    assert_eq!(ok(stores.glob(&matched("train-*.jsonl")).await).len(), 2);
    assert_eq!(ok(stores.glob(&matched("**/train-*.jsonl")).await).len(), 3);
    assert_eq!(ok(stores.glob(&matched("train-?.jsonl")).await).len(), 1);
    assert_eq!(ok(stores.glob(&matched("train-1.jsonl")).await).len(), 1);
    assert!(matches!(stores.glob(&matched("*.csv")).await, Err(StoreError::NotFound { .. })));
    for name in names {
        ok(at(root, name).delete().await);
    }
    assert!(ok(root.list().await).is_empty());
}

fn names_that_would_escape(root: &Location) {
    for name in
        ["", "/etc/passwd", "../x", "a/../../x", "a//b", "%2e%2e/x", ".%2E/x", "..%2fx", "a\\..\\x", "."]
    {
        let refused = root.join(name);
        assert!(matches!(refused, Err(StoreError::BadName { .. })), "{name:?} gave {refused:?}");
    }
}

fn at(root: &Location, name: &str) -> Location {
    ok(root.join(name))
}

#[track_caller]
fn ok<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
