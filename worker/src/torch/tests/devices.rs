//! Weights and gradient as on a device, with the host as the device: the numbers are the host's, and what crosses is counted.
//!
//! Nothing crosses for the host to wait but one small tensor a micro-batch, a gradient a shard and the weights a version.

use headstart::trainable::{Slot, Treatment};
use tch::{Device, Kind, Tensor};

use super::super::bus::{Crossings, take_crossings};
use super::super::device_gradient::DeviceGradient;
use super::super::gradient::Sink;
use super::super::padded::Padded;
use super::language::{PLAIN, Small, config, lora, rows};
use super::reference::Reference;
use super::*;

const DROPOUT: &str = "model_overrides={hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.2}";

fn load_staged(reference: &Reference, sets: &[&str]) -> TorchTrainer {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    TorchTrainer::with(runtime.block_on(reference.job(sets)), true).expect("libtorch works")
}

/// Sums of each micro-batch of a shard, and the shard's gradient.
fn shard(trainer: &mut TorchTrainer, shard: u32, batches: &[Batch]) -> (Vec<Sums>, Vec<f32>) {
    let mut gradient = vec![f32::NAN; trainer.trainable_len()];
    let sums = (0..).zip(batches).map(|(micro_batch, batch)| {
        let draw = Draw { shard, micro_batch, ..DRAW };
        trainer.gradient(draw, batch, &mut gradient, &mut |_, _, _| {}).expect("a gradient")
    });
    let sums = sums.collect();
    trainer.finish_shard(&mut gradient).expect("a gradient");
    (sums, gradient)
}

/// A batch whose second token is padding, which has a row of its own in tables and no gradient there.
fn with_padding(mut batch: Batch) -> Batch {
    if let Batch::Text { input_ids, .. } = &mut batch {
        input_ids[1] = 0;
    }
    batch
}

/// Tables of few rows are added up by a product, in another order.
#[test]
fn a_device_gives_the_gradient_of_the_host() {
    let _turn = take_turn();
    for name in ["bert", "vit", "roberta"] {
        let reference = Reference::open(name);
        let (mut host, network) = load(&reference, &[DROPOUT]);
        let mut device = load_staged(&reference, &[DROPOUT]);
        let batches = [reference.batch(), with_padding(reference.batch()), reference.batch()];
        for number in [0, 1] {
            let (expected_sums, expected) = shard(&mut host, number, &batches);
            let (sums, found) = shard(&mut device, number, &batches);
            assert_eq!(sums, expected_sums, "{name}");
            assert!(sums.iter().all(|sums| sums.finite));
            for slot in network.trainable.slots() {
                let row = &network.table[slot.parameter];
                let [found, expected] = [&found, &expected].map(|all| &all[slot.range.clone()]);
                match row.name.ends_with("_embeddings.weight") && row.shape[0] <= 16 {
                    true => assert_close(&row.name, found, expected, 1e-3 * largest(expected)),
                    false => assert_eq!(bits(found), bits(expected), "{name}: {}", row.name),
                }
            }
        }
        assert_eq!(
            bits(&device.logits(&batches[0]).expect("logits")),
            bits(&host.logits(&batches[0]).expect("logits"))
        );
        let judged = [&mut device, &mut host].map(|trainer| trainer.evaluate(&batches[0]).expect("metrics"));
        assert_eq!(judged[0], judged[1]);
    }
}

#[test]
fn a_device_gives_the_gradient_of_a_decoder_with_and_without_an_adapter() {
    let _turn = take_turn();
    for (adapter, tied, checkpointing, compute) in [
        (None, true, false, Kind::Float),
        (None, false, true, Kind::BFloat16),
        (lora(0.2), true, true, Kind::Float),
        (lora(0.0), false, false, Kind::BFloat16),
    ] {
        let mut config = config();
        config["tie_word_embeddings"] = tied.into();
        let small = Small::computing(&config, adapter, Values::F32, compute);
        let batches = [rows(&[9, 9, 4]), rows(&[6, 1]), rows(&[12])];
        let mut expected = vec![f32::NAN; small.layout.len()];
        let add = |(micro_batch, batch)| {
            small.add(PLAIN, checkpointing, Draw { micro_batch, ..DRAW }, batch, &mut expected)
        };
        let expected_sums: Vec<Sums> = (0..).zip(&batches).map(add).collect();
        let small = small.staged();
        let mut there = small.gradient_there();
        let add = |(micro_batch, batch)| {
            let step = small.of(PLAIN, checkpointing, Draw { micro_batch, ..DRAW }, batch);
            step.gradient_there(&mut there).expect("a gradient")
        };
        let sums: Vec<Sums> = (0..).zip(&batches).map(add).collect();
        let mut found = vec![f32::NAN; small.layout.len()];
        there.give(&pool(), &mut found).expect("it fits");
        assert_eq!(sums, expected_sums);
        assert_eq!(bits(&found), bits(&expected), "adapter {adapter:?}, tied {tied}");
    }
}

#[test]
fn the_host_waits_once_a_micro_batch_once_a_shard_and_once_a_version() {
    let _turn = take_turn();
    for (name, inputs) in [("bert", 8), ("vit", 2)] {
        let reference = Reference::open(name);
        let mut trainer = load_staged(&reference, &[]);
        let (batch, len) = (reference.batch(), trainer.trainable_len());
        trainer.set_trainable(0, &[0.0]).expect("it fits");
        assert_eq!(take_crossings(), Crossings { downloads: 1, ..Crossings::default() }, "the first weights");
        for version in 0..3 {
            let values: Vec<f32> =
                (0..len).map(|element| ((element * 7919 + version) % 1000) as f32 * 1e-4 - 0.05).collect();
            match version {
                0 => trainer.set_trainable(0, &values).expect("they fit"),
                1 => (0..len).step_by(7).for_each(|at| {
                    trainer.set_trainable(at, &values[at..(at + 7).min(len)]).expect("they fit");
                }),
                _ => trainer
                    .load_trainable(&|at, into| {
                        into.copy_from_slice(&values[at..at + into.len()]);
                        Ok(())
                    })
                    .expect("they fit"),
            }
            for number in 0..2 {
                shard(&mut trainer, number, &[batch.clone(), batch.clone(), batch.clone()]);
            }
            let expected = Crossings { inputs: 6 * inputs, reads: 6, uploads: 1, downloads: 2 };
            assert_eq!(take_crossings(), expected, "{name}, version {version}");
        }
    }
}

#[test]
fn weights_that_change_on_the_host_are_used_on_the_device() {
    let _turn = take_turn();
    let reference = Reference::open("bert");
    let (mut host, _) = load(&reference, &[]);
    let mut device = load_staged(&reference, &[]);
    let batch = reference.batch();
    for trainer in [&mut host, &mut device] {
        let before = trainer.logits(&batch).expect("logits");
        for (at, piece) in trainer.trainable_mut().expect("an image on the host") {
            (at..).zip(piece).for_each(|(element, value)| *value += (element % 13) as f32 * 1e-3);
        }
        let between = trainer.logits(&batch).expect("logits");
        assert_ne!(bits(&before), bits(&between));
        for at in (0..trainer.trainable_len() - 997).step_by(2000) {
            trainer.set_trainable(at, &[0.03; 997]).expect("it fits");
        }
        assert_ne!(bits(&between), bits(&trainer.logits(&batch).expect("logits")));
    }
    let logits = [host, device].map(|trainer| bits(&trainer.logits(&batch).expect("logits")));
    assert_eq!(logits[0], logits[1]);
}

#[test]
fn a_gradient_that_is_not_finite_is_seen_on_the_device() {
    let _turn = take_turn();
    let reference = Reference::open("bert");
    let mut trainer = load_staged(&reference, &[]);
    let batch = [reference.batch()];
    let (good, expected) = shard(&mut trainer, 0, &batch);
    let last = trainer.trainable_len() - 1;
    trainer.set_trainable(last, &[f32::NAN]).expect("it fits");
    assert!(good[0].finite && !shard(&mut trainer, 0, &batch).0[0].finite);
    trainer.set_trainable(last, &[0.0]).expect("it fits");
    let (again, found) = shard(&mut trainer, 0, &batch);
    assert!(again[0].finite && found.len() == expected.len(), "nothing is left of a bad shard");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let slots = [Slot { parameter: 0, range: 0..5, treatment: Treatment::plain(false) }];
        let mut gradient = DeviceGradient::new(Padded::new(&slots), Device::Cpu).expect("a small one");
        let none = Tensor::zeros([0], (Kind::Double, Device::Cpu));
        assert!(gradient.read(&none).expect("a judgement").1);
        gradient.write(4..5, &Tensor::from_slice(&[bad])).expect("it fits");
        assert!(!gradient.read(&none).expect("a judgement").1, "{bad}");
    }
}

#[test]
fn the_canary_of_a_device_is_computed_as_its_gradients_are() {
    let _turn = take_turn();
    let mut trainer = load_staged(&Reference::open("bert"), &[]);
    take_crossings();
    let song = trainer.canary().expect("a canary");
    let Crossings { reads, uploads, downloads, .. } = take_crossings();
    assert_eq!((reads, uploads, downloads), (6, 0, 6), "three batches, twice each");
    assert_eq!(song, trainer.canary().expect("a canary"));
}
