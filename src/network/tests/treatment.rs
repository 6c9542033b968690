//! How the parameters of real networks are treated: every family, with an adapter and without.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::{Network, NetworkError};
use crate::exit::Exit;
use crate::run_file;
use crate::trainable::Treatment;

const ENCODERS: [&str; 5] = ["bert", "roberta", "xlm-roberta", "distilbert", "electra"];
const IMAGES: [&str; 2] = ["vit", "deit"];
const DECODERS: [&str; 3] = ["decoders/llama", "decoders/qwen2", "decoders/qwen3"];

/// The treatments of what trains, by name, of one of the reference networks. All have two layers.
async fn treatments(
    name: &str,
    labels: usize,
    sets: &[&str],
) -> Result<BTreeMap<String, Treatment>, NetworkError> {
    let task = match () {
        () if DECODERS.contains(&name) => "causal-lm",
        () if IMAGES.contains(&name) => "image-classification",
        () => "sequence-classification",
    };
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    let text = format!("base_model: {}\ntask: {task}\ndatasets: [x]\noutput_dir: none\n", base.display());
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let spec = run_file::parse("run.yaml", &text, &sets).unwrap();
    let labels = if task == "causal-lm" { 0 } else { labels };
    let labels: Vec<String> = (0..labels).map(|label| format!("LABEL_{label}")).collect();
    let network = Network::open_without_files(&spec.cluster.stores(), &spec, &labels).await?;
    assert_eq!(network.blueprint.depth(), 2, "{name}");
    let slots = network.trainable.slots().iter();
    Ok(slots.map(|slot| (network.table[slot.parameter].name.clone(), slot.treatment)).collect())
}

/// The depth that the names of a family say; the walk does not read names.
fn depth(name: &str) -> i32 {
    let layer = name.split_once("layer.").or(name.split_once("layers.")).map(|(_, rest)| &rest[..1]);
    match layer {
        Some(layer) => 2 - layer.parse::<i32>().unwrap(),
        None if name.contains("embed") => 3,
        None => 0,
    }
}

#[tokio::test]
async fn learning_rates_fall_with_the_depth_in_every_family() {
    for name in ENCODERS.iter().chain(&IMAGES).chain(&DECODERS) {
        for adapter in [&[][..], &["adapter=lora", "lora_r=2"]] {
            let sets = [&["layer_decay=0.5"], adapter].concat();
            let found = treatments(name, 3, &sets).await.unwrap();
            let mut depths: Vec<i32> = found.keys().map(|name| depth(name)).collect();
            for (parameter, treatment) in &found {
                assert_eq!(treatment.rate, 0.5f64.powi(depth(parameter)), "{name}: {parameter}");
            }
            depths.sort_unstable();
            depths.dedup();
            // An adapter trains layers, and a classifier its head.
            let expected = match (adapter.is_empty(), DECODERS.contains(name)) {
                (true, _) => vec![0, 1, 2, 3],
                (false, true) => vec![1, 2],
                (false, false) => vec![0, 1, 2],
            };
            assert_eq!(depths, expected, "{name}, {adapter:?}");
        }
    }
}

#[tokio::test]
async fn what_the_checkpoint_has_is_pulled_back_except_a_classifiers_head() {
    for labels in [3, 5] {
        for (parameter, treatment) in treatments("bert", labels, &["l2_sp=0.1"]).await.unwrap() {
            let is_head = ["bert.pooler.", "classifier."].iter().any(|start| parameter.starts_with(start));
            let expected = if is_head { 0.0 } else { 0.1 };
            assert_eq!(treatment.pull, expected, "{parameter}, {labels} labels");
        }
    }
    for name in DECODERS {
        let all = treatments(name, 0, &["l2_sp=0.1"]).await.unwrap();
        assert!(all.values().all(|treatment| treatment.pull == 0.1), "{name}: its head is the checkpoint's");
    }
}

#[tokio::test]
async fn a_new_adapter_has_nothing_to_be_pulled_to() {
    let lora = ["adapter=lora", "lora_r=2", "l2_sp=0.1"];
    for name in ["bert", "decoders/llama"] {
        let error = treatments(name, 3, &lora).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().starts_with("l2_sp: no parameter that trains begins with"), "{error}");
    }
    let saved = [&lora[..], &["lora_modules_to_save=[norm]"]].concat();
    for (parameter, treatment) in treatments("decoders/llama", 0, &saved).await.unwrap() {
        let expected = if parameter.contains("lora_") { 0.0 } else { 0.1 };
        assert_eq!(treatment.pull, expected, "{parameter}");
    }
}

#[tokio::test]
async fn an_adapter_that_is_continued_is_pulled_to_where_it_began() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/adapters/bert");
    let continued = format!("lora_model_dir={}", directory.display());
    let found = treatments("bert", 3, &["adapter=lora", &continued, "l2_sp=0.1"]).await.unwrap();
    assert!(found.len() > 2);
    for (parameter, treatment) in found {
        let expected = if parameter.starts_with("classifier.") { 0.0 } else { 0.1 };
        assert_eq!(treatment.pull, expected, "{parameter}");
    }
}

#[tokio::test]
async fn patterns_of_unfreeze_are_those_of_freeze() {
    let entries =
        "unfreeze=[{step: 4, parameters: ['*.layer.?.*']}, {step: 6, parameters: bert.embeddings.*}]";
    for (parameter, treatment) in treatments("bert", 3, &[entries]).await.unwrap() {
        let expected = match depth(&parameter) {
            0 => 1,
            3 => 6,
            _ => 4,
        };
        assert_eq!(treatment.first, expected, "{parameter}");
    }
    let frozen = ["freeze=['bert.embeddings.*']", entries];
    let error = treatments("bert", 3, &frozen).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(
        error
            .to_string()
            .starts_with("unfreeze[1].parameters: \"bert.embeddings.*\" matches no parameter that trains"),
        "{error}"
    );
}
