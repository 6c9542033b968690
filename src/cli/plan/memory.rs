//! Memory of a worker and of the coordinator at their peak, by formula. Every measured constant is in this file.
//!
//! `bench/plan_memory.py` compares the formulas with VmHWM. After a change of buffers in worker or coordinator, run it and
//! set the constants anew.

use headstart::model::Architecture;
use headstart::spec::{InitFrom, Optimizer, RunSpec};

const MIB: f64 = (1 << 20) as f64;
/// Bytes of a float.
const F32: f64 = 4.0;

/// A worker before it has read anything: libtorch's pages that are touched, and the program's own.
const WORKER_BASE: f64 = 250.0 * MIB;
/// A coordinator before it has read anything.
const COORDINATOR_BASE: f64 = 25.0 * MIB;

/// Largest canary batch of texts, in tokens, and of images, in pixels; as the worker has it.
const CANARY: u64 = 1 << 14;
/// Layers of the canary's network.
const CANARY_LAYERS: u64 = 2;
/// Entries of its vocabulary.
const CANARY_VOCABULARY: u64 = 512;

/// Floats that a layer keeps for its backward pass, per token: so many hidden vectors and inner vectors.
const KEPT_HIDDEN: u64 = 15;
const KEPT_INNER: u64 = 2;
/// Per token, head and token attended to: probabilities, dropout's draws, and their product.
const KEPT_SCORES: u64 = 3;
/// A layer's backward pass holds gradients of about a layer's forward values on top of what was kept.
const BACKWARD_LAYERS: u64 = 1;

/// Bytes of a message's payload on its way, on each side of a push or pull.
const IN_FLIGHT: f64 = 32.0 * MIB;
/// Bytes of a row in an index, held decoded by the worker and encoded by the coordinator as well.
const ROW: f64 = 16.0;

/// What memory depends on.
#[derive(Clone, Debug)]
pub(super) struct Sizes<'a> {
    /// The run.
    pub(super) spec: &'a RunSpec,
    /// The network.
    pub(super) architecture: &'a Architecture,
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
    /// Workers.
    pub(super) workers: u32,
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

    /// Weights twice while they are loaded; or weights, what the canary or a micro-batch keeps, and accumulators.
    fn worker(&self) -> f64 {
        let weights = F32 * self.parameters as f64;
        let loading = weights + F32 * self.largest as f64;
        let accumulators = F32 * self.trainable as f64 * f64::from(1 + self.longest_node().ilog2());
        let training = self.kept() + accumulators + IN_FLIGHT.min(F32 * self.trainable as f64);
        WORKER_BASE + weights + ROW * self.rows as f64 + loading.max(self.canary()).max(training)
    }

    /// Shards of the largest node that one worker is leased.
    fn longest_node(&self) -> u32 {
        self.spec.shards_per_step.div_ceil(self.workers).max(1)
    }

    /// Weights, moments, sums under construction, and the copy that is written at the end.
    fn coordinator(&self) -> f64 {
        let trainable = F32 * self.trainable as f64;
        let moments = match self.spec.optim {
            Optimizer::AdamwTorch => 2.0,
            Optimizer::Sgd if self.spec.momentum > 0.0 => 1.0,
            Optimizer::Sgd => 0.0,
        };
        let reading = match self.spec.init {
            InitFrom::Pretrained => F32 * self.largest as f64,
            InitFrom::Random => 0.0,
        };
        let loading = 2.0 * trainable + reading;
        let running = trainable * (1.0 + moments + self.sums() + 1.0);
        COORDINATOR_BASE + 2.0 * ROW * self.rows as f64 + loading.max(running)
    }

    /// Vectors of sums held at a time.
    fn sums(&self) -> f64 {
        let parts = self.spec.shards_per_step.min(self.workers);
        f64::from(parts.min(self.spec.shards_per_step.ilog2() + 2))
    }

    /// Bytes that one micro-batch keeps for its backward pass.
    fn kept(&self) -> f64 {
        let rows = u64::from(self.spec.per_device_train_batch_size);
        let layers = u64::from(self.architecture.layers());
        self.activations(rows, self.tokens(self.longest), layers)
    }

    /// The same of the canary's largest batch, and its network and gradients, which a small network cannot hide.
    fn canary(&self) -> f64 {
        let layers = CANARY_LAYERS.min(self.architecture.layers().into());
        let asked = u64::from(self.spec.per_device_train_batch_size);
        let (rows, tokens) = match self.architecture {
            Architecture::Bert(config) => {
                let full = self.spec.sequence_len.map_or(config.positions, u64::from).clamp(2, CANARY);
                (asked.clamp(1, (CANARY / full).max(1)), full)
            }
            Architecture::ViT(config) => {
                let pixels = config.channels * config.image[0] * config.image[1];
                (asked.clamp(1, (CANARY / pixels).max(1)), config.patches() + 1)
            }
        };
        self.activations(rows, tokens, layers)
    }

    fn tokens(&self, longest: u64) -> u64 {
        match self.architecture {
            Architecture::Bert(config) => {
                longest.min(self.spec.sequence_len.map_or(config.positions, u64::from)).max(3)
            }
            Architecture::ViT(config) => config.patches() + 1,
        }
    }

    /// Bytes of so many layers over `rows` sequences of `tokens`.
    fn activations(&self, rows: u64, tokens: u64, layers: u64) -> f64 {
        let (hidden, inner, heads) = match self.architecture {
            Architecture::Bert(config) => (config.hidden, config.intermediate, config.heads),
            Architecture::ViT(config) => (config.hidden, config.intermediate, config.heads),
        };
        let of_token = KEPT_HIDDEN * hidden + KEPT_INNER * inner + KEPT_SCORES * heads * tokens;
        F32 * (rows * tokens) as f64 * ((layers + BACKWARD_LAYERS) * of_token) as f64
    }
}
