//! One simulation, from its first moment to the end of the run.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, UNIX_EPOCH};

use futures::future::BoxFuture;
use headstart::exit::Exit;
use headstart::hash;
use headstart::job::Job;
use headstart::message::StopReason;
use headstart::mlflow::Variables;
use headstart::network::Network;
use headstart::run_file::{Probe, RunSpec};
use headstart::store::Stores;
use headstart_coordinator::actor::Handle;
use headstart_coordinator::machine::Snapshot;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::serve::{self, serve};
use headstart_worker::error::WorkerError;
use headstart_worker::fake;
use headstart_worker::platform::{Executor, Platform};
use headstart_worker::session;
use headstart_worker::settings::Settings;
use object_store::memory::InMemory;
use tracing::info;
use turmoil::{Builder, Sim};

use crate::chaos::Chaos;
use crate::dice::Dice;
use crate::fixture::Fixture;
use crate::network::{self, COORDINATOR, Port};
use crate::scenario::{Part, Scenario};
use crate::store::{Budget, Flaky, Weather};

/// Every process runs so long before the next does.
const TICK: Duration = Duration::from_millis(5);
/// A run that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(1200);
/// Time after which a worker that ended is started again.
const RESTART: Duration = Duration::from_secs(1);
/// Connections and messages that may wait on a host.
const WAITING: usize = 1024;

/// A run that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Hashes of weights and ledger.
    pub outcome: [String; 2],
    /// Leases that ended without a partial: faults that hit somebody at work.
    pub released: u64,
    /// Simulated time.
    pub elapsed: Duration,
    /// What went wrong.
    pub happened: Vec<String>,
}

/// A run that did not.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub reason: String,
    /// What went wrong before.
    pub happened: Vec<String>,
}

/// What the simulation sees of its hosts.
#[derive(Default)]
struct Seen {
    handle: RefCell<Option<Handle>>,
    ended: RefCell<Option<(Exit, String)>>,
    /// Coordinators so far.
    lives: Cell<u64>,
    /// Leases that ended without a partial under coordinators that are gone.
    released: Cell<u64>,
}

impl Seen {
    fn snapshot(&self) -> Option<Snapshot> {
        self.handle.borrow().as_ref().map(|handle| handle.status().borrow().snapshot.clone())
    }

    /// Another coordinator begins; what the one before it had leased is lost with it.
    fn next_life(&self) -> u64 {
        if let Some(snapshot) = self.snapshot() {
            let lost = snapshot.counts.leases_released + at_work(&snapshot).len() as u64;
            self.released.set(self.released.get() + lost);
        }
        self.handle.replace(None);
        self.lives.set(self.lives.get() + 1);
        self.lives.get()
    }
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, fixture: &Fixture) -> Result<Ran, Failure> {
    let objects = Arc::new(fixture.objects.fork());
    let seen = Rc::new(Seen::default());
    let mut chaos = Chaos::new(scenario);
    let mut spec = fixture.spec.clone();
    (spec.wire, spec.cluster.replicas) = (scenario.wire, scenario.replicas);
    spec.probe = match scenario.probed {
        0 => Probe::Off,
        rows => Probe::Rows(rows),
    };
    let ended = simulate(scenario, &spec, &objects, &seen, &mut chaos);
    let happened = std::mem::take(&mut chaos.happened);
    let elapsed = match ended {
        Ok(elapsed) => elapsed,
        Err(reason) => return Err(Failure { reason, happened }),
    };
    let outcome = ["out/final/model.safetensors", "out/final/ledger.jsonl"]
        .map(|name| Fixture::object(&objects, name).map(|content| hash::sha256(&content)));
    let released =
        seen.snapshot().map_or(0, |snapshot| snapshot.counts.leases_released) + seen.released.get();
    match outcome {
        [Some(weights), Some(ledger)] => Ok(Ran { outcome: [weights, ledger], released, elapsed, happened }),
        _ => {
            Err(Failure { reason: "the run ended well, but something is missing in final/".into(), happened })
        }
    }
}

fn simulate(
    scenario: &Scenario,
    spec: &RunSpec,
    objects: &Arc<InMemory>,
    seen: &Rc<Seen>,
    chaos: &mut Chaos,
) -> Result<Duration, String> {
    let mut sim = Builder::new()
        .rng_seed(scenario.seed)
        .epoch(UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration(LIMIT)
        .max_message_latency(scenario.latency)
        .tcp_capacity(WAITING)
        .enable_random_order()
        .build();
    let budget = || Budget::new(AtomicU64::new(scenario.seen));
    let of_workers = budget();
    let stores = |name: &str, budget: Budget| {
        Flaky::stores(objects.clone(), scenario.weather, Dice::new(scenario.seed, name), budget)
    };
    add_coordinator(&mut sim, spec, objects, stores(COORDINATOR, budget()), seen);
    let names: Vec<String> = (1..=scenario.workers.len()).map(|number| format!("worker-{number}")).collect();
    let trainable = Fixture::job(spec, &calm(objects)).network.trainable.len() as u64;
    for (name, part) in names.iter().zip(&scenario.workers) {
        add_worker(&mut sim, name, part, trainable, stores(name, of_workers.clone()));
    }
    loop {
        let at_work = seen.snapshot().map(|snapshot| at_work(&snapshot)).unwrap_or_default();
        chaos.act(&mut sim, &names, &at_work);
        sim.step().map_err(|error| error.to_string())?;
        match &*seen.ended.borrow() {
            Some((Exit::Ok, _)) => return Ok(sim.elapsed()),
            Some((exit, detail)) => return Err(format!("the run ended with {exit:?}: {detail}")),
            None if sim.elapsed() > LIMIT => return Err(format!("it hangs: {:?}", seen.snapshot())),
            None => {}
        }
    }
}

/// Names of the workers that hold a lease.
fn at_work(snapshot: &Snapshot) -> Vec<String> {
    let workers = snapshot.workers.iter().filter(|worker| worker.leased_since.is_some());
    workers.map(|worker| worker.name.clone()).collect()
}

/// Stores in which nothing goes wrong.
fn calm(objects: &Arc<InMemory>) -> Stores {
    Flaky::stores(objects.clone(), Weather::default(), Dice::new(0, "calm"), Budget::default())
}

fn add_coordinator(
    sim: &mut Sim<'_>,
    spec: &RunSpec,
    objects: &Arc<InMemory>,
    stores: Stores,
    seen: &Rc<Seen>,
) {
    let (spec, objects, seen) = (spec.clone(), objects.clone(), seen.clone());
    sim.host(COORDINATOR, move || {
        let (spec, objects, stores, seen) = (spec.clone(), objects.clone(), stores.clone(), seen.clone());
        async move {
            loop {
                match coordinate(Fixture::job(&spec, &calm(&objects)), &stores, &seen).await {
                    // Storage that fails for good ends a coordinator; it is started again, as Kubernetes does.
                    Ok((Exit::Storage, detail)) => info!(detail, "started again"),
                    Ok(ended) => {
                        seen.ended.replace(Some(ended));
                        return Ok(());
                    }
                    Err(error) => info!(%error, "started again"),
                }
                tokio::time::sleep(RESTART).await;
            }
        }
    });
}

/// One life of a coordinator; an error is one of storage.
async fn coordinate(mut job: Job, stores: &Stores, seen: &Seen) -> Result<(Exit, String), String> {
    let nonce = format!("life{}", seen.next_life());
    // Who starts again was told so by the end of the one before it: nobody else could be the owner.
    let dial = Box::new(|_| Box::pin(std::future::ready(None)) as BoxFuture<'static, _>);
    let identity = serve::Identity { owner: network::url(), nonce, dial };
    let passing = |exit: Exit, detail: String| match exit {
        Exit::Storage => detail,
        exit => panic!("the coordinator cannot begin: {exit:?}, {detail}"),
    };
    let network = Network::open(stores, &job.spec, &job.labels).await;
    job.network = network.map_err(|error| passing(error.exit(), error.to_string()))?;
    job.output = stores.locate(&job.spec.output_dir).map_err(|error| error.to_string())?;
    let platform = serve::Platform { listen: Port, pool: Pool::Inline, variables: Variables::default() };
    let ready = |serving: serve::Serving| {
        seen.handle.replace(Some(serving.handle));
    };
    let served = serve(platform, job, identity, None, ready, std::future::pending()).await;
    served.map_err(|error| passing(error.exit(), error.to_string()))
}

fn add_worker(sim: &mut Sim<'_>, name: &str, part: &Part, trainable: u64, stores: Stores) {
    let settings = Settings {
        coordinator: network::url(),
        name: name.to_owned(),
        device: "cpu".to_owned(),
        threads: None,
        cache: None,
        memory: part.gradients * trainable * 4,
        platform: Platform {
            connector: network::connector(),
            place: Executor::Inline { job: part.job },
            stores: Some(stores),
        },
    };
    let joins = Rc::new(Cell::new(part.joins));
    sim.host(name, move || {
        let (settings, joins) = (settings.clone(), joins.clone());
        async move {
            // A machine that comes back starts its worker at once.
            tokio::time::sleep(joins.take()).await;
            loop {
                match session::run(settings.clone(), fake::make_trainer).await {
                    Err(WorkerError::Stopped { reason: StopReason::Finished, .. }) => return Ok(()),
                    Err(error) if is_expected(&error) => info!(%error, "started again"),
                    Err(error) => return Err(error.into()),
                    Ok(()) => return Err("a worker ends with a reason".into()),
                }
                tokio::time::sleep(RESTART).await;
            }
        }
    });
}

/// Whether a worker may end like this when others are at fault: it is started again, as Kubernetes does.
fn is_expected(error: &WorkerError) -> bool {
    let reasons = [StopReason::Refused, StopReason::Failed];
    let turned_away = matches!(error, WorkerError::Stopped { reason, .. } if reasons.contains(reason));
    turned_away || matches!(error.exit(), Exit::Unreachable | Exit::Storage)
}
