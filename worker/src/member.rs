//! A worker that has joined and is ready: it pulls weights and computes leases.

use std::sync::Arc;

use headstart::id::{CoordinatorEpoch, LeaseId, Segment, Version, WorkerId};
use headstart::message::{Failure, PartialId, Pass, ToWorker, Totals, Welcome, Work};
use headstart::rounding::Rounding;
use headstart::telemetry::context::continue_trace;
use headstart::trainable::SEGMENT;
use headstart::wire::pb;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, info, instrument};

use crate::compute::{Means, Task, Unfinished, compute};
use crate::error::WorkerError;
use crate::exchange::{Exchange, ExchangeError};
use crate::follow::{Following, Source, lock};
use crate::gradient::{Buffers, Gradient};
use crate::outgoing::Outgoing;
use crate::prepare::Prepared;
use crate::subtree::Partial;
use crate::times::Times;

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
    weights: Weights,
    events: mpsc::Sender<pb::WorkerEvent>,
    /// Partials on their way over the network, one after the other: an earlier one, and that of the lease being computed.
    pushes: JoinSet<Result<(), ExchangeError>>,
    link: Arc<Semaphore>,
}

/// How the trainer's weights become those of a version.
enum Weights {
    /// They are brought when they are needed. Of this version now; `None` while they are partly overwritten, or unknown.
    Pulled(Option<Version>),
    /// They are a replica's.
    Replica(Option<Following>),
}

/// What became of a command.
#[derive(Debug)]
pub enum Done {
    Nothing,
    /// A lease is computed, and its partial on its way.
    Computed(LeaseId),
    /// A lease could not be computed.
    Failed(LeaseId, Failure),
}

impl<'a> Worker<'a> {
    /// What has been prepared, in a session. `version`: of the trainer's weights, where it is known.
    pub fn new(
        prepared: &'a Prepared,
        welcome: &Welcome,
        exchange: Exchange,
        times: Arc<Times>,
        version: Option<Version>,
        events: mpsc::Sender<pb::WorkerEvent>,
    ) -> Worker<'a> {
        let cluster = &prepared.spec.cluster;
        let local = exchange.try_memory(welcome.memory.clone().filter(|_| cluster.shared_memory));
        let weights = match !local && cluster.replicas {
            true => Weights::Replica(None),
            false => Weights::Pulled(version),
        };
        Worker {
            times,
            id: welcome.worker,
            run_id: welcome.run_id.clone(),
            epoch: welcome.epoch,
            prepared,
            exchange,
            buffers: Buffers::default(),
            weights,
            events,
            pushes: JoinSet::new(),
            link: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether it keeps a replica.
    pub fn follows(&self) -> bool {
        matches!(self.weights, Weights::Replica(_))
    }

    /// Begins to keep the replica up to date, if it has one.
    pub fn follow(&mut self) {
        if let Weights::Replica(following) = &mut self.weights {
            let Prepared { engine, replica, .. } = self.prepared;
            *following = Some(Following::begin(Source {
                exchange: self.exchange.clone(),
                engine: engine.clone(),
                replica: replica.clone(),
                epoch: self.epoch,
                events: self.events.clone(),
            }));
        }
    }

    /// Whether a partial is on its way.
    pub fn sends(&self) -> bool {
        !self.pushes.is_empty()
    }

    /// Waits until something that goes on beside the commands ends: a partial has arrived, or the session cannot go on.
    pub async fn background(&mut self) -> Result<(), WorkerError> {
        let Worker { pushes, weights, .. } = self;
        tokio::select! {
            biased;
            Some(pushed) = pushes.join_next() => match pushed {
                Ok(pushed) => Ok(pushed?),
                // Its lease failed, and took it along.
                Err(ended) if ended.is_cancelled() => Ok(()),
                Err(panicked) => Err(WorkerError::Broken(format!("a push: {panicked}"))),
            },
            error = ended(weights) => Err(error),
        }
    }

    /// Performs one command of the coordinator.
    pub async fn perform(
        &mut self,
        command: ToWorker,
        revoked: &CancellationToken,
    ) -> Result<Done, WorkerError> {
        match command {
            ToWorker::Publish(version) => {
                // A trace of its own: one that lasted as long as the session would grow without end.
                let span = debug_span!(parent: None, "published", version = version.0);
                if let Weights::Pulled(_) = self.weights {
                    self.pull(version).instrument(span).await?;
                }
            }
            ToWorker::Lease { lease, work, skipped, traceparent } => {
                let span = debug_span!(parent: None, "lease", lease = lease.0, step = work.step.0, node = %work.node);
                continue_trace(&span, traceparent.as_deref());
                return self.lease(lease, work, skipped, revoked).instrument(span).await;
            }
            ToWorker::Follow { anew } => {
                if anew {
                    lock(&self.prepared.replica).forget();
                }
                self.follow();
            }
            ToWorker::Rest { reason } => {
                info!(reason, "resting");
                if let Weights::Replica(following) = &mut self.weights {
                    *following = None;
                }
            }
            ToWorker::Revoke { .. } => {}
            ToWorker::Welcome(_) | ToWorker::Stop { .. } => {
                return Err(WorkerError::Broken("an unexpected command".into()));
            }
        }
        Ok(Done::Nothing)
    }

    /// Brings the trainer's weights to a version; `false` if it has been replaced meanwhile, and will not be computed with.
    async fn reach(&mut self, work: &Work) -> Result<bool, WorkerError> {
        if work.pass == Pass::Golden && self.follows() {
            // These weights are not those of any step: no replica gets there.
            self.weights = Weights::Pulled(None);
        }
        match &mut self.weights {
            Weights::Replica(Some(following)) => {
                let began = Instant::now();
                let reached = following.reach(work.version).await;
                self.times.transfer(began.elapsed());
                Ok(reached)
            }
            // It rests, and should have been told to follow before.
            Weights::Replica(None) => Err(WorkerError::Broken("a lease for a worker that rests".into())),
            Weights::Pulled(_) => {
                self.pull(work.version).await?;
                Ok(matches!(self.weights, Weights::Pulled(Some(version)) if version == work.version))
            }
        }
    }

    /// Overwrites the trainer's weights with those of a version. One that has been replaced meanwhile is left for the next
    /// command.
    #[instrument(level = "debug", skip_all, fields(version = version.0))]
    async fn pull(&mut self, version: Version) -> Result<(), WorkerError> {
        if matches!(self.weights, Weights::Pulled(Some(known)) if known == version) {
            return Ok(());
        }
        self.weights = Weights::Pulled(None);
        let began = Instant::now();
        let Prepared { network, engine, replica, .. } = self.prepared;
        lock(replica).forget();
        match self.exchange.pull_weights(version, &network.trainable, engine).await {
            Ok(()) => self.weights = Weights::Pulled(Some(version)),
            Err(ExchangeError::Refused(status)) => debug!(%version, reason = status.message(), "not pulled"),
            Err(error) => return Err(error.into()),
        }
        self.times.transfer(began.elapsed());
        Ok(())
    }

    async fn lease(
        &mut self,
        lease: LeaseId,
        work: Work,
        skipped: Vec<u32>,
        revoked: &CancellationToken,
    ) -> Result<Done, WorkerError> {
        if !self.reach(&work).await? {
            return Ok(Done::Nothing);
        }
        let began = Instant::now();
        let id = PartialId { run_id: self.run_id.clone(), epoch: self.epoch, worker: self.id, lease, work };
        let Prepared { spec, network, loader, engine, .. } = self.prepared;
        let weights = self.follows().then(|| lock(&self.prepared.replica).hash()).flatten();
        let sends = work.pass == Pass::Train && !self.exchange.is_local();
        let outgoing = sends.then(|| Outgoing::new(id.clone(), weights, spec.wire));
        let push = outgoing.clone().map(|outgoing| self.send(outgoing, revoked));
        let means = Means {
            network,
            loader: loader.clone(),
            engine,
            buffers: &self.buffers,
            rounding: Rounding::of(spec),
            not_yet: network.trainable.not_yet(work.step),
            outgoing: outgoing.clone(),
            revoked,
        };
        let computed = compute(Task { work, skipped, seed: spec.seed }, means)
            .instrument(debug_span!("compute", shards = work.node.shards))
            .await;
        let Partial { gradient, totals } = match computed {
            Ok(partial) => partial,
            Err(unfinished) => {
                push.inspect(AbortHandle::abort);
                return match unfinished {
                    Unfinished::Revoked => Ok(Done::Nothing),
                    Unfinished::Failed(failure) => Ok(Done::Failed(lease, failure)),
                    Unfinished::Ended(ended) => Err(ended.into()),
                };
            }
        };
        let computed = began.elapsed();
        self.times.compute(computed);
        debug!(%lease, ?computed, "computed");
        match (outgoing, gradient) {
            (Some(outgoing), gradient) => {
                outgoing.end(totals.compute);
                gradient.into_iter().for_each(|gradient| self.buffers.put(gradient));
                return Ok(Done::Computed(lease));
            }
            (None, Some(gradient)) => self.hand_over(id, gradient, totals, revoked).await?,
            (None, None) => {
                let exchange = self.exchange.clone();
                settle(exchange.push_totals(&id, totals, weights).await)?;
            }
        }
        self.times.transfer(began.elapsed() - computed);
        Ok(Done::Nothing)
    }

    /// Hands a partial over in memory; over the network where the coordinator cannot read it.
    async fn hand_over(
        &mut self,
        id: PartialId,
        gradient: Gradient,
        totals: Totals,
        revoked: &CancellationToken,
    ) -> Result<(), WorkerError> {
        let memory = gradient.address();
        // The coordinator waits half a minute for room before it says that there is none.
        let pushed = loop {
            let Some(memory) = memory.clone() else { break Ok(None) };
            match self.exchange.push_memory(&id, memory, totals.clone()).await {
                Err(ExchangeError::Crowded(_)) if !revoked.is_cancelled() => {}
                pushed => break pushed,
            }
        };
        if let Ok(None) = pushed {
            let outgoing = Outgoing::new(id, None, self.prepared.spec.wire);
            for (segment, values) in gradient.values().chunks(SEGMENT).enumerate() {
                outgoing.send(|| totals.clone(), Segment(segment as u32), values);
            }
            outgoing.end(totals.compute);
            self.send(outgoing, revoked);
            while self.sends() {
                self.background().await?;
            }
        }
        self.buffers.put(gradient);
        Ok(settle(pushed.map(|pushed| pushed.unwrap_or(true)))?)
    }

    /// Sends a partial, after those before it, until it has arrived or is not wanted any more.
    fn send(&mut self, outgoing: Outgoing, revoked: &CancellationToken) -> AbortHandle {
        let (exchange, link, revoked) = (self.exchange.clone(), self.link.clone(), revoked.clone());
        let push = async move {
            outgoing.has_begun().await;
            loop {
                // What there is no room for yet may wait for the partial after it: each attempt waits for its turn.
                let _turn = link.acquire().await;
                let pushed = tokio::select! {
                    pushed = exchange.push_outgoing(&outgoing) => pushed,
                    () = revoked.cancelled() => return Ok(()),
                };
                match pushed {
                    Err(ExchangeError::Crowded(_)) => {}
                    pushed => return settle(pushed),
                }
            }
        };
        self.pushes.spawn(push.instrument(tracing::Span::current()))
    }
}

/// Whether a partial was accepted or refused, the worker goes on; not so if the connection broke.
fn settle(pushed: Result<bool, ExchangeError>) -> Result<(), ExchangeError> {
    match pushed {
        Ok(accepted) => debug!(accepted, "partial"),
        // Crowded, and revoked meanwhile.
        Err(ExchangeError::Refused(status) | ExchangeError::Crowded(status)) => {
            debug!(reason = status.message(), "partial refused")
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Waits until a replica cannot be kept up to date any more.
async fn ended(weights: &mut Weights) -> WorkerError {
    match weights {
        Weights::Replica(Some(following)) => following.ended().await,
        Weights::Replica(None) | Weights::Pulled(_) => std::future::pending().await,
    }
}
