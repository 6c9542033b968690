//! One lease, from rows to a partial.
//!
//! What goes in is a node of the step's tree (shards `first..end`) and the weights that the trainer holds; what comes
//! out is one [`Partial`]: the node's gradient sum (none in an evaluation) and the sums beside it. Rows of the next
//! shards are read and tokenised while one shard is computed. Each shard's gradient is a leaf of the node's own
//! subtree, and leaves are added along it as soon as siblings meet, so that a node computed whole has the bits of its
//! halves added by the coordinator. That is why a lease may have any size, and why a lost node can be recomputed by
//! another worker in other pieces.
//!
//! The additions run on the trainer's thread, in the order of shards: at most `1 + log2(shards)` gradients exist at a
//! time, and their buffers are reused. A shard is checked here, where its rows are known: one whose loss or gradient is
//! non-finite ends the lease, and the coordinator decides what follows. A revoked lease ends before its next shard.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use headstart::message::{Failure, GoldenRow, Pass, Totals, Work};
use headstart::shared_memory::{self, Address, Region, Values};
use headstart::tree::{self, Fold, Node, Tree};
use tokio::time::Instant;

use crate::data::{Loaded, Loader};
use crate::engine::{Ended, Engine};
use crate::trainer::{Batch, Draw, Sums, TrainError, Trainer};

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

/// A lease's result.
#[derive(Debug, Default)]
pub struct Partial {
    /// Gradient sum over the node's samples, the flat trainable vector; none for evaluations.
    pub gradient: Option<Gradient>,
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

/// A vector as long as the trainable one, in memory that a coordinator on this machine can read.
#[derive(Debug)]
pub struct Gradient {
    values: Values,
    region: Option<Region>,
}

impl Gradient {
    fn new(len: usize) -> std::io::Result<Gradient> {
        let (region, mut values) = shared_memory::create(&[len])?;
        Ok(Gradient { values: values.pop().expect("one part was asked for"), region })
    }

    /// The numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Where another process finds them.
    pub fn address(&self) -> Option<Address> {
        self.region.as_ref().map(Region::address)
    }
}

/// Gradient vectors between two uses, so that fresh ones need not be mapped and cleared for every shard.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Gradient>>>);

impl Buffers {
    /// A vector of `len` elements of unspecified value.
    fn take(&self, len: usize) -> Result<Gradient, TrainError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = kept.filter(|gradient| gradient.values.len() == len);
        kept.map_or_else(|| Gradient::new(len).map_err(|error| TrainError::Memory { len, error }), Ok)
    }

    /// Keeps a vector for later.
    pub fn put(&self, gradient: Gradient) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(gradient);
    }
}

/// Computes a node: its shards in order, folded along the canonical tree on the trainer's thread.
///
/// Holds at most `1 + log2(shards)` gradients, taken from `buffers`.
pub async fn compute(
    task: Task,
    loader: Arc<Loader>,
    engine: &Engine,
    buffers: &Buffers,
    revoked: &AtomicBool,
) -> Result<Partial, Unfinished> {
    let Task { work, skipped, seed } = task;
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
    let (mut sum, mut computed) = (Subtree::new(work.node, buffers.clone()), Duration::ZERO);
    while let Some((shard, loaded)) = shards.next().await {
        if revoked.load(Ordering::Relaxed) {
            return Err(Unfinished::Revoked);
        }
        let Loaded { batches, prompt } = loaded.map_err(|error| Unfinished::Failed(error.into()))?;
        let draw = Draw { seed, step: work.step.0, shard, micro_batch: 0 };
        let began = Instant::now();
        let (outcome, back) = engine
            .run(move |trainer| {
                let outcome = match work.pass {
                    Pass::Train => sum.add_gradient(trainer, draw, &batches),
                    Pass::Eval => sum.add_metrics(trainer, shard, &batches).map(|()| true),
                    Pass::Golden => sum.add_golden(trainer, shard, &batches, prompt).map(|()| true),
                };
                (outcome, sum)
            })
            .await?;
        computed += began.elapsed();
        sum = back;
        if !outcome? {
            return Err(Unfinished::Failed(Failure::NotFinite { shard }));
        }
    }
    let mut partial = sum.take();
    partial.totals.compute = computed;
    Ok(partial)
}

/// A node's own tree: the part of the canonical tree below it, shifted to begin at 0.
struct Subtree {
    first: u32,
    fold: Fold<Partial>,
    buffers: Buffers,
}

impl Subtree {
    fn new(node: Node, buffers: Buffers) -> Subtree {
        // A node of the canonical tree splits like a tree of its own size: both halve at the largest power of two.
        Subtree { first: node.first, fold: Fold::new(Tree::new(node.shards)), buffers }
    }

    /// Adds a shard's gradient sum; `false` if it or the loss is non-finite. The check is made here, where the rows are
    /// known.
    fn add_gradient(
        &mut self,
        trainer: &mut dyn Trainer,
        draw: Draw,
        batches: &[Batch],
    ) -> Result<bool, TrainError> {
        let mut gradient = self.buffers.take(trainer.trainable_len())?;
        if batches.is_empty() {
            gradient.values.fill(0.0);
        }
        let (mut totals, mut finite) = (Totals::default(), true);
        for (micro_batch, batch) in (0..).zip(batches) {
            let sums = trainer.gradient(Draw { micro_batch, ..draw }, batch, &mut gradient.values)?;
            finite &= sums.finite;
            totals = Totals::merge(totals, totals_of(sums));
        }
        self.insert(draw.shard, Partial { gradient: Some(gradient), totals });
        Ok(finite)
    }

    /// Adds a shard's metric sums. An evaluation may report an infinite loss.
    fn add_metrics(
        &mut self,
        trainer: &mut dyn Trainer,
        shard: u32,
        batches: &[Batch],
    ) -> Result<(), TrainError> {
        let mut totals = Totals::default();
        for batch in batches {
            totals = Totals::merge(totals, totals_of(trainer.evaluate(batch)?));
        }
        self.insert(shard, Partial { gradient: None, totals });
        Ok(())
    }

    /// Adds a row's log probabilities.
    fn add_golden(
        &mut self,
        trainer: &mut dyn Trainer,
        shard: u32,
        batches: &[Batch],
        prompt: String,
    ) -> Result<(), TrainError> {
        let [batch @ Batch::Text { input_ids, .. }] = batches else {
            return Err(TrainError::Torch("one text was expected".into()));
        };
        let logprobs: Vec<f32> = trainer.nll(batch)?.into_iter().map(|nll| -nll).collect();
        let totals = Totals {
            samples: 1,
            divisor: logprobs.len() as u64,
            loss: logprobs.iter().map(|logprob| -f64::from(*logprob)).sum(),
            tokens: batch.tokens(),
            golden: vec![GoldenRow {
                prompt,
                token_ids: input_ids.iter().map(|&id| id as u32).collect(),
                logprobs,
            }],
            ..Totals::default()
        };
        self.insert(shard, Partial { gradient: None, totals });
        Ok(())
    }

    fn insert(&mut self, shard: u32, leaf: Partial) {
        let node = Node { first: shard - self.first, shards: 1 };
        let merge = |left: Partial, right: Partial| {
            let totals = Totals::merge(left.totals, right.totals);
            let (Some(mut sum), Some(other)) = (left.gradient, right.gradient) else {
                return Partial { gradient: None, totals };
            };
            tree::add(&mut sum.values, &other.values);
            self.buffers.put(other);
            Partial { gradient: Some(sum), totals }
        };
        self.fold.insert(node, leaf, merge).expect("each shard is computed once");
    }

    fn take(mut self) -> Partial {
        self.fold.take_root().expect("every shard of the node was computed")
    }
}

fn totals_of(Sums { samples, divisor, loss, finite: _, tokens, counts, measures }: Sums) -> Totals {
    Totals { samples, divisor, loss, counts, measures, tokens, ..Totals::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeTrainer;
    use crate::objective::Objective;

    fn partial(node: Node) -> Partial {
        let weights = (0..40).map(|element| element as f32 * 0.37);
        let mut trainer =
            FakeTrainer::new(weights.collect(), 2, Objective::Classification { smoothing: 0.0 });
        let mut sum = Subtree::new(node, Buffers::default());
        for shard in node.range() {
            let row = |row: u32| Batch::Image {
                pixels: vec![(shard * 10 + row) as f32],
                shape: [1, 1, 1],
                labels: vec![0],
            };
            let draw = Draw { seed: 3, step: 1, shard, micro_batch: 0 };
            assert!(
                sum.add_gradient(&mut trainer, draw, &[row(0), row(1)]).expect("fake gradients do not fail")
            );
        }
        sum.take()
    }

    #[test]
    fn a_node_is_the_sum_of_its_halves_to_the_bit() {
        let tree = Tree::new(7);
        let mut pending = vec![tree.root()];
        while let Some(node) = pending.pop() {
            let Some((left, right)) = Tree::children(node) else { continue };
            let whole = partial(node);
            let values = |partial: Partial| partial.gradient.expect("a training pass").values;
            let mut sum = values(partial(left));
            tree::add(&mut sum, &values(partial(right)));
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                bits(&sum),
                bits(whole.gradient.as_ref().expect("a training pass").values()),
                "{node}"
            );
            assert_eq!(whole.totals.samples, 2 * u64::from(node.shards));
            pending.extend([left, right]);
        }
    }
}
