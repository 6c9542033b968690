//! Adapters, end to end: what a run leaves behind, for PEFT and for a run that continues it, and whose base it needs.

use std::path::Path;

use headstart::store::Location;
use headstart::verify::verify;
use headstart_tests::processes::interrupted;
use headstart_tests::{headstart, succeed, text, texts};
use serde_json::Value;

const LORA: [&str; 4] = ["adapter=lora", "lora_r=3", "lora_alpha=6", "learning_rate=1e-2"];

fn train(directory: &Path, workers: &str, sets: &[&str]) {
    let mut arguments = vec!["train", "run.yaml", "--workers", workers];
    arguments.extend(LORA.iter().chain(sets).flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("the run wrote it")).expect("JSON")
}

/// What a run is judged by.
fn outcome(output: &Path) -> [Vec<u8>; 2] {
    ["final/adapter_model.safetensors", "final/ledger.jsonl"]
        .map(|file| std::fs::read(output.join(file)).expect("the run wrote it"))
}

/// The tensors of a safetensors file of 32-bit floats, by name.
fn tensors(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(path).expect("the run wrote it");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        let numbers =
            view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        (name, numbers.collect())
    };
    tensors.tensors().into_iter().map(read).collect()
}

#[test]
fn a_run_leaves_an_adapter_and_its_bits_do_not_depend_on_the_workers() {
    let directory = texts();
    let at = |name: &str| directory.path().join(name);
    train(directory.path(), "1", &["output_dir=one", "save_steps=7"]);
    train(directory.path(), "2", &["output_dir=two", "gradient_checkpointing=true"]);
    for name in ["adapter_model.safetensors", "adapter_config.json", "ledger.jsonl", "tokenizer.json"] {
        let read = |run: &str| std::fs::read(at(run).join("final").join(name)).expect(name);
        assert_eq!(read("one"), read("two"), "{name}");
    }
    let last = at("one/final");
    assert!(!last.join("model.safetensors").exists() && !last.join("config.json").exists());
    assert!(at("one/checkpoint-7/adapter_model.safetensors").is_file(), "also after a commit");
    let config = json(&last.join("adapter_config.json"));
    assert_eq!(config["modules_to_save"], serde_json::json!(["classifier", "pooler"]));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&3.into(), &6.into()));
    for (name, values) in tensors(&last.join("adapter_model.safetensors")) {
        assert!(name.starts_with("base_model.model."), "{name}");
        assert!(values.iter().any(|value| *value != 0.0), "{name} was trained");
    }
    let (run, ledger) = (json(&last.join("run.json")), std::fs::read_to_string(last.join("ledger.jsonl")));
    let first: Value =
        serde_json::from_str(ledger.expect("text").lines().next().expect("a line")).expect("JSON");
    assert!(run["base"].is_string() && run["base"] == first["base"], "the frozen weights are pinned");
    let place = Location::parse(at("one").to_str().expect("UTF-8")).expect("a path");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime.block_on(verify(&place)).expect("it can be read");
    assert_eq!(report.differences, []);
    succeed(directory.path(), &["verify", "one", "--replay", "2"]);
}

#[test]
fn an_adapter_is_continued_where_it_ended() {
    let directory = texts();
    let adapter = |run: &str| directory.path().join(run).join("final/adapter_model.safetensors");
    train(directory.path(), "1", &[]);
    let still = ["output_dir=more", "learning_rate=0", "max_steps=1", "lora_model_dir=out/final"];
    train(directory.path(), "1", &still);
    assert_eq!(
        std::fs::read(adapter("out")).expect("written"),
        std::fs::read(adapter("more")).expect("written")
    );
    let swapped = ["train", "run.yaml", "--set", "output_dir=x", "--set", "labels=[other, code]"];
    let continued = ["--set", "adapter=lora", "--set", "lora_model_dir=out/final"];
    let swapped = headstart(directory.path(), &[&swapped[..], &continued].concat());
    assert_eq!(swapped.status.code(), Some(12), "{}", text(&swapped));
    assert!(text(&swapped).contains("its head is for the labels code, other"), "{}", text(&swapped));
    let mut arguments =
        vec!["train", "run.yaml", "--set", "output_dir=other", "--set", "lora_model_dir=out/final"];
    arguments.extend(["--set", "adapter=lora", "--set", "lora_r=5"]);
    let refused = headstart(directory.path(), &arguments);
    assert_eq!(refused.status.code(), Some(12), "{}", text(&refused));
    assert!(text(&refused).contains("lora_r is 5, but the adapter in"), "{}", text(&refused));
}

#[test]
fn an_unknown_module_is_named_before_anything_starts() {
    let directory = texts();
    let arguments = ["train", "run.yaml", "--set", "adapter=lora", "--set", "lora_target_modules=[q_proj]"];
    let refused = headstart(directory.path(), &arguments);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("attention.self.query"), "{}", text(&refused));
}

#[test]
fn a_run_is_resumed_with_the_base_that_it_began_with() {
    let sets = [&LORA[..], &["save_steps=1", "max_steps=40", "resume_from_checkpoint=auto"]].concat();
    let directory = interrupted(&sets);
    let weights = directory.path().join("model/model.safetensors");
    let good = std::fs::read(&weights).expect("the fixture");
    let mut bad = good.clone();
    // A low bit of a word's embedding, which is frozen.
    let tensors = safetensors::SafeTensors::deserialize(&good).expect("a safetensors file");
    let frozen = tensors.tensor("bert.embeddings.word_embeddings.weight").expect("it is there").data();
    bad[frozen.as_ptr() as usize - good.as_ptr() as usize] ^= 1;
    std::fs::write(&weights, bad).expect("writable");
    let mut arguments = vec!["train", "run.yaml", "--workers", "1"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let refused = headstart(directory.path(), &arguments);
    assert_eq!(refused.status.code(), Some(12), "{}", text(&refused));
    assert!(text(&refused).contains("frozen weights hash to"), "{}", text(&refused));
    std::fs::write(&weights, good).expect("writable");
    succeed(directory.path(), &arguments);
    let resumed = outcome(&directory.path().join("out"));
    let mut whole = arguments.clone();
    whole.extend(["--set", "output_dir=whole"]);
    succeed(directory.path(), &whole);
    assert_eq!(resumed, outcome(&directory.path().join("whole")));
}
