//! The parts that no encoder has, against a small Gemma 3: root mean square norms with an offset, four norms a layer, norms of
//! queries and keys, shared heads, rotary positions, windows, a gate, scaled embeddings.

use headstart::checkpoint::Values;
use headstart::model::blueprint::{
    Attention, Blueprint, Classifier, Embedding, Head, Identity, Input, Layer, Linear, Mlp, Norm, NormKind,
    Residual, Rope, Table, TextInput,
};
use headstart::model::tokenizer::Registered;
use headstart::model::{Activation, Block};
use headstart::trainable::Trainable;
use tch::Device;

use super::super::dropout::DropoutRng;
use super::super::host;
use super::super::network::Transformer;
use super::super::parameters::Parameters;
use super::reference::{Reference, floats, integers};
use super::{DRAW, assert_close, take_turn};
use crate::trainer::{Batch, Targets};

const HIDDEN: u64 = 16;
const HEAD: u64 = 6;
const WINDOW: u64 = 3;
/// Too small to drop anything, but enough to take the path of training.
const NO_DROPOUT: f64 = 1e-12;

fn norm(name: String, width: u64) -> Norm {
    Norm { name, width, kind: NormKind::Rms { offset: 1.0 }, epsilon: 1e-6 }
}

fn linear(name: String, from: u64, to: u64) -> Linear {
    Linear::unbiased(name, from, to)
}

fn layer(number: u64, rope: &serde_json::Value) -> Layer {
    let name = |part: &str| format!("layers.{number}.{part}");
    let around = |before: &str, after: &str| Residual {
        before: Some(norm(name(before), HIDDEN)),
        after: Some(norm(name(after), HIDDEN)),
        ..Residual::default()
    };
    let local = number.is_multiple_of(2);
    let kind = if local { "sliding_attention" } else { "full_attention" };
    Layer {
        attention: Attention {
            query: linear(name("self_attn.q_proj"), HIDDEN, 4 * HEAD),
            key: linear(name("self_attn.k_proj"), HIDDEN, 2 * HEAD),
            value: linear(name("self_attn.v_proj"), HIDDEN, 2 * HEAD),
            output: linear(name("self_attn.o_proj"), 4 * HEAD, HIDDEN),
            heads: 4,
            kv_heads: 2,
            head_size: HEAD,
            query_norm: Some(norm(name("self_attn.q_norm"), HEAD)),
            key_norm: Some(norm(name("self_attn.k_norm"), HEAD)),
            rope: Some(Rope { frequencies: floats(&rope[kind]), factor: 1.0 }),
            scale: Some(1.0 / 5f64.sqrt()),
            causal: true,
            window: local.then_some(WINDOW),
            dropout: NO_DROPOUT,
        },
        around_attention: around("input_layernorm", "post_attention_layernorm"),
        mlp: Mlp {
            gate: Some(linear(name("mlp.gate_proj"), HIDDEN, 24)),
            inner: linear(name("mlp.up_proj"), HIDDEN, 24),
            outer: linear(name("mlp.down_proj"), 24, HIDDEN),
            activation: Activation::GeluTanh,
        },
        around_mlp: around("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    }
}

fn blueprint(rope: &serde_json::Value) -> Blueprint {
    Blueprint {
        identity: Identity {
            model_type: "decoder",
            class: "none",
            prefix: "none",
            tokenizer: Registered::NONE,
            renamed: &[],
        },
        hidden: HIDDEN,
        initializer_range: 0.02,
        input: Input::Text(TextInput {
            tokens: Table::new("embed_tokens", 32, HIDDEN),
            positions: None,
            token_types: None,
            longest: None,
        }),
        embedding: Embedding { scale: 4.0, norm: None, dropout: 0.0, projection: None },
        layers: (0..3).map(|number| layer(number, rope)).collect(),
        final_norm: Some(norm("norm".into(), HIDDEN)),
        head: Head::Classifier(Classifier {
            dropout_before: 0.0,
            dense: None,
            dropout: 0.0,
            output: linear("score".into(), HIDDEN, 2),
        }),
    }
}

#[test]
fn the_parts_of_decoders_agree_with_transformers() {
    let _turn = take_turn();
    let reference = Reference::open("decoder");
    let blueprint = blueprint(&reference.facts["rope"]);
    let table = blueprint.parameters();
    let bytes = std::fs::read(reference.directory.join("model.safetensors")).expect("committed");
    let stored = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let values = table.iter().map(|parameter| match stored.tensor(&parameter.name) {
        Ok(tensor) => {
            assert_eq!(tensor.shape(), parameter.shape.iter().map(|&side| side as usize).collect::<Vec<_>>());
            Values::F32(
                tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            )
        }
        Err(_) => Values::F32(vec![0.0; parameter.len()]),
    });
    let layout = Trainable::new(&table, &[]).expect("all of it trains");
    let parameters = Parameters::new(&table, &layout, values.collect(), Device::Cpu).expect("they fit");
    assert_eq!(stored.names().len() + 1, table.len(), "all but the classifier");
    let decoder = Transformer::new(&blueprint, &parameters);
    let inputs = &reference.facts["inputs"];
    let mask = integers(&inputs["attention_mask"]);
    let ids = integers(&inputs["input_ids"]).into_iter().zip(&mask).filter(|(_, real)| **real == 1);
    let input_ids: Vec<i64> = ids.map(|(id, _)| id).collect();
    let batch = Batch::Text {
        token_type_ids: vec![0; input_ids.len()],
        input_ids,
        lengths: mask.chunks(7).map(|row| row.iter().sum::<i64>() as usize).collect(),
        targets: Targets::Labels(vec![0, 1]),
    };
    let rng = DropoutRng::new(DRAW, Block::Embed, Device::Cpu);
    let given = decoder.inputs(&batch, Device::Cpu).expect("token ids");
    for rng in [None, Some(&rng)] {
        let mut hidden = given.first.shallow_clone();
        for block in [Block::Embed, Block::Layer(0), Block::Layer(1)] {
            hidden = decoder.block(block, &hidden, &given, rng).expect("a block");
        }
        let found = host::elements(&hidden, <[f32]>::to_vec).expect("on the host");
        let expected = floats(&reference.facts["after_two_layers"]);
        assert_close("hidden vectors", &found, &expected, 0.0);
    }
}
