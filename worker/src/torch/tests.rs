//! The networks against what transformers computed with them (`tests/reference/`), and what training relies on.

mod decoder;
mod decoders;
mod devices;
mod language;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headstart::checkpoint::Values;
use headstart::id::Step;
use headstart::model::initial_values;
use headstart::network::Network;
use xxhash_rust::xxh3::xxh3_128;

use self::reference::{Reference, floats};
use super::TorchTrainer;
use crate::trainer::{Batch, Draw, Line, Sums, Trainer};

#[path = "../../../tests/src/reference.rs"]
#[allow(
    unreachable_pub,
    reason = "a module of the whole-system tests, which cannot be depended on from here"
)]
mod reference;

/// Largest difference from what transformers computes, as a part of the largest value compared.
const TOLERANCE: f32 = 1e-4;
/// Gradients below this part of the network's largest are compared with it instead: a key's bias has a gradient of zero,
/// and rounding there is no error.
const FLOOR: f32 = 1e-3;

/// libtorch has one random generator in a process: tests that compute take turns.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A trainer of a reference's weights.
fn load(reference: &Reference, sets: &[&str]) -> (TorchTrainer, Arc<Network>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let job = runtime.block_on(reference.job(sets));
    let network = job.network.clone();
    (TorchTrainer::new(job).expect("libtorch works"), network)
}

/// Gradients of the summed loss by parameter name.
fn gradients(reference: &Reference) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(reference.directory.join("gradients.safetensors")).expect("committed");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let values =
        |data: &[u8]| data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    tensors.iter().map(|(name, tensor)| (name.to_owned(), values(tensor.data()))).collect()
}

fn largest<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// The largest difference is within the tolerance of the largest expected value, or of `floor` where that is larger.
fn assert_close(what: &str, found: &[f32], expected: &[f32], floor: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = largest(&found.iter().zip(expected).map(|(one, other)| one - other).collect::<Vec<_>>());
    let scale = largest(expected).max(floor);
    assert!(
        difference <= TOLERANCE * scale,
        "{what} differs by {difference} from transformers', at most {scale}"
    );
}

const DRAW: Draw = Draw { seed: 1, step: 2, shard: 3, micro_batch: 0 };

fn gradient(trainer: &mut TorchTrainer, draw: Draw, batch: &Batch) -> (f64, Vec<f32>) {
    // What the buffer held before must not matter.
    let mut gradient = vec![f32::NAN; trainer.trainable_len()];
    let sums = trainer.gradient(draw, batch, &mut gradient, &mut |_, _, _| {}).expect("a gradient");
    (sums.loss, gradient)
}

fn agrees_with_transformers(name: &str) {
    let reference = Reference::open(name);
    let (mut trainer, network) = load(&reference, &[]);
    let batch = reference.batch();
    assert_close(
        "logits",
        &trainer.logits(&batch).expect("logits"),
        &floats(&reference.facts["logits"]),
        0.0,
    );
    let (loss, gradient) = gradient(&mut trainer, DRAW, &batch);
    let expected = reference.facts["loss_sum"].as_f64().expect("a number");
    assert!((loss - expected).abs() < 1e-5 * expected, "loss {loss}, transformers has {expected}");
    let expected = gradients(&reference);
    assert_eq!(expected.len(), network.table.len(), "a gradient for each parameter");
    let floor = FLOOR * largest(expected.values().flatten());
    for slot in network.trainable.slots() {
        let name = &network.table[slot.parameter].name;
        assert_close(name, &gradient[slot.range.clone()], &expected[name], floor);
    }
    let sums = trainer.evaluate(&batch).expect("metrics");
    assert!((sums.loss - loss).abs() < 1e-5, "there is no dropout, so evaluation has the same loss");
    assert_eq!(sums.counts.len(), 9);
    assert_eq!(sums.counts[6..], [1, 1, 1], "one actual row of each label");
    features_agree(&reference, (&mut trainer, &network));
}

/// Rows are probed one by one, without their neighbours, and without the network that is compared with.
fn features_agree(reference: &Reference, (trainer, network): (&mut TorchTrainer, &Network)) {
    let text = std::fs::read_to_string(reference.directory.join("features.json")).expect("committed");
    let expected: Vec<Vec<f32>> = serde_json::from_str(&text).expect("it is JSON");
    let rows = reference.rows();
    assert_eq!(rows.len(), expected.len());
    assert!(trainer.probe(&rows[0], Line::Zero).is_err(), "there is nothing to compare with yet");
    let zero = network.table.iter().map(|parameter| Values::F32(initial_values(parameter, 5))).collect();
    trainer.set_zero_line(zero).expect("there is memory");
    for (row, expected) in rows.iter().zip(&expected) {
        let found = trainer.probe(row, Line::First).expect("features");
        assert_close("features", &found, expected, 0.0);
        assert_ne!(trainer.probe(row, Line::Zero).expect("features"), found, "of other weights");
    }
    gradient(trainer, DRAW, &rows[0]);
    assert!(!trainer.has_zero_line(), "training needs the memory");
}

/// Every network of `tests/reference/`; that there is one of each family is asserted beside the families' tables.
#[test]
fn networks_agree_with_transformers() {
    let _turn = take_turn();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reference");
    let entries = std::fs::read_dir(directory).expect("the references are committed").flatten();
    let networks: Vec<_> =
        entries.filter(|entry| entry.path().join("gradients.safetensors").is_file()).collect();
    for network in networks {
        agrees_with_transformers(&network.file_name().to_string_lossy());
    }
}

/// Loss, evaluation and gradient against what `label_smoothing.py` had transformers' Trainer compute.
fn smooths_as_transformers_does(name: &str) {
    let reference = Reference::open(name);
    let text = std::fs::read_to_string(reference.directory.join("label_smoothing.json")).expect("committed");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(cases.len(), 2);
    for expected in cases {
        let factor = expected["factor"].as_f64().expect("a number");
        let (mut trainer, network) = load(&reference, &[&format!("label_smoothing_factor={factor}")]);
        let batch = reference.batch();
        let (sum, found) = gradient(&mut trainer, DRAW, &batch);
        let judged = trainer.evaluate(&batch).expect("metrics");
        assert_eq!((judged.divisor, judged.samples), (3, 3));
        for (what, sum) in [("loss", sum), ("eval_loss", judged.loss)] {
            let (mean, expected) = (sum / 3.0, expected[what].as_f64().expect("a number"));
            assert!(
                (mean - expected).abs() < 1e-5 * expected,
                "{name}, factor {factor}: {what} is {mean}, transformers has {expected}"
            );
        }
        for slot in network.trainable.slots() {
            let parameter = &network.table[slot.parameter].name;
            if parameter.starts_with("classifier.") {
                let expected = floats(&expected[parameter.as_str()]);
                assert_close(parameter, &found[slot.range.clone()], &expected, 0.0);
            }
        }
    }
}

#[test]
fn labels_are_smoothed_as_transformers_does() {
    let _turn = take_turn();
    smooths_as_transformers_does("bert");
    smooths_as_transformers_does("vit");
}

#[test]
fn a_factor_of_zero_is_no_smoothing_to_the_bit() {
    let _turn = take_turn();
    let reference = Reference::open("bert");
    let batch = reference.batch();
    let (mut trainer, _) = load(&reference, &[]);
    let (loss, expected) = gradient(&mut trainer, DRAW, &batch);
    let song = trainer.canary().expect("a canary");
    let (mut zero, _) = load(&reference, &["label_smoothing_factor=0"]);
    assert_eq!(gradient(&mut zero, DRAW, &batch), (loss, expected));
    assert_eq!(zero.canary().expect("a canary"), song);
    let (mut smoothed, _) = load(&reference, &["label_smoothing_factor=0.1"]);
    assert_ne!(smoothed.canary().expect("a canary"), song, "the canary computes what the run computes");
}

#[test]
fn a_second_micro_batch_adds_to_the_first() {
    let _turn = take_turn();
    let reference = Reference::open("bert");
    let (mut trainer, _) = load(&reference, &[]);
    let batch = reference.batch();
    let (_, first) = gradient(&mut trainer, DRAW, &batch);
    let mut both = first.clone();
    trainer
        .gradient(Draw { micro_batch: 1, ..DRAW }, &batch, &mut both, &mut |_, _, _| {})
        .expect("a gradient");
    // Without dropout the second micro-batch has the first one's gradient.
    let twice: Vec<f32> = first.iter().map(|value| value + value).collect();
    assert_close("twice", &both, &twice, 0.0);
}

#[test]
fn dropout_depends_on_what_is_computed_and_on_nothing_else() {
    let _turn = take_turn();
    let dropout = ["model_overrides={hidden_dropout_prob: 0.3, attention_probs_dropout_prob: 0.3}"];
    for name in ["bert", "vit"] {
        let reference = Reference::open(name);
        let batch = reference.batch();
        let (mut one, _) = load(&reference, &dropout);
        let (_, expected) = gradient(&mut one, DRAW, &batch);
        let (mut other, _) = load(&reference, &dropout);
        for draw in [Draw { seed: 9, ..DRAW }, Draw { step: 9, ..DRAW }, Draw { shard: 9, ..DRAW }] {
            assert_ne!(bits(&gradient(&mut other, draw, &batch).1), bits(&expected), "{name}: {draw:?}");
        }
        assert_eq!(
            bits(&gradient(&mut other, DRAW, &batch).1),
            bits(&expected),
            "{name}: another worker, later"
        );
    }
}

#[test]
fn frozen_parameters_cost_no_gradient_and_change_no_other() {
    let _turn = take_turn();
    for (name, patterns) in [("bert", "bert.embeddings.*, bert.encoder.layer.0.*"), ("vit", "vit.*")] {
        let reference = Reference::open(name);
        let batch = reference.batch();
        let (mut trainer, whole) = load(&reference, &[]);
        let (_, expected) = gradient(&mut trainer, DRAW, &batch);
        let (mut trainer, network) = load(&reference, &[&format!("freeze=[{}]", quoted(patterns))]);
        let (_, found) = gradient(&mut trainer, DRAW, &batch);
        assert!(found.len() < expected.len());
        for slot in network.trainable.slots() {
            let same = whole
                .trainable
                .slots()
                .iter()
                .find(|other| other.parameter == slot.parameter)
                .expect("a slot");
            let (found, expected) = (&found[slot.range.clone()], &expected[same.range.clone()]);
            assert_eq!(bits(found), bits(expected), "{name}: {}", network.table[slot.parameter].name);
        }
    }
}

/// A step (from 0) of a run that begins to train some parameters with its third one.
fn before_and_after_unfreezing(name: &str, patterns: &str) {
    let reference = Reference::open(name);
    let batch = reference.batch();
    let (mut trainer, network) = load(&reference, &[]);
    let (_, expected) = gradient(&mut trainer, DRAW, &batch);
    let unfreeze = format!("unfreeze={{step: 3, parameters: [{}]}}", quoted(patterns));
    let (mut trainer, later) = load(&reference, &[&unfreeze]);
    let (_, found) = gradient(&mut trainer, DRAW, &batch);
    assert_eq!(bits(&found), bits(&expected), "{name}: from its third step on the run trains all");
    let before = Draw { step: 1, ..DRAW };
    let (_, found) = gradient(&mut trainer, before, &batch);
    let not_yet = later.trainable.not_yet(Step(1));
    assert!(!not_yet.is_empty(), "{name}");
    for slot in network.trainable.slots() {
        let (parameter, found) = (&network.table[slot.parameter].name, &found[slot.range.clone()]);
        // Equal to the bit, though blocks without parameters that train now build no graph. There is no dropout.
        match not_yet.iter().any(|range| range.contains(&slot.range.start)) {
            true => {
                assert!(found.iter().all(|value| value.to_bits() == 0), "{name}: {parameter} has no gradient")
            }
            false => assert_eq!(bits(found), bits(&expected[slot.range.clone()]), "{name}: {parameter}"),
        }
    }
}

#[test]
fn parameters_that_do_not_train_yet_have_no_gradient_and_change_no_other() {
    let _turn = take_turn();
    before_and_after_unfreezing("bert", "bert.embeddings.*, bert.encoder.layer.0.*");
    before_and_after_unfreezing("bert", "*word_embeddings*, *.layer.1.*, classifier.weight");
    before_and_after_unfreezing("vit", "vit.*");
}

fn quoted(patterns: &str) -> String {
    patterns.split(", ").map(|pattern| format!("\"{pattern}\"")).collect::<Vec<_>>().join(", ")
}

#[test]
fn weights_that_are_set_are_those_that_are_used() {
    let _turn = take_turn();
    let reference = Reference::open("bert");
    let (mut trainer, network) = load(&reference, &[]);
    let (batch, len) = (reference.batch(), network.trainable.len());
    let before = trainer.logits(&batch).expect("logits");
    let values: Vec<f32> = (0..len).map(|element| ((element * 7919) % 1000) as f32 * 1e-4 - 0.05).collect();
    for start in (0..len).step_by(997) {
        trainer.set_trainable(start, &values[start..(start + 997).min(len)]).expect("they fit");
    }
    let after = trainer.logits(&batch).expect("logits");
    assert_ne!(bits(&before), bits(&after));
    let (mut fresh, _) = load(&reference, &[]);
    fresh.set_trainable(0, &values).expect("they fit");
    assert_eq!(bits(&after), bits(&fresh.logits(&batch).expect("logits")), "in pieces or at once");
    assert!(trainer.set_trainable(len - 1, &[0.0, 0.0]).is_err(), "beyond the end");
}

#[test]
fn the_canary_sings_the_same_song_twice_and_another_for_another_network() {
    let _turn = take_turn();
    let reference = Reference::open("bert");
    let (mut trainer, _) = load(&reference, &[]);
    let song = trainer.canary().expect("a canary");
    assert_eq!(song, trainer.canary().expect("a canary"));
    let (mut other, _) = load(&Reference::open("vit"), &[]);
    assert_ne!(song, other.canary().expect("a canary"));
    let class = trainer.numeric_class();
    assert_eq!((class.libtorch.as_str(), class.device.as_str(), class.threads), ("2.11.0", "cpu", 1));
}

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads")
}

/// Bits as a number that fits a message.
fn bits(values: &[f32]) -> u128 {
    xxh3_128(bytemuck::cast_slice(values))
}
