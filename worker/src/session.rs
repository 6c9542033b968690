//! A worker's life: join, load, compute leases until the coordinator says stop.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headstart::id::LeaseId;
use headstart::message::{FromWorker, Join, ToWorker, Welcome};
use headstart::wire::{MESSAGE_LIMIT, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{Instrument, debug, info, info_span};

use crate::error::WorkerError;
use crate::exchange::{Exchange, connect};
use crate::member::{MakeTrainer, Times, Worker};

/// What a worker is told about itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The coordinator's URL.
    pub coordinator: String,
    /// For people.
    pub name: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads it insists on; the run's number when absent.
    pub threads: Option<u32>,
    /// Where remote data files are kept.
    pub cache: PathBuf,
    /// Bytes it may use for accumulators.
    pub memory: u64,
}

/// How long a worker waits for a coordinator that is not there yet.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(250);
/// Commands that may wait while a lease is computed.
const COMMANDS: usize = 64;

/// Takes part in a run until it is over. An `Err` of [`WorkerError::Stopped`] with `Finished` is the good ending.
pub async fn run(settings: Settings, make: MakeTrainer) -> Result<(), WorkerError> {
    let mut session = Session::open(&settings).await?;
    let welcome = session.welcome().await?;
    let span = info_span!("session", worker = welcome.worker.0, run_id = welcome.run_id);
    attend(session, settings, welcome, make).instrument(span).await
}

async fn attend(
    mut session: Session,
    settings: Settings,
    welcome: Welcome,
    make: MakeTrainer,
) -> Result<(), WorkerError> {
    info!(worker = %welcome.worker, run = welcome.run_id, "joined");
    let channel = dial(&settings.coordinator).await?;
    let exchange = Exchange::new(channel, welcome.run_id.clone(), welcome.epoch, welcome.worker);
    let times = Arc::new(Times::default());
    let heartbeat = session.start_heartbeat(welcome.heartbeat, times.clone());
    let worker = tokio::select! {
        worker = Worker::prepare(&settings, &welcome, exchange, times, make) => worker,
        stopped = session.stopped() => Err(stopped),
    };
    let ended = match worker {
        Ok((worker, ready)) => match session.say(FromWorker::Ready(ready)).await {
            Ok(()) => session.work(worker).await,
            Err(error) => Err(error),
        },
        Err(error) => {
            // The coordinator learns why; if it is gone, it does not need to.
            let _ = session.say(FromWorker::Leaving { reason: error.to_string() }).await;
            Err(error)
        }
    };
    heartbeat.abort();
    ended
}

async fn dial(url: &str) -> Result<tonic::transport::Channel, WorkerError> {
    let unreachable = |reason: String| WorkerError::Unreachable { url: url.to_owned(), reason };
    if let Err(error) = tonic::transport::Endpoint::from_shared(url.to_owned()) {
        return Err(unreachable(format!("{error}; write http://host:port")));
    }
    let began = tokio::time::Instant::now();
    loop {
        match connect(url).await {
            Ok(channel) => return Ok(channel),
            Err(error) if began.elapsed() >= PATIENCE => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                let reason = format!("{error}{}, tried for {PATIENCE:?}", source.unwrap_or_default());
                return Err(unreachable(reason));
            }
            Err(error) => debug!(%error, "not reachable yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The control stream.
struct Session {
    events: mpsc::Sender<pb::WorkerEvent>,
    commands: Streaming<pb::Command>,
    revocations: BTreeMap<LeaseId, Arc<AtomicBool>>,
    waiting: VecDeque<ToWorker>,
}

impl Session {
    async fn open(settings: &Settings) -> Result<Session, WorkerError> {
        let channel = dial(&settings.coordinator).await?;
        let (events, outgoing) = mpsc::channel(16);
        let Settings { name, device, memory, .. } = settings.clone();
        let join = FromWorker::Join(Join { name, device, memory });
        events.send(join.into()).await.expect("the receiver is still here");
        let mut client =
            pb::control_client::ControlClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        let commands = client.session(ReceiverStream::new(outgoing)).await.map_err(broken)?.into_inner();
        Ok(Session { events, commands, revocations: BTreeMap::new(), waiting: VecDeque::new() })
    }

    async fn say(&self, message: FromWorker) -> Result<(), WorkerError> {
        self.events.send(message.into()).await.map_err(|_| WorkerError::Broken("it was closed".into()))
    }

    /// The next command from the stream; `Stop` is an error, so that every wait ends with it.
    async fn receive(&mut self) -> Result<ToWorker, WorkerError> {
        let message = self.commands.message().await.map_err(broken)?;
        let message = message.ok_or_else(|| WorkerError::Broken("the coordinator ended it".into()))?;
        match ToWorker::try_from(message)? {
            ToWorker::Stop { reason, detail } => Err(WorkerError::Stopped { reason, detail }),
            command => Ok(command),
        }
    }

    async fn welcome(&mut self) -> Result<Welcome, WorkerError> {
        match self.receive().await? {
            ToWorker::Welcome(welcome) => Ok(welcome),
            other => Err(WorkerError::Broken(format!("expected a welcome, got {other:?}"))),
        }
    }

    /// Listens while something else is going on: notes revocations, keeps the rest; returns when the session is over.
    async fn stopped(&mut self) -> WorkerError {
        loop {
            match self.receive().await {
                Err(error) => return error,
                Ok(ToWorker::Revoke { lease, reason }) => {
                    info!(%lease, reason, "revoked");
                    if let Some(revoked) = self.revocations.get(&lease) {
                        revoked.store(true, Ordering::Relaxed);
                    }
                    self.waiting.retain(|command| !is_lease(command, lease));
                }
                Ok(command) if self.waiting.len() < COMMANDS => self.waiting.push_back(command),
                Ok(command) => {
                    return WorkerError::Broken(format!("too many commands; the last: {command:?}"));
                }
            }
        }
    }

    fn start_heartbeat(&self, every: Duration, times: Arc<Times>) -> tokio::task::JoinHandle<()> {
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                if events.send(times.heartbeat().into()).await.is_err() {
                    return;
                }
            }
        })
    }

    /// Performs commands one after the other, listening for `Stop` and `Revoke` all the while.
    async fn work(&mut self, mut worker: Worker) -> Result<(), WorkerError> {
        loop {
            let waited = Instant::now();
            let command = match self.waiting.pop_front() {
                Some(command) => command,
                None => self.receive().await?,
            };
            worker.times.wait(waited.elapsed());
            let revoked = Arc::new(AtomicBool::new(false));
            if let ToWorker::Lease { lease, .. } = &command {
                self.revocations = BTreeMap::from([(*lease, revoked.clone())]);
            }
            let outcome = tokio::select! {
                biased;
                outcome = worker.perform(command, &revoked) => outcome?,
                stopped = self.stopped() => return Err(stopped),
            };
            if let Some((lease, failure)) = outcome {
                info!(%lease, ?failure, "lease failed");
                self.say(FromWorker::LeaseFailed { lease, failure }).await?;
            }
        }
    }
}

fn broken(status: tonic::Status) -> WorkerError {
    WorkerError::Broken(status.message().to_owned())
}

fn is_lease(command: &ToWorker, id: LeaseId) -> bool {
    matches!(command, ToWorker::Lease { lease, .. } if *lease == id)
}
