//! A run as it was resolved: what the rest of the program is given.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lora::{Lora, Precision};
use super::probe::Probe;
use super::report_to::Tracker;
use super::transfer::Transfer;
use crate::chat::{ChatSettings, RowFormat};
use crate::store::{Environment, Stores};

/// A validated run. Groups of keys are flattened: serialized, a run is one flat map of the run file's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// URL of an HF checkpoint directory.
    pub base_model: String,
    /// What the network is to learn.
    pub task: Task,
    /// Whether the checkpoint's weights are loaded, or only its `config.json`.
    pub init: InitFrom,
    /// Whether weights of the body that the checkpoint lacks begin fresh, instead of being an error.
    pub init_missing: bool,
    pub datasets: Vec<Dataset>,
    /// Evaluation data; may be empty.
    pub eval_datasets: Vec<Dataset>,
    /// The labels in their order; `None`: those of the training data, sorted.
    pub labels: Option<Vec<String>>,
    /// Order of the training data. `None` until the data's size is known: global up to `data_cache`, blocks above.
    pub shuffle: Option<Shuffle>,
    /// Bytes of data that a worker keeps on its disk, and that packed data may unpack to.
    pub data_cache: u64,
    /// URL under which everything is written.
    pub output_dir: String,
    /// Longest token sequence; longer ones are cut or, with language models, dropped. `None`: the model's own limit.
    pub sequence_len: Option<u32>,
    /// How rows of language models become tokens.
    #[serde(flatten, skip_serializing_if = "is_default")]
    pub chat: ChatSettings,
    /// Sizes of a step.
    #[serde(flatten)]
    pub batch: Batch,
    /// Passes over the training data; fractions are allowed. Unused when `max_steps` is given.
    pub num_train_epochs: f64,
    /// Number of steps, when given.
    pub max_steps: Option<u64>,
    /// Optimizer, learning rate, decay and clipping.
    #[serde(flatten)]
    pub update: Update,
    /// Seed of every random draw.
    pub seed: u64,
    /// Evaluations, and what depends on them.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Commits of the run's state.
    #[serde(flatten)]
    pub saving: Saving,
    /// Where metrics are sent. Not serialized: no part of the result.
    #[serde(skip)]
    pub report_to: Vec<Tracker>,
    /// What to do with a non-finite shard while the others of its step are finite.
    pub nonfinite_shards: NonFinite,
    /// Share of the training leases that a second worker computes too, to compare the bits.
    pub audit: f64,
    /// Patterns (`*` and `?`) of parameter names that do not train.
    pub freeze: Vec<String>,
    /// How fast parameters train, from which step on, and what pulls them back.
    #[serde(flatten)]
    pub transfer: Transfer,
    /// The adapter to train instead of the network; `None`: the network itself trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Lora>,
    /// Numbers to compute in.
    #[serde(rename = "bf16", default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// Whether the backward pass computes a layer's activations again, instead of keeping them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Numbers that sums of gradients are rounded to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: Wire,
    /// How many rows are probed before the first step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe: Probe,
    /// Keys of the model's `config.json` set differently, such as dropout.
    pub model_overrides: BTreeMap<String, serde_json::Value>,
    /// CPU threads a worker computes with.
    pub threads_per_worker: u32,
    /// How workers are found and counted. Nothing here can change bits.
    pub cluster: Cluster,
}

/// How many samples a step has, and how they are cut into shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Samples of one forward and backward pass on a worker.
    pub per_device_train_batch_size: u32,
    /// Samples of one forward pass in evaluation; one evaluation shard.
    pub per_device_eval_batch_size: u32,
    /// Samples of one step.
    pub global_batch_size: u32,
    /// Fixed parts of a global batch: the leaves of the reduction tree.
    pub shards_per_step: u32,
}

/// How a gradient becomes an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    pub learning_rate: f64,
    /// Shape of the learning rate over the steps.
    pub lr_scheduler_type: Scheduler,
    /// Steps of linear warm-up: a count from 1, or a ratio of all steps below 1.
    pub warmup_steps: f64,
    /// Decoupled weight decay; never on biases and norms.
    pub weight_decay: f64,
    /// AdamW's first decay rate.
    pub adam_beta1: f64,
    /// AdamW's second decay rate.
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    /// Gradient norm above which gradients are scaled down; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Share of each target that is spread over all labels.
    pub label_smoothing_factor: f64,
    pub optim: Optimizer,
    pub momentum: f64,
}

/// When the network is evaluated, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// When evaluation happens.
    pub eval_strategy: Strategy,
    /// Steps between evaluations; a ratio of all steps below 1.
    pub eval_steps: f64,
    /// Evaluate once before the first step too.
    pub eval_on_start: bool,
    /// Whether `final/` holds the best evaluated weights rather than the last.
    pub load_best_model_at_end: bool,
    /// The metric that decides which weights are best, without the `eval_` prefix.
    pub metric_for_best_model: Metric,
    /// Whether larger is better.
    pub greater_is_better: bool,
    /// Evaluations without improvement after which training ends; `None`: never.
    pub early_stopping_patience: Option<u32>,
    /// Smallest change that counts as an improvement for early stopping.
    pub early_stopping_threshold: f64,
}

/// When the run's state is committed, and whether a run continues from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    /// When the run's state is committed.
    pub save_strategy: Strategy,
    /// Steps between commits; a ratio of all steps below 1.
    pub save_steps: f64,
    /// Directories `checkpoint-<step>/` that are kept; `None`: all.
    pub save_total_limit: Option<u32>,
    /// Whether a run found in `output_dir` is resumed.
    pub resume_from_checkpoint: bool,
}

/// What the network is to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One label per text.
    SequenceClassification,
    /// One label per image.
    ImageClassification,
    /// The next token of a text.
    CausalLm,
}

impl Task {
    /// As run files name it.
    pub fn name(self) -> &'static str {
        match self {
            Task::SequenceClassification => "sequence-classification",
            Task::ImageClassification => "image-classification",
            Task::CausalLm => "causal-lm",
        }
    }
}

/// Where weights begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitFrom {
    /// The checkpoint's weights.
    Pretrained,
    /// Fresh draws: training from scratch from `config.json`.
    Random,
}

/// One source of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// URL of a file, a glob, or (images) a directory with one folder per class or a `metadata.jsonl`.
    pub path: String,
    /// Column that holds the text.
    pub text_column: String,
    /// Column that holds the second text of a pair; `None`: single texts.
    pub text_pair_column: Option<String>,
    /// Column of a Parquet file that holds the image.
    pub image_column: String,
    /// Column that holds the label; `None`: rows have none, as where they are predicted.
    pub label_column: Option<String>,
    /// Format of rows of language models, but for `text_column`.
    #[serde(flatten, skip_serializing_if = "is_default")]
    pub rows: RowFormat,
}

impl Dataset {
    /// The format of rows of language models.
    pub fn row_format(&self) -> RowFormat {
        RowFormat { text_column: Some(self.text_column.clone()), ..self.rows.clone() }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Shape of the learning rate over the steps; transformers' definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// Linear decay to zero after the warm-up.
    Linear,
    /// Half a cosine to zero after the warm-up.
    Cosine,
    /// Always the peak; warm-up is not applied.
    Constant,
    /// The peak after the warm-up.
    ConstantWithWarmup,
}

/// The optimizer; torch's definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    AdamwTorch,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// When something happens during training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Never.
    No,
    /// Every N steps.
    Steps,
    /// At the end of each epoch.
    Epoch,
}

/// What an evaluation measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean cross-entropy.
    Loss,
    /// Share of rows whose label was predicted.
    Accuracy,
    /// F1 averaged over labels with equal weight.
    F1,
    /// `exp` of the mean negative log likelihood of a token.
    Perplexity,
    /// Share of tokens that were the most likely ones.
    MeanTokenAccuracy,
    /// Mean entropy of the predicted distributions, in nats.
    Entropy,
}

impl Metric {
    /// Those of a task.
    pub fn of(task: Task) -> &'static [Metric] {
        match task {
            Task::SequenceClassification | Task::ImageClassification => {
                &[Metric::Loss, Metric::Accuracy, Metric::F1]
            }
            Task::CausalLm => &[Metric::Loss, Metric::Perplexity, Metric::MeanTokenAccuracy, Metric::Entropy],
        }
    }

    /// Its name in records, without the `eval_` prefix.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Loss => "loss",
            Metric::Accuracy => "accuracy",
            Metric::F1 => "f1",
            Metric::Perplexity => "perplexity",
            Metric::MeanTokenAccuracy => "mean_token_accuracy",
            Metric::Entropy => "entropy",
        }
    }

    /// Whether larger values are better.
    pub fn grows(self) -> bool {
        match self {
            Metric::Accuracy | Metric::F1 | Metric::MeanTokenAccuracy => true,
            Metric::Loss | Metric::Perplexity | Metric::Entropy => false,
        }
    }
}

/// What to do with a shard whose loss or gradient is non-finite while the others of its step are finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinite {
    /// The run ends and names its rows.
    Fail,
    /// The step drops it, and the ledger records that.
    Skip,
}

/// Order of the training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// A permutation of all rows in every epoch.
    Global,
    /// In every epoch, a permutation of blocks of consecutive rows, then of the rows within each group of blocks.
    Blocks,
}

/// Numbers that sums of gradients are rounded to, so that they travel in fewer bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// 32-bit floats: nothing is rounded.
    #[default]
    F32,
    /// The upper half of a 32-bit float.
    Bf16,
    /// One byte an element, and one for each 256 of them.
    Int8,
}

impl Wire {
    /// As run files have it.
    pub fn name(self) -> &'static str {
        match self {
            Wire::F32 => "f32",
            Wire::Bf16 => "bf16",
            Wire::Int8 => "int8",
        }
    }
}

/// How workers are found and counted. Nothing here can change bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Minimum number of ready workers before training starts.
    pub min_workers: u32,
    /// Maximum number of workers; more are refused.
    pub max_workers: u32,
    /// Whether workers on the coordinator's machine exchange bulk data through memory.
    pub shared_memory: bool,
    /// Whether workers across a network keep weights and optimizer state, and receive sums of gradients instead of weights.
    pub replicas: bool,
    /// How long to retry failed storage requests, in seconds.
    pub store_retry_seconds: u32,
}

impl Cluster {
    /// The stores of a run, none opened yet, set up by this process's environment.
    pub fn stores(&self) -> Stores {
        Stores::new(Environment::of_process(), Duration::from_secs(self.store_retry_seconds.into()))
    }
}
