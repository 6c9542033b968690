//! What a replica receives: the state if it has none, then the sums of each step.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use headstart::id::{Segment, Step, Version};
use headstart::optimizer::Update;
use headstart::run_file::Wire;
use headstart::wire::{payload, pb};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use crate::broadcast::{Follower, Item, Unfollowable};
use crate::master::Vectors;
use crate::services::Services;

/// Messages that wait for the network.
pub(crate) const WAITING: usize = 4;

/// Where the messages of one call go.
pub(crate) type Outgoing = mpsc::Sender<Result<pb::ReplicaUpdate, Status>>;

/// The caller has gone.
struct Gone;

impl From<Unfollowable> for Status {
    fn from(unfollowable: Unfollowable) -> Self {
        Status::out_of_range(unfollowable.to_string())
    }
}

impl Services {
    /// Takes a place among the followers. A worker without a version receives the state first; that waits for an update that is
    /// being made.
    pub(crate) async fn follower(&self, known: Option<Version>) -> Result<Follower, Status> {
        let mut versions = self.master.watch();
        loop {
            match self.reducer.broadcast().follow(known, &versions) {
                Err(Unfollowable::Updating(version)) => {
                    let updated = versions.wait_for(|current| *current > version).await;
                    updated.map_err(|_| Status::unavailable("the run has ended"))?;
                }
                followed => return Ok(followed?),
            }
        }
    }

    /// Sends until the run ends, or until the caller goes. `joining`: the turn of a worker that receives the state first.
    pub(crate) async fn serve_follower(
        self,
        mut follower: Follower,
        joining: Option<OwnedSemaphorePermit>,
        to: Outgoing,
    ) {
        if joining.is_some() && self.send_state(&follower, &to).await.is_err() {
            return;
        }
        drop(joining);
        loop {
            let next = tokio::select! {
                next = follower.next() => next,
                () = to.closed() => return,
            };
            let sent = match next {
                Ok(Item::Sum { step, attempt, segment, packed }) => {
                    self.send_sum(&to, step, attempt, segment, &packed).await
                }
                Ok(Item::Apply { step, attempt, update }) => {
                    self.send(&to, apply(step, attempt, update)).await
                }
                Err(lost) => {
                    let _ = to.send(Err(lost.into())).await;
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Weights and moments, segment by segment, each as it is when its turn comes.
    async fn send_state(&self, follower: &Follower, to: &Outgoing) -> Result<(), Gone> {
        for segment in (0..self.master.segments() as u32).map(Segment) {
            if follower.is_gone() {
                // The sums that would have to follow are lost; the loop that sends them says so.
                return Ok(());
            }
            let master = self.master.clone();
            let (version, vectors): (Version, Vectors) =
                self.reducer.pool().run(move || master.state(segment)).await;
            for (vector, values) in vectors.iter().enumerate() {
                for (offset, bytes) in payload::chunks(Wire::F32, values) {
                    let chunk = pb::StateChunk {
                        segment: segment.0,
                        vector: vector as u32,
                        offset: offset as u32,
                        crc32: crc32fast::hash(&bytes),
                        payload: bytes,
                        weights_version: version.0,
                    };
                    self.send(to, pb::replica_update::Update::State(chunk)).await?;
                }
            }
        }
        Ok(())
    }

    async fn send_sum(
        &self,
        to: &Outgoing,
        step: Step,
        attempt: u32,
        segment: Segment,
        packed: &[Bytes],
    ) -> Result<(), Gone> {
        for (number, bytes) in packed.iter().enumerate() {
            let chunk = pb::SumChunk {
                step: step.0,
                attempt,
                segment: segment.0,
                offset: (number * payload::CHUNK) as u32,
                crc32: crc32fast::hash(bytes),
                payload: bytes.clone(),
            };
            self.send(to, pb::replica_update::Update::Sum(chunk)).await?;
        }
        Ok(())
    }

    async fn send(&self, to: &Outgoing, update: pb::replica_update::Update) -> Result<(), Gone> {
        use pb::replica_update::Update;
        let bytes = match &update {
            Update::State(pb::StateChunk { payload, .. }) | Update::Sum(pb::SumChunk { payload, .. }) => {
                payload.len()
            }
            Update::Apply(_) => 0,
        };
        let sent = to.send(Ok(pb::ReplicaUpdate { update: Some(update) })).await;
        self.handle.traffic().down.fetch_add(bytes as u64, Ordering::Relaxed);
        sent.map_err(|_| Gone)
    }
}

fn apply(step: Step, attempt: u32, update: Update) -> pb::replica_update::Update {
    let Update { rule: _, number: _, learning_rate, divisor, factor } = update;
    pb::replica_update::Update::Apply(pb::Apply { step: step.0, attempt, divisor, learning_rate, factor })
}
