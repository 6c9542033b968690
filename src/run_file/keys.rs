//! The keys of a run file: their names, the spellings of other trainers, and what `headstart schema` says of them.

use schemars::JsonSchema;

use super::read::{KeyBlock, Located, OneOrMany, Overrides, Sources};
use super::values::{Bytes, LabelName, OneOf, Resumption};
use super::{InitFrom, Metric, NonFinite, Optimizer, Scheduler, Shuffle, Strategy, Task, Wire};

/// One key and its other spellings.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
}

/// A block of keys.
pub(super) trait Keys: Sized {
    const KEYS: &'static [Names];

    /// Takes every key out of the table; problems go to its list.
    fn take(table: &mut KeyBlock<'_>) -> Self;
}

macro_rules! keys {
    ($(#[$meta:meta])* $block:ident { $($(#[doc = $doc:literal])+ $key:ident $(| $alias:ident)*: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $block {
            $($(#[doc = $doc])+ pub(super) $key: Option<Located<$type>>,)*
        }

        impl Keys for $block {
            const KEYS: &'static [Names] =
                &[$(Names { name: stringify!($key), aliases: &[$(stringify!($alias)),*] }),*];

            fn take(table: &mut KeyBlock<'_>) -> Self {
                $block { $($key: table.take(stringify!($key)),)* }
            }
        }
    };
}

keys! {
    /// What to train, on which data, and how. Keys outside `cluster` can change the bits of the result.
    RunFile {
        /// Checkpoint to start from: an HF directory as a path or URL. Required.
        base_model | model_name_or_path | pretrained_model_name_or_path | model_name | model_path: String,
        /// What the network is to learn. Required.
        task: OneOf<Task>,
        /// Where weights begin: the checkpoint's own, or random draws shaped by its config.json. Default pretrained.
        init: OneOf<InitFrom>,
        /// Whether weights of the network's body that the checkpoint lacks begin as random draws, instead of being an
        /// error. Default false.
        init_missing: bool,
        /// Training data. Required.
        datasets | train_datasets | train_dataset | train_file | train_files | train_dir | train_path: Sources,
        /// Evaluation data.
        eval_datasets | test_datasets | eval_dataset | validation_datasets | validation_file | validation_files
            | validation_dir | eval_file | eval_files: Sources,
        /// Column that holds the text, for datasets that do not say it themselves. Default text.
        text_column | text_column_name: String,
        /// Column that holds the second text of a pair, for datasets that do not say it themselves.
        text_pair_column | text_pair_column_name: String,
        /// Column of Parquet files that holds the image, for datasets that do not say it themselves. Default image.
        image_column | image_column_name: String,
        /// Column that holds the label, for datasets that do not say it themselves. Default label.
        label_column | label_column_name: String,
        /// The labels in their order. Default: the classes of a ClassLabel column, else those that occur in the training
        /// data, sorted.
        labels: Vec<LabelName>,
        /// Order of the training data: global, a new permutation of all rows in every epoch; or blocks, of blocks of
        /// rows and of the rows of a few blocks at a time, which suits data larger than a worker's disk. Default: global
        /// up to data_cache, blocks above.
        shuffle: OneOf<Shuffle>,
        /// Data that a worker keeps on its disk, such as 50GB; packed data may unpack to as much. Default 20GB.
        data_cache: Bytes,
        /// Where everything is written: a path or URL. Required.
        output_dir: String,
        /// Longest token sequence; longer texts are cut. Default: the model's own limit.
        sequence_len | max_length | max_seq_length | max_sequence_length | max_seq_len | cutoff_len: u32,
        /// Samples of one forward and backward pass on a worker. Default 8.
        per_device_train_batch_size | micro_batch_size | per_gpu_train_batch_size: u32,
        /// Samples of one forward pass in evaluation. Default 8.
        per_device_eval_batch_size | eval_batch_size | per_gpu_eval_batch_size: u32,
        /// Micro-batches of one step. Default 1.
        gradient_accumulation_steps: u32,
        /// Samples of one step. Default: per_device_train_batch_size × gradient_accumulation_steps.
        global_batch_size: u32,
        /// Passes over the training data; fractions are allowed. Default 3.
        num_train_epochs | num_epochs | epochs: f64,
        /// Number of steps, instead of num_train_epochs.
        max_steps | max_train_steps: i64,
        /// Peak learning rate. Default 5e-5.
        learning_rate | lr: f64,
        /// Shape of the learning rate over the steps. Default linear.
        lr_scheduler_type | lr_scheduler: OneOf<Scheduler>,
        /// Steps of linear warm-up: a count from 1, or a ratio of all steps below 1. Default 0.
        warmup_steps | num_warmup_steps: f64,
        /// Warm-up as a ratio of all steps, instead of warmup_steps.
        warmup_ratio: f64,
        /// Decoupled weight decay; biases and norms are not decayed. Default 0.
        weight_decay: f64,
        /// AdamW's first decay rate. Default 0.9.
        adam_beta1: f64,
        /// AdamW's second decay rate. Default 0.999.
        adam_beta2: f64,
        /// AdamW's epsilon. Default 1e-8.
        adam_epsilon: f64,
        /// Gradient norm above which gradients are scaled down; 0 turns clipping off. Default 1.
        max_grad_norm | gradient_clipping: f64,
        /// Share of each target that is spread over all labels (Szegedy et al., 2016), from 0 to 1; the loss of evaluations is
        /// smoothed too. Default 0.
        label_smoothing_factor | label_smoothing: f64,
        /// The optimizer. Default adamw_torch.
        optim | optimizer: OneOf<Optimizer>,
        /// Arguments of the optimizer: "momentum=0.9" for sgd.
        optim_args: String,
        /// Seed of every random draw. Default 42.
        seed: u64,
        /// When evaluation happens. Default no.
        eval_strategy | evaluation_strategy: OneOf<Strategy>,
        /// Steps between evaluations, or a ratio of all steps below 1. Default: logging_steps, or 500 without it.
        eval_steps: f64,
        /// Steps between evaluations where eval_steps is not given. It changes nothing else: every step is logged.
        logging_steps: f64,
        /// Evaluate once before the first step too. Default false.
        eval_on_start: bool,
        /// When the run's state is committed, so that it can be resumed, and checkpoint-<step>/ is written. Default steps.
        save_strategy: OneOf<Strategy>,
        /// Steps between two commits, or a ratio of all steps below 1. Default 500.
        save_steps: f64,
        /// Directories checkpoint-<step>/ that are kept; older ones are removed. Default, and below 1: all.
        save_total_limit: i64,
        /// auto resumes the run in output_dir, or starts a new one. Default no.
        resume_from_checkpoint | auto_resume_from_checkpoints: Resumption,
        /// Whether final/ holds the best evaluated weights rather than the last. Default false.
        load_best_model_at_end: bool,
        /// The metric that decides which weights are best. Default loss.
        metric_for_best_model: OneOf<Metric>,
        /// Whether larger is better. Default: false for loss, true for the others.
        greater_is_better: bool,
        /// Evaluations without improvement after which training ends. Default: never.
        early_stopping_patience: u32,
        /// Smallest change that counts as an improvement for early stopping. Default 0.
        early_stopping_threshold: f64,
        /// What happens to a shard whose loss or gradient is not finite in two computations, while the other shards of its
        /// step are fine: fail ends the run and names the rows, skip drops the shard and records it in the ledger.
        /// Default fail.
        nonfinite_shards: OneOf<NonFinite>,
        /// Share of the training leases, from 0 to 1, that a second worker computes too, to compare the bits; a third one
        /// settles a difference. Default 0.
        audit: f64,
        /// Patterns (* and ?) of parameter names that do not train.
        freeze: Vec<String>,
        /// Keys of the model's config.json set differently, such as dropout.
        model_overrides | overrides_of_model_config: Overrides,
        /// Numbers in which gradients and weights travel. Only f32.
        wire: OneOf<Wire>,
        /// Fixed parts of a step that workers compute. Default: global_batch_size ÷ per_device_train_batch_size.
        shards_per_step: u32,
        /// CPU threads a worker computes with. Default 1.
        threads_per_worker: u32,
        /// How many workers there are and how storage is retried; nothing in it can change the result.
        cluster: ClusterBlock,
    }
}

keys! {
    /// One source of rows.
    DatasetBlock {
        /// Path or URL of a file, a glob, a directory with one folder per class or a metadata.jsonl, or a list of them.
        /// Required.
        path | data_files: OneOrMany,
        /// Column that holds the text. Default text.
        text_column | text_column_name | field_text | text_field | sentence1_key: String,
        /// Column that holds the second text of a pair. Default: rows hold single texts.
        text_pair_column | text_pair_column_name | text_pair | text_pair_field | field_text_pair | sentence2_key: String,
        /// Column of Parquet files that holds the image. Default image.
        image_column | image_column_name: String,
        /// Column that holds the label. Default label.
        label_column | label_column_name | field_label | label_field: String,
    }
}

keys! {
    /// How many workers there are and how storage is retried; nothing in it can change the result.
    ClusterBlock {
        /// Minimum number of ready workers before training starts. Default 1.
        min_workers: u32,
        /// Maximum number of workers; more are refused. Default 32.
        max_workers: u32,
        /// Whether workers on the coordinator's machine exchange gradients and weights with it through memory that both
        /// see, rather than over the network. Default true.
        shared_memory: bool,
        /// How long to retry failed storage requests, in seconds. Default 30.
        store_retry_seconds: u32,
    }
}

/// The key among `keys` that a spelling stands for. `-` is `_`, as on the command lines of other trainers.
pub(super) fn spelling_of(keys: &'static [Names], spelling: &str) -> Option<&'static Names> {
    let spelling = spelling.replace('-', "_");
    keys.iter().find(|names| names.name == spelling || names.aliases.contains(&spelling.as_str()))
}

/// The name that a spelling stands for; the spelling itself when it is not one of ours.
pub(super) fn canonical(spelling: &str) -> &str {
    let mut blocks = [RunFile::KEYS, DatasetBlock::KEYS, ClusterBlock::KEYS].into_iter();
    blocks.find_map(|keys| spelling_of(keys, spelling)).map_or(spelling, |names| names.name)
}
