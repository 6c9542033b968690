//! Checkpoint, data and output all in S3: the same bits as on a local disk. The server is moto's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headstart::store::Location;
use headstart_tests::{command, headstart, outcome, succeed, text, texts};

const BUCKET: &str = "headstart-test";
/// Longest start of the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// An S3 server on this machine, ended with the test.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        let program =
            std::env::var("HEADSTART_MOTO").expect("HEADSTART_MOTO names a moto_server: run `make test`");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let (host, port) = address.split_once(':').expect("host and port");
        let process = Command::new(program)
            .args(["-H", host, "-p", port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server starts");
        let server = Server { process, address };
        let began = Instant::now();
        while server.put(&format!("/{BUCKET}")).is_none() {
            assert!(began.elapsed() < PATIENCE, "moto_server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// An empty PUT, which makes a bucket; `None` while nobody answers.
    fn put(&self, path: &str) -> Option<()> {
        let mut connection = TcpStream::connect(&self.address).ok()?;
        let host = &self.address;
        write!(
            connection,
            "PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Uploads a local file, with this process's S3 settings.
async fn upload(from: &Path, url: &str) {
    let bytes = std::fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    Location::parse(url).expect("a URL").write(bytes.into()).await.expect("the server takes it");
}

async fn download(url: &str, to: &Path) {
    let bytes = Location::parse(url).expect("a URL").read(1 << 30).await.expect("it is there");
    std::fs::create_dir_all(to.parent().expect("a directory")).expect("the directory is writable");
    std::fs::write(to, bytes).expect("the directory is writable");
}

/// One test: it sets this process's environment before anything else runs.
#[test]
#[allow(unsafe_code)]
fn everything_through_s3_gives_the_bits_of_a_local_disk() {
    let server = Server::start();
    for (name, value) in server.environment() {
        // SAFETY: no other thread runs yet; this file has one test.
        unsafe { std::env::set_var(name, value) };
    }
    let directory = texts();
    succeed(directory.path(), &["train", "run.yaml", "--workers", "2", "--set", "output_dir=local"]);

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for name in [
            "model/config.json",
            "model/model.safetensors",
            "model/tokenizer.json",
            "train.jsonl",
            "eval.jsonl",
        ] {
            upload(&directory.path().join(name), &format!("s3://{BUCKET}/in/{name}")).await;
        }
    });
    let sets = [
        format!("base_model=s3://{BUCKET}/in/model"),
        format!("datasets.0.path=s3://{BUCKET}/in/tra*.jsonl"),
        format!("eval_datasets.0.path=s3://{BUCKET}/in/eval.jsonl"),
        format!("output_dir=s3://{BUCKET}/runs/one"),
    ];
    let mut arguments = vec!["train", "run.yaml", "--workers", "2"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let said = succeed(directory.path(), &arguments);
    assert!(said.contains(&format!("s3://{BUCKET}/runs/one/final")), "{said}");
    runtime.block_on(async {
        for name in ["final/model.safetensors", "final/ledger.jsonl"] {
            download(&format!("s3://{BUCKET}/runs/one/{name}"), &directory.path().join("remote").join(name))
                .await;
        }
    });
    let (remote, local) =
        (outcome(&directory.path().join("remote")), outcome(&directory.path().join("local")));
    assert_eq!(remote[0], local[0], "the weights are the same");

    // The same output again is refused, and named; so is a bucket that does not exist.
    let again = headstart(directory.path(), &arguments);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert!(text(&again).contains("is not empty"), "{}", text(&again));
    let missing = command("headstart", directory.path())
        .args(["validate", "run.yaml", "--set", "base_model=s3://no-such-bucket/model"])
        .output()
        .expect("headstart starts");
    assert!(text(&missing).contains("s3://no-such-bucket/model"), "{}", text(&missing));
    assert_ne!(missing.status.code(), Some(0));
}
