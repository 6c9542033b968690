//! Worker and coordinator together against PyTorch: updates of small networks, as `tests/reference/` records them.

use std::sync::Arc;

use headstart::network::Network;
use headstart::optimizer::OptimizerConfig;
use headstart::trainable::SEGMENT;
use headstart_coordinator::master::Master;
use headstart_coordinator::reduce::Whole;
use headstart_tests::reference::{Reference, numbers};
use headstart_worker::torch::make_trainer;
use headstart_worker::trainer::Draw;
use serde_json::Value;

/// What a run came to.
struct Trained {
    network: Arc<Network>,
    /// Mean loss of each step, before its update.
    losses: Vec<f64>,
    /// Norm of each step's gradient, before clipping.
    norms: Vec<f64>,
    /// The trainable vector before and after.
    vectors: [Vec<f32>; 2],
}

/// Some steps on the reference's one batch.
async fn train(reference: &Reference, sets: &[&str], rate: f64, steps: usize) -> Trained {
    let (spec, job) = (reference.spec(sets), reference.job(sets).await);
    let network = job.network.clone();
    let initial = network.initial_vector().await.expect("the weights are whole");
    let master =
        Master::new(OptimizerConfig::new(&spec), spec.update.max_grad_norm, &network.trainable, &initial)
            .expect("memory");
    let mut trainer = make_trainer(job).expect("libtorch works");
    let batch = reference.batch();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..steps as u64 {
        let mut gradient = vec![0.0; network.trainable.len()];
        let draw = Draw { seed: 1, step, shard: 0, micro_batch: 0 };
        let sums = trainer.gradient(draw, &batch, &mut gradient, &mut |_, _, _| {}).expect("a gradient");
        losses.push(sums.loss / sums.divisor as f64);
        let segments: Vec<Whole> = gradient.chunks(SEGMENT).map(|part| Whole::new(part.to_vec())).collect();
        let prepared = master.prepare(&segments, sums.divisor, rate).expect("the norm is finite");
        norms.push(master.apply(prepared, &segments).norm);
        trainer.set_trainable(0, &master.copy().concat()).expect("it fits");
    }
    Trained { network, losses, norms, vectors: [initial, master.copy().concat()] }
}

/// Whether each number is the expected one, within a part of it.
fn agree(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1e-3);
        assert!(close, "{what}: {found}, PyTorch has {expected}");
    }
}

async fn losses_agree(name: &str) {
    let reference = Reference::open(name);
    let expected = &reference.facts["adamw"];
    let rate = expected["learning_rate"].as_f64().expect("a number");
    let decay = format!("weight_decay={}", expected["weight_decay"]);
    let losses = numbers(&expected["losses"]);
    let found = train(&reference, &[decay.as_str(), "max_grad_norm=0"], rate, losses.len()).await.losses;
    assert_eq!(found.len(), losses.len());
    for (step, (found, expected)) in found.iter().zip(losses).enumerate() {
        assert!((found - expected).abs() < 2e-5, "{name}, step {step}: loss {found}, PyTorch has {expected}");
    }
}

/// Learning rates by depth, later beginnings and the pull, each alone and all together, as `transfer.py` had torch compute them.
async fn treatments_agree(name: &str) {
    let reference = Reference::open(name);
    let text = std::fs::read_to_string(reference.directory.join("transfer.json")).expect("committed");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let keys = case["keys"].as_object().expect("keys of a run file");
        let sets: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let rate = keys["learning_rate"].as_f64().expect("a number");
        let losses = numbers(&case["losses"]);
        let found = train(&reference, &sets, rate, losses.len()).await;
        let what = |fact: &str| format!("{name}, {sets:?}, {fact}");
        agree(&what("losses"), &found.losses, &losses, 1e-4);
        agree(&what("norms"), &found.norms, &numbers(&case["norms"]), 1e-3);
        let [before, after] = &found.vectors;
        for slot in found.network.trainable.slots() {
            let parameter = &found.network.table[slot.parameter].name;
            // The gradient of a key's bias is zero: AdamW moves it by what rounding leaves.
            if parameter.ends_with("key.bias") {
                continue;
            }
            let differences = before[slot.range.clone()].iter().zip(&after[slot.range.clone()]);
            let squares = differences.map(|(one, other)| f64::from(one - other) * f64::from(one - other));
            let expected = case["moved"][parameter].as_f64().expect("a number");
            agree(&what(parameter), &[squares.sum::<f64>().sqrt()], &[expected], 5e-3);
        }
    }
}

#[tokio::test]
async fn training_follows_pytorch() {
    losses_agree("bert").await;
    losses_agree("vit").await;
    treatments_agree("bert").await;
    treatments_agree("vit").await;
}
