//! Counts of parts by hand, and peaks that were measured.

use headstart::adapter::AdapterConfig;
use headstart::model::{Blueprint, Parameter};
use headstart::run_file::{RunSpec, Task};
use serde_json::{Value, json};

use super::layer::{self, Floats};
use super::step::StepCost;
use super::*;

fn spec(more: &str) -> RunSpec {
    let text = format!("base_model: m\ndatasets: [{{path: d}}]\noutput_dir: o\nsequence_len: 128\n{more}");
    headstart::run_file::parse("run.yaml", &text, &[]).unwrap()
}

fn bert() -> Value {
    json!({
        "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
        "intermediate_size": 1536, "vocab_size": 30522,
    })
}

fn llama(vocabulary: u64) -> Value {
    json!({
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "head_dim": 64, "intermediate_size": 1536, "vocab_size": vocabulary,
        "max_position_embeddings": 8192, "tie_word_embeddings": true,
    })
}

/// A network with an adapter of rank 16 on all linear layers of its layers.
fn adapted(config: &Value, more: &str) -> Blueprint {
    let blueprint = Blueprint::from_config(config, Task::CausalLm, 0).unwrap();
    let spec = spec(&format!("task: causal-lm\nadapter: lora\nlora_r: 16\n{more}"));
    let config = AdapterConfig::fresh(spec.adapter.as_ref().unwrap());
    blueprint.with_fresh_adapter(&config).unwrap().blueprint
}

/// Weights of a network of which the adapter trains, the others stored in 16 bits.
fn frozen(table: &[Parameter]) -> Weights<'_> {
    let trains: Vec<bool> = table.iter().map(|parameter| parameter.name.contains("lora_")).collect();
    let stored = trains.iter().map(|trains| if *trains { 4 } else { 2 }).collect();
    Weights::new(table, trains, stored)
}

#[test]
fn a_layer_with_dropout_keeps_masks_and_scores() {
    let blueprint = Blueprint::from_config(&bert(), Task::SequenceClassification, 2).unwrap();
    let table = blueprint.parameters();
    let kept = layer::kept(&blueprint.layers[0], 384, &Weights::fresh(&table));
    // Input, queries, keys, values, context, mask, sum, what the norm gives; mask and sum of the feed-forward network. The inner
    // vector before and after its activation. Mean and deviation of two norms.
    assert_eq!(kept, Floats { of_token: 10 * 384 + 2 * 1536 + 4, of_pair: 3 * 12 });
}

#[test]
fn a_frozen_layer_keeps_what_its_adapters_read() {
    let blueprint = adapted(&llama(1000), "");
    let table = blueprint.parameters();
    let kept = layer::kept(&blueprint.layers[0], 576, &frozen(&table));
    // Input, its norm, queries, context and its copy, sum, its norm; keys and values; one number a head; the gate before and
    // after its activation, the inner vector, the product; seven adapters; two norms.
    assert_eq!(kept, Floats { of_token: 7 * 576 + 2 * 192 + 9 + 4 * 1536 + 7 * 16 + 4, of_pair: 0 });
    let dropped = adapted(&llama(1000), "lora_dropout: 0.1\n");
    let table = dropped.parameters();
    let with_dropout = layer::kept(&dropped.layers[0], 576, &frozen(&table));
    // Masks and products instead of inputs: six layers read hidden vectors, one the inner vector. The norms' results, the copy of
    // the context and the product of the gate are not kept themselves.
    let more = 12 * 576 + 2 * 1536 - (3 * 576 + 1536);
    assert_eq!(with_dropout.of_token, kept.of_token + more);
}

#[test]
fn norms_that_train_keep_what_they_scale() {
    let config = json!({
        "model_type": "qwen3", "hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 128, "intermediate_size": 512, "vocab_size": 1000,
        "max_position_embeddings": 512,
    });
    let blueprint = Blueprint::from_config(&config, Task::CausalLm, 0).unwrap();
    let table = blueprint.parameters();
    let kept = layer::kept(&blueprint.layers[0], 256, &Weights::fresh(&table));
    let (queries, keys) = (4 * 128, 2 * 128);
    // Of hidden vectors: input, sum, and what two norms give, before their scale and after it.
    let attention = 3 * queries + 2 * keys + 4;
    let heads = (2 * queries + 2 * 4) + (2 * keys + 2 * 2);
    assert_eq!(kept.of_token, 6 * 256 + 4 + attention + heads + 4 * 512);
}

#[test]
fn checkpointing_keeps_inputs_and_one_layer() {
    let blueprint = adapted(&llama(1000), "");
    let table = blueprint.parameters();
    let weights = frozen(&table);
    let batch = MicroBatch::of([(512, 0); 4]);
    let all = StepCost::new(&blueprint, &weights, false).training(batch);
    let few = StepCost::new(&blueprint, &weights, true).training(batch);
    assert!(few < all / 6.0, "{} MiB, {} MiB", few / MIB, all / MIB);
}

#[test]
fn a_large_vocabulary_costs_one_chunk_of_scores() {
    let cost = |vocabulary: u64, training: bool| {
        let blueprint = adapted(&llama(vocabulary), "");
        let table = blueprint.parameters();
        let cost = StepCost::new(&blueprint, &frozen(&table), true);
        let batch = MicroBatch::of([(512, 511); 4]);
        if training { cost.training(batch) } else { cost.evaluation(batch) }
    };
    for training in [true, false] {
        let more = cost(150_000, training) - cost(1_000, training);
        assert!(more > 0.0 && more <= 2.0 * 256.0 * 150_000.0 * F32, "{} MiB", more / MIB);
    }
}

#[test]
fn weights_are_counted_as_they_are_held() {
    let blueprint = adapted(&llama(1000), "");
    let table = blueprint.parameters();
    let weights = frozen(&table);
    let elements = |of: fn(&Parameter) -> bool| -> f64 {
        table.iter().filter(|parameter| of(parameter)).map(|parameter| parameter.len() as f64).sum()
    };
    let trained = elements(|parameter| parameter.name.contains("lora_"));
    let vectors = elements(|parameter| parameter.shape.len() == 1);
    let all = elements(|_| true);
    assert_eq!(weights.trained(), F32 * trained);
    assert_eq!(weights.read(), F32 * trained + 2.0 * (all - trained));
    assert_eq!(weights.bytes(), F32 * (trained + vectors) + 2.0 * (all - trained - vectors));
    assert_eq!(weights.widened(), F32 * 576.0 * 1536.0);
    assert_eq!(weights.largest_trained(), F32 * 16.0 * 1536.0);
}

/// MiniLM on the sections example, on the machine the constants come from.
fn sizes(more: &str, workers: u32) -> Memory {
    let spec = spec(&format!("task: sequence-classification\n{more}"));
    let blueprint = Blueprint::from_config(&bert(), spec.task, 20).unwrap();
    let table = blueprint.parameters();
    let rows = spec.batch.per_device_train_batch_size;
    Sizes {
        spec: &spec,
        blueprint: &blueprint,
        weights: Weights::fresh(&table),
        vocabulary: 30_522,
        rows: 52_000,
        longest: 128,
        training: &[MicroBatch::of((0..rows).map(|_| (20, 0)))],
        evaluation: &[],
        workers,
        commits: false,
        packed: 4.0 * 22.7e6,
        probed: false,
    }
    .memory()
}

#[test]
fn first_values_are_kept_by_those_who_make_updates() {
    let [without, with] = ["", "l2_sp: 0.1\n"].map(|more| sizes(more, 2));
    let bert = Blueprint::from_config(&bert(), Task::SequenceClassification, 20).unwrap().parameters();
    let kept = F32 * bert.iter().map(|parameter| parameter.len() as f64).sum::<f64>();
    let more = Memory {
        worker: without.worker,
        coordinator: without.coordinator + kept,
        worker_across: without.worker_across + kept,
        coordinator_across: without.coordinator_across + kept,
    };
    let close = |one: f64, other: f64| (one - other).abs() < 1.0;
    assert!(close(with.worker, more.worker) && close(with.coordinator, more.coordinator), "{with:?}");
    assert!(close(with.worker_across, more.worker_across), "{with:?}");
    assert!(close(with.coordinator_across, more.coordinator_across), "{with:?}");
}

#[test]
fn formulas_give_what_was_measured() {
    let batch = |micro_batch: u32, shards: u32| {
        let total = micro_batch * shards;
        format!("per_device_train_batch_size: {micro_batch}\nglobal_batch_size: {total}\n")
    };
    for (more, workers, worker, coordinator) in [
        (batch(4, 8), 1, 612.0, 603.0),
        (batch(4, 8), 3, 530.0, 618.0),
        (batch(32, 1), 1, 640.0, 616.0),
        (format!("{}init: random\noptim: sgd\n", batch(8, 16)), 2, 633.0, 449.0),
    ] {
        let found = sizes(&more, workers);
        for (found, measured) in [(found.worker, worker), (found.coordinator, coordinator)] {
            let found = found / MIB;
            assert!((found / measured - 1.0).abs() < 0.15, "{more}: {found} MiB, not {measured}");
        }
    }
}
