//! Any run that can be meant can be written down, and nothing that is written down makes the parser panic.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::*;
use crate::chat::RowFormat;

/// Text that a key may hold.
fn text() -> impl proptest::strategy::Strategy<Value = String> {
    "\\PC{1,12}".prop_filter("empty", |text| !text.trim().is_empty())
}

fn dataset() -> impl proptest::strategy::Strategy<Value = Dataset> {
    let columns = (text(), text(), text());
    (columns, prop::option::of(text())).prop_map(|((path, text_column, label_column), pair)| Dataset {
        path,
        text_column,
        text_pair_column: pair,
        image_column: label_column.clone(),
        label_column: Some(label_column),
        rows: RowFormat::default(),
    })
}

/// What `model_overrides` may hold.
fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let object = vec(("[a-z_]{1,8}", inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn sizes() -> impl proptest::strategy::Strategy<Value = RunSpec> {
    let samples = (1u32..256, 1u32..256, any::<prop::sample::Index>(), 1u32..=1 << 20);
    let lengths = (
        prop::option::of(1u64..=1 << 40),
        1e-3..1e9,
        prop::option::of(1u32..=1 << 20),
        1u32..=1024,
        any::<u64>(),
    );
    (samples, lengths, 1u32..=10_000, any::<prop::sample::Index>()).prop_map(
        |((micro, count, shards, eval), (steps, epochs, sequence_len, threads, seed), most, least)| {
            let global = micro * count;
            RunSpec {
                batch: Batch {
                    per_device_train_batch_size: micro,
                    per_device_eval_batch_size: eval,
                    global_batch_size: global,
                    shards_per_step: shards.index(global.min(1 << 16) as usize) as u32 + 1,
                },
                max_steps: steps,
                num_train_epochs: if steps.is_some() { 3.0 } else { epochs },
                sequence_len,
                threads_per_worker: threads,
                seed,
                cluster: Cluster {
                    min_workers: least.index(most as usize) as u32 + 1,
                    max_workers: most,
                    shared_memory: most % 2 == 0,
                    replicas: most % 3 != 0,
                    store_retry_seconds: most.min(3600),
                },
                ..accepted("")
            }
        },
    )
}

fn update(spec: RunSpec) -> impl proptest::strategy::Strategy<Value = RunSpec> {
    use Scheduler::*;
    let schedules = prop::sample::select(vec![Linear, Cosine, Constant, ConstantWithWarmup]);
    let warmup = prop_oneof![0.0..1.0, (1u32..1_000_000).prop_map(f64::from)];
    let positive = || prop_oneof![Just(0.0), 1e-12..1e3];
    let rates = (positive(), positive(), positive(), positive());
    let parts = (0.0..1.0, 0.0..1.0, prop_oneof![Just(0.0), 0.0..=1.0]);
    (schedules, warmup, rates, parts, any::<bool>()).prop_map(
        move |(schedule, warmup, (rate, decay, epsilon, norm), (first, second, smoothing), adam)| {
            let update = Update {
                lr_scheduler_type: schedule,
                warmup_steps: if schedule == Constant { 0.0 } else { warmup },
                learning_rate: rate,
                weight_decay: decay,
                max_grad_norm: norm,
                label_smoothing_factor: smoothing,
                optim: if adam { Optimizer::AdamwTorch } else { Optimizer::Sgd },
                adam_beta1: if adam { first } else { 0.9 },
                adam_beta2: if adam { second } else { 0.999 },
                adam_epsilon: if adam { epsilon } else { 1e-8 },
                momentum: if adam { 0.0 } else { first },
            };
            RunSpec { update, ..spec.clone() }
        },
    )
}

fn evaluation(spec: RunSpec) -> impl proptest::strategy::Strategy<Value = RunSpec> {
    let strategies = prop::sample::select(vec![Strategy::No, Strategy::Steps, Strategy::Epoch]);
    let metrics = prop::sample::select(vec![Metric::Loss, Metric::Accuracy, Metric::F1]);
    let steps = prop_oneof![1e-6..1.0, (1u32..1_000_000).prop_map(f64::from)];
    let stopping = prop::option::of((1u32.., prop_oneof![Just(0.0), 1e-9..10.0]));
    (vec(dataset(), 0..3), strategies, metrics, steps, stopping, any::<[bool; 3]>()).prop_map(
        move |(data, strategy, metric, eval_steps, stopping, [start, best, greater])| {
            let strategy = if data.is_empty() { Strategy::No } else { strategy };
            let eval_steps = if strategy == Strategy::Steps { eval_steps } else { DEFAULT_EVAL_STEPS };
            let stopping = stopping.filter(|_| strategy != Strategy::No);
            let evaluation = Evaluation {
                eval_on_start: start && !data.is_empty(),
                eval_strategy: strategy,
                eval_steps,
                metric_for_best_model: metric,
                greater_is_better: greater,
                load_best_model_at_end: best && strategy != Strategy::No,
                early_stopping_patience: stopping.map(|(patience, _)| patience),
                early_stopping_threshold: stopping.map_or(0.0, |(_, threshold)| threshold),
            };
            RunSpec { eval_datasets: data, evaluation, ..spec.clone() }
        },
    )
}

fn run() -> impl proptest::strategy::Strategy<Value = RunSpec> {
    let names = (text(), text(), vec(dataset(), 1..4), vec(text(), 0..3));
    let kinds = any::<[bool; 2]>();
    let all = (sizes().prop_flat_map(update).prop_flat_map(evaluation), names, kinds);
    (all, btree_map("\\PC{1,8}", json_value(), 0..4)).prop_map(
        |((spec, (base_model, output_dir, datasets, freeze), [images, random]), model_overrides)| RunSpec {
            base_model,
            output_dir,
            datasets,
            freeze,
            model_overrides,
            task: if images { Task::ImageClassification } else { Task::SequenceClassification },
            init: if random { InitFrom::Random } else { InitFrom::Pretrained },
            ..spec
        },
    )
}

/// The run file that means this run. Its values are JSON, which is YAML too.
fn print(spec: &RunSpec) -> String {
    let mut keys = serde_json::to_value(spec).expect("a spec is JSON");
    let object = keys.as_object_mut().expect("an object");
    let sgd = spec.update.optim == Optimizer::Sgd;
    object.remove("momentum");
    if sgd {
        object.insert("optim_args".into(), json!(format!("momentum={}", spec.update.momentum)));
    }
    let absent = [
        ("num_train_epochs", spec.max_steps.is_some()),
        ("warmup_steps", spec.update.warmup_steps == 0.0),
        ("adam_beta1", sgd),
        ("adam_beta2", sgd),
        ("adam_epsilon", sgd),
        ("early_stopping_threshold", spec.evaluation.early_stopping_patience.is_none()),
    ];
    for (key, _) in absent.into_iter().filter(|(_, absent)| *absent) {
        object.remove(key);
    }
    object.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

/// Pieces that YAML gives a meaning to.
const PIECES: [&str; 40] = [
    "base_model",
    "datasets",
    "learning_rate",
    "cluster",
    "path",
    ":",
    ": ",
    "\n",
    "\n  ",
    "\n- ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "!x ",
    "|",
    ">",
    "\"",
    "'",
    "#",
    " #",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "~",
    "true",
    "1e9",
    "-0",
    "0x1f",
    ".nan",
    "99999999999999999999999999999999999999999",
    "é",
    "\t",
];

fn soup() -> impl proptest::strategy::Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        "\\PC{0,3}",
        any::<char>().prop_map(String::from)
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Every problem can be shown, and its place is one of its text.
fn shown(error: &SpecError) -> Result<(), TestCaseError> {
    prop_assert!(!error.problems().is_empty() && !error.to_string().is_empty());
    for problem in error.problems() {
        let span = problem.span.clone().unwrap_or(0..0);
        prop_assert!(problem.text().get(span.clone()).is_some(), "{:?} of {:?}", span, problem.text());
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_meant_can_be_written_down(spec in run()) {
        let text = print(&spec);
        match parse("run.yaml", &text, &[]) {
            Ok(read) => prop_assert_eq!(read, spec, "{}", text),
            Err(error) => prop_assert!(false, "{}\n{}", error, text),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in soup(), sets in vec(soup(), 0..3)) {
        for text in [text.clone(), format!("{RUN}{text}")] {
            if let Err(error) = parse("run.yaml", &text, &sets) {
                shown(&error)?;
            }
        }
    }

    #[test]
    fn no_damage_makes_the_parser_panic(at: prop::sample::Index, remove in 0usize..9, piece in soup()) {
        let mut text: Vec<char> = RUN.chars().collect();
        let start = at.index(text.len());
        let end = (start + remove).min(text.len());
        text.splice(start..end, piece.chars());
        if let Err(error) = parse("run.yaml", &text.into_iter().collect::<String>(), &[]) {
            shown(&error)?;
        }
    }
}
