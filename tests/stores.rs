//! Object stores as they are: every server keeps the same promises, and training through one gives a local disk's bits.

use std::path::Path;
use std::sync::OnceLock;

use headstart::store::conformance::{self, Creation};
use headstart::store::{Location, Stores};
use headstart_tests::server::Server;
use headstart_tests::web::{Web, file};
use headstart_tests::{command, outcome, succeed, text, texts};

/// What a run reads.
const FILES: [&str; 5] =
    ["model/config.json", "model/model.safetensors", "model/tokenizer.json", "train.jsonl", "eval.jsonl"];

#[tokio::test(flavor = "multi_thread")]
async fn moto_conforms() {
    conforms(&Server::moto(), "suite/below").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_fs_conforms() {
    conforms(&Server::s3s_fs(), "suite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_conforms() {
    conforms(&Server::azurite(), "suite/below").await;
}

async fn conforms(server: &Server, below: &str) {
    let stores = server.stores();
    let root = stores.locate(&format!("{}/{below}", server.url())).expect("a URL");
    conformance::run(&root, &stores, Creation::Checked).await;
}

#[test]
fn everything_through_s3_gives_the_bits_of_a_local_disk() {
    trains_in_a_bucket(&Server::moto());
}

#[test]
fn everything_through_azure_gives_the_bits_of_a_local_disk() {
    trains_in_a_bucket(&Server::azurite());
}

#[test]
fn checkpoint_and_data_from_a_web_server_give_the_bits_of_a_local_disk() {
    let directory = texts();
    let web = Web::directory(directory.path());
    let sets = [
        format!("base_model={}/model/", web.url()),
        format!("datasets.0.path={}/train.jsonl", web.url()),
        format!("eval_datasets.0.path={}/eval.jsonl", web.url()),
    ];
    let mut arguments = vec!["train", "run.yaml", "--workers", "2"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory.path(), &arguments);
    assert_eq!(outcome(&directory.path().join("out"))[0], weights_of_a_local_run());
    let sent = web.requests().into_iter().find(|request| request.headers.contains_key("authorization"));
    assert!(sent.is_none(), "no credentials are sent: {sent:?}");
}

#[test]
fn web_servers_need_not_mark_their_files() {
    let directory = texts();
    for etag in [Some("W/\"1\""), None] {
        let root = directory.path().to_owned();
        let web = Web::start(move |request| {
            let mut answer = file(&root, request);
            answer.headers.retain(|(name, _)| *name != "ETag");
            match etag {
                Some(weak) => answer.etag(weak),
                None => answer,
            }
        });
        let data = format!("datasets.0.path={}/train.jsonl", web.url());
        succeed(directory.path(), &["validate", "run.yaml", "--set", &data]);
        let compared = web.requests().into_iter().find(|request| request.headers.contains_key("if-match"));
        assert!(compared.is_none(), "{etag:?} is no etag to compare: {compared:?}");
    }
}

/// Checkpoint, data and output all in one bucket.
fn trains_in_a_bucket(server: &Server) {
    let (directory, stores, bucket) = (texts(), server.stores(), server.url());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for name in FILES {
        runtime.block_on(upload(&directory.path().join(name), &at(&stores, &format!("{bucket}/in/{name}"))));
    }
    let sets = [
        format!("base_model={bucket}/in/model"),
        format!("datasets.0.path={bucket}/in/tra*.jsonl"),
        format!("eval_datasets.0.path={bucket}/in/eval.jsonl"),
        format!("output_dir={bucket}/runs/one"),
    ];
    let mut arguments = vec!["train", "run.yaml", "--workers", "2"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let run = |arguments: &[&str]| {
        let mut command = command("headstart", directory.path());
        let output = command.args(arguments).envs(server.environment()).output().expect("headstart starts");
        (output.status.code(), text(&output))
    };
    let (code, said) = run(&arguments);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{bucket}/runs/one/final")), "{said}");
    let copy = tempfile::tempdir().expect("a temporary directory");
    for name in ["final/model.safetensors", "final/ledger.jsonl"] {
        runtime
            .block_on(download(&at(&stores, &format!("{bucket}/runs/one/{name}")), &copy.path().join(name)));
    }
    assert_eq!(outcome(copy.path())[0], weights_of_a_local_run());

    // The same output again is refused, and named; so is a bucket that does not exist.
    let (code, said) = run(&arguments);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not empty"), "{said}");
    let missing = bucket.replace("headstart-test", "no-such-bucket");
    let (code, said) = run(&["validate", "run.yaml", "--set", &format!("base_model={missing}/model")]);
    assert!(said.contains(&format!("{missing}/model")), "{said}");
    assert_ne!(code, Some(0), "{said}");
}

/// SHA-256 of the weights that the same run leaves on a local disk.
fn weights_of_a_local_run() -> String {
    static RUN: OnceLock<String> = OnceLock::new();
    let trained = || {
        let directory = texts();
        succeed(directory.path(), &["train", "run.yaml", "--workers", "2"]);
        outcome(&directory.path().join("out"))[0].clone()
    };
    RUN.get_or_init(trained).clone()
}

fn at(stores: &Stores, url: &str) -> Location {
    stores.locate(url).expect("a URL")
}

async fn upload(from: &Path, to: &Location) {
    let bytes = std::fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    to.write(bytes.into()).await.expect("the server takes it");
}

async fn download(from: &Location, to: &Path) {
    let bytes = from.read(1 << 30).await.expect("it is there");
    std::fs::create_dir_all(to.parent().expect("a directory")).expect("the directory is writable");
    std::fs::write(to, bytes).expect("the directory is writable");
}
