//! The keys of a run file: names, aliases from other trainers, and descriptions, which `headstart schema` prints.

use schemars::JsonSchema;

use super::lora::Precision;
use super::lora_values::{AdapterChoice, LayerNumbers, ModuleNames};
use super::read::{KeyBlock, Located, OneOrMany, Overrides, Sources, TextLists};
use super::report_to::ReportTo;
use super::transfer::UnfreezeList;
use super::values::{Bytes, LabelName, OneOf, Resumption};
use super::{InitFrom, Metric, NonFinite, Optimizer, Probe, Scheduler, Shuffle, Strategy, Task, Wire};
use crate::chat::{ExcessLength, RowType, TrainOnEos};

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

/// A key's name without the mark of names that are words of Rust.
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(rest) => rest,
            Err(_) => name,
        },
        _ => name,
    }
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
                &[$(Names { name: plain(stringify!($key)), aliases: &[$(stringify!($alias)),*] }),*];

            fn take(table: &mut KeyBlock<'_>) -> Self {
                $block { $($key: table.take(plain(stringify!($key))),)* }
            }
        }
    };
}

keys! {
    /// What to train, on which data, and how. Every key outside `cluster` can change the bits of the result.
    RunFile {
        /// Checkpoint to start from: an HF directory as a path or URL. Required.
        base_model | model_name_or_path | pretrained_model_name_or_path | model_name | model_path: String,
        /// Task to train the network for. Required.
        task: OneOf<Task>,
        /// Initial weights: those of the checkpoint, or random ones in the shapes that its config.json describes. Default
        /// pretrained.
        init: OneOf<InitFrom>,
        /// Initialise weights of the network's body at random where the checkpoint lacks them, instead of failing. Default
        /// false.
        init_missing: bool,
        /// Training data. Required.
        datasets | train_datasets | train_dataset | train_file | train_files | train_dir | train_path: Sources,
        /// Evaluation data.
        eval_datasets | test_datasets | eval_dataset | validation_datasets | validation_file | validation_files
            | validation_dir | eval_file | eval_files: Sources,
        /// Column that holds the text, for datasets without a text_column of their own. Default text.
        text_column | text_column_name | dataset_text_field: String,
        /// Column that holds the second text of a pair, for datasets without a text_pair_column of their own.
        text_pair_column | text_pair_column_name: String,
        /// Column of Parquet files that holds the image, for datasets without an image_column of their own. Default image.
        image_column | image_column_name: String,
        /// Column that holds the label, for datasets without a label_column of their own. Default label.
        label_column | label_column_name: String,
        /// Names of the classes, in the order of their ids. Default: the classes of a ClassLabel column, or else the labels
        /// of the training data, in the order of the checkpoint's head if it knows the same ones, otherwise sorted.
        labels: Vec<LabelName>,
        /// Order of the training data. global: a new permutation of all rows in every epoch. blocks: a new permutation of
        /// blocks of rows, then of the rows within each group of blocks; for data larger than a worker's disk. Default:
        /// global if the data fits into data_cache, else blocks.
        shuffle: OneOf<Shuffle>,
        /// Size of a worker's cache on disk, such as 50GB; unpacked data must fit into it too. Default 20GB.
        data_cache: Bytes,
        /// Directory for everything that the run writes: a path or URL. Required.
        output_dir: String,
        /// Maximum number of tokens of a sequence; longer texts are truncated. Default: the model's limit.
        sequence_len | max_length | max_seq_length | max_sequence_length | max_seq_len | cutoff_len: u32,
        /// What to do with rows of language models that have more than sequence_len tokens. drop: leave them out, and count
        /// them. truncate: cut off their ends. raise: fail. Default drop.
        excess_length_strategy: OneOf<ExcessLength>,
        /// Train every token of rows of language models, prompts and questions included. Default false.
        train_on_inputs | train_on_prompt: bool,
        /// The opposite of train_on_inputs, as TRL has it for messages. false is accepted beside train_on_inputs: true only.
        assistant_only_loss: bool,
        /// The same, as TRL has it for prompts with completions.
        completion_only_loss: bool,
        /// Roles whose turns are trained. Default [assistant].
        roles_to_train: Vec<String>,
        /// Turns whose end token is trained. turn: the trained ones. all: all. last: the last trained one. none: none.
        /// Default turn.
        train_on_eos | train_on_eot: OneOf<TrainOnEos>,
        /// Tokens that end a turn. Default: the EOS tokens of the tokenizer and of generation_config.json.
        eot_tokens: Vec<String>,
        /// End texts and completions with the tokenizer's EOS. Default true.
        add_eos: bool,
        /// Chat template: tokenizer_default, the checkpoint's own; jinja, the one in chat_template_jinja; or a name such as
        /// chatml, which must be that of the checkpoint's own. Default tokenizer_default.
        chat_template: String,
        /// Text of a chat template, instead of the checkpoint's.
        chat_template_jinja: String,
        /// Path or URL of a file that holds a chat template, instead of the checkpoint's.
        chat_template_path: String,
        /// Variables for the chat template. Those of a dataset, and of a row, override them.
        chat_template_kwargs: Overrides,
        /// Date that chat templates see as today, as YYYY-MM-DD. Default: the UTC day on which the run is planned.
        chat_template_date: String,
        /// Number of samples in one forward and backward pass of a worker. Default 8.
        per_device_train_batch_size | micro_batch_size | per_gpu_train_batch_size: u32,
        /// Number of samples in one forward pass of an evaluation. Default 8.
        per_device_eval_batch_size | eval_batch_size | per_gpu_eval_batch_size: u32,
        /// Number of micro-batches in one step. Default 1.
        gradient_accumulation_steps: u32,
        /// Number of samples in one step. Default: per_device_train_batch_size × gradient_accumulation_steps.
        global_batch_size: u32,
        /// Number of passes over the training data; fractions are allowed. Default 3.
        num_train_epochs | num_epochs | epochs: f64,
        /// Number of steps, instead of num_train_epochs.
        max_steps | max_train_steps: i64,
        /// Peak learning rate. Default 5e-5; 2e-4 with an adapter.
        learning_rate | lr: f64,
        /// Learning rate schedule. Default linear; cosine with an adapter.
        lr_scheduler_type | lr_scheduler: OneOf<Scheduler>,
        /// Length of the linear warm-up: a number of steps, or a fraction of all steps if below 1. Default 0; 0.03 with an
        /// adapter.
        warmup_steps | num_warmup_steps: f64,
        /// Length of the warm-up as a fraction of all steps, instead of warmup_steps.
        warmup_ratio: f64,
        /// Decoupled weight decay; not applied to biases and norms. Default 0.
        weight_decay: f64,
        /// AdamW's first decay rate. Default 0.9.
        adam_beta1: f64,
        /// AdamW's second decay rate. Default 0.999.
        adam_beta2: f64,
        /// AdamW's epsilon. Default 1e-8.
        adam_epsilon: f64,
        /// Maximum norm of the gradient; larger gradients are scaled down to it. 0 turns clipping off. Default 1.
        max_grad_norm | gradient_clipping: f64,
        /// Fraction of each target that is spread evenly over all labels (Szegedy et al., 2016), from 0 to 1. It applies to
        /// the loss of evaluations too. Default 0.
        label_smoothing_factor | label_smoothing: f64,
        /// The optimizer. Default adamw_torch.
        optim | optimizer: OneOf<Optimizer>,
        /// Arguments of the optimizer: "momentum=0.9" for sgd.
        optim_args: String,
        /// Seed of all random numbers. Default 42.
        seed: u64,
        /// When to evaluate. Default no.
        eval_strategy | evaluation_strategy: OneOf<Strategy>,
        /// Number of steps between evaluations, or a fraction of all steps if below 1. Default: logging_steps, or else 500.
        eval_steps: f64,
        /// Default of eval_steps. It has no other effect: every step is logged.
        logging_steps: f64,
        /// Evaluate once before the first step too. Default false.
        eval_on_start: bool,
        /// When to commit the state of the run, from which it can be resumed, and write checkpoint-<step>/. Default steps.
        save_strategy: OneOf<Strategy>,
        /// Number of steps between commits, or a fraction of all steps if below 1. Default 500.
        save_steps: f64,
        /// Number of directories checkpoint-<step>/ to keep; older ones are removed. Default, and if below 1: all.
        save_total_limit: i64,
        /// auto resumes the run in output_dir, or starts a new one. Default no.
        resume_from_checkpoint | auto_resume_from_checkpoints: Resumption,
        /// Write the weights of the best evaluation to final/, instead of the last ones. Default false.
        load_best_model_at_end: bool,
        /// Metric by which evaluations are compared. Default loss.
        metric_for_best_model: OneOf<Metric>,
        /// Whether larger values of the metric are better. Default: false for loss, true for the others.
        greater_is_better: bool,
        /// Stop training after this number of evaluations without improvement. Default: never.
        early_stopping_patience: u32,
        /// Smallest change that counts as an improvement for early stopping. Default 0.
        early_stopping_threshold: f64,
        /// Where metrics are sent at each commit, besides final/metrics.jsonl: tensorboard, mlflow, or a list of them; all, or
        /// none. It cannot change the result. Default none.
        report_to: ReportTo,
        /// What to do when the loss or gradient of a shard is non-finite in two computations, but the other shards of the
        /// step are finite. fail: end the run and name the rows. skip: drop the shard and record it in the ledger.
        /// Default fail.
        nonfinite_shards: OneOf<NonFinite>,
        /// Fraction of the training leases, from 0 to 1, that a second worker recomputes, so that the bits can be compared. If
        /// they differ, a third worker decides which one is wrong. Default 0.
        audit: f64,
        /// Names of parameters to freeze; * and ? are wildcards.
        freeze: Vec<String>,
        /// Factor of the learning rate from each layer to the one before it, above 0 and at most 1, as BEiT and timm have it:
        /// the head and what follows the last layer train at learning_rate, the embeddings slowest. Default 1.
        layer_decay: f64,
        /// Parameters that begin to train later: entries {step, parameters}. Those that no entry names train from the start.
        unfreeze: UnfreezeList,
        /// Strength of a pull towards the checkpoint's weights (L2-SP; Li et al., 2018), decoupled from the gradient as weight
        /// decay is; not applied to a classifier's head and to weights that began fresh. Default 0.
        l2_sp: f64,
        /// lora: train a low-rank adapter beside the frozen network, and write it in PEFT's format. Then the defaults of
        /// learning_rate, lr_scheduler_type and warmup_ratio are 2e-4, cosine and 0.03. Default: every parameter trains.
        adapter | finetuning_type | peft_type | use_peft | use_lora: AdapterChoice,
        /// Rank of the adapter. Default 16.
        lora_r | lora_rank: u32,
        /// Scale of the adapter: its update is multiplied by lora_alpha ÷ lora_r. Default 32.
        lora_alpha: f64,
        /// Dropout of the adapter's input. Default 0.
        lora_dropout: f64,
        /// Multiply the update by lora_alpha ÷ √lora_r instead (Kalajdzievski, 2023). Default false.
        use_rslora | peft_use_rslora: bool,
        /// Linear modules to adapt: names, ends of names, or all-linear for all of those in the layers. Default all-linear.
        lora_target_modules | lora_target | target_modules: ModuleNames,
        /// true: as lora_target_modules: all-linear.
        lora_target_linear: bool,
        /// Modules that train whole and are saved beside the adapter: names, or ends of names. A classifier's head is always
        /// one of them.
        lora_modules_to_save | modules_to_save | additional_target: ModuleNames,
        /// Numbers of the layers to adapt, from 0. Default: all.
        layers_to_transform | peft_layers_to_transform: LayerNumbers,
        /// Directory of a PEFT adapter to continue from, as a path or URL. It decides rank, scale and modules.
        lora_model_dir | adapter_name_or_path: String,
        /// true: compute in bfloat16 on GPUs, with weights, losses and sums in 32-bit floats; CPUs compute in 32-bit floats.
        /// auto: as the device of the first worker can. Default false.
        bf16 | bfloat16: Precision,
        /// Recompute a layer's activations in the backward pass instead of keeping them: less memory, more time, the same
        /// bits. Default false.
        gradient_checkpointing: bool,
        /// Overrides for keys of the model's config.json, such as dropout.
        model_overrides | overrides_of_model_config: Overrides,
        /// Numbers that sums of gradients are rounded to: f32 (no rounding), bf16 (half the bytes on the network) or int8 (a
        /// quarter). Across machines, int8 is recommended. Default f32.
        wire: OneOf<Wire>,
        /// Whether to find out before the first step of a new run how much the checkpoint's weights help on this task, and to warn if
        /// they don't: it costs at most 2 % of the run, and does not change its result. A number: of so many training rows. Default
        /// true.
        probe: Probe,
        /// Number of shards that a step is cut into. It is independent of the number of workers. Default: global_batch_size ÷
        /// per_device_train_batch_size.
        shards_per_step: u32,
        /// Number of CPU threads of a worker. Default 1.
        threads_per_worker: u32,
        /// Number of workers, and retries of storage. No key in this block can change the result.
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
        text_column | text_column_name | field_text | text_field | field | dataset_text_field | sentence1_key: String,
        /// Column that holds the second text of a pair. Default: rows hold single texts.
        text_pair_column | text_pair_column_name | text_pair | text_pair_field | field_text_pair | sentence2_key: String,
        /// Column of Parquet files that holds the image. Default image.
        image_column | image_column_name: String,
        /// Column that holds the label. Default label.
        label_column | label_column_name | field_label | label_field: String,
        /// Format of rows of language models. Default: the first of the known formats whose columns a row has.
        r#type: OneOf<RowType>,
        /// Column that holds a prompt. Default prompt.
        field_prompt: String,
        /// Column that holds a completion. Default completion.
        field_completion: String,
        /// Column that holds messages. Default messages, or else conversations.
        field_messages: String,
        /// Column that holds a system prompt. Default system.
        field_system: String,
        /// Column that holds tools. Default tools.
        field_tools: String,
        /// Column that holds an instruction. Default instruction.
        field_instruction: String,
        /// Column that holds the input of an instruction. Default input.
        field_input: String,
        /// Column that holds the answer to an instruction. Default output.
        field_output: String,
        /// Names of a message's keys, from the template's name to the data's, such as {role: from, content: value}.
        message_property_mappings: TextLists,
        /// Key of a message that says whether it is trained, whatever its role. Default train.
        message_field_training: String,
        /// Names of roles, from the template's name to those of the data, such as {user: [human]}.
        roles: TextLists,
        /// Roles whose turns are trained. Default: those of the run.
        roles_to_train: Vec<String>,
        /// Turns whose end token is trained. Default: as in the run.
        train_on_eos | train_on_eot: OneOf<TrainOnEos>,
        /// Variables for the chat template, which override those of the run.
        chat_template_kwargs: Overrides,
    }
}

keys! {
    /// When parameters begin to train.
    UnfreezeBlock {
        /// First step that trains them. Steps count from 1, as in metrics.jsonl. Required.
        step: u64,
        /// Names of parameters, or one; * and ? are wildcards. Those that several entries name train from the earliest step on.
        /// Required.
        parameters: OneOrMany,
    }
}

keys! {
    /// Number of workers, and retries of storage. No key in this block can change the result.
    ClusterBlock {
        /// Minimum number of ready workers before training starts. Default 1.
        min_workers: u32,
        /// Maximum number of workers; more are refused. Default 32.
        max_workers: u32,
        /// Whether workers on the coordinator's machine exchange gradients and weights with it through shared memory, instead
        /// of over the network. Default true.
        shared_memory: bool,
        /// Whether workers across a network keep weights and optimizer state, and receive each step's sum of gradients instead
        /// of its weights. false needs less of their memory and, with a narrow `wire`, a faster network. Default true.
        replicas: bool,
        /// How long to retry failed storage requests, in seconds. Default 30.
        store_retry_seconds: u32,
    }
}

/// The key that `spelling` names, if any. `-` and `_` are equal, as on the command lines of other trainers.
pub(super) fn spelling_of(keys: &'static [Names], spelling: &str) -> Option<&'static Names> {
    let spelling = spelling.replace('-', "_");
    keys.iter().find(|names| names.name == spelling || names.aliases.contains(&spelling.as_str()))
}

/// The canonical name of a spelling; unknown spellings are returned unchanged.
pub(super) fn canonical(spelling: &str) -> &str {
    let mut blocks = [RunFile::KEYS, DatasetBlock::KEYS, UnfreezeBlock::KEYS, ClusterBlock::KEYS].into_iter();
    blocks.find_map(|keys| spelling_of(keys, spelling)).map_or(spelling, |names| names.name)
}
