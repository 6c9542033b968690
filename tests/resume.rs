//! A coordinator that dies at any write of a run's life, before it or after it: the next goes on, and what it leaves behind is
//! the same, byte for byte.

use std::sync::Arc;

use headstart::exit::Exit;
use headstart::job;
use headstart::manifest::Manifest;
use headstart::store::Stores;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::serve::{Identity, Platform, serve};
use headstart_tests::trap::{StopPoint, Trap};
use headstart_tests::{load, texts};
use headstart_worker::settings::Settings;
use headstart_worker::{fake, session};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::net::TcpSocket;

const SETS: [&str; 5] = [
    "max_steps=7",
    "save_steps=3",
    "eval_steps=2",
    "load_best_model_at_end=true",
    "resume_from_checkpoint=auto",
];

/// How a coordinator's life ended.
#[derive(Debug, PartialEq)]
enum End {
    /// By itself.
    Exit(Exit, String),
    /// Killed at a write.
    Killed,
}

/// One life of a coordinator and a worker over some objects; returns the number of its writes too.
fn live(
    directory: &std::path::Path,
    objects: &Arc<InMemory>,
    number: u64,
    at: Option<StopPoint>,
) -> (End, u64) {
    let trap = Arc::new(Trap::new(objects.clone(), at));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    let url = format!("http://{}", socket.local_addr().expect("it is bound"));
    let (life, end) = tokio::sync::oneshot::channel::<()>();
    let settings = Settings {
        coordinator: url.clone(),
        name: "worker".to_owned(),
        device: "cpu".to_owned(),
        threads: None,
        cache: Some(directory.join("cache")),
        memory: 1 << 30,
        platform: Default::default(),
    };
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tokio::select! {
                ended = session::run(settings, fake::make_trainer) => drop(ended),
                _ = end => {}
            }
        });
    });
    // Paths of a run file are relative to the current directory, which tests share.
    let absolute = |key: &str, name: &str| format!("{key}={}", directory.join(name).display());
    let own = [
        absolute("base_model", "model"),
        absolute("datasets.0.path", "train.jsonl"),
        absolute("eval_datasets.0.path", "eval.jsonl"),
        absolute("output_dir", "out"),
    ];
    let sets: Vec<&str> = own.iter().map(String::as_str).chain(SETS).collect();
    let spec = load(directory, &sets);
    let sprung = trap.sprung();
    let store = trap.clone();
    let end = runtime.block_on(async move {
        let stores = Stores::default();
        stores.mount("memory://run", store);
        let mut job = job::prepare(&spec).await.expect("the run can begin");
        job.output = stores.locate("memory://run/out").expect("a good URL");
        let dial = Box::new(|_| Box::pin(std::future::ready(None)) as futures::future::BoxFuture<'static, _>);
        let identity = Identity { owner: url, nonce: format!("life{number}"), dial };
        let platform = Platform { listen: socket, pool: Pool::Inline };
        let served = serve(platform, job, identity, |_| (), std::future::pending());
        tokio::select! {
            served = served => {
                let (exit, detail) = served.unwrap_or_else(|error| (error.exit(), error.to_string()));
                End::Exit(exit, detail)
            }
            () = sprung.notified() => End::Killed,
        }
    });
    // Whatever it was doing is cut off here.
    runtime.shutdown_background();
    drop(life);
    worker.join().expect("it does not panic");
    (end, trap.writes())
}

/// What a run leaves behind, of which every byte must be the same.
fn left(objects: &InMemory) -> [Vec<u8>; 2] {
    ["out/final/model.safetensors", "out/final/ledger.jsonl"].map(|name| {
        let read = async { objects.get(&Path::from(name)).await?.bytes().await };
        futures::executor::block_on(read).expect("it was written").to_vec()
    })
}

fn keys(objects: &InMemory) -> Vec<String> {
    use futures::TryStreamExt;
    let all: Vec<_> = futures::executor::block_on(objects.list(None).try_collect()).expect("memory");
    all.into_iter().map(|meta: object_store::ObjectMeta| meta.location.to_string()).collect()
}

/// Steps whose `checkpoint-<step>/` the newest manifest names.
fn exports(objects: &InMemory) -> Vec<u64> {
    let newest =
        keys(objects).into_iter().filter(|key| key.contains("/manifests/")).max().expect("there are some");
    let read = async { objects.get(&Path::from(newest.as_str())).await?.bytes().await };
    let file = futures::executor::block_on(read).expect("it was written");
    let number = newest.rsplit('/').next().and_then(Manifest::number_of).expect("it is its name");
    Manifest::open(number, &file).expect("it is whole").0.state.exports
}

#[test]
fn a_coordinator_may_die_at_any_write() {
    let directory = texts();
    let objects = Arc::new(InMemory::new());
    let (end, writes) = live(directory.path(), &objects, 0, None);
    assert_eq!(end, End::Exit(Exit::Ok, "the run is complete".into()));
    let expected = left(&objects);
    assert!(writes > 20, "{writes} writes: {:?}", keys(&objects));
    let places = (0..writes).flat_map(|write| [false, true].map(|after| StopPoint { write, after }));
    for place in places {
        let objects = Arc::new(InMemory::new());
        let (end, _) = live(directory.path(), &objects, 1, Some(place));
        assert_eq!(end, End::Killed, "{place:?}: each life writes what the first one wrote");
        let (end, _) = live(directory.path(), &objects, 2, None);
        assert!(matches!(end, End::Exit(Exit::Ok, _)), "{place:?}: {end:?}");
        assert_eq!(left(&objects), expected, "{place:?}");
        for step in exports(&objects) {
            let whole = keys(&objects).contains(&format!("out/checkpoint-{step}/trainer_state.json"));
            assert!(whole, "{place:?}: a commit is followed by what people see of it, step {step}");
        }
        let parts = keys(&objects).into_iter().filter(|key| key.ends_with("/state.safetensors")).count();
        assert_eq!(parts, 0, "{place:?}: what only a resumption needs is dropped at the end");
    }
}
