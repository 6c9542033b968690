//! Run files that were written for other trainers: what means the same, what has no effect, and what asks for nothing.

use super::*;

const DUMPS: [(&str, &str); 6] = [
    ("5.23.0", include_str!("training_arguments/5.23.0.yaml")),
    ("5.23.0-text", include_str!("training_arguments/5.23.0-text.yaml")),
    ("4.57.6", include_str!("training_arguments/4.57.6.yaml")),
    ("4.57.6-text", include_str!("training_arguments/4.57.6-text.yaml")),
    ("4.44.2", include_str!("training_arguments/4.44.2.yaml")),
    ("4.26.1", include_str!("training_arguments/4.26.1.yaml")),
];

/// The run, and the keys without effect.
#[track_caller]
fn noted(more: &str) -> (RunSpec, IgnoredKeys) {
    let text = format!("{RUN}{more}");
    parse_noting("run.yaml", &text, &[]).unwrap_or_else(|error| panic!("{more:?} is refused:\n{error}"))
}

#[track_caller]
fn ignored(more: &str) -> Vec<String> {
    noted(more).1.keys().map(str::to_owned).collect()
}

#[test]
fn the_defaults_of_every_transformers_are_a_run_file() {
    let run = RUN.replace("output_dir: runs/a\n", "").replace("eval_datasets: [{path: eval.jsonl}]\n", "");
    let plain = parse("run.yaml", &format!("{run}output_dir: out/run\n"), &[]).expect("nothing more");
    for (version, dump) in DUMPS {
        let (spec, notes) = parse_noting("run.yaml", &format!("{run}{dump}"), &[])
            .unwrap_or_else(|error| panic!("{version} is refused:\n{error}"));
        assert_eq!(spec, plain, "{version}");
        let keys: Vec<&str> = notes.keys().collect();
        for key in ["logging_strategy", "log_level", "dataloader_pin_memory", "ddp_timeout", "hub_strategy"] {
            // The oldest has fewer keys.
            assert_eq!(
                keys.contains(&key),
                dump.contains(&format!("\n{key}: ")),
                "{version}: {key} of {keys:?}"
            );
        }
        for off in ["bf16", "gradient_checkpointing", "push_to_hub", "resume_from_checkpoint", "do_train"] {
            assert!(!keys.contains(&off), "{version}: {off} is off");
        }
        assert_eq!(notes.to_string().matches("run.yaml: keys without effect: ").count(), 1, "{version}");
    }
}

#[test]
fn a_training_arguments_file_of_a_user_is_a_run_file() {
    let (spec, notes) = noted(
        "do_train: true\ndo_eval: true\nevaluation_strategy: epoch\nsave_strategy: epoch\nlearning_rate: 2e-5\n\
         warmup_ratio: 0.1\noptim: adamw_torch\nadam_beta1: 0.9\nload_best_model_at_end: true\n\
         metric_for_best_model: eval_loss\ngreater_is_better: false\nfp16: false\nbf16: false\n\
         gradient_checkpointing: false\ndataloader_num_workers: 0\ndataloader_drop_last: false\n\
         dataloader_pin_memory: true\nlabel_smoothing_factor: 0.0\ngroup_by_length: false\n\
         remove_unused_columns: true\nlogging_steps: 50\nlogging_strategy: steps\nreport_to: none\n\
         push_to_hub: false\ndisable_tqdm: false\noverwrite_output_dir: true\nresume_from_checkpoint: null\n",
    );
    assert_eq!((spec.update.learning_rate, spec.update.warmup_steps), (2e-5, 0.1));
    assert_eq!(
        (spec.evaluation.eval_strategy, spec.saving.save_strategy),
        (Strategy::Epoch, Strategy::Epoch)
    );
    assert!(spec.evaluation.load_best_model_at_end && !spec.saving.resume_from_checkpoint);
    assert_eq!(
        format!("{notes:#}"),
        "run.yaml: keys without effect:\n  \
         do_train, do_eval: a run trains, and evaluates as eval_strategy says; it predicts nothing\n  \
         dataloader_num_workers, dataloader_pin_memory: workers read the columns and rows \
         that they need, in an order that seed decides\n  \
         logging_strategy, logging_steps: every step is logged, to final/metrics.jsonl\n  \
         overwrite_output_dir: nothing is overwritten: output_dir must be empty, or hold this run to be resumed"
    );
}

#[test]
fn keys_without_influence_on_the_result_are_listed_once_and_never_stop_a_run() {
    let keys = [
        "logging_dir: logs",
        "log_level: info",
        "report_to: wandb",
        "wandb_project: mine",
        "run_name: first",
        "project: huggingface",
        "push_to_hub: true",
        "hub_model_id: me/model",
        "push_to_hub_model_id: model",
        "dataloader_num_workers: 4",
        "remove_unused_columns: false",
        "save_only_model: true",
        "save_safetensors: true",
        "ddp_find_unused_parameters: false",
        "ddp_timeout: 1800",
        "local_rank: -1",
        "fsdp: full_shard auto_wrap",
        "deepspeed: ds_config.json",
        "no_cuda: true",
        "use_cpu: true",
        "gradient_checkpointing_kwargs: {use_reentrant: true}",
        "torch_compile: true",
        "use_liger_kernel: true",
        "auto_find_batch_size: true",
        "eval_accumulation_steps: 4",
        "include_inputs_for_metrics: true",
        "trust_remote_code: true",
        "tpu_num_cores: 8",
        "preprocessing_num_workers: 4",
        "cache_dir: /tmp/cache",
    ];
    let text: String = keys.iter().map(|line| format!("{line}\n")).collect();
    let (spec, notes) = noted(&text);
    assert_eq!(spec, accepted(""));
    let mut found: Vec<&str> = notes.keys().collect();
    // They ask for what happens anyway.
    let not_told = ["remove_unused_columns", "ddp_find_unused_parameters", "save_safetensors"];
    let mut wanted: Vec<&str> = keys.iter().filter_map(|line| line.split(':').next()).collect();
    wanted.retain(|key| !not_told.contains(key));
    wanted.iter_mut().filter(|key| **key == "report_to").for_each(|key| *key = "report_to (wandb)");
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn trackers_are_named_as_transformers_names_them() {
    let both = vec![Tracker::TensorBoard, Tracker::Mlflow];
    for (text, wanted) in [
        ("none", vec![]),
        ("'[]'", vec![]),
        ("[]", vec![]),
        ("null", vec![]),
        ("tensorboard", vec![Tracker::TensorBoard]),
        ("[mlflow]", vec![Tracker::Mlflow]),
        ("[mlflow, tensorboard, mlflow]", both.clone()),
        ("mlflow,tensorboard", both.clone()),
        ("all", both.clone()),
    ] {
        let (spec, notes) = noted(&format!("report_to: {text}\n"));
        assert_eq!(spec.report_to, wanted, "{text}");
        assert!(notes.is_empty(), "{text}: {notes}");
        assert_eq!(spec.result_keys(), accepted("").result_keys(), "{text}");
        assert_eq!(serde_json::to_value(&spec).ok(), serde_json::to_value(accepted("")).ok(), "{text}");
    }
    let (spec, notes) = noted("report_to: [wandb, mlflow, comet_ml]\n");
    assert_eq!(spec.report_to, [Tracker::Mlflow]);
    assert_eq!(notes.keys().collect::<Vec<_>>(), ["report_to (wandb)", "report_to (comet_ml)"]);
    let refused = parse_run("report_to: tensorbord\n").expect_err("a slip").to_string();
    assert!(refused.contains("tensorbord"), "{refused}");
}

#[test]
fn values_that_ask_for_what_happens_anyway_pass_in_silence() {
    let off = "bf16: false\nfp16: no\ntf32: null\ntorch_dtype: float32\nsave_only_model: false\nreport_to: none\n\
        resume_from_checkpoint:\nload_in_8bit: false\nwire: f32\ndeepspeed: null\nadafactor: false\n\
        train_sampling_strategy: random\nneftune_noise_alpha: 0\nlr_scheduler_kwargs: {}\npast_index: -1\n\
        label_names: [labels]\nseed: 42\ndata_seed: 42\nfull_determinism: true\neval_delay: 0\n\
        lora_target_modules: []\nfinetuning_type: full\nmodel_revision: main\noptim_args: None\n\
        tokenizer_name: models/minilm\nproblem_type: single_label_classification\nsplit_batches: null\n\
        accelerator_config: {split_batches: false, dispatch_batches: null}\nmax_train_samples: None\n";
    let (spec, notes) = noted(off);
    assert_eq!(spec, accepted(""));
    assert!(notes.is_empty(), "{notes}");
    let deepspeed = "deepspeed: {optimizer: {type: AdamW, params: {lr: auto, betas: auto}}, fp16: {enabled: auto}, \
        gradient_clipping: 1.0, zero_optimization: {stage: 2}}\n";
    assert_eq!(ignored(deepspeed), ["deepspeed.zero_optimization"]);
    // What `auto` chooses is this program's to say: 32-bit floats.
    assert_eq!(ignored("torch_dtype: auto\n").len(), 1, "elsewhere it may mean 16 bits");
}

#[test]
fn an_own_key_without_effect_is_a_warning_and_changes_nothing() {
    let table = [
        ("save_strategy: epoch\nsave_steps: 20\n", "save_strategy: epoch\n", vec!["save_steps"]),
        ("eval_steps: 20\n", "", vec!["eval_steps"]),
        ("eval_strategy: epoch\neval_steps: 20\n", "eval_strategy: epoch\n", vec!["eval_steps"]),
        (
            "optim: sgd\nadam_beta1: 0.5\nadam_epsilon: 7\n",
            "optim: sgd\n",
            vec!["adam_beta1", "adam_epsilon"],
        ),
        ("optim_args: momentum=0.9\n", "", vec!["optim_args"]),
        ("early_stopping_threshold: 0.1\n", "", vec!["early_stopping_threshold"]),
        ("max_steps: 5\nnum_epochs: 1\n", "max_steps: 5\n", vec!["num_train_epochs"]),
        ("warmup_ratio: 0.1\nwarmup_steps: 5\n", "warmup_steps: 5\n", vec!["warmup_ratio"]),
        ("lr_scheduler: constant\nwarmup_steps: 5\n", "lr_scheduler: constant\n", vec!["warmup_steps"]),
        ("lr_scheduler: constant\nwarmup_ratio: 0.5\n", "lr_scheduler: constant\n", vec!["warmup_ratio"]),
        ("logging_steps: 5\n", "", vec!["logging_steps"]),
        ("max_grad_norm: null\n", "", vec!["max_grad_norm"]),
    ];
    for (more, same, keys) in table {
        let (spec, notes) = noted(more);
        assert_eq!(spec, accepted(same), "{more}");
        assert_eq!(notes.keys().collect::<Vec<_>>(), keys, "{more}");
    }
}

#[test]
fn what_means_the_same_is_told_apart_as_transformers_does() {
    // Zero of one says that the other counts.
    assert_eq!(accepted("warmup_ratio: 0.1\nwarmup_steps: 0\n").update.warmup_steps, 0.1);
    assert_eq!(accepted("warmup_ratio: 0.0\nwarmup_steps: 5\n").update.warmup_steps, 5.0);
    assert_eq!(ignored("warmup_ratio: 0.0\nwarmup_steps: 5\n"), [""; 0]);
    // An override counts before the file, its zero too.
    let set = |sets: &[&str]| with_sets("warmup_ratio: 0.1\nmax_steps: 7\n", sets).expect("overrides");
    assert_eq!(set(&["warmup_steps=0"]).update.warmup_steps, 0.0);
    assert_eq!(set(&["warmup_steps=3"]).update.warmup_steps, 3.0);
    assert_eq!((set(&["num_epochs=2"]).max_steps, set(&["num_epochs=2"]).num_train_epochs), (None, 2.0));
    let quiet = parse_noting(
        "run.yaml",
        &format!("{RUN}adam_beta1: 0.5\neval_steps: 5\n"),
        &["optim=sgd".to_owned(), "eval_strategy=no".to_owned()],
    );
    assert!(
        quiet.expect("overrides").1.is_empty(),
        "an override that makes keys of the file void is no news"
    );
    assert_eq!(accepted("max_steps: -1\nnum_train_epochs: 1\n").max_steps, None);
    // Evaluation happens when logging does, unless it is said otherwise.
    assert_eq!(accepted("eval_strategy: steps\nlogging_steps: 50\n").evaluation.eval_steps, 50.0);
    let both = "eval_strategy: steps\nlogging_steps: 50\neval_steps: 20\n";
    assert_eq!(
        (accepted(both).evaluation.eval_steps, ignored(both)),
        (20.0, vec!["logging_steps".to_owned()])
    );
    // None of a kept number of checkpoints is a limit.
    assert_eq!(accepted("save_total_limit: 0\n").saving.save_total_limit, None);
    // The same key twice, once without a value.
    assert_eq!(
        accepted("eval_strategy: epoch\nevaluation_strategy: null\n").evaluation.eval_strategy,
        Strategy::Epoch
    );
    assert_eq!(
        accepted("per_gpu_train_batch_size: null\nper_device_train_batch_size: 4\n").batch.global_batch_size,
        4
    );
    // The metric that decides is loss, as for the best weights.
    let early = "eval_strategy: epoch\nload_best_model_at_end: true\nearly_stopping_patience: 2\n";
    assert_eq!(accepted(early).evaluation.metric_for_best_model, Metric::Loss);
}

#[test]
fn values_are_read_in_the_spellings_that_yaml_writers_and_pythons_use() {
    let plain =
        accepted("learning_rate: 1e-4\nnum_train_epochs: 3\nper_device_train_batch_size: 16\nseed: 1000\n");
    let texts =
        "learning_rate: \"1e-4\"\nnum_train_epochs: \"3\"\nper_device_train_batch_size: '16'\nseed: 1_000\n";
    assert_eq!(accepted(texts), plain);
    let floats = "learning_rate: 1E-4\nnum_train_epochs: 3.0\nper_device_train_batch_size: 16.0\nseed: 1e3\n";
    assert_eq!(accepted(floats), plain);
    for yes in ["yes", "True", "TRUE", "on", "'true'", "1"] {
        assert!(accepted(&format!("eval_on_start: {yes}\n")).evaluation.eval_on_start, "{yes}");
    }
    for no in ["no", "False", "off", "'false'", "0", "None", "~"] {
        assert!(!accepted(&format!("eval_on_start: {no}\n")).evaluation.eval_on_start, "{no}");
    }
    for epoch in ["epoch", "IntervalStrategy.EPOCH", "EPOCH", "'epoch'"] {
        assert_eq!(accepted(&format!("eval_strategy: {epoch}\n")).evaluation.eval_strategy, Strategy::Epoch);
    }
    for no in ["no", "'no'", "false", "none", "IntervalStrategy.NO"] {
        assert_eq!(accepted(&format!("save_strategy: {no}\n")).saving.save_strategy, Strategy::No, "{no}");
    }
    for adamw in ["adamw_hf", "adamw_torch_fused", "OptimizerNames.ADAMW_TORCH", "AdamW"] {
        assert_eq!(accepted(&format!("optim: {adamw}\n")).update.optim, Optimizer::AdamwTorch, "{adamw}");
    }
    let schedule = |name: &str| accepted(&format!("lr_scheduler_type: {name}\n")).update.lr_scheduler_type;
    assert_eq!(schedule("SchedulerType.COSINE"), Scheduler::Cosine);
    assert_eq!(schedule("constant-with-warmup"), Scheduler::ConstantWithWarmup);
    for auto in ["auto", "true", "yes", "True"] {
        assert!(
            accepted(&format!("resume_from_checkpoint: {auto}\n")).saving.resume_from_checkpoint,
            "{auto}"
        );
    }
    for no in ["no", "false", "None", "'False'"] {
        assert!(!accepted(&format!("resume_from_checkpoint: {no}\n")).saving.resume_from_checkpoint, "{no}");
    }
    let text = RUN.replace("sequence-classification", "text-classification");
    assert_eq!(
        parse("run.yaml", &text, &[]).expect("transformers' own name").task,
        Task::SequenceClassification
    );
}

#[test]
fn the_flags_of_example_scripts_are_a_run_file() {
    let theirs = "\
model_name_or_path: models/minilm
task: text-classification
train_file: train.csv
validation_file: dev.csv
text_column_name: review
label-column-name: stars
max_seq_length: 128
pad_to_max_length: true
per_device_train_batch_size: 32
learning_rate: 2e-5
num_train_epochs: 3
num_warmup_steps: 100
do_train: true
do_eval: true
use_fast_tokenizer: true
ignore_mismatched_sizes: true
max_train_samples: null
dataset_name: null
output_dir: runs/a
";
    let spec = parse("theirs.yaml", theirs, &[]).expect("flags of a script");
    let sources = [&spec.datasets, &spec.eval_datasets].map(|list| &list[0]);
    assert_eq!(sources.map(|one| one.path.as_str()), ["train.csv", "dev.csv"]);
    for source in sources {
        assert_eq!((source.text_column.as_str(), source.label_column.as_deref()), ("review", Some("stars")));
    }
    assert_eq!((spec.sequence_len, spec.update.warmup_steps), (Some(128), 100.0));
}

#[test]
fn columns_of_the_whole_file_are_those_of_every_dataset_that_names_none() {
    let text =
        RUN.replace("- path: train.jsonl", "- {path: train.jsonl, text_column: own, sentence2_key: other}");
    let spec = parse("run.yaml", &format!("{text}text_column: shared\ntext_pair_column: pair\n"), &[]);
    let spec = spec.expect("columns at the top");
    let columns = [&spec.datasets, &spec.eval_datasets]
        .map(|list| (list[0].text_column.as_str(), list[0].text_pair_column.as_deref()));
    assert_eq!(columns, [("own", Some("other")), ("shared", Some("pair"))]);
    for alias in ["text_pair", "text_pair_column_name", "field_text_pair"] {
        let text = RUN.replace("path: train.jsonl", &format!("path: train.jsonl\n    {alias}: b"));
        let spec = parse("run.yaml", &text, &[]).expect(alias);
        assert_eq!(spec.datasets[0].text_pair_column.as_deref(), Some("b"), "{alias}");
    }
}

#[test]
fn no_evaluation_data_can_be_said_in_every_way() {
    for none in ["[]", "null", "", "~", "None"] {
        let text = RUN.replace("[{path: eval.jsonl}]", none);
        let spec = parse("run.yaml", &text, &[]).unwrap_or_else(|error| panic!("{none:?}: {error}"));
        assert!(spec.eval_datasets.is_empty(), "{none:?}");
        let error = parse("run.yaml", &format!("{text}eval_strategy: epoch\n"), &[])
            .expect_err("nothing to evaluate on");
        assert!(error.to_string().contains("`eval_strategy` needs `eval_datasets`"), "{error}");
    }
    let text = RUN.replace("datasets:\n  - path: train.jsonl", "datasets: []");
    let error = parse("run.yaml", &text, &[]).expect_err("nothing to train on");
    assert!(error.to_string().starts_with("run.yaml:3:11: this list of data is empty"), "{error}");
}

#[test]
fn values_that_python_wrote_as_objects_are_read() {
    let text = "save_strategy: !!python/object/apply:transformers.trainer_utils.SaveStrategy\n- epoch\n";
    assert_eq!(accepted(text).saving.save_strategy, Strategy::Epoch);
}

#[test]
fn secrets_are_never_repeated() {
    let (_, notes) = noted("hub_token: hf_secret\ntoken: hf_secret\n");
    assert_eq!(notes.keys().collect::<Vec<_>>(), ["hub_token", "token"]);
    assert!(!format!("{notes}{notes:#}{notes:?}").contains("hf_secret"));
}
