//! The conformance suite on this machine's stores, and what only local paths and URLs do.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;

use super::conformance::{self, Creation};
use super::{Environment, Location, Meta, StoreError, Stores};
use crate::exit::Exit;

fn local(directory: &tempfile::TempDir) -> Location {
    Location::parse(directory.path().to_str().expect("temporary paths are UTF-8"))
        .expect("a path is a location")
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    let stores = Stores::default();
    stores.mount("memory://suite", Arc::new(InMemory::new()));
    conformance::run(&stores.locate("memory://suite").unwrap(), &stores, Creation::Atomic).await;
    conformance::run(&stores.locate("memory://suite/below/here").unwrap(), &stores, Creation::Atomic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_conform() {
    let directory = tempfile::tempdir().unwrap();
    conformance::run(&local(&directory), &Stores::default(), Creation::Atomic).await;
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
        ("hf://org/model", "not supported by this version"),
        ("abfss://box@account.dfs.core.windows.net/x", "not supported by this version"),
        ("gs:///key", "write gs://bucket/path"),
        ("http://", "empty host"),
        ("https://user:secret@host/x", "password"),
        ("https://host/x.jsonl?signature=secret", "without a query"),
        ("http://host/a/../b", "no dots"),
        ("http://host/a/%2e%2E/b", "no dots"),
        ("http://host/a%2f..%2fb", "no dots"),
        ("s3://bucket/a/%2e%2e/b", "must not be dots"),
        ("s3://bucket/a/../b", "illegal"),
        ("s3:///key", "bucket is missing"),
        ("s3://key:secret@bucket/x", "credentials come from the environment"),
        ("file://relative/path", "three slashes"),
        ("", "not a path"),
    ];
    for (url, reason) in cases {
        let error = Location::parse(url).expect_err(url);
        assert!(error.to_string().contains(reason), "{url}: {error}");
        assert_eq!(error.exit(), Exit::Usage, "{url}");
        assert!(!error.to_string().contains("secret@") && !error.to_string().contains("=secret"), "{error}");
    }
}

/// Names of what a listing finds, relative to its directory.
fn names(directory: &Location, files: &[(Location, Meta)]) -> Vec<String> {
    let prefix = format!("{directory}/");
    files.iter().map(|(file, _)| file.url().strip_prefix(&prefix).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn links_of_the_local_disk_are_followed_and_cycles_passed_over() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(outside.path().join("cats/old")).unwrap();
    std::fs::write(outside.path().join("cats/1.png"), "cat").unwrap();
    std::fs::write(outside.path().join("cats/old/2.png"), "old").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("real.txt"), "real").unwrap();
    symlink("real.txt", at("inside.txt")).unwrap();
    symlink(outside.path().join("cats"), at("cats")).unwrap();
    symlink(outside.path().join("cats"), at("same")).unwrap();
    symlink(outside.path().join("cats/1.png"), at("one.png")).unwrap();
    symlink(directory.path(), at("loop")).unwrap();
    symlink("../../cats", outside.path().join("cats/old/up")).unwrap();
    let root = local(&directory);
    let listing = root.listing().await.unwrap();
    let expected =
        ["cats/1.png", "cats/old/2.png", "inside.txt", "one.png", "real.txt", "same/1.png", "same/old/2.png"];
    assert_eq!(names(&root, &listing.files), expected);
    assert_eq!(listing.unreadable, []);
    let (file, _) = listing.files.iter().find(|(file, _)| file.url().ends_with("/one.png")).unwrap();
    assert_eq!(file.read(3).await.unwrap(), "cat", "the link's name, the file's content");
    let found = Stores::default().glob(&format!("{root}/*/1.png")).await.unwrap();
    assert_eq!(names(&root, &found), ["cats/1.png", "same/1.png"]);
}

#[tokio::test]
async fn links_to_nothing_matter_where_they_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.jsonl"), "{}").unwrap();
    symlink("../blobs/gone", directory.path().join("b.jsonl")).unwrap();
    symlink("around", directory.path().join("about")).unwrap();
    symlink("about", directory.path().join("around")).unwrap();
    let (root, stores) = (local(&directory), Stores::default());
    assert_eq!(names(&root, &root.list().await.unwrap()), ["a.jsonl"]);
    assert_eq!(stores.glob(&format!("{root}/a*.jsonl")).await.unwrap().len(), 1);
    let error = stores.glob(&format!("{root}/*.jsonl")).await.unwrap_err();
    assert!(error.to_string().contains("b.jsonl: a link to ../blobs/gone, which is not there"), "{error}");
    let error = stores.glob(&format!("{root}/abou?")).await.unwrap_err();
    assert!(error.to_string().contains("about: a link to around"), "{error}");
}

#[tokio::test]
async fn patterns_look_no_deeper_than_they_reach() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a/b", "c"] {
        std::fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    for name in ["1.csv", "a/2.csv", "a/b/3.csv", "c/4.csv"] {
        std::fs::write(directory.path().join(name), "x").unwrap();
    }
    let (root, stores) = (local(&directory), Stores::default());
    let found = async |pattern: &str| {
        names(&root, &stores.glob(&format!("{root}/{pattern}")).await.unwrap()).join(" ")
    };
    assert_eq!(found("*.csv").await, "1.csv");
    assert_eq!(found("*/*.csv").await, "a/2.csv c/4.csv");
    assert_eq!(found("{a/b,c}/*.csv").await, "a/b/3.csv c/4.csv");
    assert_eq!(found("**/*.csv").await, "1.csv a/2.csv a/b/3.csv c/4.csv");
}

/// Names with brackets, braces and question marks, and what patterns mean beside them.
async fn literal_names_come_first(root: &Location, stores: &Stores) {
    let files = [
        "a [1].jsonl",
        "a 1.jsonl",
        "data{1}.csv",
        "data1.csv",
        "what?.jsonl",
        "whats.jsonl",
        "set [1]/x.jsonl",
        "set 1/x.jsonl",
        "set 1/y.jsonl",
        "deep/set {b}/z.jsonl",
        "deep/set b/z.jsonl",
        "open [.jsonl",
    ];
    for name in files {
        root.join(name).unwrap().write(name.into()).await.unwrap();
    }
    let cases = [
        ("a [1].jsonl", "a [1].jsonl"),
        ("a [12].jsonl", "a 1.jsonl"),
        ("data{1}.csv", "data{1}.csv"),
        ("data{1,2}.csv", "data1.csv"),
        ("what?.jsonl", "what?.jsonl"),
        ("?hats.jsonl", "whats.jsonl"),
        ("set [1]/*.jsonl", "set [1]/x.jsonl"),
        ("set [12]/*.jsonl", "set 1/x.jsonl|set 1/y.jsonl"),
        ("*/set {b}/z.jsonl", "deep/set {b}/z.jsonl"),
        ("**/set {b,c}/*.jsonl", "deep/set b/z.jsonl"),
        ("open [.jsonl", "open [.jsonl"),
        ("open [*.jsonl", "open [.jsonl"),
    ];
    for (pattern, expected) in cases {
        let found = stores.glob(&format!("{root}/{pattern}")).await;
        let found = names(root, &found.unwrap_or_else(|error| panic!("{pattern}: {error}")));
        assert_eq!(found.join("|"), expected, "{pattern}");
    }
    assert!(stores.locate(&format!("{root}/set [1]")).unwrap().is_directory().await.unwrap());
    assert!(!stores.locate(&format!("{root}/set [12]")).unwrap().is_directory().await.unwrap());
    for name in files {
        root.join(name).unwrap().delete().await.unwrap();
    }
}

#[tokio::test]
async fn literal_names_come_before_patterns() {
    let (stores, directory) = (Stores::default(), tempfile::tempdir().unwrap());
    stores.mount("memory://suite", Arc::new(InMemory::new()));
    for root in [local(&directory), stores.locate("memory://suite/b [x]").unwrap()] {
        literal_names_come_first(&root, &stores).await;
    }
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
    assert_eq!(answer("status code: 401 Unauthorized").exit(), Exit::Permission);
    assert_eq!(without_credentials.exit(), Exit::Permission);
    assert_eq!(answer("status code: 503 Slow Down").exit(), Exit::Storage);
}

/// Names and values.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Stores of a process with these environment variables.
fn stores(variables: Variables) -> Stores {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Stores::new(Environment::new(owned), Duration::from_secs(1))
}

#[test]
fn the_environment_sets_clients_up() {
    let cases: [(&str, Variables); 7] = [
        ("s3://bucket/a/b", &[]),
        (
            "s3://bucket/a/b",
            &[("AWS_PROFILE", "work"), ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")],
        ),
        ("gs://bucket/a/b", &[]),
        ("gs://bucket/a/b", &[("GOOGLE_BEARER_TOKEN", "t"), ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")]),
        ("az://box/a/b", &[("AZURE_STORAGE_ACCOUNT_NAME", "account"), ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")]),
        ("az://box/a/b", &[("AZURE_STORAGE_ACCOUNT", "account"), ("AZURE_STORAGE_KEY", "a2V5")]),
        ("az://box/a/b", &[("AZURE_STORAGE_ACCOUNT", "account"), ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=s")]),
    ];
    for (url, variables) in cases {
        let location = stores(variables).locate(url).unwrap_or_else(|error| panic!("{variables:?}: {error}"));
        assert_eq!(location.url(), url);
        assert_eq!(location.join("c d%").unwrap().url(), format!("{url}/c d%"));
        assert!(location.local_path().is_none());
    }
}

#[test]
fn credentials_that_are_not_supported_say_what_to_do_instead() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let external = write("external.json", r#"{"type": "external_account", "audience": "x"}"#);
    let broken = write("broken.json", "{");
    let home = write(".config/gcloud/application_default_credentials.json", r#"{"type": "impersonated"}"#);
    let home = home.split_once("/.config").unwrap().0;
    let cases: [(&str, Variables, &str); 11] = [
        ("s3://b/x", &[("AWS_PROFILE", "work")], "AWS_PROFILE is set, but profiles are not read"),
        ("s3://b/x", &[("AWS_PROFILE", "work")], "aws configure export-credentials"),
        ("s3://b/x", &[("AWS_ACCESS_KEY_ID", "key")], "Missing SecretAccessKey"),
        (
            "gs://b/x",
            &[("GOOGLE_APPLICATION_CREDENTIALS", &external)],
            "type external_account is not supported",
        ),
        ("gs://b/x", &[("GOOGLE_SERVICE_ACCOUNT", &external)], "external.json"),
        ("gs://b/x", &[("HOME", home)], "type impersonated is not supported"),
        ("gs://b/x", &[("GOOGLE_APPLICATION_CREDENTIALS", &broken)], "broken.json"),
        ("gs://b/x", &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")], "/nowhere.json"),
        ("az://b/x", &[], "set AZURE_STORAGE_ACCOUNT_NAME"),
        (
            "az://b/x",
            &[("AZURE_STORAGE_CONNECTION_STRING", "x")],
            "AZURE_STORAGE_CONNECTION_STRING is not read",
        ),
        ("az://b/x", &[("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_STORAGE_KEY", "not base 64!")], "az://b/x"),
    ];
    for (url, variables, reason) in cases {
        let error = stores(variables).locate(url).expect_err(reason);
        assert!(error.to_string().contains(reason), "{variables:?}: {error}");
        assert_eq!(error.exit(), Exit::Permission, "{error}");
        assert!(error.to_string().starts_with(url), "{error}");
    }
}

#[tokio::test]
async fn files_on_web_servers_are_named_and_only_read() {
    let stores = stores(&[]);
    let model = stores.locate("HTTP://").expect_err("schemes are written small");
    assert!(model.to_string().contains("not supported"), "{model}");
    let model = stores.locate("https://Host:8443/my%20models/bert/").unwrap();
    assert_eq!(model.url(), "https://host:8443/my%20models/bert");
    let file = model.join("100% ü.json").unwrap();
    assert_eq!(file.url(), "https://host:8443/my%20models/bert/100%25%20%C3%BC.json");
    assert_eq!(stores.locate(file.url()).unwrap().url(), file.url());
    assert!(matches!(model.join("../x"), Err(StoreError::BadName { .. })));
    assert!(matches!(model.list().await, Err(StoreError::Unlisted { .. })));
    assert!(matches!(stores.glob("https://host/*.jsonl").await, Err(StoreError::Unlisted { .. })));
    for refused in [file.write("x".into()).await, file.create("x".into()).await, file.delete().await] {
        assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
    }
}
