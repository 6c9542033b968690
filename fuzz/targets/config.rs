//! The JSON files that say what a network is: `config.json`, `preprocessor_config.json` and a tokenizer's.
#![no_main]

use headstart::adapter::AdapterConfig;
use headstart::checkpoint::config_text;
use headstart::model::blueprint::ImageInput;
use headstart::model::tokenizer::{Registered, TokenizerFiles, TokenizerSpec};
use headstart::model::{Blueprint, ImageProcessor, hash};
use headstart::run_file::Task;
use headstart::trainable::Trainable;
use headstart_fuzz::{directory, run};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    tokenizer(bytes);
    adapter(bytes);
    let opened = run(async {
        let directory = directory(&[("config.json", bytes)]).await;
        headstart::checkpoint::Checkpoint::config_only(&directory).await
    });
    let Ok(checkpoint) = opened else { return };
    for task in [Task::SequenceClassification, Task::ImageClassification, Task::CausalLm] {
        let Ok(network) = Blueprint::from_config(&checkpoint.config, task, 3) else { continue };
        // A thousand layers are as good as four thousand, and sooner tabled.
        if network.layers.len() <= 1000 {
            let table = network.parameters();
            assert!(Trainable::new(&table, &[]).expect("all of it trains").len() as u64 <= 1 << 40);
            assert_eq!(hash(&table).len(), 64);
            let ropes = network.layers.iter().filter_map(|layer| layer.attention.rope.as_ref());
            let frequencies = ropes.flat_map(|rope| &rope.frequencies);
            assert!(frequencies.take(1 << 12).all(|frequency| frequency.is_finite()));
        }
    }
    let input = ImageInput {
        size: [8, 8],
        patch: [2, 2],
        channels: 3,
        own_tokens: Vec::new(),
        positions: String::new(),
        projection: String::new(),
    };
    if let Ok(processor) = ImageProcessor::from_json(&checkpoint.config, &input) {
        assert!(
            processor.normalize.is_none_or(|normalize| (normalize.mean.len(), normalize.std.len()) == (3, 3))
        );
        let resize = processor.resize.map(|resize| resize.to.of([300, 200]));
        assert!(resize.is_none_or(|[height, width]| height.max(width) <= 300 << 14));
    }
});

/// The bytes as `adapter_config.json`, and as a text whose keys are changed.
fn adapter(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(config) = serde_json::from_str::<Value>(text) else { return };
    if let Ok(config) = AdapterConfig::from_json("a", &config) {
        let again =
            AdapterConfig::from_json("a", &config.to_json("b", Task::CausalLm)).expect("it was written here");
        assert_eq!((again.rank, again.scale()), (config.rank, config.scale()));
    }
    let changes = [("r".to_owned(), Some(1.into())), ("bias".to_owned(), None)].into();
    if let Some(changed) = config_text::change(text, &changes) {
        let changed: Value = serde_json::from_str(&changed).expect("it is JSON as before");
        assert!(changed["r"] == 1 && changed.get("bias").is_none());
    }
}

/// The bytes as each file of a tokenizer, beside sound ones.
fn tokenizer(bytes: &[u8]) {
    const SOUND: &[u8] = br#"{"added_tokens": [], "model": {"vocab": {"[UNK]": 0, "a": 1}, "merges": []}}"#;
    for class in ["BertTokenizer", "GPT2Tokenizer", "XLMRobertaTokenizer", "TokenizersBackend"] {
        for name in TokenizerFiles::ALWAYS.into_iter().chain(TokenizerFiles::WITHOUT_JSON) {
            let mut files = TokenizerFiles::default();
            if !TokenizerFiles::WITHOUT_JSON.contains(&name) {
                files.insert("tokenizer.json", SOUND.into());
            }
            files.insert(name, bytes.to_vec().into());
            let registered = Registered { class: Some(class), overrides: false };
            if let Ok(spec) = TokenizerSpec::resolve(&files, &Value::Null, registered) {
                let _ = spec.beyond(2);
            }
        }
    }
}
