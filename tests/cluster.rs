//! Coordinator and workers in one process, over real connections, with trainers that are cheap to run: joins, leaves and
//! losses at any moment give the undisturbed run's bits.

use std::path::Path;
use std::time::Duration;

use headstart::exit::Exit;
use headstart::job;
use headstart::message::StopReason;
use headstart::mlflow::Variables;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::serve::{Identity, Platform, serve};
use headstart_tests::line::Line;
use headstart_tests::{load, outcome, texts};
use headstart_worker::error::WorkerError;
use headstart_worker::fake;
use headstart_worker::session;
use headstart_worker::settings::Settings;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest time any of these runs may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    url: String,
    cache: tempfile::TempDir,
    coordinator: JoinHandle<(Exit, String)>,
    workers: Vec<Member>,
}

/// A worker on a thread of its own.
struct Member {
    life: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Option<Result<(), WorkerError>>>,
}

impl Member {
    fn start(settings: Settings) -> Member {
        let (life, end) = oneshot::channel();
        let live = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            // Dropping the runtime cuts its connections, wherever the worker stands.
            runtime.block_on(async {
                tokio::select! {
                    ended = session::run(settings, fake::make_trainer) => Some(ended),
                    _ = end => None,
                }
            })
        };
        Member { life, thread: std::thread::spawn(live) }
    }

    /// Cuts it off in the middle of whatever it does.
    fn kill(self) {
        drop(self.life);
        assert!(self.thread.join().expect("it does not panic").is_none(), "it was at work");
    }
}

impl Cluster {
    async fn start(directory: &Path, output: &str, sets: &[&str]) -> Cluster {
        // Paths of a run file are relative to the current directory, which tests share.
        let absolute = |name: &str| directory.join(name).display().to_string();
        let own = [
            format!("base_model={}", absolute("model")),
            format!("datasets.0.path={}", absolute("train.jsonl")),
            format!("eval_datasets.0.path={}", absolute("eval.jsonl")),
            format!("output_dir={}", absolute(output)),
        ];
        let sets: Vec<&str> = own.iter().map(String::as_str).chain(sets.iter().copied()).collect();
        let job = job::prepare(&load(directory, &sets)).await.expect("the run can begin");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let url = format!("http://{}", socket.local_addr().expect("it is bound"));
        let never = std::future::pending::<(String, Exit)>();
        let platform = Platform { listen: socket, pool: Pool::Threads, variables: Variables::default() };
        let dial = Box::new(|_| Box::pin(std::future::ready(None)) as futures::future::BoxFuture<'static, _>);
        let identity = Identity { owner: url.clone(), nonce: "only".to_owned(), dial };
        let served = serve(platform, job, identity, None, |_| (), never);
        let coordinator = tokio::spawn(async { served.await.expect("the checkpoint is whole") });
        Cluster { url, cache: tempfile::tempdir().expect("a directory"), coordinator, workers: Vec::new() }
    }

    fn join(&mut self, name: &str) {
        self.join_at(&self.url.clone(), name);
    }

    fn join_at(&mut self, url: &str, name: &str) {
        let settings = Settings {
            coordinator: url.to_owned(),
            name: name.to_owned(),
            device: "cpu".to_owned(),
            threads: None,
            cache: Some(self.cache.path().to_owned()),
            memory: 1 << 30,
            platform: Default::default(),
        };
        self.workers.push(Member::start(settings));
    }

    /// Waits until this number of updates has been made; returns the actual number.
    async fn until(&self, step: u64) -> u64 {
        let client = loop {
            match headstart::client::Client::connect(&self.url).await {
                Ok(client) => break client,
                // It loads its weights before it listens.
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let mut watch = client.watch().await.expect("it can be watched");
        while let Ok(Some(status)) = watch.next().await {
            if status.step >= step {
                return status.step;
            }
        }
        panic!("the run ended before step {step}");
    }

    async fn end(self) -> (Exit, String) {
        tokio::time::timeout(PATIENCE, self.coordinator)
            .await
            .expect("the run ends")
            .expect("it does not panic")
    }
}

async fn undisturbed(directory: &Path, sets: &[&str]) -> [String; 2] {
    let mut cluster = Cluster::start(directory, "undisturbed", sets).await;
    cluster.join("only");
    let (exit, detail) = cluster.end().await;
    assert_eq!(exit, Exit::Ok, "{detail}");
    outcome(&directory.join("undisturbed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_losses_change_nothing() {
    let directory = texts();
    let sets = ["max_steps=300"];
    let expected = undisturbed(directory.path(), &sets).await;
    let mut cluster = Cluster::start(directory.path(), "disturbed", &sets).await;
    for name in ["a", "b", "c"] {
        cluster.join(name);
    }
    cluster.until(10).await;
    cluster.workers.remove(0).kill();
    cluster.join("d");
    cluster.until(25).await;
    cluster.workers.remove(0).kill();
    cluster.workers.remove(1).kill();
    cluster.until(40).await;
    cluster.workers.remove(0).kill();
    // Nobody is left for a moment: the run waits.
    cluster.join("e");
    let (exit, detail) = cluster.end().await;
    assert_eq!(exit, Exit::Ok, "{detail}");
    assert_eq!(outcome(&directory.path().join("disturbed")), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_comes_back_with_what_it_has_when_its_session_breaks() {
    let directory = texts();
    let sets = ["max_steps=600"];
    let expected = undisturbed(directory.path(), &sets).await;
    let mut cluster = Cluster::start(directory.path(), "cut", &sets).await;
    let line = Line::to(&cluster.url).await;
    cluster.join_at(line.url(), "only");
    let mut step = cluster.until(10).await;
    // Whatever is loaded again is missed: the worker would end.
    let (model, elsewhere) = (directory.path().join("model"), directory.path().join("elsewhere"));
    std::fs::rename(&model, &elsewhere).expect("it is there");
    for _ in 0..3 {
        line.cut();
        step = cluster.until(step + 10).await;
    }
    std::fs::rename(&elsewhere, &model).expect("it is there");
    let (exit, detail) = cluster.end().await;
    assert_eq!(exit, Exit::Ok, "{detail}");
    let output = directory.path().join("cut");
    assert_eq!(outcome(&output), expected);
    let delivered = headstart_tests::delivered(&output);
    assert!(delivered.len() == 4 && delivered.iter().all(|&shards| shards > 0), "{delivered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_does_not_move_to_another_run() {
    let directory = texts();
    let mut first = Cluster::start(directory.path(), "first", &["max_steps=100000"]).await;
    let line = Line::to(&first.url).await;
    first.join_at(line.url(), "only");
    first.until(10).await;
    let second = Cluster::start(directory.path(), "second", &["seed=2"]).await;
    line.lead_to(&second.url);
    line.cut();
    let Member { life, thread } = first.workers.remove(0);
    let ended = thread.join().expect("it does not panic");
    assert!(matches!(ended, Some(Err(WorkerError::OtherRun { .. }))), "{ended:?}");
    drop(life);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_takes_part_and_is_told_of_the_end() {
    let directory = texts();
    let sets = ["cluster.min_workers=3"];
    let expected = undisturbed(directory.path(), &[]).await;
    let mut cluster = Cluster::start(directory.path(), "three", &sets).await;
    for name in ["a", "b", "c"] {
        cluster.join(name);
    }
    let workers = std::mem::take(&mut cluster.workers);
    assert_eq!(cluster.end().await.0, Exit::Ok);
    for Member { life, thread } in workers {
        let ended = thread.join().expect("it does not panic");
        assert!(
            matches!(ended, Some(Err(WorkerError::Stopped { reason: StopReason::Finished, .. }))),
            "{ended:?}"
        );
        drop(life);
    }
    assert_eq!(outcome(&directory.path().join("three")), expected);
    assert!(headstart_tests::delivered(&directory.path().join("three")).iter().all(|&shards| shards > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_parameters_keep_their_values() {
    let directory = texts();
    let mut cluster = Cluster::start(directory.path(), "frozen", &["freeze=[\"bert.*\"]"]).await;
    cluster.join("only");
    assert_eq!(cluster.end().await.0, Exit::Ok);
    let tensors = |path: &Path| std::fs::read(path).expect("it was written");
    let (before, after) = (
        tensors(&directory.path().join("model/model.safetensors")),
        tensors(&directory.path().join("frozen/final/model.safetensors")),
    );
    let (before, after) = (
        safetensors::SafeTensors::deserialize(&before).expect("a safetensors file"),
        safetensors::SafeTensors::deserialize(&after).expect("a safetensors file"),
    );
    for (name, tensor) in after.tensors() {
        match before.tensor(&name) {
            Ok(same) if name.starts_with("bert.") => assert_eq!(same.data(), tensor.data(), "{name}"),
            _ => assert!(name.starts_with("classifier."), "{name}"),
        }
    }
}
