//! Language models: rows end to end, the loss over a vocabulary, adapters, frozen weights as stored.

use half::bf16;
use headstart::checkpoint::Values;
use headstart::model::blueprint::{Adapter, Blueprint, Head};
use headstart::model::{Init, Parameter, Part, initial_values};
use headstart::run_file::Task;
use headstart::trainable::Trainable;
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::super::device_gradient::DeviceGradient;
use super::super::network::Transformer;
use super::super::parameters::Parameters;
use super::super::step::Step;
use super::{DRAW, assert_close, bits, largest, take_turn};
use crate::objective::Objective;
use crate::trainer::{Batch, Draw, Sums, Targets};

pub(super) const PLAIN: Objective = Objective::CausalLm { smoothing: 0.0 };

pub(super) fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 40, "num_hidden_layers": 3, "vocab_size": 50, "tie_word_embeddings": true,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    })
}

/// A network with noisy weights, ready to compute.
pub(super) struct Small {
    blueprint: Blueprint,
    table: Vec<Parameter>,
    pub(super) layout: Trainable,
    parameters: Parameters,
    network: Transformer,
}

impl Small {
    /// `adapter`: what every linear layer has; then nothing else trains. `store`: how weights are stored.
    pub(super) fn new(config: &Value, adapter: Option<Adapter>, store: fn(Vec<f32>) -> Values) -> Small {
        Small::computing(config, adapter, store, Kind::Float)
    }

    /// The same, computing in this number format.
    pub(super) fn computing(
        config: &Value,
        adapter: Option<Adapter>,
        store: fn(Vec<f32>) -> Values,
        compute: Kind,
    ) -> Small {
        let mut blueprint = Blueprint::from_config(config, Task::CausalLm, 0).expect("a llama");
        for layer in &mut blueprint.layers {
            let (attention, mlp) = (&mut layer.attention, &mut layer.mlp);
            let linears = [
                &mut attention.query,
                &mut attention.key,
                &mut attention.value,
                &mut attention.output,
                &mut mlp.inner,
                &mut mlp.outer,
            ];
            linears.into_iter().chain(&mut mlp.gate).for_each(|linear| linear.adapter = adapter);
        }
        let table = blueprint.parameters();
        let trains = |parameter: &Parameter| adapter.is_none() || parameter.part == Part::Adapter;
        let frozen: Vec<String> =
            table.iter().filter(|row| !trains(row)).map(|row| row.name.clone()).collect();
        let layout = Trainable::new(&table, &frozen).expect("something trains");
        let values = |row: &Parameter| {
            initial_values(&Parameter { init: Init::Normal { std: 0.3 }, ..row.clone() }, 7)
        };
        let stored = table.iter().map(|row| match trains(row) {
            true => Values::F32(values(row)),
            // Values that 16 bits hold.
            false => store(values(row).into_iter().map(|value| bf16::from_f32(value).to_f32()).collect()),
        });
        let parameters = Parameters::new(&table, &layout, stored.collect(), Device::Cpu).expect("they fit");
        let parameters = parameters.computing(compute);
        let network = Transformer::new(&blueprint, &parameters);
        Small { blueprint, table, layout, parameters, network }
    }

    /// The same, with its weights as on a device.
    pub(super) fn staged(self) -> Small {
        let parameters = self.parameters.staged().expect("they fit");
        parameters.upload().expect("they fit");
        let network = Transformer::new(&self.blueprint, &parameters);
        Small { parameters, network, ..self }
    }

    /// Room for a gradient as on a device.
    pub(super) fn gradient_there(&self) -> DeviceGradient {
        let layout = self.parameters.layout().expect("its weights are as on a device");
        DeviceGradient::new(layout.clone(), Device::Cpu).expect("a small one")
    }

    fn step(&self, objective: Objective, checkpointing: bool, batch: &Batch) -> (Sums, Vec<f32>) {
        let mut gradient = vec![f32::NAN; self.layout.len()];
        let sums = self.add(objective, checkpointing, DRAW, batch, &mut gradient);
        (sums, gradient)
    }

    pub(super) fn of<'a>(
        &'a self,
        objective: Objective,
        checkpointing: bool,
        draw: Draw,
        batch: &'a Batch,
    ) -> Step<'a> {
        let Small { parameters, network, .. } = self;
        Step { network, parameters, objective, checkpointing, draw, batch, not_yet: Vec::new() }
    }

    pub(super) fn add(
        &self,
        objective: Objective,
        checkpointing: bool,
        draw: Draw,
        batch: &Batch,
        gradient: &mut [f32],
    ) -> Sums {
        let step = self.of(objective, checkpointing, draw, batch);
        step.gradient(gradient, &mut |_, _, _| {}).expect("a gradient")
    }
}

/// Rows of these lengths, of which the later half of the tokens is trained.
pub(super) fn rows(lengths: &[usize]) -> Batch {
    let tokens: usize = lengths.iter().sum();
    let trained =
        lengths.iter().flat_map(|&length| (0..length).map(move |token| token > 0 && 2 * token >= length));
    Batch::Text {
        input_ids: (0..tokens).map(|token| ((token * 31 + 7) % 50) as i64).collect(),
        token_type_ids: vec![0; tokens],
        lengths: lengths.to_vec(),
        targets: Targets::Tokens(trained.collect()),
    }
}

/// A row of a batch, alone.
fn alone(batch: &Batch, row: usize) -> Batch {
    let Batch::Text { input_ids, lengths, targets: Targets::Tokens(trained), .. } = batch else {
        unreachable!("made by rows()")
    };
    let start: usize = lengths[..row].iter().sum();
    let tokens = start..start + lengths[row];
    Batch::Text {
        input_ids: input_ids[tokens.clone()].to_vec(),
        token_type_ids: vec![0; lengths[row]],
        lengths: vec![lengths[row]],
        targets: Targets::Tokens(trained[tokens].to_vec()),
    }
}

pub(super) fn lora(dropout: f64) -> Option<Adapter> {
    Some(Adapter { rank: 3, scale: 2.0, dropout })
}

#[test]
fn rows_end_to_end_are_the_sum_of_rows_alone() {
    let _turn = take_turn();
    for smoothing in [0.0, 0.1] {
        let objective = Objective::CausalLm { smoothing };
        for adapter in [None, lora(0.0)] {
            let small = Small::new(&config(), adapter, Values::F32);
            let batch = rows(&[5, 5, 1, 17, 3]);
            let (together, gradient) = small.step(objective, false, &batch);
            let (mut loss, mut divisor, mut sum) = (0.0, 0, vec![0.0; small.layout.len()]);
            for row in 0..5 {
                let (sums, gradient) = small.step(objective, false, &alone(&batch, row));
                assert!(sums.finite);
                loss += sums.loss;
                divisor += sums.divisor;
                sum.iter_mut().zip(&gradient).for_each(|(sum, part)| *sum += part);
            }
            assert_eq!((together.divisor, together.tokens, together.samples), (divisor, 31, 5));
            assert!((together.loss - loss).abs() < 1e-5 * loss, "{} and {loss}", together.loss);
            assert_close("the gradient", &gradient, &sum, 0.0);
            assert!(largest(&gradient) > 0.0);
        }
    }
}

#[test]
fn a_second_micro_batch_adds_to_a_head_that_shares_its_table() {
    let _turn = take_turn();
    for tied in [true, false] {
        let mut config = config();
        config["tie_word_embeddings"] = tied.into();
        let small = Small::new(&config, None, Values::F32);
        assert_eq!(small.table.iter().filter(|row| row.name == "lm_head.weight").count(), usize::from(!tied));
        let (batch, other) = (rows(&[9, 4]), rows(&[6]));
        let (_, one) = small.step(PLAIN, false, &batch);
        let (_, two) = small.step(PLAIN, false, &other);
        let mut both = one.clone();
        small.add(PLAIN, false, Draw { micro_batch: 1, ..DRAW }, &other, &mut both);
        let sum: Vec<f32> = one.iter().zip(&two).map(|(one, two)| one + two).collect();
        assert_close("the sum", &both, &sum, 0.0);
    }
}

#[test]
fn computing_layers_again_changes_no_bit() {
    let _turn = take_turn();
    for adapter in [None, lora(0.2)] {
        let mut config = config();
        config["attention_dropout"] = 0.2.into();
        let small = Small::new(&config, adapter, Values::F32);
        let batch = rows(&[12, 12, 7]);
        let (kept, again) = (small.step(PLAIN, false, &batch), small.step(PLAIN, true, &batch));
        assert_eq!((kept.0, bits(&kept.1)), (again.0, bits(&again.1)));
    }
}

#[test]
fn storage_in_16_bits_changes_no_bit() {
    let _turn = take_turn();
    let narrow = |values: Vec<f32>| Values::Bf16(values.into_iter().map(bf16::from_f32).collect());
    for tied in [true, false] {
        let mut config = config();
        config["tie_word_embeddings"] = tied.into();
        let batch = rows(&[12, 5]);
        let [wide, narrow] = [Values::F32, narrow].map(|store| {
            let small = Small::new(&config, lora(0.0), store);
            let (sums, gradient) = small.step(PLAIN, false, &batch);
            (sums, bits(&gradient))
        });
        assert_eq!(wide, narrow);
    }
}

/// Only GPUs compute in bf16; that the formats fit each other everywhere is seen here.
#[test]
fn computing_in_16_bits_stays_close_to_32() {
    let _turn = take_turn();
    for adapter in [None, lora(0.0)] {
        let batch = rows(&[9, 9, 4]);
        let wide = Small::new(&config(), adapter, Values::F32);
        let small = Small::computing(&config(), adapter, Values::F32, Kind::BFloat16);
        let (expected, gradient) = wide.step(PLAIN, false, &batch);
        for checkpointing in [false, true] {
            let (sums, found) = small.step(PLAIN, checkpointing, &batch);
            assert!(
                (sums.loss - expected.loss).abs() < 0.02 * expected.loss,
                "{} {}",
                sums.loss,
                expected.loss
            );
            let off =
                found.iter().zip(&gradient).map(|(one, other)| (one - other).powi(2)).sum::<f32>().sqrt();
            let size = gradient.iter().map(|value| value.powi(2)).sum::<f32>().sqrt();
            assert!(off < 0.1 * size && off > 1e-4 * size, "{off} of {size}");
        }
    }
}

#[test]
fn a_batch_without_trained_tokens_has_a_gradient_of_zero() {
    let _turn = take_turn();
    let small = Small::new(&config(), None, Values::F32);
    let Batch::Text { input_ids, token_type_ids, lengths, .. } = rows(&[4, 2]) else { unreachable!() };
    let batch = Batch::Text { input_ids, token_type_ids, lengths, targets: Targets::Tokens(vec![false; 6]) };
    let (sums, gradient) = small.step(PLAIN, false, &batch);
    assert_eq!((sums.divisor, sums.loss, sums.finite, sums.tokens), (0, 0.0, true, 6));
    assert!(gradient.iter().all(|value| *value == 0.0));
}

#[test]
fn measures_are_those_of_the_distribution() {
    let _turn = take_turn();
    let small = Small::new(&config(), None, Values::F32);
    let batch = alone(&rows(&[6]), 0);
    let hidden = small.network.evaluate(&batch, Device::Cpu).expect("vectors");
    let vocabulary = small.network.vocabulary().expect("a language model");
    let targets = super::super::objective::next_tokens(&batch, Device::Cpu).expect("tokens");
    let weight = small.parameters.tensor("model.embed_tokens.weight").detach();
    let logits = hidden.matmul(&weight.tr()).to_kind(tch::Kind::Double);
    let logp = logits.log_softmax(-1, tch::Kind::Double);
    let entropy = -(logp.exp() * &logp).sum(tch::Kind::Double).double_value(&[]);
    let nll = -logp.gather(1, &targets.unsqueeze(1), false).sum(tch::Kind::Double).double_value(&[]);
    let judged = vocabulary.judge(&hidden, &targets, 0.0, None).expect("a loss");
    let sums = Vec::<f64>::try_from(judged.sums.sum_dim_intlist(&[0i64][..], false, Kind::Double));
    let sums: [f64; 4] = sums.expect("numbers").try_into().expect("four of them");
    assert!((sums[1] - nll).abs() < 1e-5 * nll && (sums[2] - entropy).abs() < 1e-5 * entropy);
    assert_eq!(judged.nll.expect("no gradient was asked for").size(), targets.size());
    let right = logits.argmax(1, false).eq_tensor(&targets).sum(tch::Kind::Int64).int64_value(&[]);
    assert_eq!(sums[3] as i64, right);
    let [loss, nll, entropy, _] = sums;
    let sums = PLAIN.evaluate(&small.network, &batch, Device::Cpu).expect("metrics");
    assert_eq!((sums.loss, sums.measures), (loss, vec![nll, entropy]));
}

#[test]
fn many_positions_and_a_large_vocabulary_go_through_in_chunks() {
    let _turn = take_turn();
    let mut config = config();
    config["vocab_size"] = 9000.into();
    config["max_position_embeddings"] = 1024.into();
    let blueprint = Blueprint::from_config(&config, Task::CausalLm, 0).expect("a llama");
    assert!(matches!(&blueprint.head, Head::Language(head) if head.tied));
    let small = Small::new(&config, None, Values::F32);
    // 300 trained tokens: more than a chunk; 9,000 tokens: more than a block.
    let batch = rows(&[600]);
    let (whole, gradient) = small.step(PLAIN, false, &batch);
    assert_eq!(whole.divisor, 300);
    // The derivative along a direction, by differences.
    let direction: Vec<f32> = (0..gradient.len()).map(|index| ((index * 37) % 11) as f32 - 5.0).collect();
    let slope: f64 =
        gradient.iter().zip(&direction).map(|(one, two)| f64::from(*one) * f64::from(*two)).sum();
    let size = 2e-5f32;
    let moved = |sign: f32| {
        let mut other = Small::new(&config, None, Values::F32);
        for slot in small.layout.slots() {
            let row = &small.table[slot.parameter];
            let values = initial_values(&Parameter { init: Init::Normal { std: 0.3 }, ..row.clone() }, 7);
            let values: Vec<f32> =
                values.iter().zip(&direction[slot.range.clone()]).map(|(v, d)| v + sign * size * d).collect();
            other.parameters.set(slot.range.start, &values).expect("they fit");
        }
        other.step(PLAIN, false, &batch).0.loss
    };
    let found = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(size));
    assert!((found - slope).abs() < 0.02 * slope.abs(), "{found} and {slope}");
}
