//! The conformance suite on this machine's stores, and what only local paths and URLs do.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;

use super::conformance::{self, Creation};
use super::{Environment, Location, StoreError, Stores};
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

#[cfg(unix)]
#[tokio::test]
async fn listings_refuse_links_out_of_the_directory() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("real.txt"), "real").unwrap();
    symlink(directory.path(), directory.path().join("loop")).unwrap();
    symlink("real.txt", directory.path().join("inside.txt")).unwrap();
    symlink("nowhere", directory.path().join("dangling.txt")).unwrap();
    let listed = local(&directory).list().await.unwrap();
    let names: Vec<&str> = listed.iter().filter_map(|(file, _)| file.url().rsplit('/').next()).collect();
    assert_eq!(names, ["inside.txt", "real.txt"]);

    for (name, target) in [("escape.txt", outside.path().join("secret.txt")), ("away", outside.path().into())]
    {
        let link = directory.path().join(name);
        symlink(target, &link).unwrap();
        let error = local(&directory).list().await.unwrap_err();
        assert!(matches!(&error, StoreError::Link { url } if url.ends_with(name)), "{error}");
        std::fs::remove_file(link).unwrap();
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
