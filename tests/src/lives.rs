//! Lives of a coordinator over objects in memory, each of which may end at one of its writes.

use std::path::Path;
use std::sync::Arc;

use headstart::exit::Exit;
use headstart::job;
use headstart::mlflow::Variables;
use headstart::store::Stores;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::serve::{Identity, Platform, serve};
use headstart_worker::settings::Settings;
use headstart_worker::{fake, session};
use object_store::memory::InMemory;
use tokio::net::TcpSocket;

use crate::load;
use crate::trap::{StopPoint, Trap};

/// How a coordinator's life ended.
#[derive(Debug, PartialEq)]
pub enum End {
    /// By itself.
    Exit(Exit, String),
    /// Killed at a write.
    Killed,
}

/// One life of a coordinator and a worker without a network over some objects: it trains the `run.yaml` of a directory with
/// these keys into `memory://run/out`. Returns the number of its writes too.
pub fn live(
    directory: &Path,
    sets: &[&str],
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
    let sets: Vec<&str> = own.iter().map(String::as_str).chain(sets.iter().copied()).collect();
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
        let platform = Platform { listen: socket, pool: Pool::Inline, variables: Variables::default() };
        let served = serve(platform, job, identity, None, |_| (), std::future::pending());
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
