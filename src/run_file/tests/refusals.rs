//! What is refused, where, and with which cure.

use super::*;

/// Each line of `table` is a run file's end, a problem's line in it, the text under its caret, its message and its help.
#[track_caller]
fn refused(table: &str) {
    for row in table.trim().lines() {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [more, line, under_caret, message, help] = columns[..] else { panic!("five columns: {row}") };
        let more = format!("{}\n", more.replace("\\n", "\n"));
        let error = parse_run(&more).expect_err(&more);
        let [problem] = error.problems() else { panic!("one problem, not these:\n{error}") };
        let found_line = problem.line_column().map(|(line, _)| line - RUN.lines().count());
        assert_eq!(found_line, line.parse().ok(), "{error}");
        let span = problem.span.clone().unwrap_or(0..0);
        assert_eq!(&problem.text()[span], under_caret, "{error}");
        assert!(problem.message.contains(message), "{error}");
        assert!(problem.help.as_deref().unwrap_or("").contains(help), "{error}");
    }
}

#[test]
fn misspelt_keys_are_shown_with_a_suggestion() {
    refused(
        r#"
        lerning_rate: 1 | 1 | lerning_rate | unknown key `lerning_rate` | did you mean `learning_rate`?
        seed: 1\nnum_train_epoch: 1 | 2 | num_train_epoch | unknown key | `num_train_epochs`
        eval_stratgy: steps | 1 | eval_stratgy | unknown key | `eval_strategy`
        cluster:\n  min_worker: 2 | 2 | min_worker | `cluster.min_worker` | `min_workers`
        wibble: 1 | 1 | wibble | unknown key `wibble` | headstart schema
        "#,
    );
}

#[test]
fn unknown_keys_of_a_dataset_name_their_item() {
    let text = RUN.replace("  - path: train.jsonl", "  - path: train.jsonl\n    text_colum: body");
    let error = parse("run.yaml", &text, &[]).expect_err("a misspelt column key");
    assert_eq!(
        error.to_string(),
        "run.yaml:5:5: unknown key `datasets[0].text_colum`\n  help: did you mean `text_column`?"
    );
}

#[test]
fn a_key_given_twice_is_refused_under_any_spelling() {
    refused(
        r#"
        seed: 1\nseed: 2 | 2 | seed | `seed` is given twice | keep one
        lr: 1\nlearning_rate: 2 | 2 | learning_rate | `learning_rate` and `lr` are the same key | keep one
        "#,
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    refused(
        r#"
        learning_rate: -1e-4 | 1 | -1e-4 | `learning_rate` must be at least 0 |
        learning_rate: .nan | 1 | .nan | must be a finite number |
        micro_batch_size: 0 | 1 | 0 | `per_device_train_batch_size` must be from 1 |
        micro_batch_size: 4294967296 | 1 | 4294967296 | must be a whole number |
        adam_beta1: 1 | 1 | 1 | `adam_beta1` must be from 0 to below 1 |
        num_train_epochs: 0 | 1 | 0 | above 0 |
        warmup_steps: 2.5 | 1 | 2.5 | whole number of steps, or a ratio |
        warmup_ratio: 1.5 | 1 | 1.5 | `warmup_ratio` must be from 0 to below 1 |
        shards_per_step: 9 | 1 | 9 | `shards_per_step` must be from 1 to 8 |
        sequence_len: 0 | 1 | 0 | `sequence_len` must be from 1 |
        data_cache: 20 | 1 | 20 | `data_cache` must be at least 1MB, found 20 bytes | with a unit
        labels: [a, b, a] | 1 | [ | `labels` names "a" twice | remove one
        labels: [a] | 1 | [ | at least two `labels` | add the others
        "#,
    );
}

#[test]
fn wrong_types_are_refused_at_the_value() {
    refused(
        r#"
        learning_rate: fast | 1 | fast | `learning_rate` must be a finite number, found "fast" |
        seed: 1.5 | 1 | 1.5 | `seed` must be a whole number |
        eval_on_start: 2 | 1 | 2 | `eval_on_start` must be true or false |
        eval_on_start: maybe | 1 | maybe | `eval_on_start` must be true or false, found "maybe" |
        seed: 1__0 | 1 | 1__0 | `seed` must be a whole number |
        learning_rate: inf | 1 | inf | must be a finite number |
        save_steps: 5e |  1 | 5e | must be a finite number |
        freeze: embeddings | 1 | embeddings | `freeze` must be a list |
        freeze: [a, 2] | 1 | 2 | `freeze[1]` must be text, found 2 | quotes
        cluster: 3 | 1 | 3 | `cluster` must be a block of keys |
        data_cache: large | 1 | large | `data_cache` must be a number of bytes, such as 500MB or 20GB, found "large" |
        data_cache: -1GB | 1 | -1GB | `data_cache` must be a number of bytes |
        labels: [a, [b]] | 1 | [ | `labels[1]` must be text |
        lr_scheduler: liner | 1 | liner | cannot be "liner" | did you mean linear?
        "#,
    );
}

#[test]
fn what_would_change_the_result_and_is_not_supported_is_refused() {
    refused(
        r#"
        fp16: "yes" | 1 | fp16 | `fp16: yes` is not supported yet | set it to false
        torch_dtype: bfloat16 | 1 | torch_dtype | `torch_dtype: bfloat16` is not supported yet | 32-bit
        resume_from_checkpoint: runs/a/checkpoint-5 | 1 | runs/a/checkpoint-5 | cannot be | base_model
        adapter: qlora | 1 | qlora | `adapter: qlora` is not supported yet | not quantised
        adapter: dora | 1 | dora | `adapter: dora` is not supported yet | it can be lora
        finetuning_type: freeze | 1 | freeze | `finetuning_type: freeze` is not supported yet | freeze: [PATTERN]
        peft_use_dora: true | 1 | peft_use_dora | `peft_use_dora: true` is not supported yet | plain LoRA
        rank_pattern: {q_proj: 4} | 1 | rank_pattern | `rank_pattern` is not supported yet | one rank and one scale
        alpha_pattern: {q_proj: 4} | 1 | alpha_pattern | `alpha_pattern` is not supported yet | one rank and one scale
        load_in_4bit: true | 1 | load_in_4bit | `load_in_4bit: true` is not supported yet | not quantised
        init_lora_weights: pissa | 1 | init_lora_weights | is not supported yet | uniform
        batch_size: 8 | 1 | batch_size | not supported yet | global_batch_size
        optim: adafactor | 1 | adafactor | `optim: adafactor` is not supported yet | it can be adamw_torch, sgd
        optim: OptimizerNames.ADAFACTOR | 1 | OptimizerNames.ADAFACTOR | is not supported yet | adamw_torch
        save_strategy: best | 1 | best | `save_strategy: best` is not supported yet | epoch
        class_weights: [1.0, 2.5] | 1 | class_weights | `class_weights` is not supported yet | class weights are not supported yet
        class_weight: balanced | 1 | class_weight | `class_weight: balanced` is not supported yet | more than once in the data
        group_by_length: true | 1 | group_by_length | `group_by_length: true` is not supported yet | shuffle
        dataloader_drop_last: true | 1 | dataloader_drop_last | not supported yet | none of its rows
        data_seed: 7 | 1 | data_seed | `data_seed: 7` is not supported yet | give both one value
        seed: 7\ndata_seed: 42 | 2 | data_seed | `data_seed: 42` is not supported yet | seed
        neftune_noise_alpha: 5 | 1 | neftune_noise_alpha | not supported yet | embeddings
        lr_scheduler_kwargs: {num_cycles: 2} | 1 | num_cycles | `lr_scheduler_kwargs.num_cycles: 2` is not supported yet | half a cycle
        accelerator_config: {even_batches: true, split_batches: true} | 1 | split_batches | `accelerator_config.split_batches: true` | global_batch_size
        deepspeed: {zero_optimization: {stage: 2}, fp16: {enabled: true}} | 1 | enabled | `deepspeed.fp16.enabled: true` is not supported yet | 32-bit
        deepspeed: {optimizer: {type: Lion, params: {lr: auto}}} | 1 | optimizer | `deepspeed.optimizer` is not supported yet | adamw_torch or sgd
        deepspeed: {gradient_clipping: 0.5} | 1 | gradient_clipping | `deepspeed.gradient_clipping: 0.5` is not supported yet | max_grad_norm
        hidden_dropout_prob: 0.2 | 1 | hidden_dropout_prob | not supported yet | model_overrides
        num-labels: 3 | 1 | num-labels | `num-labels: 3` is not supported yet | labels:
        tokenizer_name: models/other | 1 | tokenizer_name | not supported yet | base_model
        "#,
    );
    let text = RUN.replace("sequence-classification", "masked-lm");
    let error = parse("run.yaml", &text, &[]).expect_err("no masked language models");
    assert!(error.to_string().starts_with("run.yaml:2:7: `task: masked-lm` is not supported yet"), "{error}");
}

#[test]
fn batch_sizes_must_agree() {
    let spec = accepted("micro_batch_size: 4\ngradient_accumulation_steps: 3\n");
    assert_eq!((spec.batch.global_batch_size, spec.batch.shards_per_step), (12, 3));
    let spec = accepted("global_batch_size: 32\ngradient_accumulation_steps: 8\n");
    assert_eq!((spec.batch.per_device_train_batch_size, spec.batch.shards_per_step), (4, 8));
    let spec = accepted("global_batch_size: 32\nshards_per_step: 2\n");
    assert_eq!((spec.batch.per_device_train_batch_size, spec.batch.shards_per_step), (8, 2));
    refused(
        r#"
        global_batch_size: 12 | 1 | 12 | not a multiple of per_device_train_batch_size 8 | change one
        micro_batch_size: 4\ngradient_accumulation_steps: 2\nglobal_batch_size: 16 | 3 | 16 | 4 × 2 = 8 | remove one of the three
        per_device_train_batch_size: 1048576\ngradient_accumulation_steps: 2 | 2 | 2 | too large | smaller
        global_batch_size: 1048576\nper_device_train_batch_size: 1 | - |  | too finely cut | shards_per_step
        "#,
    );
}

#[test]
fn evaluation_keys_need_each_other() {
    refused(
        r#"
        load_best_model_at_end: true | 1 | load_best_model_at_end | needs an `eval_strategy` other than no | eval_strategy: steps
        eval_strategy: steps\nearly_stopping_patience: 3 | 2 | early_stopping_patience | needs `metric_for_best_model` | accuracy
        "#,
    );
    let text = format!("{}eval_strategy: steps\n", RUN.replace("eval_datasets: [{path: eval.jsonl}]\n", ""));
    let error = parse("run.yaml", &text, &[]).expect_err("nothing to evaluate on");
    assert!(error.to_string().starts_with("run.yaml:6:1: `eval_strategy` needs `eval_datasets`"), "{error}");
    let spec = accepted(
        "eval_strategy: steps\neval_steps: 0.1\nload_best_model_at_end: true\nmetric_for_best_model: f1\n\
         early_stopping_patience: 3\n",
    );
    assert_eq!(
        (
            spec.evaluation.early_stopping_patience,
            spec.evaluation.greater_is_better,
            spec.evaluation.eval_steps
        ),
        (Some(3), true, 0.1)
    );
}

#[test]
fn the_optimizer_has_only_keys_of_its_own() {
    assert_eq!(accepted("optim: sgd\noptim_args: \"momentum=0.9\"\n").update.momentum, 0.9);
    refused(
        r#"
        optim: sgd\noptim_args: nesterov=1 | 2 | nesterov=1 | cannot be | momentum=0.9
        optim: sgd\noptim_args: "momentum=0.9,nesterov=True" | 2 | "momentum=0.9,nesterov=True" | cannot be | momentum=0.9
        optim: sgd\noptim_args: momentum=1 | 2 | momentum=1 | cannot be | below 1
        "#,
    );
    assert_eq!(accepted("optim: sgd\noptim_args: \"momentum=0.5, dampening=0\"\n").update.momentum, 0.5);
}

#[test]
fn the_cluster_must_be_possible() {
    assert_eq!(
        accepted("cluster: {min_workers: 40}\n").cluster,
        Cluster {
            min_workers: 40,
            max_workers: 40,
            store_retry_seconds: 30,
            shared_memory: true,
            replicas: true
        }
    );
    refused(
        r#"
        cluster: {min_workers: 4, max_workers: 2} | 1 | 2 | is above max_workers 2 | raise max_workers
        cluster: {store_retry_seconds: 0} | 1 | 0 | must be from 1 to 3600, found 0 |
        "#,
    );
}

#[test]
fn the_caret_is_right_after_wide_characters_and_quotes() {
    refused(
        r#"
        run_dir: "größe" # é | 1 | run_dir | unknown key |
        "#,
    );
    let error = parse_run("model_overrides: {ключ: ü}\nseed: \"é\"\n").expect_err("a seed is a number");
    assert_eq!(error.problems()[0].line_column(), Some((8, 7)), "{error}");
    let span = error.problems()[0].span.clone().expect("a place");
    assert_eq!(&error.problems()[0].text()[span], "\"é\"");
}
