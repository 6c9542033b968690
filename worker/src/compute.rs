//! One lease, from rows to a partial.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use headstart::message::{Failure, Pass, Totals, Work};
use headstart::tree::{self, Fold, Node, Tree};

use crate::data::Loader;
use crate::engine::{Ended, Engine};
use crate::trainer::{Batch, Draw, Sums, TrainError, Trainer};

/// Shards read and tokenised ahead of the one being computed.
const AHEAD: usize = 2;

/// A lease's result.
#[derive(Debug)]
pub struct Partial {
    /// Gradient sum over the node's samples, the flat trainable vector; empty for evaluations.
    pub gradient: Vec<f32>,
    /// Sums beside it.
    pub totals: Totals,
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

/// Computes a node: its shards in order, folded along the canonical tree.
///
/// Holds at most `1 + log2(shards)` gradients.
pub async fn compute(
    work: Work,
    seed: u64,
    loader: Arc<Loader>,
    engine: &Engine,
    revoked: &AtomicBool,
) -> Result<Partial, Unfinished> {
    let mut shards = std::pin::pin!(
        futures::stream::iter(work.node.range())
            .map(|shard| {
                let loader = loader.clone();
                async move { (shard, loader.shard(&work, shard).await) }
            })
            .buffered(AHEAD)
    );
    let mut fold = Subtree::new(work.node);
    while let Some((shard, batches)) = shards.next().await {
        if revoked.load(Ordering::Relaxed) {
            return Err(Unfinished::Revoked);
        }
        let batches = batches.map_err(|error| Unfinished::Failed(error.into()))?;
        let spare = fold.spare.pop();
        let leaf = match work.pass {
            Pass::Train => {
                let draw = Draw { seed, step: work.step.0, shard, micro_batch: 0 };
                engine.run(move |trainer| gradient(trainer, draw, &batches, spare)).await??
            }
            Pass::Eval => engine.run(move |trainer| evaluate(trainer, &batches)).await??,
        };
        if let Some(rows) = not_finite(&work, &leaf).then(|| loader.rows(&work, shard)) {
            return Err(Unfinished::Failed(Failure::NotFinite { shard, rows }));
        }
        fold.insert(shard, leaf);
    }
    Ok(fold.take())
}

/// Training: a leaf is judged here, where shard and rows are known. Evaluation may report an infinite loss.
fn not_finite(work: &Work, leaf: &Partial) -> bool {
    work.pass == Pass::Train
        && !(leaf.totals.loss.is_finite() && leaf.gradient.iter().all(|value| value.is_finite()))
}

/// One shard's gradient sum.
fn gradient(
    trainer: &mut dyn Trainer,
    draw: Draw,
    batches: &[Batch],
    spare: Option<Vec<f32>>,
) -> Result<Partial, TrainError> {
    let began = Instant::now();
    let mut gradient = spare.unwrap_or_else(|| vec![0.0; trainer.trainable_len()]);
    gradient.fill(0.0);
    let mut totals = Totals::default();
    for (micro_batch, batch) in (0..).zip(batches) {
        let sums = trainer.add_gradient(Draw { micro_batch, ..draw }, batch, &mut gradient)?;
        totals = Totals::merge(totals, totals_of(sums, Duration::ZERO));
    }
    totals.compute = began.elapsed();
    Ok(Partial { gradient, totals })
}

/// One shard's metric sums.
fn evaluate(trainer: &mut dyn Trainer, batches: &[Batch]) -> Result<Partial, TrainError> {
    let began = Instant::now();
    let mut totals = Totals::default();
    for batch in batches {
        totals = Totals::merge(totals, totals_of(trainer.evaluate(batch)?, Duration::ZERO));
    }
    totals.compute = began.elapsed();
    Ok(Partial { gradient: Vec::new(), totals })
}

fn totals_of(Sums { samples, loss, tokens, counts }: Sums, compute: Duration) -> Totals {
    Totals { samples, loss, counts, tokens, compute }
}

/// A node's own tree: the part of the canonical tree below it, shifted to begin at 0.
struct Subtree {
    first: u32,
    fold: Fold<Partial>,
    /// Gradients that were added to others, to be filled again.
    spare: Vec<Vec<f32>>,
}

impl Subtree {
    fn new(node: Node) -> Subtree {
        // A node of the canonical tree splits like a tree of its own size: both halve at the largest power of two.
        Subtree { first: node.first, fold: Fold::new(Tree::new(node.shards)), spare: Vec::new() }
    }

    fn insert(&mut self, shard: u32, leaf: Partial) {
        let node = Node { first: shard - self.first, shards: 1 };
        let Subtree { fold, spare, .. } = self;
        let merge = |left: Partial, right: Partial| {
            let mut sum = left.gradient;
            tree::add(&mut sum, &right.gradient);
            spare.push(right.gradient);
            Partial { gradient: sum, totals: Totals::merge(left.totals, right.totals) }
        };
        fold.insert(node, leaf, merge).expect("each shard is computed once");
    }

    fn take(mut self) -> Partial {
        self.fold.take_root().expect("every shard of the node was computed")
    }
}
