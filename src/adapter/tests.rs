//! Adapters of small networks, and those that PEFT wrote.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
use crate::exit::Exit;
use crate::model::Parameter;
use crate::model::blueprint::LanguageHead;
use crate::run_file::{Lora, RunSpec, Task};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference");

fn network(family: &str) -> Blueprint {
    let config = std::fs::read(format!("{REFERENCE}/{family}/config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let images = ["vit", "deit"].contains(&family);
    let task = if images { Task::ImageClassification } else { Task::SequenceClassification };
    Blueprint::from_config(&config, task, 3).unwrap()
}

/// BERT's layers under a language model's names and head.
fn decoder(tied: bool) -> Blueprint {
    let mut network = network("bert");
    for (number, layer) in network.layers.iter_mut().enumerate() {
        let parts = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"];
        for (linear, part) in linears_mut(layer).into_iter().zip(parts) {
            linear.name = format!("model.layers.{number}.{part}");
        }
    }
    let tokens = network.text().unwrap().tokens.clone();
    let name = if tied { tokens.name.clone() } else { "lm_head".to_owned() };
    let output = Linear::unbiased(name, network.hidden, tokens.rows);
    network.head = Head::Language(LanguageHead { output, tied });
    network
}

fn lora(targets: &[&str], saved: &[&str]) -> AdapterConfig {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    AdapterConfig::fresh(&Lora {
        lora_r: Some(4),
        lora_alpha: Some(8.0),
        lora_target_modules: Some(names(targets)),
        lora_modules_to_save: Some(names(saved)),
        ..Lora::default()
    })
}

fn adapted_names(adapted: &Adapted) -> Vec<String> {
    let layers = adapted.blueprint.layers.iter();
    let all = layers.flat_map(linears).filter(|linear| linear.adapter.is_some());
    all.map(|linear| linear.name.clone()).collect()
}

#[test]
fn all_linear_modules_of_the_layers_are_named_so_that_nothing_else_is_meant() {
    for (family, targets, saved) in [
        (
            "bert",
            vec!["intermediate.dense", "key", "output.dense", "query", "value"],
            vec!["classifier", "pooler"],
        ),
        ("roberta", vec!["intermediate.dense", "key", "output.dense", "query", "value"], vec!["classifier"]),
        (
            "distilbert",
            vec!["k_lin", "lin1", "lin2", "out_lin", "q_lin", "v_lin"],
            vec!["classifier", "pre_classifier"],
        ),
        // The names that transformers 5 uses in memory, which are not the checkpoint's.
        ("vit", vec!["fc1", "fc2", "k_proj", "o_proj", "q_proj", "v_proj"], vec!["classifier"]),
    ] {
        let network = network(family);
        let adapted = network.with_fresh_adapter(&lora(&[ALL_LINEAR], &[])).unwrap();
        assert_eq!(adapted.config.target_modules, targets, "{family}");
        assert_eq!(adapted.config.modules_to_save, saved, "{family}");
        assert_eq!(adapted_names(&adapted).len(), 6 * network.layers.len(), "{family}");
        let again = network.with_adapter(&adapted.config).unwrap();
        assert_eq!(again, adapted, "{family}: the names that are written mean the same");
    }
}

#[test]
fn both_names_of_a_vision_transformers_modules_are_known() {
    let [stored, modern] =
        ["query", "q_proj"].map(|name| network("vit").with_adapter(&lora(&[name], &[])).unwrap());
    assert_eq!(stored, modern);
    assert_eq!(modern.config.target_modules, ["q_proj"]);
    let table = modern.blueprint.parameters();
    assert_eq!(
        modern.tensors(&table)[0].name,
        "base_model.model.vit.layers.0.attention.q_proj.lora_A.weight"
    );
}

#[test]
fn a_language_model_trains_its_adapter_and_nothing_else() {
    let adapted = decoder(true).with_fresh_adapter(&lora(&["q_proj", "v_proj"], &[])).unwrap();
    assert_eq!(adapted.config.target_modules, ["q_proj", "v_proj"]);
    let table = adapted.blueprint.parameters();
    let trained: Vec<&Parameter> = table.iter().filter(|parameter| adapted.trains(parameter)).collect();
    assert_eq!(trained.len(), 4 * adapted.blueprint.layers.len());
    assert!(trained.iter().all(|parameter| parameter.name.contains(".lora_")));
    let first = &adapted.tensors(&table)[0];
    assert_eq!(first.name, "base_model.model.model.layers.0.q_proj.lora_A.weight");
    assert_eq!(first.shape, [4, adapted.blueprint.hidden]);
}

#[test]
fn chosen_layers_alone_are_adapted() {
    let config = AdapterConfig { layers: Some(vec![1]), ..lora(&["query", "dense"], &[]) };
    let adapted = network("bert").with_fresh_adapter(&config).unwrap();
    assert!(adapted_names(&adapted).iter().all(|name| name.contains(".layer.1.")));
    // The pooler's dense is in no layer, so that PEFT does not look at it.
    assert_eq!(adapted.config.target_modules, ["dense", "query"]);
    let config = AdapterConfig { layers: Some(vec![7]), ..lora(&["query"], &[]) };
    let error = network("bert").with_adapter(&config).unwrap_err();
    assert!(
        matches!(error, AdapterError::NoSuchLayer { layer: 7, .. }) && error.exit() == Exit::Usage,
        "{error}"
    );
}

#[test]
fn unknown_modules_are_named_with_those_that_exist() {
    let error = network("bert").with_adapter(&lora(&["q_proj"], &[])).unwrap_err();
    let text = "lora_target_modules: \"q_proj\" is no module of this network that can be adapted; there are \
        attention.output.dense, attention.self.key, attention.self.query, attention.self.value, intermediate.dense, \
        output.dense";
    assert_eq!((error.to_string().as_str(), error.exit()), (text, Exit::Usage));
    let error = network("bert").with_adapter(&lora(&["query"], &["embed_tokens"])).unwrap_err();
    assert!(error.to_string().contains("word_embeddings"), "{error}");
    for tied in [true, false] {
        let error = decoder(tied).with_adapter(&lora(&["lm_head"], &[])).unwrap_err();
        assert!(matches!(error, AdapterError::Head { .. }), "{error}");
    }
    let error = network("bert").with_adapter(&lora(&["query"], &["attention.self.query"])).unwrap_err();
    assert!(matches!(error, AdapterError::Both { .. }), "{error}");
}

#[test]
fn modules_are_saved_whole_and_a_tied_embedding_once() {
    let adapted = decoder(false).with_adapter(&lora(&["q_proj"], &["lm_head"])).unwrap();
    assert_eq!(adapted.saved.iter().collect::<Vec<_>>(), ["lm_head.weight"]);
    for name in ["word_embeddings", "lm_head"] {
        let adapted = decoder(true).with_adapter(&lora(&["q_proj"], &[name])).unwrap();
        assert_eq!(adapted.saved.len(), 1, "{name}");
        assert_eq!(adapted.config.modules_to_save, ["word_embeddings"]);
        let json = adapted.config.to_json("/base", Task::CausalLm);
        assert_eq!(json["ensure_weight_tying"], true);
        let table = adapted.blueprint.parameters();
        let tensors = adapted.tensors(&table);
        let written: Vec<&str> =
            tensors.iter().map(|tensor| tensor.name.as_str()).filter(|name| !name.contains("lora")).collect();
        let expected =
            ["base_model.model.bert.embeddings.word_embeddings.weight", "base_model.model.lm_head.weight"];
        assert_eq!(written, expected, "PEFT wants both, with the same values");
    }
}

#[test]
fn the_scale_is_pefts() {
    let plain = AdapterConfig { rank: 16, alpha: 32.0, ..lora(&["q"], &[]) };
    assert_eq!(plain.scale(), 2.0);
    assert_eq!(AdapterConfig { rslora: true, ..plain }.scale(), 8.0);
}

#[test]
fn a_written_configuration_reads_back() {
    let config =
        AdapterConfig { dropout: 0.25, alpha: 7.5, layers: Some(vec![0, 2]), ..lora(&["a", "b"], &["c"]) };
    let json = config.to_json("/base", Task::SequenceClassification);
    assert_eq!((json["task_type"].as_str(), json["r"].as_u64()), (Some("SEQ_CLS"), Some(4)));
    assert_eq!(AdapterConfig::from_json("/a", &json).unwrap(), config);
    for (key, value) in [
        ("use_dora", Value::from(true)),
        ("rank_pattern", serde_json::json!({"q": 3})),
        ("alpha_pattern", serde_json::json!({"q": 3})),
        ("peft_type", "IA3".into()),
        ("bias", "all".into()),
        ("r", 0.into()),
        ("lora_alpha", Value::Null),
        ("target_modules", "q_.*".into()),
        ("init_lora_weights", "pissa".into()),
    ] {
        let mut other = json.clone();
        other[key] = value;
        let error = AdapterConfig::from_json("/a", &other).unwrap_err();
        assert!(error.to_string().contains(key) && error.exit() == Exit::Checkpoint, "{key}: {error}");
    }
}

#[test]
fn consumers_that_would_refuse_or_misread_are_named() {
    let config = AdapterConfig { rank: 33, rslora: true, ..lora(&["q"], &["norm"]) };
    let warnings = consumer_warnings(&config, Task::CausalLm);
    for (warning, wanted) in
        warnings.iter().zip(["lora_modules_to_save: norm", "llama.cpp", "--max-lora-rank 64"])
    {
        assert!(warning.contains(wanted), "{warning}");
    }
    assert_eq!(warnings.len(), 3);
    assert!(consumer_warnings(&lora(&["q"], &[]), Task::CausalLm).is_empty());
}

/// A run that continues one of PEFT's adapters.
fn run(family: &str, adapter: &str, more: &str) -> RunSpec {
    let text = format!(
        "base_model: {REFERENCE}/{family}\ntask: sequence-classification\ndatasets: [d]\noutput_dir: o\nadapter: lora\n\
         lora_model_dir: {REFERENCE}/adapters/{adapter}\n{more}"
    );
    crate::run_file::parse("run.yaml", &text, &[]).unwrap()
}

async fn open(spec: &RunSpec) -> Result<crate::network::Network, crate::network::NetworkError> {
    let labels: Vec<String> = ["0", "1", "2"].map(str::to_owned).into();
    crate::network::Network::open_without_files(&spec.cluster.stores(), spec, &labels).await
}

#[tokio::test]
async fn an_adapter_of_peft_is_continued() {
    let network = open(&run("bert", "bert", "lora_dropout: 0.1\n")).await.unwrap();
    let adapted = network.adapter.as_ref().unwrap();
    assert_eq!((adapted.config.rank, adapted.config.alpha, adapted.config.rslora), (3, 5.0, true));
    assert_eq!(adapted.config.dropout, 0.1, "dropout may change");
    assert_eq!(adapted.config.modules_to_save, ["classifier"]);
    let vector = network.initial_vector().await.unwrap();
    assert_eq!(vector.len(), network.trainable.len());
    for slot in network.trainable.slots() {
        let values = &vector[slot.range.clone()];
        assert_eq!(values, network.load_one(slot.parameter).await.unwrap());
        assert!(values.iter().any(|value| *value != 0.0), "B is no fresh one");
    }
    open(&run("roberta", "layers", "")).await.unwrap();
}

#[tokio::test]
async fn an_adapter_that_does_not_fit_is_refused_with_both_sides_named() {
    for (spec, wanted) in [
        (run("bert", "bert", "lora_r: 8\n"), "lora_r is 8, but the adapter"),
        (run("bert", "bert", "lora_target_modules: [key]\n"), "lora_target_modules is [key]"),
        (run("distilbert", "bert", ""), "does not fit base_model"),
        (run("electra", "bert", ""), "does not fit base_model"),
        (run("bert", "dora", ""), "use_dora is true"),
        (run("bert", "absent", ""), "no adapter_config.json"),
    ] {
        let error = open(&spec).await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.exit(), Exit::Checkpoint, "{error}");
    }
}

#[tokio::test]
async fn version_0_reads_what_trains_and_the_rest_has_a_hash() {
    let mut spec = run("bert", "bert", "");
    spec.adapter = Some(Lora { lora_r: Some(2), ..Lora::default() });
    let network = open(&spec).await.unwrap();
    assert_eq!(
        network.resolution.newly_initialised,
        Vec::<String>::new(),
        "A and B are nothing that is missing"
    );
    let mut hashes = vec![0; network.table.len()];
    let mut sink = |index: usize, values: crate::checkpoint::Values| {
        hashes[index] = values.hash();
        Ok::<(), crate::checkpoint::CheckpointError>(())
    };
    network.load_stored(|_| true, &mut sink).await.unwrap();
    let frozen = network.frozen_hash(&hashes).unwrap();
    let slot = network.trainable.slots()[0].parameter;
    hashes[slot] ^= 1;
    assert_eq!(network.frozen_hash(&hashes), Some(frozen), "what trains is no part of it");
    let other =
        (0..hashes.len()).find(|&index| network.trainable.slots().iter().all(|slot| slot.parameter != index));
    hashes[other.unwrap()] ^= 1;
    assert_ne!(network.frozen_hash(&hashes), Some(frozen));
    let whole = open(&RunSpec { adapter: None, ..spec }).await.unwrap();
    assert_eq!(whole.frozen_hash(&vec![0; whole.table.len()]), None);
}
