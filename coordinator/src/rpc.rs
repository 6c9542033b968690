//! The gRPC services: decode a message, ask the actor or move a segment, encode the answer. Nothing is decided here.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use headstart::checkpoint::Loading;
use headstart::id::{Segment, Version};
use headstart::message::{FromWorker, PartialId, Pass, ToWorker, Totals};
use headstart::run_file::Wire;
use headstart::telemetry::context::extract;
use headstart::wire::{self, CHUNK, payload, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Span, debug, debug_span, instrument};

use crate::actor::Gone;
use crate::event::{Event, Offer};
use crate::follow::WAITING;
use crate::master::{Master, Overtaken};
use crate::push::{self, Push, Taken};
use crate::services::Services;
use crate::status;

/// Longest wait for a worker's first message.
const GREETING: Duration = Duration::from_secs(10);
/// Shortest time between two messages of a watch.
const WATCH_EVERY: Duration = Duration::from_millis(100);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl pb::control_server::Control for Services {
    type SessionStream = Answers<pb::Command>;

    async fn session(
        &self,
        request: Request<Streaming<pb::WorkerEvent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut events = request.into_inner();
        let first = tokio::time::timeout(GREETING, events.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Join arrived"))??
            .ok_or_else(|| Status::invalid_argument("the session ended before a Join"))?;
        let FromWorker::Join(join) = FromWorker::try_from(first)? else {
            return Err(Status::invalid_argument("a session begins with Join"));
        };
        let (worker, commands) = self.handle.join(join).await?;
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let mut told = Loading::default();
            let reason = loop {
                let event = match events.message().await {
                    Ok(Some(message)) => match FromWorker::try_from(message) {
                        Ok(FromWorker::Ready(ready)) => Event::Ready(worker, ready),
                        Ok(FromWorker::Heartbeat(spent, loading)) => {
                            debug!(%worker, ?spent, "heartbeat");
                            if loading != told && handle.tell(Event::Loading(worker, loading)).await.is_err()
                            {
                                return;
                            }
                            told = loading;
                            Event::Heard(worker, spent)
                        }
                        Ok(FromWorker::LeaseFailed { lease, failure }) => {
                            Event::LeaseFailed(worker, lease, failure)
                        }
                        Ok(FromWorker::Computed(lease)) => Event::Computed(worker, lease),
                        Ok(FromWorker::Current(version)) => Event::Current(worker, version),
                        Ok(FromWorker::Leaving { reason }) => break reason,
                        Ok(FromWorker::Join(_)) => break "it joined twice in one session".to_owned(),
                        Err(error) => break error.to_string(),
                    },
                    Ok(None) => break "its session ended".to_owned(),
                    Err(status) => break format!("its session broke: {}", status.message()),
                };
                if handle.tell(event).await.is_err() {
                    return;
                }
            };
            let _ = handle.tell(Event::Left(worker, reason)).await;
        });
        let commands = ReceiverStream::new(commands).map(|command: ToWorker| Ok(command.into()));
        Ok(Response::new(Box::pin(commands)))
    }
}

#[tonic::async_trait]
impl pb::bulk_server::Bulk for Services {
    type PullWeightsStream = Answers<pb::SegmentChunk>;
    type PullIndexStream = Answers<pb::IndexChunk>;
    type FollowStream = ReceiverStream<Result<pb::ReplicaUpdate, Status>>;

    #[instrument(level = "debug", name = "push", skip_all, fields(worker, lease, segments))]
    async fn push_partial(
        &self,
        request: Request<Streaming<pb::SegmentChunk>>,
    ) -> Result<Response<pb::PushSummary>, Status> {
        extract(&request);
        let _present = self.handle.meter().pushes.enter();
        let mut chunks = request.into_inner();
        let first = push::next(&mut chunks, push::PAUSE)
            .await?
            .ok_or_else(|| Status::invalid_argument("the push is empty"))?;
        let pb::SegmentChunk { partial, totals, memory, weights, computing, .. } = first;
        let partial =
            partial.ok_or_else(|| Status::invalid_argument("the push does not name its partial"))?;
        let totals = totals.ok_or_else(|| Status::invalid_argument("the push has no totals"))?;
        let (partial, mut totals) = (PartialId::try_from(partial)?, Totals::from(totals));
        let offer = Offer { weights: wire::weights_hash(&weights)?, computing };
        Span::current().record("worker", partial.worker.0).record("lease", partial.lease.0);
        // Before the question whether the lease holds: should the step begin anew after it, these sums are dropped.
        let open = match partial.work.pass {
            Pass::Train => Some(self.reducer.current(partial.work.step)?),
            Pass::Eval | Pass::Golden | Pass::Probe => None,
        };
        let wanted = self.handle.ask(Event::PushBegun(partial.clone(), totals.clone(), offer)).await??;
        let (accepted, hash) = match open {
            Some(open) => {
                Span::current().record("segments", self.master.segments() as u64);
                let push = Push::new(self, open, &partial, wanted);
                let taken = match memory {
                    Some(memory) => push.copy(memory.into()).await,
                    None => push.receive(&mut chunks, computing).await,
                };
                if let Some(unfit) = taken.as_ref().err().and_then(push::unfit) {
                    self.handle.tell(Event::PushBroke(partial.clone(), unfit)).await?;
                }
                let Taken { added, hash, compute } = taken?;
                totals.compute = compute.unwrap_or(totals.compute);
                (added, hash)
            }
            None => (true, None),
        };
        self.handle.ask(Event::PushEnded(partial, totals, hash)).await??;
        Ok(Response::new(pb::PushSummary { accepted }))
    }

    async fn pull_weights(
        &self,
        request: Request<pb::PullRequest>,
    ) -> Result<Response<Self::PullWeightsStream>, Status> {
        let span = debug_span!("publish", version = request.get_ref().weights_version);
        span.in_scope(|| extract(&request));
        let present = self.handle.meter().pulls.enter();
        let pb::PullRequest { run_id, weights_version, local } = request.into_inner();
        self.same_run(&run_id)?;
        let version = Version(weights_version);
        let mut ready = self.master.watch();
        ready
            .wait_for(|current| *current >= version)
            .await
            .map_err(|_| Status::unavailable("the run has ended"))?;
        let current = self.master.version();
        if current != version {
            return Err(Overtaken { asked: version, current }.into());
        }
        if let Some(address) = self.master.address().filter(|_| local) {
            let bytes = self.master.bytes() as u64;
            self.handle.traffic().down.fetch_add(bytes, Ordering::Relaxed);
            let whole = pb::SegmentChunk { memory: Some(address.into()), ..Default::default() };
            return Ok(Response::new(Box::pin(stream::iter([Ok(whole)]))));
        }
        let places = chunk_places(&self.master);
        let (master, handle) = (self.master.clone(), self.handle.clone());
        let chunks = stream::iter(places).map(move |(segment, range)| {
            // Both last as long as the stream.
            let _held = (&span, &present);
            let offset = range.start as u32;
            let mut payload = Vec::new();
            master
                .read(version, segment, range, |values| payload::encode(Wire::F32, values, &mut payload))?;
            handle.traffic().down.fetch_add(payload.len() as u64, Ordering::Relaxed);
            Ok(pb::SegmentChunk {
                segment: segment.0,
                offset,
                crc32: crc32fast::hash(&payload),
                payload: payload.into(),
                ..Default::default()
            })
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn follow(
        &self,
        request: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let pb::FollowRequest { run_id, coordinator_epoch, weights_version } = request.into_inner();
        self.same_run(&run_id)?;
        if coordinator_epoch != self.facts.epoch.0 {
            let ours = self.facts.epoch;
            return Err(Status::failed_precondition(format!(
                "this is {ours}; what another one sent is void"
            )));
        }
        let known = weights_version.map(Version);
        // One worker at a time receives the state: several at once would take as long, and all come too late.
        let joining = match known {
            None => self.joining.clone().acquire_owned().await.ok(),
            Some(_) => None,
        };
        let follower = self.follower(known).await?;
        let (to, messages) = mpsc::channel(WAITING);
        tokio::spawn(self.clone().serve_follower(follower, joining, to));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn pull_index(
        &self,
        request: Request<pb::IndexRequest>,
    ) -> Result<Response<Self::PullIndexStream>, Status> {
        let pb::IndexRequest { run_id, pass } = request.into_inner();
        self.same_run(&run_id)?;
        let index = match wire::pass(pass)? {
            Pass::Train => self.facts.train_index.clone(),
            Pass::Eval => self.facts.eval_index.clone(),
            Pass::Golden | Pass::Probe => {
                return Err(Status::invalid_argument("this pass has no rows of its own"));
            }
        };
        let pieces = (0..index.len()).step_by(CHUNK).map(move |start| {
            let payload = index.slice(start..(start + CHUNK).min(index.len()));
            Ok(pb::IndexChunk { crc32: crc32fast::hash(&payload), payload })
        });
        Ok(Response::new(Box::pin(stream::iter(pieces))))
    }
}

/// Every chunk of the trainable vector, in order.
fn chunk_places(master: &Master) -> Vec<(Segment, std::ops::Range<usize>)> {
    let step = payload::CHUNK;
    let mut places = Vec::new();
    for segment in (0..master.segments() as u32).map(Segment) {
        let len = master.segment_len(segment).expect("segments are numbered from 0");
        places.extend((0..len).step_by(step).map(|start| (segment, start..(start + step).min(len))));
    }
    places
}

#[tonic::async_trait]
impl pb::jobs_server::Jobs for Services {
    type WatchStream = Answers<pb::RunStatus>;

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::RunStatus>, Status> {
        let status = self.handle.status().borrow().clone();
        Ok(Response::new(status::describe(&self.facts, &status)))
    }

    async fn watch(&self, _: Request<pb::StatusRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let facts = self.facts.clone();
        let changes = WatchStream::new(self.handle.status());
        let changes = changes.map(move |status| Ok(status::describe(&facts, &status)));
        Ok(Response::new(Box::pin(tokio_stream::StreamExt::throttle(changes, WATCH_EVERY))))
    }

    async fn stop(&self, request: Request<pb::StopRequest>) -> Result<Response<pb::StopResponse>, Status> {
        let pb::StopRequest { reason } = request.into_inner();
        let exit = headstart::exit::Exit::Interrupted;
        self.handle.tell(Event::StopRequested { reason, exit }).await?;
        let mut status = self.handle.status();
        let ended = status
            .wait_for(|status| status.kept.is_some() || status.ended.is_some())
            .await
            .map_err(|_| Gone)?
            .clone();
        let kept = match (ended.kept, ended.ended) {
            (Some(kept), _) => kept,
            (None, Some((headstart::exit::Exit::Ok, _)) | None) => "the finished run".to_owned(),
            (None, Some((_, detail))) => return Err(Status::internal(wire::clip(&detail))),
        };
        Ok(Response::new(pb::StopResponse { kept }))
    }
}
