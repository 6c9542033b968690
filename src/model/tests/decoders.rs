//! Configurations of decoders.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::with;
use crate::exit::Exit;
use crate::model::blueprint::{Head, NormKind};
use crate::model::{Block, Blueprint, ModelError, Part};
use crate::run_file::Task;

fn llama() -> Value {
    json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,
           "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48})
}

fn qwen() -> Value {
    with(llama(), "model_type", json!("qwen2"))
}

fn rope(settings: Value) -> Value {
    with(llama(), "rope_scaling", settings)
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
        (
            with(llama(), "final_logit_softcapping", json!(30.0)),
            "final_logit_softcapping 30.0 is not supported yet",
        ),
        (
            with(llama(), "attn_logit_softcapping", json!(50.0)),
            "attn_logit_softcapping 50.0 is not supported yet",
        ),
        (with(llama(), "quantization_config", json!({"quant_method": "gptq"})), "quantization_config {"),
        (
            with(llama(), "partial_rotary_factor", json!(0.5)),
            "partial_rotary_factor 0.5 is not supported yet",
        ),
        (with(llama(), "rope_theta", json!(1)), "rope_theta: expected a number above 1"),
        (with(llama(), "rope_scaling", json!("linear")), "rope_scaling: expected an object"),
        (
            rope(json!({"type": "dynamic", "factor": 2.0})),
            "rope_scaling: rope_type: expected one of default, linear",
        ),
        (rope(json!({"rope_type": "longrope"})), "found \"longrope\""),
        (rope(json!({"type": "linear"})), "rope_scaling: key \"factor\" is missing"),
        (
            rope(json!({"type": "linear", "factor": 0})),
            "rope_scaling: factor: expected a number from 0.000001 on",
        ),
        (rope(json!({"type": "linear", "factor": "2"})), "rope_scaling: factor: expected a number"),
        (
            rope(json!({"rope_type": "llama3", "factor": 8})),
            "rope_scaling: key \"low_freq_factor\" is missing",
        ),
        (
            rope(json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})),
            "rope_scaling: high_freq_factor: expected more than low_freq_factor, 4",
        ),
        (
            rope(json!({"full_attention": {"rope_type": "default"}})),
            "for full_attention is not supported yet",
        ),
        (with(qwen(), "layer_types", json!(["full_attention"])), "layer_types: expected a list of 2 types"),
        (
            with(qwen(), "layer_types", json!(["full_attention", "sliding_attention"])),
            "layer_types: expected full_attention only",
        ),
        (
            with(qwen(), "layer_types", json!(["full_attention", "chunked_attention"])),
            "layer_types: expected full_attention or sliding_attention",
        ),
    ];
    for (config, expected) in cases {
        let error = read(config.clone()).expect_err("must be refused");
        assert_eq!(error.exit(), Exit::Checkpoint);
        assert!(error.to_string().contains(expected), "{config} gives {error:?}, which lacks {expected:?}");
    }
    let error = Blueprint::from_config(&llama(), Task::SequenceClassification, 3).expect_err("no such head");
    assert!(matches!(error, ModelError::WrongTask { model_type: "llama", .. }), "{error}");
}

/// Largest relative difference of a frequency: two units in the last place, for transformers' power function is a vectorised
/// one that may round the other way.
const ULPS: f64 = 2.4e-7;

#[test]
fn configurations_mean_what_transformers_takes_from_them() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/configs");
    let json = |name: &str| -> Value {
        let bytes = std::fs::read(format!("{directory}/{name}")).expect("committed");
        serde_json::from_slice(&bytes).expect("it is JSON")
    };
    let cases = json("resolved.json");
    let (mut exact, mut frequencies) = (0, 0);
    for case in cases.as_array().expect("a list") {
        let config = match case["file"].as_str() {
            Some(file) => json(file),
            None => case["config"].clone(),
        };
        let network = read(config).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        let (same, all) = compare(&network, case);
        (exact, frequencies) = (exact + same, frequencies + all);
    }
    assert!(exact * 10 > frequencies * 9, "{exact} of {frequencies} frequencies are equal to the bit");
}

/// Compares all but the names of parameters; how many frequencies are equal, and how many there are.
fn compare(network: &Blueprint, case: &Value) -> (usize, usize) {
    let name = &case["name"];
    let Head::Language(head) = &network.head else { panic!("{name}: {:?}", network.head) };
    let first = &network.layers[0];
    let attention = &first.attention;
    let norm = network.final_norm.as_ref().expect("a decoder ends with one");
    let rope = attention.rope.as_ref().expect("a decoder has one");
    let found = json!({
        "class": network.identity.class,
        "layers": network.layers.len(),
        "head_dim": attention.head_size,
        "windows": network.layers.iter().map(|layer| layer.attention.window).collect::<Vec<_>>(),
        "padding": network.text().expect("it reads texts").tokens.padding,
        "tied": head.tied,
        "max_position_embeddings": network.longest(),
        "rms_norm_eps": norm.epsilon,
        "initializer_range": network.initializer_range,
        "attention_dropout": attention.dropout,
    });
    for (key, value) in found.as_object().expect("an object") {
        assert_eq!(*value, case[key], "{name}: {key}");
    }
    let scaling = case["attention_scaling"].as_f64().expect("a number");
    assert!((rope.factor / scaling - 1.0).abs() < 1e-15, "{name}: {} is not {scaling}", rope.factor);
    let activation = case["hidden_act"].as_str().expect("a name");
    assert_eq!(crate::model::Activation::named(activation), Some(first.mlp.activation), "{name}");
    let mut shapes = case["shapes_of_the_first_layer"].as_object().expect("an object").clone();
    for parameter in network.parameters().iter().filter(|parameter| parameter.block != Block::Layer(0)) {
        if !matches!(parameter.block, Block::Layer(_)) {
            assert_eq!(
                shapes.remove(&parameter.name),
                Some(json!(parameter.shape)),
                "{name}: {}",
                parameter.name
            );
        }
    }
    for parameter in network.parameters().iter().filter(|parameter| parameter.block == Block::Layer(0)) {
        assert_eq!(
            shapes.remove(&parameter.name),
            Some(json!(parameter.shape)),
            "{name}: {}",
            parameter.name
        );
    }
    assert!(shapes.is_empty(), "{name}: {shapes:?} are missing");
    let expected = case["inv_freq"].as_array().expect("a list");
    assert_eq!(rope.frequencies.len(), expected.len(), "{name}");
    let expected = expected.iter().map(|number| number.as_f64().expect("a number"));
    let pairs = rope.frequencies.iter().map(|&frequency| f64::from(frequency)).zip(expected);
    let ratios = pairs.map(|(found, expected)| {
        assert!((found / expected - 1.0).abs() <= ULPS, "{name}: {found} is not {expected}");
        found == expected
    });
    (ratios.filter(|&same| same).count(), rope.frequencies.len())
}

#[test]
fn published_configurations_have_no_unknown_keys() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("committed").flatten() {
        let bytes = std::fs::read(entry.path()).expect("committed");
        let config: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        if config.is_object() {
            let found = Blueprint::read(&config, Task::CausalLm, 0).expect("valid");
            assert_eq!(found.unknown, Vec::<String>::new(), "{:?}", entry.path());
            seen += 1;
        }
    }
    assert_eq!(seen, 9);
}

#[test]
fn keys_that_nothing_knows_are_listed() {
    let unknown = |config: Value| Blueprint::read(&config, Task::CausalLm, 0).expect("valid").unknown;
    assert_eq!(unknown(with(llama(), "rope_interleaved", json!(true))), ["rope_interleaved"]);
    assert_eq!(unknown(with(llama(), "sliding_window", json!(4))), ["sliding_window"]);
    let rope = json!({"type": "linear", "factor": 2.0, "finetuned": true, "beta_fast": 3});
    let config = with(with(llama(), "rope_scaling", rope), "zeta", json!([1]));
    assert_eq!(unknown(config), ["rope_scaling.beta_fast", "rope_scaling.finetuned", "zeta"]);
    let twice = |theta: f64| {
        with(with(llama(), "rope_parameters", json!({"rope_theta": 5e5})), "rope_theta", json!(theta))
    };
    assert_eq!(unknown(twice(5e5)), Vec::<String>::new(), "both say the same");
    assert_eq!(unknown(twice(1e4)), ["rope_theta"], "the inner one wins");
}

#[test]
fn keys_that_another_one_overrules_are_not_looked_for() {
    let looked_for = |config: Value| Blueprint::read(&config, Task::CausalLm, 0).expect("valid").looked_for;
    let plain = looked_for(llama());
    for key in ["rope_theta", "rope_scaling", "rope_parameters", "head_dim", "tie_word_embeddings"] {
        assert!(plain.contains(key), "{key}");
    }
    let inner = looked_for(with(llama(), "rope_parameters", json!({"rope_theta": 5e5})));
    assert!(!inner.contains("rope_theta") && inner.contains("rope_parameters"));
    let qwen = with(qwen(), "sliding_window", json!(4));
    assert!(!looked_for(qwen.clone()).contains("sliding_window"), "no window is used");
    assert!(looked_for(with(qwen, "use_sliding_window", json!(true))).contains("sliding_window"));
}

/// Shapes by name of a safetensors file.
fn shapes(path: &std::path::Path) -> BTreeMap<String, Value> {
    let bytes = std::fs::read(path).expect("committed");
    let (length, rest) = bytes.split_first_chunk().expect("a length");
    let header = &rest[..u64::from_le_bytes(*length) as usize];
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("it is JSON");
    header.into_iter().map(|(name, entry)| (name, entry["shape"].clone())).collect()
}

#[test]
fn references_of_decoders_have_the_tables_of_their_configurations() {
    let references = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/decoders");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(references).expect("committed").flatten() {
        let json = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(entry.path().join(name)).expect("committed"))
                .expect("it is JSON")
        };
        let (config, saved, reference) =
            (json("config.json"), json("parameters.json"), json("reference.json"));
        seen.push(config["model_type"].as_str().expect("a name").to_owned());
        let found = Blueprint::read(&config, Task::CausalLm, 0).expect("valid");
        assert!(found.unknown.is_empty(), "{:?}", found.unknown);
        let table = found.blueprint.parameters();
        assert_eq!(table.len(), saved.as_object().expect("an object").len());
        for parameter in &table {
            let expected = json!({"shape": parameter.shape, "decay": parameter.decay});
            assert_eq!(saved[&parameter.name], expected, "{}", parameter.name);
        }
        assert!(table.is_sorted_by_key(|parameter| parameter.block), "blocks come in order");
        let [main, flips] =
            ["model", "flips"].map(|name| shapes(&entry.path().join(format!("{name}.safetensors"))));
        for flip in reference["flips"].as_array().expect("a list") {
            let name = flip["name"].as_str().expect("a name");
            let changes = flip["keys"].as_object().expect("an object").iter();
            let config =
                changes.fold(config.clone(), |config, (key, value)| with(config, key, value.clone()));
            for parameter in read(config).expect("valid").parameters() {
                let own = flips.get(&format!("{name}/weight/{}", parameter.name));
                let shape = own.or_else(|| main.get(&parameter.name));
                assert_eq!(shape, Some(&json!(parameter.shape)), "{name}: {}", parameter.name);
            }
        }
    }
    seen.sort_unstable();
    let families: Vec<&str> = crate::model::families::model_types(Some(Task::CausalLm)).collect();
    assert_eq!(seen, families, "a reference for each family");
}
