//! Keeps a replica up to date: a stream of sums, for as long as the session lasts.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headstart::id::{CoordinatorEpoch, Version};
use headstart::message::FromWorker;
use headstart::wire::pb;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use crate::engine::Engine;
use crate::error::WorkerError;
use crate::exchange::{Exchange, ExchangeError};
use crate::replica::Replica;

/// A link that is too slow for the state, before the sums after it are gone, is left alone for this multiple of the time it took.
const PAUSE: u32 = 20;

/// A replica that is being kept up to date. It stays as it is when this ends.
pub(crate) struct Following {
    versions: watch::Receiver<Option<Version>>,
    task: AbortOnDropHandle<WorkerError>,
}

/// What a replica is kept up to date with.
pub(crate) struct Source {
    pub(crate) exchange: Exchange,
    pub(crate) engine: Arc<Engine>,
    pub(crate) replica: Arc<Mutex<Replica>>,
    pub(crate) epoch: CoordinatorEpoch,
    /// Where the coordinator is told.
    pub(crate) events: mpsc::Sender<pb::WorkerEvent>,
}

impl Following {
    /// Begins to follow.
    pub(crate) fn begin(source: Source) -> Following {
        let (known, versions) = watch::channel(None);
        let task = tokio::spawn(async move {
            let Err(error) = source.follow(&known).await;
            error
        });
        Following { versions, task: AbortOnDropHandle::new(task) }
    }

    /// Waits for a version; `false` if the replica is beyond it, or has ended.
    pub(crate) async fn reach(&mut self, wanted: Version) -> bool {
        loop {
            match *self.versions.borrow_and_update() {
                Some(version) if version >= wanted => return version == wanted,
                _ => {}
            }
            if self.versions.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Waits until the replica cannot be kept up to date any more; says why.
    pub(crate) async fn ended(&mut self) -> WorkerError {
        match (&mut self.task).await {
            Ok(error) => error,
            Err(panicked) => WorkerError::Broken(format!("the replica: {panicked}")),
        }
    }
}

impl Source {
    async fn follow(&self, versions: &watch::Sender<Option<Version>>) -> Result<Infallible, WorkerError> {
        loop {
            let known = lock(&self.replica).version(self.epoch);
            let began = Instant::now();
            match self.follow_from(known, versions).await {
                Err(WorkerError::Exchange(ExchangeError::Behind(status))) => {
                    let late = lock(&self.replica).version(self.epoch).is_none() && known.is_none();
                    let pause = if late { began.elapsed() * PAUSE } else { Duration::ZERO };
                    debug!(reason = status.message(), ?pause, "the replica is behind");
                    lock(&self.replica).forget();
                    versions.send_replace(None);
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Follows from a version on; without one, from the state that comes first.
    async fn follow_from(
        &self,
        known: Option<Version>,
        versions: &watch::Sender<Option<Version>>,
    ) -> Result<Infallible, WorkerError> {
        if known.is_none() {
            info!("the replica takes the whole state");
            lock(&self.replica).forget();
        }
        let mut updates = self.exchange.follow(self.epoch, known).await?;
        lock(&self.replica).begin(self.epoch);
        let mut current = false;
        if known.is_some() {
            self.take_hashes().await?;
        }
        loop {
            let version = lock(&self.replica).version(self.epoch);
            if version != *versions.borrow() {
                versions.send_replace(version);
            }
            if let Some(version) = version.filter(|_| !current) {
                current = true;
                debug!(%version, "the replica is current");
                let told = self.events.send(FromWorker::Current(version).into()).await;
                told.map_err(|_| WorkerError::Broken("it was closed".into()))?;
            }
            let update = updates.message().await.map_err(ExchangeError::from)?;
            match update.and_then(|message| message.update) {
                None => return Err(WorkerError::Broken("the sums ended".into())),
                Some(update) => self.take(update).await?,
            }
        }
    }

    async fn take(&self, update: pb::replica_update::Update) -> Result<(), WorkerError> {
        use pb::replica_update::Update;
        match update {
            Update::State(chunk) => {
                let weights = lock(&self.replica).receive_state(chunk)?;
                if let Some((at, values)) = weights {
                    self.engine.run(move |trainer| trainer.set_trainable(at, &values)).await??;
                }
                if lock(&self.replica).is_filled() {
                    self.take_hashes().await?;
                }
            }
            Update::Sum(chunk) => lock(&self.replica).stage(chunk)?,
            Update::Apply(word) => {
                let replica = self.replica.clone();
                self.engine.run(move |trainer| lock(&replica).apply(trainer, &word)).await??;
            }
        }
        Ok(())
    }

    async fn take_hashes(&self) -> Result<(), WorkerError> {
        let replica = self.replica.clone();
        Ok(self.engine.run(move |trainer| lock(&replica).take_hashes(trainer)).await??)
    }
}

/// A replica whose holder panicked is not used again: the worker ends on the panic.
pub(crate) fn lock(replica: &Mutex<Replica>) -> MutexGuard<'_, Replica> {
    replica.lock().unwrap_or_else(PoisonError::into_inner)
}
