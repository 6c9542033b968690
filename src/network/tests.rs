//! Networks of language models as runs open them: what is warned of, and what is refused.

mod treatment;

use std::path::Path;

use serde_json::{Value, json};

use super::{Network, NetworkError};
use crate::exit::Exit;
use crate::run_file;

/// A decoder's directory, with a tokenizer of as many tokens as it has embeddings.
struct Decoder(tempfile::TempDir);

impl Decoder {
    fn new(model_type: &str) -> Decoder {
        let directory = tempfile::tempdir().unwrap();
        let reference =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/decoders").join(model_type);
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(reference.join(file), directory.path().join(file)).unwrap();
        }
        let decoder = Decoder(directory);
        decoder.tokenizer(24);
        decoder
    }

    fn tokenizer(&self, tokens: usize) {
        let vocabulary: serde_json::Map<String, Value> =
            (0..tokens).map(|id| (format!("w{id}"), id.into())).collect();
        let model = json!({"type": "BPE", "vocab": vocabulary, "merges": []});
        self.write("tokenizer.json", &json!({"added_tokens": [], "model": model}));
    }

    fn write(&self, file: &str, content: &Value) {
        std::fs::write(self.0.path().join(file), content.to_string()).unwrap();
    }

    fn set(&self, key: &str, value: Value) {
        let path = self.0.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        config[key] = value;
        self.write("config.json", &config);
    }

    /// Opens it for a run with these `key=value` overrides, with the check that planning does.
    async fn open(&self, sets: &[&str]) -> Result<Network, NetworkError> {
        let text = format!(
            "base_model: {}\ntask: causal-lm\ndatasets: [{{path: none.jsonl}}]\noutput_dir: none\n",
            self.0.path().display()
        );
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let spec = run_file::parse("run.yaml", &text, &sets).unwrap();
        let network = Network::open(&spec.cluster.stores(), &spec, &[]).await?;
        network.check_tied().await?;
        Ok(network)
    }
}

#[tokio::test]
async fn keys_that_nothing_knows_are_warned_of() {
    let decoder = Decoder::new("llama");
    let network = decoder.open(&[]).await.unwrap();
    assert_eq!(network.warnings, Vec::<String>::new());
    assert_eq!(network.sequence_len, 64, "all positions");
    decoder.set("residual_multiplier", json!(2.0));
    let network = decoder.open(&[]).await.unwrap();
    assert_eq!(
        network.warnings,
        ["config.json has residual_multiplier, unknown to this model_type: it had no effect"]
    );
    for number in 0..20 {
        decoder.set(&format!("key{number:02}"), json!("x".repeat(number)));
    }
    let [warning] = &decoder.open(&[]).await.unwrap().warnings[..] else { panic!("one warning") };
    assert!(warning.contains("key00, key01, ") && warning.contains(" and 9 more, unknown"), "{warning}");
}

#[tokio::test]
async fn sequences_beyond_the_positions_and_tokens_beyond_the_embeddings_are_refused() {
    let decoder = Decoder::new("qwen3");
    decoder.write("tokenizer_config.json", &json!({"tokenizer_class": "TokenizersBackend"}));
    assert_eq!(decoder.open(&["sequence_len=64"]).await.unwrap().sequence_len, 64);
    let error = decoder.open(&["sequence_len=65"]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("has only 64 positions (max_position_embeddings)"), "{error}");
    let decoder = Decoder::new("llama");
    decoder.tokenizer(25);
    let error = decoder.open(&[]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Checkpoint);
    assert!(
        error.to_string().contains("\"w24\" has number 24, beyond the network's vocab_size 24"),
        "{error}"
    );
}

#[tokio::test]
async fn heads_that_do_not_fit_their_configuration_are_refused_with_the_cure() {
    let decoder = Decoder::new("llama");
    decoder.set("tie_word_embeddings", json!(true));
    let error = decoder.open(&[]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Checkpoint);
    assert!(error.to_string().contains("set model_overrides: {tie_word_embeddings: false}"), "{error}");
    let network = decoder.open(&["model_overrides.tie_word_embeddings=false"]).await.unwrap();
    assert!(network.resolution.is_exact(), "{}", network.resolution);

    let decoder = Decoder::new("qwen3");
    decoder.write("tokenizer_config.json", &json!({"tokenizer_class": "TokenizersBackend"}));
    decoder.set("tie_word_embeddings", json!(false));
    let error = decoder.open(&[]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Checkpoint);
    assert!(error.to_string().contains("set model_overrides: {tie_word_embeddings: true}"), "{error}");
    assert!(decoder.open(&["model_overrides.tie_word_embeddings=true"]).await.is_ok());
    assert!(decoder.open(&["init_missing=true"]).await.is_ok());
}

#[tokio::test]
async fn overrides_that_another_key_overrules_are_refused() {
    let decoder = Decoder::new("llama");
    let error = decoder.open(&["model_overrides.rope_theta=5000"]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("does not read \"rope_theta\""), "{error}");
    let rope = "model_overrides.rope_parameters={rope_type: default, rope_theta: 5000}";
    let network = decoder.open(&[rope]).await.unwrap();
    let rope = network.blueprint.layers[0].attention.rope.as_ref().unwrap();
    assert_eq!(rope.frequencies.len(), 3);
}
