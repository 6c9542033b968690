//! What people write into run files, and what comes of it.

mod adapter;
#[allow(clippy::unwrap_used)]
mod chat;
mod foreign;
mod properties;
mod refusals;
mod transfer;

use super::*;

const RUN: &str = "\
base_model: models/minilm
task: sequence-classification
datasets:
  - path: train.jsonl
eval_datasets: [{path: eval.jsonl}]
output_dir: runs/a
";

fn parse_run(more: &str) -> Result<RunSpec, SpecError> {
    parse("run.yaml", &format!("{RUN}{more}"), &[])
}

fn accepted(more: &str) -> RunSpec {
    parse_run(more).unwrap_or_else(|error| panic!("{more:?} is refused:\n{error}"))
}

fn with_sets(more: &str, sets: &[&str]) -> Result<RunSpec, SpecError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse("run.yaml", &format!("{RUN}{more}"), &sets)
}

#[test]
fn absent_keys_have_the_defaults_of_transformers() {
    let spec = accepted("");
    assert_eq!((spec.update.learning_rate, spec.num_train_epochs, spec.max_steps), (5e-5, 3.0, None));
    assert_eq!((spec.batch.per_device_train_batch_size, spec.batch.per_device_eval_batch_size), (8, 8));
    assert_eq!((spec.batch.global_batch_size, spec.batch.shards_per_step), (8, 1));
    assert_eq!((spec.update.lr_scheduler_type, spec.update.warmup_steps), (Scheduler::Linear, 0.0));
    assert_eq!((spec.update.weight_decay, spec.update.max_grad_norm), (0.0, 1.0));
    assert_eq!(
        (spec.update.adam_beta1, spec.update.adam_beta2, spec.update.adam_epsilon),
        (0.9, 0.999, 1e-8)
    );
    assert_eq!((spec.update.optim, spec.update.momentum, spec.seed), (Optimizer::AdamwTorch, 0.0, 42));
    assert_eq!(
        (spec.evaluation.eval_strategy, spec.evaluation.eval_steps, spec.evaluation.eval_on_start),
        (Strategy::No, 500.0, false)
    );
    assert_eq!(
        (spec.evaluation.metric_for_best_model, spec.evaluation.greater_is_better),
        (Metric::Loss, false)
    );
    assert_eq!((spec.sequence_len, spec.init, spec.threads_per_worker), (None, InitFrom::Pretrained, 1));
    assert_eq!(
        spec.cluster,
        Cluster {
            min_workers: 1,
            max_workers: 32,
            store_retry_seconds: 30,
            shared_memory: true,
            replicas: true
        }
    );
    let dataset = &spec.datasets[0];
    assert_eq!((dataset.text_column.as_str(), dataset.label_column.as_deref()), ("text", Some("label")));
}

#[test]
fn spellings_of_other_trainers_mean_the_same() {
    let theirs = "\
model_name_or_path: models/minilm
task: sequence-classification
train_datasets:
  - {data_files: [a.jsonl, b.jsonl], field_text: body, label_column_name: section}
test_datasets: [eval.jsonl]
output_dir: runs/a
cutoff_len: 128
micro_batch_size: 4
eval_batch_size: 16
num_epochs: 2
lr: 1e-4
lr_scheduler: cosine
optimizer: adamw_torch_fused
evaluation_strategy: epoch
warmup_ratio: 0.1
metric_for_best_model: eval_accuracy
";
    let spec = parse("theirs.yaml", theirs, &[]).expect("every spelling is known");
    assert_eq!(spec.base_model, "models/minilm");
    let paths: Vec<&str> = spec.datasets.iter().map(|dataset| dataset.path.as_str()).collect();
    assert_eq!(paths, ["a.jsonl", "b.jsonl"]);
    assert_eq!(
        (spec.datasets[1].text_column.as_str(), spec.datasets[1].label_column.as_deref()),
        ("body", Some("section"))
    );
    assert_eq!(spec.eval_datasets[0].path, "eval.jsonl");
    assert_eq!((spec.sequence_len, spec.batch.per_device_train_batch_size), (Some(128), 4));
    assert_eq!((spec.batch.per_device_eval_batch_size, spec.num_train_epochs), (16, 2.0));
    assert_eq!((spec.update.learning_rate, spec.update.lr_scheduler_type), (1e-4, Scheduler::Cosine));
    assert_eq!((spec.evaluation.eval_strategy, spec.update.warmup_steps), (Strategy::Epoch, 0.1));
    assert_eq!(
        (spec.evaluation.metric_for_best_model, spec.evaluation.greater_is_better),
        (Metric::Accuracy, true)
    );
}

#[test]
fn a_resolved_run_survives_json() {
    let spec = accepted(
        "model_overrides: {hidden_dropout_prob: 0, nested: {list: [1, 2.5, x]}}\nfreeze: ['bert.*']\n",
    );
    let json = serde_json::to_string(&spec).expect("a spec is JSON");
    assert_eq!(serde_json::from_str::<RunSpec>(&json).expect("its own JSON"), spec);
}

#[test]
fn a_resolved_run_is_one_flat_map_of_the_run_files_keys() {
    let json = serde_json::to_value(accepted("")).expect("a spec is JSON");
    let schema = schema();
    for key in json.as_object().expect("an object").keys().filter(|key| *key != "momentum") {
        assert!(schema["properties"][key]["description"].is_string(), "{key} is no key of a run file");
    }
    assert_eq!(json["learning_rate"], serde_json::json!(5e-5));
    assert_eq!(json["save_total_limit"], serde_json::Value::Null);
}

#[test]
fn data_is_bounded_and_ordered_as_the_run_file_says() {
    let spec = accepted("");
    assert_eq!((spec.data_cache, spec.shuffle, spec.labels), (20_000_000_000, None, None));
    for (text, bytes) in [("64MiB", 64 << 20), ("1.5 gb", 1_500_000_000), ("3000000", 3_000_000)] {
        assert_eq!(accepted(&format!("data_cache: {text}\n")).data_cache, bytes);
    }
    let spec = accepted("shuffle: blocks\nlabels: [10, no, true, \"a b\"]\n");
    assert_eq!(spec.shuffle, Some(Shuffle::Blocks));
    assert_eq!(spec.labels.expect("they are given"), ["10", "no", "true", "a b"]);
}

#[test]
fn several_problems_are_reported_in_reading_order() {
    let error = parse_run("lerning_rate: 1\nmicro_batch_size: 0\nfp16: true\n").expect_err("three problems");
    let lines: Vec<_> = error.problems().iter().map(|problem| problem.line_column().map(|at| at.0)).collect();
    assert_eq!(lines, [Some(7), Some(8), Some(9)], "{error}");
}

#[test]
fn missing_keys_are_named_all_at_once() {
    let error = parse("run.yaml", "seed: 1\n", &[]).expect_err("nothing to train");
    for key in ["base_model", "task", "datasets", "output_dir"] {
        assert!(error.to_string().contains(&format!("run.yaml: `{key}` is missing")), "{error}");
    }
    assert_eq!(parse("run.yaml", "", &[]).expect_err("an empty file").problems().len(), 4);
}

#[test]
fn overrides_replace_what_the_file_says() {
    let file = "learning_rate: 1\nnum_train_epochs: 2\ncluster: {max_workers: 4, store_retry_seconds: 5}\n";
    let sets = [
        "lr=2e-5",
        "cluster.min_workers=2",
        "datasets.0.path=x.jsonl",
        "max_steps=7",
        "lr=3e-5",
        "freeze=['a', b]",
    ];
    let spec = with_sets(file, &sets).expect("overrides are sound");
    assert_eq!((spec.update.learning_rate, spec.max_steps), (3e-5, Some(7)));
    assert_eq!(
        spec.cluster,
        Cluster {
            min_workers: 2,
            max_workers: 4,
            store_retry_seconds: 5,
            shared_memory: true,
            replicas: true
        }
    );
    assert_eq!(spec.datasets[0].path, "x.jsonl");
    assert_eq!(spec.freeze, ["a", "b"]);
    assert_eq!(with_sets(file, &["learning_rate="]).expect("unset").update.learning_rate, 5e-5);
}

#[test]
fn problems_of_overrides_name_the_argument() {
    let shown = |set: &str| with_sets("", &[set]).expect_err(set).to_string();
    assert_eq!(
        shown("lerning_rate=1"),
        "--set lerning_rate=1: unknown key `lerning_rate`\n  help: did you mean `learning_rate`?"
    );
    assert_eq!(shown("lr=-1"), "--set lr=-1: `learning_rate` must be at least 0, found -1");
    assert!(shown("seed").starts_with("--set seed: an override has the form key=value"));
    assert!(shown("=1").starts_with("--set =1: an override has the form key=value"));
    assert!(
        shown("datasets.3.path=x")
            .starts_with("--set datasets.3.path=x: `3` is not the position of one of 1 items")
    );
    assert!(shown("seed.x=1").starts_with("--set seed.x=1: `seed` must be a whole number"));
    assert!(shown("output_dir.x=1").contains("what should hold it is text"));
    assert!(shown("freeze=[a").starts_with("--set freeze=[a: not valid YAML"));
    let error = with_sets("", &["cluster.min_worker=1"]).expect_err("misspelt");
    let problem = &error.problems()[0];
    assert_eq!(&problem.text()[problem.span.clone().expect("a place")], "min_worker");
}

#[test]
fn broken_yaml_is_shown_where_it_breaks() {
    let error = parse_run("freeze: [a\n").expect_err("an open bracket");
    let problem = &error.problems()[0];
    assert!(problem.message.starts_with("not valid YAML: "), "{error}");
    assert!(problem.line_column().is_some_and(|(line, _)| line >= 7), "{error}");
    let error = parse("run.yaml", "- a\n- b\n", &[]).expect_err("a list");
    assert!(error.to_string().contains("a run file must be a block of keys, found a list"), "{error}");
}

#[test]
fn hostile_files_end_in_an_error() {
    let large = format!("{RUN}# {}", "x".repeat(LARGEST_FILE));
    let error = parse("run.yaml", &large, &[]).expect_err("too large");
    assert!(error.to_string().contains("at most 1048576 bytes"), "{error}");
    let deep = format!("{RUN}freeze: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    assert!(parse("run.yaml", &deep, &[]).is_err());
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let below = format!("*a{},", level - 1).repeat(10);
        laughs += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert!(parse("run.yaml", &laughs, &[]).is_err());
    assert!(with_sets("", &["a.b.c.d.e.f=1"]).is_err());
}

#[test]
fn anchors_and_merges_work_as_in_yaml() {
    let text = RUN
        .replace("  - path: train.jsonl", "  - &rows {path: train.jsonl, text_column: body}")
        .replace("[{path: eval.jsonl}]", "[{<<: *rows, path: eval.jsonl}]");
    let spec = parse("run.yaml", &text, &[]).expect("anchors are YAML");
    assert_eq!(spec.eval_datasets[0].text_column, "body");
    assert_eq!(spec.eval_datasets[0].path, "eval.jsonl");
}

#[test]
fn the_schema_has_every_spelling_and_describes_it() {
    let schema = schema();
    let properties = schema["properties"].as_object().expect("properties");
    for key in ["base_model", "model_name_or_path", "micro_batch_size", "cluster", "wire"] {
        assert!(properties[key]["description"].is_string(), "{key} is described");
    }
    assert_eq!(schema["additionalProperties"], serde_json::json!(false));
    let text = schema.to_string();
    for word in ["sequence-classification", "constant_with_warmup", "text_column", "min_workers"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Path::new("no/such/run.yaml"), &[]).expect_err("no such file");
    assert!(error.to_string().starts_with("no/such/run.yaml: cannot be read: "), "{error}");
}
