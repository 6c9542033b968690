//! The runs that are simulated: small, ragged, with evaluations, checkpoints and a best model; and what their shards sum
//! up to.

use std::ops::Range;

use headstart::hash;
use headstart::id::CoordinatorEpoch;
use headstart::message::{Pass, Totals, Work};
use headstart::model::{Block, Init, Parameter, Part};
use headstart::optimizer::SegmentTreatment;
use headstart::plan::Plan;
use headstart::rounding::Rounding;
use headstart::run_file::RunSpec;
use headstart::trainable::Trainable;
use headstart::tree::{self, Node, Tree};
use headstart_coordinator::machine::{Probing, Run};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Rows of the training data and of the evaluation data.
const ROWS: u64 = 45;
const EVAL_ROWS: u64 = 20;
/// Elements of the trainable vector.
pub const ELEMENTS: u64 = 11;
/// Different runs.
pub const SHAPES: u64 = 5;

const RUN_FILE: &str = "
base_model: nowhere
task: sequence-classification
datasets: [{path: nowhere.jsonl}]
eval_datasets: [{path: nowhere.jsonl}]
output_dir: memory://run/out
per_device_train_batch_size: 2
global_batch_size: 16
per_device_eval_batch_size: 3
num_train_epochs: 3
eval_strategy: steps
learning_rate: 0.01
nonfinite_shards: skip
";

/// One of the [`SHAPES`] runs. In the odd ones a shard of one step is not finite.
pub fn spec(shape: u64) -> RunSpec {
    let sets: &[&str] = match shape {
        0 => &[
            "shards_per_step=7",
            // The best evaluation is one of the first.
            "eval_steps=1",
            "save_steps=2",
            "load_best_model_at_end=true",
            "metric_for_best_model=accuracy",
        ],
        1 => &[
            "wire=bf16",
            "shards_per_step=8",
            "eval_steps=2",
            "save_steps=1",
            "max_grad_norm=0",
            "optim=sgd",
            "optim_args=momentum=0.9",
        ],
        2 => &[
            "shards_per_step=1",
            "eval_steps=4",
            "save_strategy=epoch",
            "eval_on_start=true",
            "load_best_model_at_end=true",
            "metric_for_best_model=f1",
            "early_stopping_patience=2",
        ],
        3 => &[
            "wire=int8",
            "shards_per_step=16",
            "per_device_train_batch_size=1",
            "eval_steps=5",
            "save_steps=4",
            "lr_scheduler_type=cosine",
            "warmup_steps=3",
        ],
        // Most parameters begin to train in the middle.
        _ => &[
            "wire=bf16",
            "shards_per_step=6",
            "eval_steps=3",
            "save_steps=2",
            "max_grad_norm=0.5",
            "weight_decay=0.1",
            "layer_decay=0.5",
            "unfreeze=[{step: 5, parameters: [weight]}]",
            "l2_sp=2",
        ],
    };
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    headstart::run_file::parse("run.yaml", RUN_FILE, &sets).expect("the run file is good")
}

/// What a coordinator's machine is told of the run.
pub fn run(spec: &RunSpec, id: &str, epoch: u64) -> Run {
    Run {
        id: id.to_owned(),
        epoch: CoordinatorEpoch(epoch),
        spec: spec.clone(),
        plan: plan(spec),
        labels: vec!["a".into(), "b".into()],
        parameters: "p".into(),
        train_rows: ROWS,
        trainable: ELEMENTS,
        data_bytes: 0,
        counts: Default::default(),
        base: None,
        weights: 0,
        memory: None,
        probing: Probing::No,
    }
}

pub fn plan(spec: &RunSpec) -> Plan {
    Plan::new(spec, ROWS, EVAL_ROWS).expect("there are rows")
}

/// One parameter whose weights decay, and a fresh one whose weights do not.
pub fn layout(spec: &RunSpec) -> Trainable {
    let parameter = |name: &str, len, block, part| Parameter {
        name: name.to_owned(),
        shape: vec![len],
        block,
        init: Init::Zeros,
        decay: part == Part::Body,
        part,
    };
    let table = [
        parameter("weight", ELEMENTS - 4, Block::Layer(0), Part::Body),
        parameter("bias", 4, Block::Head, Part::Classifier),
    ];
    let both = Trainable::new(&table, &[]).expect("both train");
    both.treated(&table, &spec.transfer, |parameter| parameter == 0).expect("its names are right")
}

/// How updates treat them.
pub fn treatment(spec: &RunSpec) -> SegmentTreatment {
    let mut treatment = SegmentTreatment::of(&layout(spec), 0);
    treatment.begin_from(&initial());
    treatment
}

/// Weights version 0.
pub fn initial() -> Vec<f32> {
    (0..ELEMENTS).map(|element| 0.3 - 0.07 * element as f32).collect()
}

/// What a worker computes: a function of the shard's rows, the draw and the weights, awkward to add in another order.
pub fn compute(spec: &RunSpec, work: &Work, skipped: &[u32], weights: &[f32]) -> (Vec<f32>, Totals) {
    let not_yet = layout(spec).not_yet(work.step);
    let computing = Computing { plan: plan(spec), rounding: Rounding::of(spec), not_yet };
    compute_node(&computing, work, skipped, weights)
}

/// What a step is computed with.
struct Computing {
    plan: Plan,
    rounding: Rounding,
    /// Elements without a gradient.
    not_yet: Vec<Range<usize>>,
}

fn compute_node(computing: &Computing, work: &Work, skipped: &[u32], weights: &[f32]) -> (Vec<f32>, Totals) {
    let Computing { plan, rounding, not_yet } = computing;
    let node = work.node;
    let round = |mut sum: Vec<f32>| {
        rounding.round(work.step, node, 0, &mut sum).expect("all are finite");
        sum
    };
    // Halves of a node that begins later are those of one that begins at 0.
    if let Some(halves) = Tree::children(Node { first: 0, ..node }) {
        let [(mut sum, totals), (other, others)] = [halves.0, halves.1].map(|half| {
            let half = Node { first: node.first + half.first, ..half };
            compute_node(computing, &Work { node: half, ..*work }, skipped, weights)
        });
        tree::add(&mut sum, &other);
        return (round(sum), Totals::merge(totals, others));
    }
    if skipped.contains(&node.first) {
        return (vec![0.0; weights.len()], Totals::default());
    }
    let rows = plan.rows(work.pass, work.step, node.first);
    let draw = |row: u64, salt: u64| (xxh3_64_with_seed(&row.to_le_bytes(), salt) >> 40) as f32 / 1e7 - 0.8;
    let seed = work.step.0 << 32 | u64::from(node.first);
    let gradient = weights.iter().enumerate().map(|(element, weight)| {
        if not_yet.iter().any(|range| range.contains(&element)) {
            return 0.0;
        }
        let scale = [1.0, 1e-3, 1e3, 1e-6][element % 4];
        rows.iter().map(|&row| (weight - draw(row, seed + element as u64)) * scale).sum()
    });
    let loss = rows.iter().map(|&row| f64::from((weights[0] - draw(row, seed)).abs())).sum();
    let samples = rows.len() as u64;
    let counts = match work.pass {
        // Which rows are right depends on every bit of the weights.
        Pass::Eval => {
            let salt = hash::vector(weights) as u64;
            let hits = rows.iter().filter(|&&row| draw(row, salt) > 0.0).count() as u64;
            vec![hits, 0, samples, 0, samples, 0]
        }
        Pass::Train | Pass::Golden | Pass::Probe => Vec::new(),
    };
    let compute = std::time::Duration::from_millis(5);
    (
        round(gradient.collect()),
        Totals { samples, divisor: samples, loss, counts, tokens: samples, compute, ..Totals::default() },
    )
}

/// The shard of the odd runs whose gradient is not finite on any worker.
pub fn poisoned(shape: u64, work: &Work, skipped: &[u32]) -> Option<u32> {
    let shard = 5;
    let bad = shape % 2 == 1 && work.pass == Pass::Train && work.step.0 == 4;
    (bad && work.node.range().contains(&shard) && !skipped.contains(&shard)).then_some(shard)
}
