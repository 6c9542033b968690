//! A worker that has joined: it loads what the run needs, then computes leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headstart::checkpoint::CheckpointError;
use headstart::data::RowIndex;
use headstart::id::{CoordinatorEpoch, LeaseId, Version, WorkerId};
use headstart::message::{Failure, FromWorker, PartialId, Pass, Ready, Spent, ToWorker, Welcome, Work};
use headstart::network::Network;
use headstart::plan::Plan;
use headstart::spec::RunSpec;
use headstart::telemetry::context::continue_trace;
use tracing::{Instrument, debug, debug_span, instrument};

use crate::collate::Collator;
use crate::compute::{Buffers, Partial, Task, Unfinished, compute};
use crate::data::Loader;
use crate::engine::Engine;
use crate::error::WorkerError;
use crate::exchange::{Exchange, ExchangeError};
use crate::session::Settings;
use crate::trainer::{TrainError, Trainer};

/// What a trainer is made from.
#[derive(Debug)]
pub struct TrainerJob {
    /// The network.
    pub network: Arc<Network>,
    /// CPU threads.
    pub threads: u32,
    /// Samples of a micro-batch.
    pub micro_batch: u32,
    /// Longest token sequence, for text.
    pub sequence_len: u32,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Version 0: the values of each parameter of the table.
    pub values: Vec<Vec<f32>>,
}

/// Makes a trainer, on the thread that will own it.
pub type MakeTrainer = Box<dyn FnOnce(TrainerJob) -> Result<Box<dyn Trainer>, TrainError> + Send>;

/// Where a worker's time has gone since it was ready, in microseconds.
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
        FromWorker::Heartbeat(Spent {
            compute: read(&self.compute),
            transfer: read(&self.transfer),
            wait: read(&self.wait),
        })
    }
}

/// A worker that is ready to compute.
pub struct Worker {
    /// Where its time goes.
    pub times: Arc<Times>,
    id: WorkerId,
    run_id: String,
    epoch: CoordinatorEpoch,
    seed: u64,
    network: Arc<Network>,
    loader: Arc<Loader>,
    engine: Engine,
    exchange: Exchange,
    buffers: Buffers,
    /// Version of the trainer's weights; `None` while they are partly overwritten.
    version: Option<Version>,
}

/// A lease that could not be computed, and why.
pub type FailedLease = Option<(LeaseId, Failure)>;

impl Worker {
    /// Loads checkpoint, data index and tokenizer, makes the trainer, and runs its canary.
    pub async fn prepare(
        settings: &Settings,
        welcome: &Welcome,
        exchange: Exchange,
        times: Arc<Times>,
        make: MakeTrainer,
    ) -> Result<(Worker, Ready), WorkerError> {
        let spec: RunSpec = serde_json::from_str(&welcome.spec_json)?;
        if let Some(asked) = settings.threads.filter(|asked| *asked != spec.threads_per_worker) {
            return Err(WorkerError::Threads { asked, run: spec.threads_per_worker });
        }
        exchange.share_memory(spec.cluster.shared_memory);
        let network = Arc::new(Network::open(&spec, &welcome.labels).await?);
        let loader = Loader::new(
            Plan::new(&spec, welcome.train_rows, welcome.eval_rows)?,
            &spec,
            Worker::indexes(&exchange, welcome.labels.len()).await?,
            settings.cache.clone(),
            Collator::for_network(&network, spec.sequence_len).await?,
        );
        let mut values = vec![Vec::new(); network.table.len()];
        network
            .load(|index, loaded| {
                values[index] = loaded;
                Ok::<(), CheckpointError>(())
            })
            .await?;
        let job = TrainerJob {
            network: network.clone(),
            threads: spec.threads_per_worker,
            micro_batch: spec.per_device_train_batch_size,
            sequence_len: loader.sequence_len(),
            device: settings.device.clone(),
            values,
        };
        let engine = Engine::start(move || make(job)).await??;
        let (class, canary) = engine.run(|trainer| (trainer.numeric_class(), trainer.canary())).await?;
        let ready = Ready { class, canary: canary?, parameters: network.parameters.clone() };
        let worker = Worker {
            times,
            id: welcome.worker,
            run_id: welcome.run_id.clone(),
            epoch: welcome.epoch,
            seed: spec.seed,
            network,
            loader: Arc::new(loader),
            engine,
            exchange,
            buffers: Buffers::default(),
            version: Some(Version(0)),
        };
        Ok((worker, ready))
    }

    async fn indexes(exchange: &Exchange, labels: usize) -> Result<[RowIndex; 2], WorkerError> {
        let train = RowIndex::decode(&exchange.pull_index(Pass::Train).await?, labels)?;
        let eval = RowIndex::decode(&exchange.pull_index(Pass::Eval).await?, labels)?;
        Ok([train, eval])
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
            ToWorker::Lease { lease, work, skipped, expires: _, traceparent } => {
                let span = debug_span!(parent: None, "lease", lease = lease.0, step = work.step.0, node = %work.node);
                continue_trace(&span, traceparent.as_deref());
                self.lease(lease, work, skipped, revoked).instrument(span).await
            }
            ToWorker::Revoke { .. } => Ok(None),
            ToWorker::Welcome(_) | ToWorker::Stop { .. } => {
                Err(WorkerError::Broken("a command out of place".into()))
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
        match self.exchange.pull_weights(version, &self.network.trainable, &self.engine).await {
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
        let task = Task { work, skipped, seed: self.seed };
        let computed = compute(task, self.loader.clone(), &self.engine, &self.buffers, revoked)
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
            Err(ExchangeError::Refused(status)) => {
                debug!(%lease, reason = status.message(), "partial refused")
            }
            Err(error) => return Err(error.into()),
        }
        let pushed = began.elapsed() - computed;
        self.times.transfer.fetch_add(pushed.as_micros() as u64, Ordering::Relaxed);
        Ok(None)
    }
}
