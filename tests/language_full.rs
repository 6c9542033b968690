//! Language models that train whole: what `final/` holds is what was computed with, and what a next run begins from.

use std::path::Path;

use headstart_tests::language::{chats, config, weights};
use headstart_tests::{sha256, succeed};
use safetensors::{Dtype, SafeTensors};

fn train(directory: &Path, sets: &[&str]) {
    let mut arguments = vec!["train", "run.yaml"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
}

fn read(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(name)).expect("the run wrote it")
}

/// A run begins from `final/` and learns nothing, so its golden rows are those of the weights as they are stored there.
#[test]
fn golden_rows_are_those_of_the_weights_that_final_holds() {
    let directory = chats();
    let at = directory.path();
    for (dtype, run) in [(Dtype::BF16, "narrow"), (Dtype::F32, "wide")] {
        weights(at, &config(258, 1024), dtype);
        let output = format!("output_dir={run}");
        train(at, &[&output]);
        let stored = read(at, &format!("{run}/final/model.safetensors"));
        let stored = SafeTensors::deserialize(&stored).expect("a safetensors file");
        assert!(stored.tensors().iter().all(|(_, tensor)| tensor.dtype() == dtype), "the checkpoint's dtype");
        assert!(!stored.names().contains(&"lm_head.weight"), "a tied head is stored once");
        let (base, again) = (format!("base_model={run}/final"), format!("output_dir={run}-again"));
        train(at, &[&base, &again, "learning_rate=0", "max_steps=1", "eval_strategy=no"]);
        for file in ["golden.jsonl", "model.safetensors"] {
            let of = |run: &str| read(at, &format!("{run}/final/{file}"));
            assert_eq!(of(run), of(&format!("{run}-again")), "{run}: {file}");
        }
    }
    let golden = |run: &str| sha256(&at.join(run).join("final/golden.jsonl"));
    assert_ne!(golden("narrow"), golden("wide"), "what is rounded away shows");
    let config = |run: &str| read(at, &format!("{run}/final/config.json"));
    assert_eq!(config("narrow"), config("narrow-again"));
}

#[test]
fn a_whole_model_does_not_depend_on_the_workers_nor_on_checkpointing() {
    let directory = chats();
    let at = directory.path();
    train(at, &["output_dir=one"]);
    let sets = ["output_dir=two", "cluster.min_workers=2", "gradient_checkpointing=true"];
    let mut arguments = vec!["train", "run.yaml", "--workers", "2"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(at, &arguments);
    assert_eq!(headstart_tests::delivered(&at.join("two")).len(), 2);
    for file in ["model.safetensors", "ledger.jsonl", "golden.jsonl"] {
        let of = |run: &str| read(at, &format!("{run}/final/{file}"));
        assert_eq!(of("one"), of("two"), "{file}");
    }
}
