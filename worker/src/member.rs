//! A worker that has joined and is ready: it pulls weights and computes leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headstart::id::{CoordinatorEpoch, LeaseId, Version, WorkerId};
use headstart::message::{Failure, FromWorker, PartialId, TimeBreakdown, ToWorker, Welcome, Work};
use headstart::telemetry::context::continue_trace;
use tokio::time::Instant;
use tracing::{Instrument, debug, debug_span, instrument};

use crate::compute::{Buffers, Partial, Task, Unfinished, compute};
use crate::error::WorkerError;
use crate::exchange::{Exchange, ExchangeError};
use crate::prepare::Prepared;

/// How a worker has spent its time since it was ready, in microseconds.
#[derive(Debug, Default)]
pub struct Times {
    compute: AtomicU64,
    transfer: AtomicU64,
    wait: AtomicU64,
}

impl Times {
    /// Time without a lease.
    pub fn wait(&self, took: Duration) {
        self.wait.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// The sums so far, as a heartbeat.
    pub fn heartbeat(&self) -> FromWorker {
        let read = |sum: &AtomicU64| Duration::from_micros(sum.load(Ordering::Relaxed));
        FromWorker::Heartbeat(TimeBreakdown {
            compute: read(&self.compute),
            transfer: read(&self.transfer),
            wait: read(&self.wait),
        })
    }
}

/// A worker in a session, ready to compute.
///
/// Vectors that partials were sent from go with the session: the coordinator may still be copying out of them when it breaks.
pub struct Worker<'a> {
    /// Where its time goes.
    pub times: Arc<Times>,
    id: WorkerId,
    run_id: String,
    epoch: CoordinatorEpoch,
    prepared: &'a Prepared,
    exchange: Exchange,
    buffers: Buffers,
    /// Version of the trainer's weights; `None` while they are partly overwritten, or the version is unknown.
    version: Option<Version>,
}

/// A lease that could not be computed, and why.
pub type FailedLease = Option<(LeaseId, Failure)>;

impl<'a> Worker<'a> {
    /// What has been prepared, in a session. `version`: of the trainer's weights.
    pub fn new(
        prepared: &'a Prepared,
        welcome: &Welcome,
        exchange: Exchange,
        times: Arc<Times>,
        version: Option<Version>,
    ) -> Worker<'a> {
        exchange.share_memory(prepared.spec.cluster.shared_memory);
        Worker {
            times,
            id: welcome.worker,
            run_id: welcome.run_id.clone(),
            epoch: welcome.epoch,
            prepared,
            exchange,
            buffers: Buffers::default(),
            version,
        }
    }

    /// Performs one command of the coordinator.
    pub async fn perform(
        &mut self,
        command: ToWorker,
        revoked: &AtomicBool,
    ) -> Result<FailedLease, WorkerError> {
        match command {
            ToWorker::Publish(version) => {
                // A trace of its own: one that lasted as long as the session would grow without end.
                let span = debug_span!(parent: None, "published", version = version.0);
                self.pull(version).instrument(span).await.map(|()| None)
            }
            ToWorker::Lease { lease, work, skipped, traceparent } => {
                let span = debug_span!(parent: None, "lease", lease = lease.0, step = work.step.0, node = %work.node);
                continue_trace(&span, traceparent.as_deref());
                self.lease(lease, work, skipped, revoked).instrument(span).await
            }
            ToWorker::Revoke { .. } => Ok(None),
            ToWorker::Welcome(_) | ToWorker::Stop { .. } => {
                Err(WorkerError::Broken("an unexpected command".into()))
            }
        }
    }

    /// Brings the trainer's weights to a version. One that has been replaced meanwhile is left for the next command.
    #[instrument(level = "debug", skip_all, fields(version = version.0))]
    async fn pull(&mut self, version: Version) -> Result<(), WorkerError> {
        if self.version == Some(version) {
            return Ok(());
        }
        self.version = None;
        let began = Instant::now();
        let Prepared { network, engine, .. } = self.prepared;
        match self.exchange.pull_weights(version, &network.trainable, engine).await {
            Ok(()) => self.version = Some(version),
            Err(ExchangeError::Refused(status)) => debug!(%version, reason = status.message(), "not pulled"),
            Err(error) => return Err(error.into()),
        }
        self.times.transfer.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn lease(
        &mut self,
        lease: LeaseId,
        work: Work,
        skipped: Vec<u32>,
        revoked: &AtomicBool,
    ) -> Result<FailedLease, WorkerError> {
        self.pull(work.version).await?;
        if self.version != Some(work.version) {
            return Ok(None);
        }
        let began = Instant::now();
        let Prepared { spec, loader, engine, .. } = self.prepared;
        let task = Task { work, skipped, seed: spec.seed };
        let computed = compute(task, loader.clone(), engine, &self.buffers, revoked)
            .instrument(debug_span!("compute", shards = work.node.shards))
            .await;
        let Partial { gradient, totals } = match computed {
            Ok(partial) => partial,
            Err(Unfinished::Revoked) => return Ok(None),
            Err(Unfinished::Failed(failure)) => return Ok(Some((lease, failure))),
            Err(Unfinished::Ended(ended)) => return Err(ended.into()),
        };
        let computed = began.elapsed();
        self.times.compute.fetch_add(computed.as_micros() as u64, Ordering::Relaxed);
        let id = PartialId { run_id: self.run_id.clone(), epoch: self.epoch, worker: self.id, lease, work };
        let gradient = gradient.map(Arc::new);
        // The coordinator waits half a minute for room before it says that there is none.
        let pushed = loop {
            match self.exchange.push(id.clone(), gradient.clone(), totals.clone()).await {
                Err(ExchangeError::Crowded(_)) if !revoked.load(Ordering::Relaxed) => {}
                pushed => break pushed,
            }
        };
        if let Some(Ok(gradient)) = gradient.map(Arc::try_unwrap) {
            self.buffers.put(gradient);
        }
        match pushed {
            Ok(accepted) => debug!(%lease, ?computed, accepted, "partial"),
            // Crowded, and revoked meanwhile.
            Err(ExchangeError::Refused(status) | ExchangeError::Crowded(status)) => {
                debug!(%lease, reason = status.message(), "partial refused")
            }
            Err(error) => return Err(error.into()),
        }
        let pushed = began.elapsed() - computed;
        self.times.transfer.fetch_add(pushed.as_micros() as u64, Ordering::Relaxed);
        Ok(None)
    }
}
