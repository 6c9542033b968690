//! The conformance suite on this machine's stores, and what only local paths and URLs do.

use std::sync::Arc;

use object_store::memory::InMemory;

use super::{Location, StoreError, Stores, conformance};
use crate::exit::Exit;

fn local(directory: &tempfile::TempDir) -> Location {
    Location::parse(directory.path().to_str().expect("temporary paths are UTF-8"))
        .expect("a path is a location")
}

#[tokio::test]
async fn memory_conforms() {
    let stores = Stores::default();
    stores.mount("memory://suite", Arc::new(InMemory::new()));
    conformance::run(&stores.locate("memory://suite").unwrap(), &stores).await;
    conformance::run(&stores.locate("memory://suite/below/here").unwrap(), &stores).await;
}

#[tokio::test]
async fn local_files_conform() {
    let directory = tempfile::tempdir().unwrap();
    conformance::run(&local(&directory), &Stores::default()).await;
}

#[tokio::test]
async fn every_spelling_of_a_local_path_names_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a b%.txt"), "hello").unwrap();
    let path = directory.path().to_str().unwrap();
    let real = std::fs::canonicalize(directory.path()).unwrap();
    let name = real.file_name().unwrap().to_str().unwrap();
    let spellings = [
        format!("{path}/a b%.txt"),
        format!("file://{path}/a%20b%25.txt"),
        format!("{path}/../{name}/a b%.txt"),
        format!("{path}/./a b%.txt"),
    ];
    let stores = Stores::default();
    for spelling in spellings.iter().chain(&spellings) {
        let file = stores.locate(spelling).unwrap();
        assert_eq!(file.local_path().unwrap().file_name().unwrap(), "a b%.txt", "{spelling}");
        assert_eq!(file.read(5).await.unwrap(), "hello", "{spelling}");
        assert_eq!(Location::parse(file.url()).unwrap().read(5).await.unwrap(), "hello", "{spelling} again");
    }
}

#[test]
fn urls_this_version_cannot_use_say_so() {
    let cases = [
        ("gs://bucket/x", "not supported by this version"),
        ("hf://org/model", "not supported by this version"),
        ("http://host/x", "not supported by this version"),
        ("s3:///key", "bucket is missing"),
        ("s3://key:secret@bucket/x", "credentials come from the environment"),
        ("file://relative/path", "three slashes"),
        ("", "not a path"),
    ];
    for (url, reason) in cases {
        let error = Location::parse(url).expect_err(url);
        assert!(error.to_string().contains(reason), "{url}: {error}");
        assert_eq!(error.exit(), Exit::Usage, "{url}");
    }
}

#[test]
fn dots_in_a_key_are_refused() {
    let error = Location::parse("s3://bucket/a/../b").expect_err("dots leave the directory");
    assert!(matches!(error, StoreError::BadUrl { .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn listings_do_not_follow_links_out_of_the_directory() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("real.txt"), "real").unwrap();
    symlink(outside.path().join("secret.txt"), directory.path().join("escape.txt")).unwrap();
    symlink(outside.path(), directory.path().join("escape")).unwrap();
    symlink(directory.path(), directory.path().join("loop")).unwrap();
    symlink("real.txt", directory.path().join("inside.txt")).unwrap();
    symlink("nowhere", directory.path().join("dangling.txt")).unwrap();
    let listed = local(&directory).list().await.unwrap();
    let names: Vec<&str> = listed.iter().filter_map(|(file, _)| file.url().rsplit('/').next()).collect();
    assert_eq!(names, ["inside.txt", "real.txt"]);
}

#[test]
fn a_full_disk_is_named_however_deep_the_store_buries_it() {
    let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let buried = object_store::Error::Generic { store: "test", source: Box::new(std::io::Error::other(io)) };
    let direct = object_store::Error::Generic {
        store: "test",
        source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
    };
    assert_eq!(StoreError::from_object("/x", direct), StoreError::NoSpace { url: "/x".into() });
    let error = StoreError::from_object("/x", buried);
    assert_eq!(error.exit(), Exit::Storage, "{error}");
}

#[test]
fn refusals_are_told_from_failures() {
    let answer = |text: &str| {
        let source = Box::new(std::io::Error::other(text.to_owned()));
        StoreError::from_object("s3://b/x", object_store::Error::Generic { store: "S3", source })
    };
    assert_eq!(answer("Server returned non-2xx status code: 403 Forbidden: no").exit(), Exit::Permission);
    assert!(matches!(
        answer("non-2xx status code: 404 Not Found: NoSuchBucket"),
        StoreError::NotFound { .. }
    ));
    let without_credentials = answer("Error performing PUT http://169.254.169.254/latest/api/token in 2s");
    assert!(without_credentials.to_string().contains("set AWS_ACCESS_KEY_ID"), "{without_credentials}");
    assert_eq!(without_credentials.exit(), Exit::Permission);
    assert_eq!(answer("status code: 503 Slow Down").exit(), Exit::Storage);
}
