//! Stores that fail, and names that would escape: retried with a limit, then refused with the place and an exit code.

use std::os::unix::fs::symlink;

use headstart_tests::refused::{Attempt, Refused};
use headstart_tests::web::{Answer, Fault, Request, Web, file};
use headstart_tests::{command, repository, text, texts};
use serde_json::json;
use tempfile::TempDir;

/// A short patience, so that a test need not wait for long.
const IMPATIENT: &str = "cluster.store_retry_seconds=1";
const DATA: &str = "/bucket/train.jsonl";
const WEIGHTS: &str = "/bucket/model/model.safetensors";

/// A run whose checkpoint and data lie in a bucket. What `trouble` answers goes before what the bucket holds.
struct Bucket {
    directory: TempDir,
    web: Web,
}

impl Bucket {
    fn new(trouble: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Bucket {
        let directory = texts();
        let root = directory.path().to_owned();
        // The bucket's name is no part of the files' paths.
        std::fs::create_dir(root.join("served")).expect("writable");
        symlink(&root, root.join("served/bucket")).expect("writable");
        let served = root.join("served");
        let web = Web::start(move |request| trouble(request).unwrap_or_else(|| file(&served, request)));
        Bucket { directory, web }
    }

    /// `headstart` with everything read from the bucket.
    fn attempt(&self, program: &str, sets: &[&str]) -> Attempt {
        let arguments = Bucket::arguments(program, sets);
        let variables = self.environment();
        let attempt = Refused::of(self.directory.path(), &arguments);
        variables.iter().fold(attempt, |attempt, (name, value)| attempt.env(name, value))
    }

    /// What `validate` prints, which must succeed.
    fn validate(&self, sets: &[&str]) -> String {
        let output = command("headstart", self.directory.path())
            .args(Bucket::arguments("validate", sets))
            .envs(self.environment())
            .output()
            .expect("headstart starts");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    fn arguments<'a>(program: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
        let read = ["base_model=s3://bucket/model", "datasets.0.path=s3://bucket/train.jsonl", IMPATIENT];
        let mut arguments = vec![program, "run.yaml"];
        arguments.extend(read.iter().chain(sets).flat_map(|set| ["--set", *set]));
        arguments
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.web.url()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    fn asked(&self, method: &str, path: &str) -> usize {
        self.web.requests().iter().filter(|one| one.method == method && one.path == path).count()
    }
}

/// The answer to requests for one path.
fn at(
    path: &'static str,
    answer: impl Fn(&Request) -> Option<Answer>,
) -> impl Fn(&Request) -> Option<Answer> {
    move |request| (request.path == path).then(|| answer(request)).flatten()
}

/// What the bucket holds there, to be spoilt.
fn whole(request: &Request) -> Answer {
    let name = request.path.trim_start_matches("/bucket/");
    let rows =
        "{\"text\": \"python game\", \"label\": \"code\"}\n{\"text\": \"mail\", \"label\": \"other\"}\n";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let content = match name {
        "train.jsonl" => rows.repeat(5000).into_bytes(),
        other => {
            std::fs::read(repository().join("tests/reference/bert").join(other.trim_start_matches("model/")))
                .expect("the reference is committed")
        }
    };
    std::fs::write(directory.path().join("it"), content).expect("writable");
    file(directory.path(), &Request { path: "/it".to_owned(), ..request.clone() })
}

#[test]
fn refusals_and_absences_are_named_before_a_worker_starts() {
    let cases = [
        (DATA, 403, 11, "s3://bucket/train.jsonl: permission denied"),
        (DATA, 401, 11, "s3://bucket/train.jsonl: permission denied"),
        (DATA, 404, 10, "s3://bucket/train.jsonl: not found"),
        (WEIGHTS, 403, 11, "s3://bucket/model/model.safetensors: permission denied"),
        (WEIGHTS, 404, 12, "s3://bucket/model"),
        (DATA, 400, 21, "s3://bucket/train.jsonl: storage failed"),
    ];
    for (path, status, code, said) in cases {
        let bucket = Bucket::new(at(path, move |_| Some(Answer::status(status))));
        bucket.attempt("train", &[]).code(code).says(&[said]).before_workers();
        assert_eq!(bucket.asked("HEAD", path), 1, "{status} is final");
    }
}

/// How often `validate` asks for the data, by HEAD and by GET, when nothing is wrong.
fn undisturbed() -> [usize; 2] {
    let bucket = Bucket::new(at(DATA, |request| Some(whole(request))));
    bucket.validate(&[]);
    ["HEAD", "GET"].map(|method| bucket.asked(method, DATA))
}

#[test]
fn a_store_that_is_overloaded_for_a_moment_is_asked_again() {
    let busy = |request: &Request| (request.before < 3).then(|| Answer::status(503));
    let bucket = Bucket::new(at(DATA, busy));
    bucket.validate(&["cluster.store_retry_seconds=20"]);
    let [head, get] = undisturbed();
    assert_eq!(bucket.asked("HEAD", DATA), head + 3, "three refusals, then the answers");
    assert_eq!(bucket.asked("GET", DATA), get + 3, "three refusals, then the answers");
}

#[test]
fn a_store_that_stays_overloaded_is_given_up() {
    for (path, method) in [(DATA, "HEAD"), (WEIGHTS, "GET")] {
        let spoilt = move |request: &Request| (request.method == method).then(|| Answer::status(503));
        let bucket = Bucket::new(at(path, spoilt));
        let said = format!("s3:/{path}: storage failed");
        bucket.attempt("train", &[]).code(21).says(&[&said, "503"]).before_workers();
        assert!((2..40).contains(&bucket.asked(method, path)), "{}", bucket.asked(method, path));
    }
}

#[test]
fn answers_that_come_slowly_or_never_whole_are_given_up() {
    for path in [DATA, WEIGHTS] {
        for fault in [Fault::Trickle, Fault::Cut] {
            let bucket = Bucket::new(at(path, move |request| {
                let answer = whole(request);
                Some(if request.method == "GET" { answer.fault(fault) } else { answer })
            }));
            let said = format!("s3:/{path}: storage failed");
            bucket.attempt("train", &[]).code(21).says(&[&said]).before_workers();
        }
    }
}

#[test]
fn an_answer_that_breaks_off_once_is_continued() {
    let bucket = Bucket::new(at(DATA, |request| {
        let once = request.method == "GET" && request.before == 0;
        Some(if once { whole(request).fault(Fault::Cut) } else { whole(request) })
    }));
    let said = bucket.validate(&[]);
    assert!(said.contains("10 000"), "every row once: {said}");
    assert_eq!(bucket.asked("GET", DATA), undisturbed()[1] + 1);
}

#[test]
fn objects_that_change_while_they_are_read_are_refused() {
    let cases = [(DATA, 10, "s3://bucket/train.jsonl"), (WEIGHTS, 21, "s3://bucket/model/model.safetensors")];
    for (path, code, url) in cases {
        let bucket = Bucket::new(at(path, |request| {
            let answer = whole(request);
            Some(if request.method == "GET" { answer.etag("\"another\"") } else { answer })
        }));
        bucket.attempt("train", &[]).code(code).says(&[url, "changed"]).before_workers();
    }
}

#[test]
fn output_that_cannot_be_written_is_known_before_a_worker_starts() {
    let bucket =
        Bucket::new(|request| match (request.method.as_str(), request.path.contains("list-type=2")) {
            ("GET", true) => Some(Answer { body: LISTING.into(), ..Answer::status(200) }),
            ("PUT", _) if request.path.starts_with("/bucket/shut/") => Some(Answer::status(403)),
            ("PUT", _) if request.path.starts_with("/bucket/busy/") => Some(Answer::status(503)),
            _ => None,
        });
    let to = |place: &str| bucket.attempt("train", &[&format!("output_dir={place}")]);
    to("s3://bucket/shut")
        .code(11)
        .says(&["s3://bucket/shut/write-check: permission denied"])
        .before_workers();
    to("s3://bucket/busy").code(21).says(&["s3://bucket/busy/write-check", "503"]).before_workers();
    // Not even the superuser can make a directory there.
    to("/sys/kernel/out").code(11).says(&["/sys/kernel/out", "permission denied"]).before_workers();
}

/// An S3 listing of nothing.
const LISTING: &str = "<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>\
                       </ListBucketResult>";

#[test]
fn a_disk_that_fills_up_names_the_file() {
    // Blocks of 512 bytes; the weights are larger. Ignored, the signal becomes an error of the write.
    const LIMITED: &str = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    let directory = texts();
    let output = command("headstart", directory.path());
    let output = std::process::Command::new("sh")
        .args(["-c", LIMITED])
        .arg(output.get_program())
        .args(["train", "run.yaml", "--workers", "1"])
        .current_dir(directory.path())
        .output()
        .expect("sh starts");
    assert_eq!(output.status.code(), Some(21), "{}", text(&output));
    assert!(text(&output).contains("/state.safetensors"), "{}", text(&output));
    let parts = std::fs::read_dir(directory.path().join("out/parts")).expect("it was begun").flatten();
    let files = parts.flat_map(|part| std::fs::read_dir(part.path()).expect("a directory").flatten());
    assert_eq!(files.count(), 0, "nothing half-written stays");
    assert!(!directory.path().join("out/final").exists(), "what is not committed is not written");
}

#[test]
fn names_that_would_escape_are_refused() {
    let directory = texts();
    let model = directory.path().join("model");
    std::fs::remove_file(model.join("model.safetensors")).expect("it was there");
    for shard in
        ["../secret.safetensors", "%2e%2e/secret.safetensors", "/etc/passwd", "a/../../x", "a\\..\\x"]
    {
        let index = json!({"weight_map": {"classifier.bias": shard}});
        std::fs::write(model.join("model.safetensors.index.json"), index.to_string()).expect("writable");
        Refused::of(directory.path(), &["train", "run.yaml"])
            .code(12)
            .says(&["model.safetensors.index.json", &format!("{shard:?}")])
            .before_workers();
    }
    for (set, said) in [
        ("base_model=s3://bucket/../model", "s3://bucket/../model"),
        ("base_model=s3://bucket/%2E%2e/model", "s3://bucket/%2E%2e/model"),
        ("datasets.0.path=http://127.0.0.1:1/a/%2e%2e/train.jsonl", "/a/%2e%2e/train.jsonl"),
    ] {
        Refused::of(directory.path(), &["train", "run.yaml", "--set", set])
            .code(2)
            .says(&[said])
            .before_workers();
    }
}

#[test]
fn variables_that_no_client_can_be_made_of_are_named() {
    let directory = texts();
    let s3 = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let azure = [("AZURE_STORAGE_ACCOUNT", "account"), ("AZURE_STORAGE_KEY", "a2V5")];
    let google = [("GOOGLE_BEARER_TOKEN", "token"), ("HOME", "/nowhere")];
    let cases = [
        ("s3", s3, "AWS_ENDPOINT_URL", "minio:9000", "write http://minio:9000"),
        ("s3", s3, "AWS_ENDPOINT_URL", "\"http://minio:9000\"", "remove the quotation marks"),
        ("s3", s3, "AWS_ENDPOINT_URL", " http://minio:9000", "remove them"),
        ("s3", s3, "AWS_ENDPOINT_URL_S3", "http://mi nio", "not a URL"),
        ("s3", s3, "AWS_REGION", "us east 1", "us-east-1"),
        ("s3", s3, "AWS_ACCESS_KEY_ID", "two\nlines", "line break"),
        ("s3", s3, "AWS_SESSION_TOKEN", "tok\u{e9}n", "ASCII"),
        ("s3", s3, "AWS_PROXY_URL", "http://", "http://host:port"),
        ("s3", s3, "HTTPS_PROXY", "'http://proxy:3128'", "remove the quotation marks"),
        ("s3", s3, "AWS_ALLOW_HTTP", "perhaps", "boolean"),
        ("s3", s3, "AWS_TIMEOUT", "soon", "Duration"),
        ("s3", s3, "AWS_DEFAULT_CONTENT_TYPE", "a\u{7f}", "control character"),
        ("az", azure, "AZURE_STORAGE_ENDPOINT", "localhost:10000", "write http://localhost:10000"),
        ("az", azure, "AZURE_STORAGE_ACCOUNT", "https://a.blob.core.windows.net", "name alone"),
        ("az", azure, "AZURE_STORAGE_AUTHORITY_HOST", "login", "not a URL"),
        ("az", azure, "AZURE_STORAGE_USE_EMULATOR", "perhaps", "boolean"),
        ("gs", google, "GOOGLE_BASE_URL", "localhost:4443", "write http://localhost:4443"),
        ("gs", google, "GOOGLE_BEARER_TOKEN", "two\nlines", "line break"),
    ];
    for (scheme, usual, name, value, cure) in cases {
        let data = format!("datasets.0.path={scheme}://bucket/x.jsonl");
        let attempt =
            Refused::of(directory.path(), &["validate", "run.yaml", "--set", &data, "--set", IMPATIENT]);
        let attempt = usual.iter().fold(attempt, |attempt, (name, value)| attempt.env(name, value));
        attempt.env(name, value).code(2).says(&[name, cure]).before_workers();
    }
    for name in ["bad bucket", "b\u{fc}cket", "xn--a", "a%b", "a|b"] {
        let data = format!("datasets.0.path=s3://{name}/x.jsonl");
        let attempt =
            Refused::of(directory.path(), &["validate", "run.yaml", "--set", &data, "--set", IMPATIENT]);
        let attempt = s3.iter().fold(attempt, |attempt, (name, value)| attempt.env(name, value));
        attempt.code(2).says(&[name, "not the name of a bucket"]).before_workers();
    }
}

#[test]
fn web_servers_are_only_read_and_only_by_name() {
    let directory = texts();
    let web = Web::directory(directory.path());
    let run =
        |set: &str| Refused::of(directory.path(), &["train", "run.yaml", "--set", set, "--set", IMPATIENT]);
    let at = |path: &str| format!("{}/{path}", web.url());
    run(&format!("output_dir={}", at("out"))).code(2).says(&["output_dir", "only be read"]).before_workers();
    let pattern = at("tr*.jsonl");
    run(&format!("datasets.0.path={pattern}")).code(2).says(&[&pattern, "name each file"]).before_workers();
    let images = at("images");
    Refused::of(
        directory.path(),
        &[
            "train",
            "run.yaml",
            "--set",
            "task=image-classification",
            "--set",
            &format!("datasets.0.path={images}"),
        ],
    )
    .code(2)
    .says(&[&images, "cannot list"])
    .before_workers();
    let missing = at("missing.jsonl");
    run(&format!("datasets.0.path={missing}")).code(10).says(&[&missing, "not found"]).before_workers();
    run(&format!("base_model={}", at("nowhere"))).code(12).says(&[&at("nowhere")]).before_workers();
}

#[test]
fn redirects_are_followed_within_limits() {
    let directory = texts();
    let elsewhere = Web::directory(directory.path());
    let there = elsewhere.url();
    let web = Web::start(move |request| match request.path.as_str() {
        "/loop.jsonl" => Answer::redirect("/loop.jsonl".to_owned()),
        "/whole.jsonl" => file_without_ranges(),
        path => Answer::redirect(format!("{there}{path}")),
    });
    let at = |path: &str| format!("datasets.0.path={}/{path}", web.url());
    let run =
        |set: &str| Refused::of(directory.path(), &["train", "run.yaml", "--set", set, "--set", IMPATIENT]);
    run(&at("loop.jsonl"))
        .code(21)
        .says(&[&format!("{}/loop.jsonl", web.url()), "redirect"])
        .before_workers();
    assert!(web.requests().len() < 40, "{} requests", web.requests().len());
    run(&at("whole.jsonl")).code(21).says(&["whole.jsonl", "parts of a file"]).before_workers();
    let moved = at("train.jsonl");
    let output = command("headstart", directory.path())
        .args(["validate", "run.yaml", "--set", &moved])
        .output()
        .expect("headstart starts");
    assert!(output.status.success(), "{}", text(&output));
}

/// What a server answers that always sends whole files.
fn file_without_ranges() -> Answer {
    let rows = "{\"text\": \"python game\", \"label\": \"code\"}\n";
    Answer { body: rows.into(), ..Answer::status(200) }
}
