//! One run, from a prepared job to its end, served on a listener.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headstart::checkpoint::CheckpointError;
use headstart::data::RowIndex;
use headstart::exit::Exit;
use headstart::host;
use headstart::id::{CoordinatorEpoch, Version};
use headstart::job::Job;
use headstart::manifest::Pins;
use headstart::mlflow::Variables;
use headstart::network::Network;
use headstart::optimizer::OptimizerConfig;
use headstart::rounding::Rounding;
use headstart::run_file::RunSpec;
use headstart::store::StoreError;
use headstart::wire::{channel, pb};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{Instrument, info, info_span};

use crate::actor::{Actor, Handle, Parts};
use crate::broadcast::Broadcast;
use crate::clock::Clock;
use crate::commit::Committer;
use crate::event::Event;
use crate::events::EventLog;
use crate::finish::{self, Writer};
use crate::journal::owner::Dial;
use crate::journal::parts::{Layout, Texts};
use crate::journal::save::Best;
use crate::journal::{self, Claim, Journal, JournalError, Restored};
use crate::listen::{Connections, Listen};
use crate::machine::{Machine, Probing, Run};
use crate::master::Master;
use crate::memory_check::{self, TooLarge};
use crate::pool::Pool;
use crate::probe::Probe;
use crate::record::{Records, hex};
use crate::reduce::Reducer;
use crate::services::{Facts, Services};
use crate::tracking::{self, Tracked, Trackers};

/// Time that workers and clients have to hear of the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a run could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights do not fit this machine.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The run can be neither started nor resumed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

impl ServeError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            ServeError::Checkpoint(error) => error.exit(),
            ServeError::TooLarge(_) => Exit::Checkpoint,
            ServeError::Journal(error) => error.exit(),
            ServeError::Store(error) => error.exit(),
            ServeError::Listen(_) => Exit::Internal,
        }
    }
}

/// This process among those that may own the run.
pub struct Identity {
    /// Where it answers.
    pub owner: String,
    /// Tells it from all other processes.
    pub nonce: String,
    /// Asks another one whether it lives.
    pub dial: Dial,
}

/// A run that workers may join.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Where they connect.
    pub address: SocketAddr,
    /// Name of the run.
    pub run_id: String,
    pub facts: Arc<Facts>,
    pub handle: Handle,
    /// Sums on their way to replicas.
    pub broadcast: Arc<Broadcast>,
    pub clock: Clock,
}

/// What a coordinator stands on. A simulation brings its own.
#[derive(Debug)]
pub struct Platform<L> {
    /// Where workers and clients come from.
    pub listen: L,
    /// Where sums and updates are computed.
    pub pool: Pool,
    /// Variables that lead to trackers.
    pub variables: Variables,
}

/// Serves a run until it ends, or until `stop` resolves with the reason and exit code of a stop.
///
/// The port is not open at first: workers that connect while the weights are loading are refused and retry, instead of
/// waiting for an answer. `ready` is called when workers can join. With `probe_into`, only the checkpoint is probed, and that file
/// takes the result.
pub async fn serve<L: Listen>(
    Platform { listen, pool, variables }: Platform<L>,
    job: Job,
    identity: Identity,
    probe_into: Option<PathBuf>,
    ready: impl FnOnce(Serving),
    mut stop: impl Future<Output = (String, Exit)> + Send + Unpin + 'static,
) -> Result<(Exit, String), ServeError> {
    let clock = Clock::start();
    let opened = tokio::select! {
        biased;
        opened = open(&job, identity, &clock) => opened?,
        (reason, exit) = &mut stop => return Ok((exit, format!("{reason} before the run began"))),
    };
    let Some(Opened { journal, restored, master, data, begun }) = opened else {
        tokio::select! {
            () = tracking::catch_up(&job.spec, &job.output, &variables) => {}
            _ = &mut stop => {}
        }
        return Ok((Exit::Ok, format!("the run in {} was complete already", job.output.url())));
    };
    let Restored { standing, vectors, best, texts: Texts { ledger, metrics, events } } = restored;
    let probe = Probe::of(&job, ledger.is_empty(), probe_into, clock);
    let network = Arc::new(job.network);
    if let Some(vectors) = vectors {
        master.restore(Version(standing.version), vectors);
    }
    let best = best.zip(journal.state().best.clone());
    let best = best.map(|(weights, known)| Best { version: known.version, weights, eval: known.eval });
    let records = if ledger.is_empty() { begun } else { Records::resume(ledger, metrics) };
    let (run_id, epoch) = (journal.run_id().to_owned(), CoordinatorEpoch(journal.epoch()));
    let (spec, output, metrics, began) = (&job.spec, &job.output, records.metrics(), clock.started_unix());
    let trackers = Trackers::start(Tracked { spec, run_id: &run_id, output, metrics, began }, &variables);
    let exported = finish::is_exported(&job.output, &journal.state().exports, standing.version).await?;
    let rounding = Rounding::of(&job.spec);
    let broadcast = Arc::new(Broadcast::new(rounding.wire(), master.bytes() * (1 + master.moments())));
    let reducer = Arc::new(Reducer::new(network.trainable.segments(), pool, rounding, broadcast));
    let (machine, first) = Machine::new(
        Run {
            id: run_id.clone(),
            epoch,
            spec: job.spec.clone(),
            plan: job.plan.clone(),
            labels: job.labels.clone(),
            parameters: network.parameters.clone(),
            train_rows: job.train.len(),
            trainable: network.trainable.len() as u64,
            data_bytes: job.train.content_size() + job.eval.content_size(),
            counts: [&job.train, &job.eval].map(RowIndex::counts),
            base: journal.base(),
            weights: master.hash(),
            memory: master.address(),
            probing: probe.as_ref().ok().and_then(Option::as_ref).map_or(Probing::No, Probe::probing),
        },
        &standing,
        exported,
    );
    info!(
        run_id,
        trainable = network.trainable.len(),
        steps = job.plan.steps(),
        step = standing.version,
        "ready for workers"
    );
    let facts = Facts {
        run_id: run_id.clone(),
        epoch,
        output_dir: job.output.url().to_owned(),
        trainable: network.trainable.len() as u64,
        rows: [job.train.len(), job.eval.len()],
        total_steps: job.plan.steps(),
        steps_per_epoch: job.plan.steps_per_epoch(),
        train_index: job.train.encode().into(),
        eval_index: job.eval.encode().into(),
    };
    let plan = job.plan.clone();
    let writer = Arc::new(Writer {
        run_id,
        spec: job.spec,
        network,
        plan: job.plan,
        labels: job.labels,
        data,
        output: job.output,
    });
    let committer = Arc::new(Committer::new(journal, writer, trackers.committed()));
    let parts = Parts {
        machine,
        master: master.clone(),
        reducer: reducer.clone(),
        committer,
        plan,
        records,
        events: (EventLog::resume(&events), epoch.0),
        best,
        probe,
        outages: job.outages,
        clock,
    };
    let span = info_span!("run", run_id = facts.run_id);
    let (actor, handle) = span.in_scope(|| Actor::new(parts));
    let facts = Arc::new(facts);
    let services = Services {
        handle: handle.clone(),
        reducer: reducer.clone(),
        master,
        facts: facts.clone(),
        joining: Arc::new(Semaphore::new(1)),
    };
    let over = CancellationToken::new();
    let (address, connections) = listen.listen().await?;
    let (run_id, broadcast) = (facts.run_id.clone(), reducer.broadcast().clone());
    ready(Serving { address, run_id, facts, handle: handle.clone(), broadcast, clock });
    let server = tokio::spawn(answer(connections, services, over.clone()));
    tokio::spawn(pass_on(handle, stop));
    let ended = actor.run(first).instrument(span).await;
    over.cancel();
    // Workers and watchers learn of the end; connections that are still open after this wait close with the process.
    let _ = tokio::join!(tokio::time::timeout(FAREWELL, server), trackers.end(ended.0.into()));
    Ok(ended)
}

/// A run that is this process's.
struct Opened {
    journal: Journal,
    restored: Restored,
    /// Weights version 0.
    master: Arc<Master>,
    /// What the data consists of, for the record.
    data: Value,
    /// The records of a run that begins.
    begun: Records,
}

/// Loads the weights and begins the run, or takes it over; `None` if it is complete.
async fn open(job: &Job, identity: Identity, clock: &Clock) -> Result<Option<Opened>, ServeError> {
    let Identity { owner, nonce, dial } = identity;
    if let Some(found) = journal::find(&job.output).await? {
        found.check_owner(&dial).await?;
    }
    let (data, data_hash) = (describe_data(job), job.data_hash());
    let master = Arc::new(load(&job.network, &job.spec).await?);
    let pins = Pins {
        keys: job.spec.result_keys(),
        parameters: job.network.parameters.clone(),
        data: data_hash.clone(),
        weights: format!("{:032x}", master.hash()),
        base: None,
    };
    let claim = Claim { run_id: run_id(clock, &nonce), nonce, owner, pins };
    let begun = Records::new(&job.network.parameters, master.hash(), &data_hash, &job.plan);
    // Loading took a while: another may have taken the run over, or ended it, by now.
    let (mut journal, restored) = match journal::find(&job.output).await? {
        Some(found) => {
            found.check_owner(&dial).await?;
            if found.is_closed(&claim.pins)? {
                found.tidy().await;
                return match journal::is_sealed(&job.output).await? {
                    true => Ok(None),
                    false => Err(JournalError::Gone { output: job.output.url().to_owned() }.into()),
                };
            }
            found.take_over(claim, &Layout::of(&master)).await?
        }
        None => (Journal::begin(&job.output, claim).await?, Restored::default()),
    };
    if restored.standing.finished && journal::is_sealed(&job.output).await? {
        journal.close().await?;
        return Ok(None);
    }
    Ok(Some(Opened { journal, restored, master, data, begun }))
}

/// Weights version 0, with moments of zero.
async fn load(network: &Network, spec: &RunSpec) -> Result<Master, ServeError> {
    let rule = OptimizerConfig::new(spec);
    // Without an adapter, frozen tensors pass through when a whole model is written.
    let passes = |index: &usize| network.adapter.is_none() || network.trainable.trains(*index);
    let passing = (0..network.table.len()).filter(passes);
    let largest = passing.map(|index| network.table[index].len()).max().unwrap_or_default();
    let total = host::total_memory().unwrap_or(u64::MAX);
    let state = rule.moments() + usize::from(network.trainable.is_pulled());
    memory_check::check(network.trainable.len(), largest, state, total)?;
    let initial = network.initial_vector().await?;
    Ok(Master::new(rule, spec.update.max_grad_norm, &network.trainable, &initial)?)
}

async fn pass_on(handle: Handle, stop: impl Future<Output = (String, Exit)>) {
    let (reason, exit) = stop.await;
    // The run may have ended by itself.
    let _ = handle.tell(Event::StopRequested { reason, exit }).await;
}

/// Serves connections until the run is over.
async fn answer<Io>(connections: Connections<Io>, services: Services, over: CancellationToken)
where
    Io: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<pb::control_server::ControlServer<Services>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were compiled with this program");
    let served = channel::server()
        .add_service(health_service)
        .add_service(reflection)
        .add_service(channel::control_server(services.clone()))
        .add_service(channel::bulk_server(services.clone()))
        .add_service(channel::jobs_server(services))
        .serve_with_incoming_shutdown(connections, over.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the server ended");
    }
}

/// Files, rows and hashes of the data.
fn describe_data(job: &Job) -> Value {
    let describe = |index: &RowIndex| {
        let files: Vec<Value> = index
            .files()
            .iter()
            .take(MOST_FILES_NAMED)
            .map(|file| {
                json!({"url": file.url, "size": file.size, "sha256": file.sha256.map(|hash| hex(&hash)),
                "rows_sha256": file.flat.map(|flat| hex(&flat.sha256))})
            })
            .collect();
        json!({"rows": index.len(), "files_total": index.files().len(), "files": files})
    };
    json!({"train": describe(&job.train), "eval": describe(&job.eval)})
}

/// Image folders have a file a row; `run.json` names the first ones.
const MOST_FILES_NAMED: usize = 100;

/// A name that no other run has.
fn run_id(clock: &Clock, nonce: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(clock.started_unix().to_le_bytes());
    hash.update(nonce);
    hex(&hash.finalize())[..12].to_owned()
}
