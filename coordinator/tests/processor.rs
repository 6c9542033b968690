//! Rule 11 of the numeric rules: reduction, update and probe give one hash, whatever instructions this was compiled for.
//!
//! `make test` runs this compiled for the oldest x86-64, `make test-slow` for x86-64-v3 (AVX2 and FMA).

use std::sync::Arc;

use headstart::id::{Segment, Step};
use headstart::model::{Block, Init, Parameter, Part, initial_values};
use headstart::optimizer::OptimizerConfig;
use headstart::probe::classification;
use headstart::probe::sample::Sample;
use headstart::probe::verdict::{Costs, Evidence};
use headstart::rounding::Rounding;
use headstart::trainable::{SEGMENT, Trainable};
use headstart::tree::{Node, Tree};
use headstart_coordinator::broadcast::Broadcast;
use headstart_coordinator::master::Master;
use headstart_coordinator::pool::Pool;
use headstart_coordinator::reduce::Reducer;
use headstart_coordinator::schedule::Schedule;

/// Elements beyond a segment's end, and not a multiple of any vector width.
const ELEMENTS: usize = SEGMENT + 12_345;
const SHARDS: u32 = 7;
const STEPS: u64 = 12;

fn parameter(name: &str, len: usize, decay: bool) -> Parameter {
    let init = Init::Normal { std: 0.02 };
    Parameter {
        name: name.into(),
        shape: vec![len as u64],
        block: Block::Embed,
        init,
        decay,
        part: Part::Body,
    }
}

async fn train(optimizer: &str) -> String {
    let table = [parameter("a.weight", ELEMENTS - 1000, true), parameter("a.bias", 1000, false)];
    let run_file = format!(
        "base_model: x\ntask: image-classification\ndatasets: [x]\noutput_dir: x\nweight_decay: 0.01\n\
         lr_scheduler_type: cosine\nwarmup_steps: 3\nlearning_rate: 1e-2\n{optimizer}\n"
    );
    let spec = headstart::run_file::parse("run.yaml", &run_file, &[]).expect("the run file is good");
    let layout = Trainable::new(&table, &[]).expect("all of it trains");
    let layout = layout.treated(&table, &spec.transfer, |_| true).expect("its names are right");
    let initial: Vec<f32> = table.iter().flat_map(|parameter| initial_values(parameter, 7)).collect();
    let master = Master::new(OptimizerConfig::new(&spec), spec.update.max_grad_norm, &layout, &initial)
        .expect("memory");
    let schedule = Schedule::new(&spec, STEPS, STEPS);
    let rounding = Rounding::of(&spec);
    let broadcast = Arc::new(Broadcast::new(spec.wire, 0));
    let reducer = Reducer::new(layout.segments(), Pool::Threads, rounding, broadcast);
    let mut norms = 0.0;
    for step in (0..STEPS).map(Step) {
        reducer.open(step, Tree::new(SHARDS));
        let open = reducer.current(step).expect("just opened");
        for shard in 0..SHARDS {
            let draws = parameter(&format!("gradient {} {shard}", step.0), ELEMENTS, true);
            let gradient = initial_values(&draws, 11);
            for segment in 0..layout.segments() {
                let place = layout.segment(segment);
                let mut values = gradient[place.clone()].to_vec();
                let node = Node { first: shard, shards: 1 };
                rounding.round(step, node, place.start, &mut values).expect("all are finite");
                open.insert(node, Segment(segment as u32), values).await.expect("a node of the tree");
            }
        }
        let sums = reducer.take(step).expect("all are in");
        let rate = schedule.learning_rate(step.0);
        let prepared = master.prepare(&sums, 3 * u64::from(SHARDS), rate);
        let applied = prepared.map(|prepared| master.apply(prepared, &sums));
        norms += applied.expect("the norm is finite").norm;
    }
    format!("{:032x} {:016x}", master.hash(), norms.to_bits())
}

/// Of a probe, with more rows than features and with fewer: its log evidence, its penalty, its squared error, the spread of
/// that, and which held-out rows are right.
fn probe(rows: usize, width: usize) -> String {
    let mut features = initial_values(&parameter("features", rows * width, true), 5);
    let labels: Vec<u32> = (0..rows as u32).map(|row| row * row % 7 % 5).collect();
    for (row, label) in labels.iter().enumerate() {
        features[row * width + *label as usize] += 0.02;
    }
    let sample = Sample::new(&features, width, &labels).expect("a sample");
    let found = classification(&sample, 3).expect("numbers");
    let right: u64 = found.ridge.correct.iter().fold(0, |bits, right| (bits << 1) | u64::from(*right));
    let squares = Costs::of_rows(&found.left_out);
    let evidence = Evidence::of(&squares, &squares, 3).expect("numbers");
    let numbers = [found.log_evidence, found.ridge.penalty, evidence.zero, evidence.spread];
    format!("{} {right:x}", numbers.map(|number| format!("{:016x}", number.to_bits())).join(" "))
}

#[test]
fn a_probes_bits_do_not_depend_on_the_processor() {
    assert_eq!(probe(127, 30), TALL);
    assert_eq!(probe(90, 200), WIDE);
}

const TALL: &str = "bfe582e1360d2256 40694c583ada5b58 3fe7f0fa01ab7889 3f817eec25ee9ca8 1319869125e7b99a";
const WIDE: &str = "bfe5c2657ac57b63 4061c9ae0961883a 3fe80b854448c704 3f86adeb02f85a0d 1a46eb8b8078";

#[tokio::test]
async fn bits_do_not_depend_on_the_processor() {
    assert_eq!(train("optim: adamw_torch").await, ADAMW);
    assert_eq!(train("optim: sgd\noptim_args: \"momentum=0.9\"").await, SGD);
    assert_eq!(train("wire: bf16").await, BF16);
    assert_eq!(train("wire: int8").await, INT8);
    let transfer = "layer_decay: 0.7\nl2_sp: 0.3\nunfreeze: {step: 4, parameters: a.weight}";
    assert_eq!(train(transfer).await, TRANSFER);
}

const ADAMW: &str = "0fffccdce89674b76882756f1c83a3d4 403f251c9b29b976";
const SGD: &str = "82149186c1a7a2a5448a91d624b116a4 403f251c9b29b976";
const BF16: &str = "d14a9cf99ce928450ebce0ff9ed03ed9 403f252f0532d431";
const INT8: &str = "7a962cf1e14f8481c862230e70174a44 403f2789919fd97f";
const TRANSFER: &str = "6fc3bcdc7c2f58596c9d99ec3cd25502 403f251c9b29b976";
