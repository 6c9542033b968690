//! Keys that are not in a run file: those of other trainers that this version does not honour, and misspellings.

use super::error::Problem;
use super::keys::Names;
use super::node::{Key, Node, Value};

/// A key of another trainer, the values of it that ask for nothing, and what to do instead.
struct Known {
    keys: &'static [&'static str],
    off: &'static [&'static str],
    cure: &'static str,
}

const REMOVE: &str = "remove it";

const KNOWN: &[Known] = &[
    Known {
        keys: &[
            "bf16",
            "fp16",
            "tf32",
            "bfloat16",
            "float16",
            "bf16_full_eval",
            "fp16_full_eval",
            "torch_dtype",
            "dtype",
        ],
        off: &["float32", "f32", "no"],
        cure: "this version computes in 32-bit floats: remove it, or set it to false",
    },
    Known {
        keys: &["saves_per_epoch", "save_only_model", "save_first_step"],
        off: &["no"],
        cure: "state is committed every `save_steps` steps, or with `save_strategy: epoch`: remove it",
    },
    Known {
        keys: &["overwrite_output_dir"],
        off: &[],
        cure: "nothing is overwritten: remove it, and give another output_dir",
    },
    Known {
        keys: &[
            "adapter",
            "lora",
            "lora_r",
            "lora_rank",
            "lora_alpha",
            "lora_dropout",
            "lora_target",
            "lora_target_modules",
            "lora_target_linear",
            "lora_modules_to_save",
            "lora_model_dir",
            "peft",
            "use_peft",
            "peft_type",
            "target_modules",
            "modules_to_save",
            "peft_use_dora",
            "finetuning_type",
            "qlora",
        ],
        off: &["full", "none"],
        cure: "every parameter trains, but for those that `freeze` names: remove it",
    },
    Known {
        keys: &["load_in_8bit", "load_in_4bit", "quantization_bit", "gptq", "bnb_config_kwargs"],
        off: &[],
        cure: "weights are loaded as they are: remove it",
    },
    Known {
        keys: &["logging_steps", "logging_strategy", "logging_first_step", "logging_dir", "disable_tqdm"],
        off: &[],
        cure: "every step is logged, to final/metrics.jsonl: remove it",
    },
    Known {
        keys: &[
            "report_to",
            "wandb_project",
            "wandb_name",
            "use_tensorboard",
            "mlflow_experiment_name",
            "use_wandb",
        ],
        off: &["none", "no"],
        cure: "metrics are written to final/metrics.jsonl: remove it",
    },
    Known {
        keys: &[
            "run_name",
            "project",
            "stage",
            "do_train",
            "do_eval",
            "do_predict",
            "strict",
            "type",
            "plugins",
        ],
        off: &[],
        cure: REMOVE,
    },
    Known {
        keys: &["push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo"],
        off: &[],
        cure: "upload final/ yourself after the run: remove it",
    },
    Known {
        keys: &["batch_size", "train_batch_size"],
        off: &[],
        cure: "write per_device_train_batch_size (samples of one pass) or global_batch_size (samples of one step)",
    },
    Known {
        keys: &[
            "train_file",
            "validation_file",
            "test_file",
            "dataset",
            "dataset_name",
            "dataset_dir",
            "train_path",
        ],
        off: &[],
        cure: "list files under `datasets` and `eval_datasets`, each as `- path: FILE`",
    },
    Known {
        keys: &["val_set_size", "validation_split_percentage", "split", "max_samples", "max_train_samples"],
        off: &[],
        cure: "write the rows you want into files of their own, and list them under `datasets` and `eval_datasets`",
    },
    Known {
        keys: &["evals_per_epoch", "eval_delay", "eval_accumulation_steps", "eval_sample_packing"],
        off: &[],
        cure: "use eval_strategy and eval_steps",
    },
    Known {
        keys: &["warmup_epochs", "lr_scheduler_kwargs", "cosine_min_lr_ratio"],
        off: &[],
        cure: "use warmup_steps and lr_scheduler_type",
    },
    Known {
        keys: &["data_seed", "full_determinism"],
        off: &[],
        cure: "`seed` governs every draw, and equal runs give equal bits: remove it",
    },
    Known {
        keys: &["use_cpu", "no_cuda", "device", "device_map"],
        off: &[],
        cure: "the device is chosen where a worker starts: headstart-worker --device",
    },
    Known {
        keys: &[
            "deepspeed",
            "fsdp",
            "fsdp_config",
            "ddp_find_unused_parameters",
            "ddp_timeout",
            "ddp_backend",
            "local_rank",
            "parallelism_config",
            "accelerator_config",
        ],
        off: &[],
        cure: "workers share the steps by themselves: remove it",
    },
    Known {
        keys: &[
            "gradient_checkpointing",
            "gradient_checkpointing_kwargs",
            "torch_compile",
            "flash_attention",
            "flash_attn",
            "sample_packing",
            "packing",
            "pad_to_sequence_len",
            "group_by_length",
            "train_sampling_strategy",
            "neftune_noise_alpha",
            "dataloader_num_workers",
            "dataloader_drop_last",
            "dataloader_pin_memory",
            "auto_find_batch_size",
            "chat_template",
            "template",
            "train_on_inputs",
            "special_tokens",
            "tokens",
            "tokenizer_type",
            "model_type",
            "trust_remote_code",
            "use_liger_kernel",
            "max_prompt_length",
            "preprocessing_num_workers",
            "overwrite_cache",
            "remove_unused_columns",
            "ds_type",
            "unfrozen_parameters",
            "streaming",
            "allow_mixed_numerics",
            "compute_metrics",
            "include_tokens_per_second",
            "length_column_name",
            "num_labels",
        ],
        off: &["no", "none", "disabled", "random"],
        cure: REMOVE,
    },
];

/// The problem with a key that is not in `keys`; `None` when another trainer's key is off, which is what happens here.
pub(super) fn refuse(path: &str, keys: &[Names], key: &Key, value: &Node) -> Option<Problem> {
    let shown = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
    if let Some(known) = KNOWN.iter().find(|known| known.keys.contains(&key.name.as_str())) {
        let message = format!("`{shown}` is known, but not honoured yet");
        return (!is_off(known, &value.value)).then(|| Problem::at(&key.at, message).help(known.cure));
    }
    let spellings =
        keys.iter().flat_map(|names| std::iter::once(names.name).chain(names.aliases.iter().copied()));
    let problem = Problem::at(&key.at, format!("unknown key `{shown}`"));
    Some(match suggestion(&key.name, spellings) {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem.help("`headstart schema` lists every key"),
    })
}

fn is_off(known: &Known, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => known.off.contains(&text.as_str()),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

/// The candidate most like `text`, when one is like enough.
pub(super) fn suggestion<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Spellings differ in words, not in these.
    let plain = text.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::jaro_winkler(&plain, &candidate.replace('-', "_")), candidate))
        .filter(|&(likeness, _)| likeness > 0.84)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
