//! Memory of a worker and of the coordinator at their peak, by formula. Every measured constant is in this file.
//!
//! The formulas follow what is allocated; the constants were fitted to VmHWM of some 40 runs on x86-64 with AVX-512 and
//! libtorch 2.11. A small network with a very large micro-batch is overestimated, by a third for 1 024 images of 8 × 8 pixels.
//!
//! `bench/plan_memory.py` compares the formulas with VmHWM. After a change of buffers in worker or coordinator, run it and
//! set the constants anew; `bench/MEMORY.md` has what it printed last.

use headstart::model::blueprint::{Blueprint, ImageInput, Layer};
use headstart::model::canary;
use headstart::run_file::{InitFrom, Optimizer, RunSpec, Task};

use super::time::nodes;

const MIB: f64 = (1 << 20) as f64;
/// Bytes of a float.
const F32: f64 = 4.0;

/// A worker before it has read anything: libtorch's pages that are touched, and the program's own.
const WORKER_BASE: f64 = 145.0 * MIB;
/// A tokenizer with its vocabulary, 30 000 words.
const WORKER_TOKENIZER: f64 = 41.0 * MIB;
/// What reading a checkpoint leaves in the heap, in sizes of the weights: first values, and reads under way.
const WORKER_LOADED: f64 = 0.9;

/// Floats that a layer keeps for its backward pass, per token, as numbers of hidden vectors and inner vectors. Fifteen
/// hidden vectors are kept by name; the others are what the allocator cannot reuse.
const KEPT_HIDDEN: u64 = 22;
const KEPT_INNER: u64 = 2;
/// Per token, head and token attended to: probabilities, dropout's draws, and their product.
const KEPT_SCORES: u64 = 3;
/// What one layer's backward pass holds on top: gradients on their way, in the same units.
const BACKWARD_HIDDEN: u64 = 4;
const BACKWARD_INNER: u64 = 2;
const BACKWARD_SCORES: u64 = 2;

/// Sizes of the canary's network: first values, tensors, and the two gradients that are compared.
const CANARY_COPIES: f64 = 3.5;

/// A coordinator before it has read anything.
const COORDINATOR_BASE: f64 = 17.5 * MIB;
/// Text files are read in pieces, and each row is looked at.
const COORDINATOR_TEXT: f64 = 14.0 * MIB;
/// What reading a checkpoint leaves in the heap, in sizes of the weights; sums take its place later.
const COORDINATOR_LOADED: f64 = 1.7;
/// Sums under construction and spare buffers, in vectors: with up to three workers, and for each one more.
const SUMS: f64 = 2.15;
const SUMS_OF_WORKER: f64 = 1.15;
/// Workers whose partials find room in those.
const WORKERS_IN_SUMS: u32 = 3;
/// A tensor on its way into a file, in its own sizes; a frozen one is read first.
const WRITTEN: f64 = 1.2;

/// Bytes of a row in an index; the coordinator holds it encoded as well.
const ROW: f64 = 16.0;

/// What memory depends on.
#[derive(Clone, Debug)]
pub(super) struct Sizes<'a> {
    pub(super) spec: &'a RunSpec,
    pub(super) blueprint: &'a Blueprint,
    /// Elements of all parameters.
    pub(super) parameters: u64,
    /// Elements that train.
    pub(super) trainable: u64,
    /// Elements of the largest tensor.
    pub(super) largest: u64,
    /// Rows to train and evaluate on.
    pub(super) rows: u64,
    /// Tokens of the longest text, estimated; unused for images.
    pub(super) longest: u64,
    pub(super) workers: u32,
    /// Whether states are committed while steps go on.
    pub(super) commits: bool,
}

/// Bytes at the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Memory {
    /// Of one worker.
    pub(super) worker: f64,
    /// Of the coordinator.
    pub(super) coordinator: f64,
}

impl Sizes<'_> {
    /// The peaks.
    pub(super) fn memory(&self) -> Memory {
        Memory { worker: self.worker(), coordinator: self.coordinator() }
    }

    /// Weights, accumulators, and what the canary or a micro-batch needs: memory of the one serves the other.
    fn worker(&self) -> f64 {
        let weights = F32 * self.parameters as f64;
        let read = match self.spec.init {
            InitFrom::Pretrained => WORKER_LOADED * weights,
            InitFrom::Random => 0.0,
        };
        let tokenizer = if self.blueprint.text().is_some() { WORKER_TOKENIZER } else { 0.0 };
        let node = nodes(self.spec.batch.shards_per_step, self.workers).into_iter().max().unwrap_or(1);
        let accumulators = F32 * self.trainable as f64 * f64::from(1 + node.ilog2());
        let base = WORKER_BASE + tokenizer + ROW * self.rows as f64;
        base + weights + read + accumulators + self.kept().max(self.canary())
    }

    /// Weights, moments, sums under construction, the copy of the weights that is written, and what updates overwrite
    /// while a state is committed: at most all moments, on top of that copy.
    fn coordinator(&self) -> f64 {
        let (trainable, largest) = (F32 * self.trainable as f64, F32 * self.largest as f64);
        let moments = match self.spec.update.optim {
            Optimizer::AdamwTorch => 2.0,
            Optimizer::Sgd if self.spec.update.momentum > 0.0 => 1.0,
            Optimizer::Sgd => 0.0,
        };
        let read = match self.spec.init {
            InitFrom::Pretrained => COORDINATOR_LOADED * F32 * self.trainable as f64,
            InitFrom::Random => 0.0,
        };
        let text = match self.spec.task {
            Task::SequenceClassification | Task::CausalLm => COORDINATOR_TEXT,
            Task::ImageClassification => 0.0,
        };
        let frozen = if self.trainable < self.parameters { 2.0 } else { 1.0 };
        let base = COORDINATOR_BASE + text + 2.0 * ROW * self.rows as f64;
        let held = if self.commits { moments } else { 0.0 };
        base + trainable * (2.0 + moments + held)
            + read.max(self.sums() * trainable)
            + frozen * WRITTEN * largest
    }

    /// Number of sum vectors held at once.
    fn sums(&self) -> f64 {
        let shards = self.spec.batch.shards_per_step;
        let parts = shards.min(self.workers).min(shards.ilog2() + 2);
        SUMS + SUMS_OF_WORKER * f64::from(parts.saturating_sub(WORKERS_IN_SUMS))
    }

    /// Bytes that one micro-batch keeps for its backward pass.
    fn kept(&self) -> f64 {
        let rows = u64::from(self.spec.batch.per_device_train_batch_size);
        self.activations(rows, self.tokens(self.longest), &self.blueprint.layers)
    }

    /// The same of the canary's largest batch, with its network.
    fn canary(&self) -> f64 {
        let small = canary::network(self.blueprint);
        let asked = u64::from(self.spec.batch.per_device_train_batch_size);
        let [rows, length] = canary::largest_batch(self.blueprint, asked, self.most_tokens());
        let tokens = self.blueprint.image().map_or(length, ImageInput::tokens);
        let network: usize = small.parameters().iter().map(|parameter| parameter.len()).sum();
        CANARY_COPIES * F32 * network as f64 + self.activations(rows, tokens, &small.layers)
    }

    /// Tokens of a row, when the longest text has this many.
    fn tokens(&self, longest: u64) -> u64 {
        match self.blueprint.image() {
            Some(image) => image.tokens(),
            None => longest.min(self.most_tokens()).max(3),
        }
    }

    /// Tokens that a text may have.
    fn most_tokens(&self) -> u64 {
        self.spec.sequence_len.map(u64::from).or(self.blueprint.longest()).unwrap_or(u64::MAX)
    }

    /// Bytes that layers keep over `rows` sequences of `tokens`, and the backward pass of the largest adds.
    fn activations(&self, rows: u64, tokens: u64, layers: &[Layer]) -> f64 {
        let hidden = self.blueprint.hidden;
        let of_layer = |layer: &Layer, [of_hidden, of_inner, of_scores]: [u64; 3]| {
            of_hidden * hidden + of_inner * layer.mlp.inner.to + of_scores * layer.attention.heads * tokens
        };
        let kept: u64 =
            layers.iter().map(|layer| of_layer(layer, [KEPT_HIDDEN, KEPT_INNER, KEPT_SCORES])).sum();
        let backward = layers
            .iter()
            .map(|layer| of_layer(layer, [BACKWARD_HIDDEN, BACKWARD_INNER, BACKWARD_SCORES]))
            .max();
        F32 * (rows * tokens) as f64 * (kept + backward.unwrap_or(0)) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    /// MiniLM on the sections example, on the machine the constants come from.
    fn sizes(more: &str, workers: u32) -> Memory {
        let text = format!(
            "base_model: m\ntask: sequence-classification\ndatasets: [{{path: d}}]\noutput_dir: o\nsequence_len: 128\n{more}"
        );
        let spec = headstart::run_file::parse("run.yaml", &text, &[]).unwrap();
        let config = json!({
            "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
            "intermediate_size": 1536, "vocab_size": 30522,
        });
        let blueprint = Blueprint::from_config(&config, spec.task, 20).unwrap();
        let lengths: Vec<u64> =
            blueprint.parameters().iter().map(|parameter| parameter.len() as u64).collect();
        let (parameters, largest) = (lengths.iter().sum(), *lengths.iter().max().unwrap());
        let blueprint = &blueprint;
        Sizes {
            spec: &spec,
            blueprint,
            parameters,
            trainable: parameters,
            largest,
            rows: 52_000,
            longest: 20,
            workers,
            commits: false,
        }
        .memory()
    }

    #[test]
    fn formulas_give_what_was_measured() {
        let batch = |micro_batch: u32, shards: u32| {
            let total = micro_batch * shards;
            format!("per_device_train_batch_size: {micro_batch}\nglobal_batch_size: {total}\n")
        };
        for (more, workers, worker, coordinator) in [
            (batch(4, 8), 1, 839.0, 603.0),
            (batch(4, 8), 3, 767.0, 618.0),
            (batch(32, 1), 1, 1105.0, 616.0),
            (format!("{}init: random\noptim: sgd\n", batch(8, 16)), 2, 824.0, 449.0),
            (batch(2, 16), 4, 705.0, 704.0),
        ] {
            let Memory { worker: here, coordinator: there } = sizes(&more, workers);
            let near = |predicted: f64, measured: f64| (predicted / MIB / measured - 1.0).abs() < 0.15;
            assert!(near(here, worker), "{more}: a worker {} MiB, not {worker}", here / MIB);
            assert!(
                near(there, coordinator),
                "{more}: the coordinator {} MiB, not {coordinator}",
                there / MIB
            );
        }
    }
}
