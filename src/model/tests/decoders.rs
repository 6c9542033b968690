//! Configurations of decoders.

use serde_json::{Value, json};

use super::with;
use crate::model::blueprint::{Head, NormKind};
use crate::model::{Blueprint, ModelError, Part};
use crate::run_file::Task;

fn llama() -> Value {
    json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,
           "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48})
}

fn read(config: Value) -> Result<Blueprint, ModelError> {
    Blueprint::from_config(&config, Task::CausalLm, 0)
}

fn names(network: &Blueprint) -> Vec<String> {
    network.parameters().into_iter().map(|parameter| parameter.name).collect()
}

#[test]
fn a_decoder_has_the_parts_that_its_keys_say() {
    let network = read(llama()).expect("valid");
    let attention = &network.layers[0].attention;
    assert_eq!((attention.heads, attention.kv_heads, attention.head_size), (4, 2, 8));
    assert_eq!((attention.query.to, attention.key.to, attention.causal), (32, 16, true));
    let norm = network.final_norm.as_ref().expect("a decoder ends with one");
    assert_eq!((norm.kind, norm.epsilon), (NormKind::Rms { offset: 0.0 }, 1e-6));
    assert_eq!((network.longest(), network.labels()), (Some(2048), 0));
    let table = network.parameters();
    assert!(table.iter().all(|parameter| parameter.part == Part::Body));
    assert_eq!(
        names(&network)[..3],
        [
            "model.embed_tokens.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.k_proj.weight",
        ]
    );
    assert_eq!(names(&network).last().map(String::as_str), Some("lm_head.weight"));

    let config = with(with(llama(), "tie_word_embeddings", json!(true)), "head_dim", json!(6));
    let network =
        read(with(with(config, "attention_bias", json!(true)), "mlp_bias", json!(true))).expect("valid");
    let Head::Language(head) = &network.head else { panic!("{:?}", network.head) };
    assert_eq!((head.tied, head.output.weight().as_str()), (true, "model.embed_tokens.weight"));
    assert_eq!(names(&network).last().map(String::as_str), Some("model.norm.weight"));
    let biases = names(&network).iter().filter(|name| name.ends_with(".bias")).count();
    assert_eq!(biases, 2 * (4 + 3));
    assert_eq!(network.layers[1].attention.query.to, 24);
}

#[test]
fn unusable_decoders_are_refused_and_named() {
    let cases = [
        (
            with(llama(), "num_key_value_heads", json!(3)),
            "num_attention_heads 4 is not divisible by num_key_value_heads 3",
        ),
        (
            with(llama(), "num_attention_heads", json!(5)),
            "hidden_size 32 is not divisible by num_attention_heads 5",
        ),
        (with(llama(), "head_dim", json!(5)), "head_dim: expected an even number"),
        (with(llama(), "hidden_act", json!("mish")), "hidden_act: expected one of gelu"),
        (with(llama(), "pad_token_id", json!(64)), "pad_token_id: expected a token below vocab_size 64"),
    ];
    for (config, expected) in cases {
        let error = read(config.clone()).expect_err("must be refused");
        assert!(error.to_string().contains(expected), "{config} gives {error:?}, which lacks {expected:?}");
    }
    let error = Blueprint::from_config(&llama(), Task::SequenceClassification, 3).expect_err("no such head");
    assert!(matches!(error, ModelError::WrongTask { model_type: "llama", .. }), "{error}");
}
