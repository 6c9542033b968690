//! Memory of a worker and of the coordinator at their peak, by formula. Every measured constant is in this file.
//!
//! The formulas follow what is allocated: `weights.rs` counts tensors, `layer.rs` what autograd keeps of a layer, `step.rs` puts
//! them together for a micro-batch. The constants were fitted to VmHWM of 18 runs on x86-64 with libtorch 2.11.
//!
//! `bench/plan_memory.py` compares the formulas with VmHWM. After a change of buffers in worker or coordinator, run it and
//! set the constants anew; `bench/MEMORY.md` has what it printed last.

mod layer;
mod step;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod weights;

use headstart::model::blueprint::{Blueprint, Input};
use headstart::model::canary;
use headstart::run_file::{InitFrom, Optimizer, RunSpec, Task};

pub(super) use self::weights::Weights;
use super::rows::MicroBatch;
use super::time::nodes;
use step::StepCost;

const MIB: f64 = (1 << 20) as f64;
/// Bytes of a float.
const F32: f64 = 4.0;

/// A worker before it has read anything: libtorch's pages that are touched, and the program's own.
const WORKER_BASE: f64 = 150.0 * MIB;
/// Bytes that a tokenizer takes per token of its vocabulary.
const TOKENIZER_TOKEN: f64 = 1400.0;
/// Memory that activations take, in their own sizes: the allocator cannot use all of what they leave free. Scores of pairs of
/// tokens are few and of one size, so that nothing is lost between them.
const ALLOCATED: f64 = 1.2;

/// Sizes of the canary's network: its tensors and two gradients, in part where activations were.
const CANARY_COPIES: f64 = 1.5;

/// A coordinator before it has read anything.
const COORDINATOR_BASE: f64 = 17.5 * MIB;
/// Text files are read in pieces, and each row is looked at.
const COORDINATOR_TEXT: f64 = 14.0 * MIB;
/// Rows of language models are tokenised while they are counted, beside the tokenizer itself.
const COORDINATOR_ROWS: f64 = 7.0 * MIB;
/// What reading a checkpoint leaves in the heap, in sizes of the weights; sums take its place later.
const COORDINATOR_LOADED: f64 = 1.7;
/// Sums under construction and spare buffers, in vectors: with up to three workers, and for each one more.
const SUMS: f64 = 1.9;
const SUMS_OF_WORKER: f64 = 1.15;
/// Workers whose partials find room in those.
const WORKERS_IN_SUMS: u32 = 3;
/// A tensor on its way into a file, in its own sizes.
const WRITTEN: f64 = 1.2;

/// Steps whose packed sums the coordinator keeps for workers across a network, if none of them lags.
const STEPS_IN_RING: f64 = 2.0;

/// Bytes of a row in an index, and of the counts of its tokens; the coordinator holds it encoded as well.
const ROW: f64 = 16.0;
const ROW_COUNTS: f64 = 8.0;

/// What memory depends on.
#[derive(Clone, Debug)]
pub(super) struct Sizes<'a> {
    pub(super) spec: &'a RunSpec,
    pub(super) blueprint: &'a Blueprint,
    pub(super) weights: Weights<'a>,
    /// Tokens that the tokenizer knows; 0 for images.
    pub(super) vocabulary: u64,
    /// Rows to train and evaluate on.
    pub(super) rows: u64,
    /// Tokens that a row may have, as the canary takes them; unused for images.
    pub(super) longest: u64,
    /// The largest micro-batches, by whatever measure.
    pub(super) training: &'a [MicroBatch],
    /// The largest batches of an evaluation.
    pub(super) evaluation: &'a [MicroBatch],
    pub(super) workers: u32,
    /// Whether states are committed while steps go on.
    pub(super) commits: bool,
    /// Bytes of a step's gradient on the wire.
    pub(super) packed: f64,
    /// Whether the run begins with a probe.
    pub(super) probed: bool,
}

/// Bytes at the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Memory {
    /// Of one worker on the coordinator's machine.
    pub(super) worker: f64,
    /// Of the coordinator, if all workers are there.
    pub(super) coordinator: f64,
    /// Of one worker across a network.
    pub(super) worker_across: f64,
    /// Of the coordinator, if workers are across a network.
    pub(super) coordinator_across: f64,
}

impl Sizes<'_> {
    /// The peaks.
    pub(super) fn memory(&self) -> Memory {
        let (worker, coordinator) = (self.worker(), self.coordinator());
        let (replica, ring) = self.across();
        Memory {
            worker,
            coordinator,
            worker_across: worker + replica + self.packed,
            coordinator_across: coordinator + ring,
        }
    }

    /// What replicas add, on a worker and on the coordinator. A worker holds moments, the sums of a step, whole, and first values
    /// that weights are pulled towards; the coordinator the packed sums of the last steps, which never take more than the state.
    fn across(&self) -> (f64, f64) {
        if !self.spec.cluster.replicas {
            return (0.0, 0.0);
        }
        let state = self.weights.trained() * (1.0 + self.moments());
        (state + self.first_values(), (STEPS_IN_RING * self.packed).min(state))
    }

    /// The vector of version 0, which whoever makes updates keeps where weights are pulled towards it.
    fn first_values(&self) -> f64 {
        if self.spec.transfer.l2_sp > 0.0 { self.weights.trained() } else { 0.0 }
    }

    /// Vectors that the optimizer keeps beside the weights.
    fn moments(&self) -> f64 {
        match self.spec.update.optim {
            Optimizer::AdamwTorch => 2.0,
            Optimizer::Sgd if self.spec.update.momentum > 0.0 => 1.0,
            Optimizer::Sgd => 0.0,
        }
    }

    /// Weights, and one after the other: first values on their way, the canary, the probe, micro-batches with their accumulators. What is
    /// free after each of them is given back.
    fn worker(&self) -> f64 {
        let node = nodes(self.spec.batch.shards_per_step, self.workers).into_iter().max().unwrap_or(1);
        let accumulators = self.weights.trained() * f64::from(1 + node.ilog2());
        let base = WORKER_BASE + self.tokenizer() + self.row() * self.rows as f64;
        // All first values are there before tensors are made of them, and reads have ended.
        let phases = [self.weights.read(), self.canary(), self.probe(), accumulators + self.step()];
        base + self.weights.bytes() + phases.into_iter().fold(0.0, f64::max)
    }

    /// The network that a probe compares the first weights with, once its values are there. It is gone when training begins.
    fn probe(&self) -> f64 {
        if self.probed { self.weights.bytes() + self.weights.read() } else { 0.0 }
    }

    /// Weights, moments, first values, sums under construction, the copy of the weights that is written, and what updates
    /// overwrite while a state is committed: at most all moments, on top of that copy.
    fn coordinator(&self) -> f64 {
        let trained = self.weights.trained();
        let moments = self.moments();
        let read = match self.spec.init {
            InitFrom::Pretrained => COORDINATOR_LOADED * trained,
            InitFrom::Random => 0.0,
        };
        let text = match self.spec.task {
            Task::SequenceClassification => COORDINATOR_TEXT,
            Task::CausalLm => COORDINATOR_ROWS + self.tokenizer(),
            Task::ImageClassification => 0.0,
        };
        let base = COORDINATOR_BASE + text + 2.0 * self.row() * self.rows as f64;
        let held = if self.commits { moments } else { 0.0 };
        base + trained * (2.0 + moments + held)
            + self.first_values()
            + read.max(self.sums() * trained)
            + WRITTEN * self.weights.largest_trained()
    }

    /// Number of sum vectors held at once.
    fn sums(&self) -> f64 {
        let shards = self.spec.batch.shards_per_step;
        let parts = shards.min(self.workers).min(shards.ilog2() + 2);
        SUMS + SUMS_OF_WORKER * f64::from(parts.saturating_sub(WORKERS_IN_SUMS))
    }

    fn tokenizer(&self) -> f64 {
        TOKENIZER_TOKEN * self.vocabulary as f64
    }

    fn row(&self) -> f64 {
        if self.spec.task == Task::CausalLm { ROW + ROW_COUNTS } else { ROW }
    }

    /// Bytes of the largest micro-batch of training or evaluation.
    fn step(&self) -> f64 {
        let cost = StepCost::new(self.blueprint, &self.weights, self.spec.gradient_checkpointing);
        let training = self.training.iter().map(|batch| cost.training(*batch));
        let evaluation = self.evaluation.iter().map(|batch| cost.evaluation(*batch));
        training.chain(evaluation).fold(0.0, f64::max)
    }

    /// Bytes of the canary's largest batch, with its network.
    fn canary(&self) -> f64 {
        let small = canary::network(self.blueprint);
        let table = small.parameters();
        let weights = Weights::fresh(&table);
        let cost = StepCost::new(&small, &weights, false);
        CANARY_COPIES * weights.bytes() + cost.training(self.canary_batch())
    }

    /// The canary's largest batch: every second text has half the length, and almost all tokens are predicted.
    fn canary_batch(&self) -> MicroBatch {
        let asked = u64::from(self.spec.batch.per_device_train_batch_size);
        let [rows, length] = canary::largest_batch(self.blueprint, asked, self.longest);
        let narrow = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        match &self.blueprint.input {
            Input::Image(image) => MicroBatch::of((0..rows).map(|_| (narrow(image.tokens()), 0))),
            Input::Text(_) => MicroBatch::of((0..rows).map(|row| {
                let tokens = narrow(if row % 2 == 0 { length } else { length.div_ceil(2) });
                (tokens, if self.spec.task == Task::CausalLm { tokens } else { 0 })
            })),
        }
    }
}
