//! One lease, from rows to a partial.
//!
//! What goes in is a node of the step's tree (shards `first..end`) and the weights that the trainer holds; what comes
//! out is one [`Partial`]: the node's gradient sum (none in an evaluation) and the sums beside it. Rows of the next
//! shards are read and tokenised while one shard is computed. Each shard's gradient is a leaf of the node's own
//! subtree, and leaves are added along it as soon as siblings meet, so that a node computed whole has the bits of its
//! halves added by the coordinator. That is why a lease may have any size, and why a lost node can be recomputed by
//! another worker in other pieces.
//!
//! A shard whose loss or gradient is non-finite ends the lease, and the coordinator decides what follows. A revoked lease ends
//! before its next shard.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use headstart::checkpoint::CheckpointError;
use headstart::host;
use headstart::message::{Failure, Pass, Work};
use headstart::network::Network;
use headstart::rounding::Rounding;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::data::{Loaded, Loader};
use crate::engine::{Ended, Engine};
use crate::gradient::Buffers;
use crate::outgoing::Outgoing;
use crate::subtree::{Partial, Subtree, Unadded};
use crate::trainer::{Draw, Line, TrainError};

/// Shards read and tokenised ahead of the one being computed.
const AHEAD: usize = 2;

/// What is to be computed.
#[derive(Clone, Debug)]
pub struct Task {
    pub work: Work,
    /// Shards of it that count as zero.
    pub skipped: Vec<u32>,
    pub seed: u64,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Unfinished {
    /// It was revoked meanwhile.
    Revoked,
    /// It failed.
    Failed(Failure),
    /// The compute thread is gone.
    Ended(Ended),
}

impl From<Ended> for Unfinished {
    fn from(ended: Ended) -> Self {
        Unfinished::Ended(ended)
    }
}

impl From<TrainError> for Unfinished {
    fn from(error: TrainError) -> Self {
        Unfinished::Failed(Failure::Error(error.to_string()))
    }
}

/// What a lease is computed with.
pub struct Means<'a> {
    pub network: &'a Network,
    pub loader: Arc<Loader>,
    pub engine: &'a Engine,
    pub buffers: &'a Buffers,
    /// Rounds each node's sum.
    pub rounding: Rounding,
    /// Elements of the trainable vector that the step does not train yet.
    pub not_yet: Vec<Range<usize>>,
    /// Takes segments of the node's sum as they become final; without, the sum stays in memory until it is whole.
    pub outgoing: Option<Outgoing>,
    /// Whether the lease has been revoked.
    pub revoked: &'a CancellationToken,
}

/// Computes a node: its shards in order, folded along the canonical tree on the trainer's thread.
///
/// Holds at most `1 + log2(shards)` gradients, taken from `buffers`.
pub async fn compute(task: Task, means: Means<'_>) -> Result<Partial, Unfinished> {
    let Task { work, skipped, seed } = task;
    let Means { network, loader, engine, buffers, rounding, not_yet, outgoing, revoked } = means;
    let mut shards = std::pin::pin!(
        futures::stream::iter(work.node.range())
            .map(|shard| {
                let (loader, skipped) = (loader.clone(), skipped.contains(&shard));
                async move {
                    let loaded =
                        if skipped { Ok(Loaded::default()) } else { loader.shard(&work, shard).await };
                    (shard, loaded)
                }
            })
            .buffered(AHEAD)
    );
    if work.pass == Pass::Probe && loader.line(work.node.end() - 1) == Line::Zero {
        give_zero_line(network, engine).await?;
    }
    let mut sum = Subtree::new(work, rounding, buffers.clone(), outgoing).without(not_yet);
    let mut computed = Duration::ZERO;
    while let Some((shard, loaded)) = shards.next().await {
        if revoked.is_cancelled() {
            return Err(Unfinished::Revoked);
        }
        let Loaded { batches, prompt, text } = loaded.map_err(|error| Unfinished::Failed(error.into()))?;
        let line = loader.line(shard);
        let draw = Draw { seed, step: work.step.0, shard, micro_batch: 0 };
        let began = Instant::now();
        let (outcome, back) = engine
            .run(move |trainer| {
                let outcome = match work.pass {
                    Pass::Train => sum.add_gradient(trainer, draw, &batches),
                    Pass::Eval => sum.add_metrics(trainer, shard, &batches),
                    Pass::Golden => sum.add_golden(trainer, shard, &batches, prompt),
                    Pass::Probe => sum.add_probed(trainer, (shard, line), &batches, text),
                };
                (outcome, sum)
            })
            .await?;
        computed += began.elapsed();
        sum = back;
        outcome?;
    }
    let mut partial = sum.take();
    partial.totals.compute = computed;
    Ok(partial)
}

/// Lets the trainer have what a probe compares with, once.
async fn give_zero_line(network: &Network, engine: &Engine) -> Result<(), Unfinished> {
    if engine.run(|trainer| trainer.has_zero_line()).await? {
        return Ok(());
    }
    let needed = network.stored_bytes();
    if host::free_memory().is_some_and(|free| free < needed) {
        return Err(Unfinished::Failed(Failure::Error(format!(
            "the network that a probe compares with needs {} MiB of memory, and less is free; `probe: false` leaves the probe out",
            needed.div_ceil(1 << 20)
        ))));
    }
    let unread = |error: CheckpointError| Unfinished::Failed(Failure::Storage(error.to_string()));
    let values = network.zero_line().await.map_err(unread)?;
    Ok(engine.run(move |trainer| trainer.set_zero_line(values)).await??)
}

impl From<Unadded> for Unfinished {
    fn from(unadded: Unadded) -> Self {
        match unadded {
            Unadded::Shard(shard) => Unfinished::Failed(Failure::NotFinite { shard }),
            Unadded::Sum => Unfinished::Failed(Failure::SumNotFinite),
            Unadded::Train(error) => error.into(),
        }
    }
}
