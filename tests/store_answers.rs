//! What stores answer beside content: refusals that say what to do, and listings in which some keys are no paths.

use std::time::Duration;

use headstart::exit::Exit;
use headstart::store::{Environment, StoreError, Stores};
use headstart_tests::web::{Answer, Request, Web, file};
use headstart_tests::{command, succeed, text, texts};

/// Longer than any of these tests may take: a refusal is not repeated.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stores that ask this server in place of the clouds.
fn stores(web: &Web) -> Stores {
    let url = web.url();
    let variables = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "test\n"),
        ("AWS_SECRET_ACCESS_KEY", " test\r\n"),
        ("AWS_SESSION_TOKEN", "token\n"),
        ("AWS_REGION", "us-east-1"),
        ("GOOGLE_BASE_URL", &url),
        ("GOOGLE_BEARER_TOKEN", "token\n"),
        ("AZURE_STORAGE_ENDPOINT", &url),
        ("AZURE_STORAGE_ACCOUNT_NAME", "test"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5\n"),
    ];
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Stores::new(Environment::new(owned), PATIENCE)
}

fn xml(code: &str, more: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No, no.</Message>{more}</Error>")
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_not_repeated() {
    let google = r#"{"error": {"code": 401, "message": "Invalid Credentials", "status": "UNAUTHENTICATED"}}"#;
    let cases: [(&str, Answer, &str, &str); 17] = [
        ("s3", Answer::with(400, &xml("ExpiredToken", "")), "ExpiredToken", "AWS_SESSION_TOKEN anew"),
        ("s3", Answer::with(400, &xml("InvalidToken", "")), "InvalidToken", "AWS_SESSION_TOKEN anew"),
        ("s3", Answer::with(403, &xml("InvalidAccessKeyId", "")), "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (
            "s3",
            Answer::with(403, &xml("SignatureDoesNotMatch", "")),
            "SignatureDoesNotMatch",
            "AWS_SECRET_ACCESS_KEY",
        ),
        ("s3", Answer::with(403, &xml("RequestTimeTooSkewed", "")), "RequestTimeTooSkewed", "clock"),
        ("s3", Answer::with(403, &xml("AccessDenied", "")), "AccessDenied: No, no.", "permission denied"),
        (
            "s3",
            Answer::with(400, &xml("AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>")),
            "AuthorizationHeaderMalformed",
            "set AWS_REGION=eu-north-1",
        ),
        (
            "s3",
            Answer::with(301, &xml("PermanentRedirect", "")).header("x-amz-bucket-region", "ap-south-2"),
            "301",
            "set AWS_REGION=ap-south-2",
        ),
        ("s3", Answer::with(301, &xml("PermanentRedirect", "")), "PermanentRedirect", "set AWS_REGION to"),
        (
            "s3",
            Answer::with(400, "").header("x-amz-bucket-region", "eu-west-3"),
            "400",
            "set AWS_REGION=eu-west-3",
        ),
        (
            "az",
            Answer::with(403, &xml("AuthenticationFailed", "")),
            "AuthenticationFailed",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            "az",
            Answer::with(401, "").header("x-ms-error-code", "NoAuthenticationInformation"),
            "NoAuthenticationInformation",
            "AZURE_STORAGE_SAS_TOKEN",
        ),
        (
            "az",
            Answer::with(403, "").header("x-ms-error-code", "AuthorizationPermissionMismatch"),
            "AuthorizationPermissionMismatch",
            "permission denied",
        ),
        (
            "az",
            Answer::with(409, "").header("x-ms-error-code", "PublicAccessNotPermitted"),
            "PublicAccessNotPermitted",
            "permission denied",
        ),
        (
            "gs",
            Answer::with(401, google),
            "UNAUTHENTICATED: Invalid Credentials",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        (
            "gs",
            Answer::with(401, &xml("AuthenticationRequired", "")),
            "AuthenticationRequired",
            "GOOGLE_BEARER_TOKEN",
        ),
        ("gs", Answer::with(403, &xml("AccessDenied", "")), "AccessDenied", "permission denied"),
    ];
    for (scheme, answer, code, cure) in cases {
        let shown = format!("{scheme} {answer:?}");
        let web = Web::start(move |_| answer.clone());
        let bucket = stores(&web).locate(&format!("{scheme}://bucket")).expect("a URL");
        let object = bucket.join("a.jsonl").expect("a name");
        for refused in [
            object.head().await.map(drop),
            object.read(10).await.map(drop),
            object.write("x".into()).await,
            bucket.list().await.map(drop),
        ] {
            let error = refused.expect_err(&shown);
            assert_eq!(error.exit(), Exit::Permission, "{shown}: {error}");
            let said = error.to_string();
            assert!(said.starts_with(&format!("{scheme}://bucket")), "{shown}: {said}");
            assert!(said.contains(code) && said.contains(cure), "{shown}: {said}");
        }
        // A HEAD request's answer has no body, so that the reason is asked for with another request.
        assert!(web.requests().len() <= 5, "{shown}: {} requests", web.requests().len());
    }
}

#[tokio::test]
async fn what_may_pass_is_repeated_and_what_is_unknown_is_shown() {
    let slow = Answer::with(400, &xml("RequestTimeout", ""));
    let web = Web::start(move |request| match request.before {
        0 => slow.clone(),
        _ => Answer::with(200, "four").etag("\"4\"").header("Last-Modified", "Tue, 24 Nov 2026 12:00:00 GMT"),
    });
    let object = stores(&web).locate("s3://bucket/a").expect("a URL");
    assert_eq!(object.read(10).await.expect("the second answer"), "four");
    assert_eq!(web.requests().len(), 2);

    let strange = Web::start(|_| Answer::with(400, &xml("SomethingElse", "")));
    let object = stores(&strange).locate("s3://bucket/a").expect("a URL");
    let error = object.read(10).await.expect_err("a refusal");
    assert!(error.exit() == Exit::Storage && error.to_string().contains("SomethingElse"), "{error}");
}

#[tokio::test]
async fn secrets_are_sent_without_the_line_break_of_their_file() {
    let web = Web::start(|_| Answer::status(404));
    for url in ["s3://bucket/a", "gs://bucket/a", "az://bucket/a"] {
        let object = stores(&web).locate(url).expect("a URL");
        assert!(matches!(object.head().await, Err(StoreError::NotFound { .. })), "{url}");
    }
    let header =
        |name: &str| web.requests().into_iter().find_map(|request| request.headers.get(name).cloned());
    assert_eq!(header("x-amz-security-token").as_deref(), Some("token"));
    let signed = web.requests().iter().any(|request| {
        request.headers.get("authorization").is_some_and(|value| value.contains("Credential=test/"))
    });
    assert!(signed, "{:?}", web.requests());
}

/// The answer of a bucket that has these keys, as S3 and Google's storage list them.
fn listing(keys: &[&str], request: &Request) -> Option<Answer> {
    let (_, query) = request.path.split_once('?').filter(|(_, query)| query.contains("list-type=2"))?;
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
    let prefix = prefix.replace("%2F", "/").replace("%5B", "[").replace("%5D", "]").replace('+', " ");
    let entry = |key: &&str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-24T12:00:00.000Z</LastModified>\
             <ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"
        )
    };
    let entries: String = keys.iter().filter(|key| key.starts_with(&prefix)).map(entry).collect();
    Some(Answer::with(
        200,
        &format!(
            "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        ),
    ))
}

#[tokio::test]
async fn keys_that_are_no_paths_matter_only_where_they_match() {
    const KEYS: [&str; 9] = [
        "data/",
        "data/a.jsonl",
        "data/a//b.jsonl",
        "data/b/./c.csv",
        "data/c.jsonl",
        "data/new&#10;line.txt",
        "data/sub/",
        "/top.jsonl",
        "x/../y.jsonl",
    ];
    let web = Web::start(|request| listing(&KEYS, request).unwrap_or(Answer::status(404)));
    for scheme in ["s3", "gs"] {
        let stores = stores(&web);
        let found = async |pattern: &str| stores.glob(&format!("{scheme}://bucket/{pattern}")).await;
        let urls = |files: Vec<(headstart::store::Location, _)>| {
            files
                .iter()
                .map(|(file, _)| file.url().replace(&format!("{scheme}://bucket/"), ""))
                .collect::<Vec<_>>()
        };
        assert_eq!(urls(found("data/*.jsonl").await.expect("two files")), ["data/a.jsonl", "data/c.jsonl"]);
        for (pattern, odd) in [
            ("data/**/*.jsonl", "data/a//b.jsonl"),
            ("data/b/**", "data/b/./c.csv"),
            ("data/*.txt", "data/new\nline.txt"),
            ("**/y.jsonl", "x/../y.jsonl"),
        ] {
            let error = found(pattern).await.expect_err(pattern);
            assert_eq!(error, StoreError::OddName { url: format!("{scheme}://bucket/{odd}") });
        }
        let data = stores.locate(&format!("{scheme}://bucket/data")).expect("a URL");
        assert_eq!(urls(data.list().await.expect("it lists")), ["data/a.jsonl", "data/c.jsonl"]);
        assert_eq!(data.listing().await.expect("it lists").unreadable.len(), 3);
    }
}

#[tokio::test]
async fn azure_lists_around_names_that_are_no_paths() {
    let blob = |name: &str| {
        format!(
            "<Blob><Name>{name}</Name><Properties><Last-Modified>Tue, 24 Nov 2026 12:00:00 GMT</Last-Modified>\
             <Etag>1</Etag><Content-Length>1</Content-Length><Content-Type>text/csv</Content-Type></Properties></Blob>"
        )
    };
    let answer = |blobs: String| {
        let xml = format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>");
        Answer::with(200, &xml)
    };
    let full = answer(["data/a.csv", "data//b.csv", "data/c/"].map(blob).concat());
    let empty = answer(String::new());
    let web = Web::start(move |request| match request.path.contains("comp=list") {
        true if request.path.ends_with("prefix=data%2F") => full.clone(),
        true => empty.clone(),
        false => Answer::status(404),
    });
    let stores = stores(&web);
    let found = stores.glob("az://bucket/data/*.csv").await.expect("one file");
    assert_eq!(found.iter().map(|(file, _)| file.url()).collect::<Vec<_>>(), ["az://bucket/data/a.csv"]);
    let error = stores.glob("az://bucket/data/**/*.csv").await.expect_err("an odd name");
    assert_eq!(error, StoreError::OddName { url: "az://bucket/data//b.csv".to_owned() });
}

#[test]
fn folders_of_images_in_buckets_may_have_odd_neighbours_and_brackets() {
    let directory = texts();
    let cases: [(&str, &[&str], Option<&str>); 3] = [
        (
            "images [1]",
            &["images [1]/", "images [1]/cat/", "images [1]/cat/0.png", "images [1]/dog/1.png"],
            None,
        ),
        ("images", &["images//notes.txt", "images/cat/0.png", "images/dog/1.png", "other//x.png"], None),
        ("images", &["images/cat//0.png", "images/dog/1.png", "images/cat/2.png"], Some("images/cat//0.png")),
    ];
    for (path, keys, refused) in cases {
        let web = Web::start(move |request| listing(keys, request).unwrap_or(Answer::status(404)));
        let model = headstart_tests::repository().join("examples/digits/model");
        let data = format!("datasets.0.path=s3://bucket/{path}");
        let model = format!("base_model={}", model.display());
        let output = command("headstart", directory.path())
            .args(["validate", "run.yaml", "--set", "task=image-classification", "--set", "init=random"])
            .args([
                "--set",
                &data,
                "--set",
                &model,
                "--set",
                "eval_datasets=null",
                "--set",
                "eval_strategy=no",
            ])
            .args(["--set", "sequence_len=null", "--set", "model_overrides={}"])
            .env("AWS_ENDPOINT_URL", web.url())
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .output()
            .expect("headstart starts");
        let said = text(&output);
        match refused {
            None => assert!(output.status.success() && said.contains("2: cat, dog"), "{path}: {said}"),
            Some(key) => {
                assert_eq!(output.status.code(), Some(10), "{said}");
                assert!(said.contains(key) && said.contains("rename it"), "{said}");
            }
        }
    }
}

#[test]
fn data_with_brackets_in_its_name_is_read_from_a_bucket() {
    let directory = texts();
    let served = tempfile::tempdir().expect("a temporary directory");
    let rows = std::fs::read(directory.path().join("train.jsonl")).expect("it was made");
    let name = "a [1].jsonl";
    std::fs::write(directory.path().join(name), &rows).expect("writable");
    let local =
        succeed(directory.path(), &["validate", "run.yaml", "--set", &format!("datasets.0.path={name}")]);
    std::fs::write(served.path().join(name), &rows).expect("writable");
    let root = served.path().to_owned();
    let web = Web::start(move |request| {
        let path =
            request.path.replace("/bucket/", "/").replace("%20", " ").replace("%5B", "[").replace("%5D", "]");
        file(&root, &Request { path, ..request.clone() })
    });
    let output = command("headstart", directory.path())
        .args(["validate", "run.yaml", "--set", &format!("datasets.0.path=s3://bucket/{name}")])
        .env("AWS_ENDPOINT_URL", web.url())
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .output()
        .expect("headstart starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), local, "{}", text(&output));
}
