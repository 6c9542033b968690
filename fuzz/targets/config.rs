//! The JSON files that say what a network is: `config.json`, `preprocessor_config.json` and `tokenizer.json`.
#![no_main]

use headstart::model::{Architecture, ImageProcessor, Tokens, hash};
use headstart::run_file::Task;
use headstart::trainable::Trainable;
use headstart_fuzz::{directory, run};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokens) = serde_json::from_slice::<Tokens>(bytes) {
        let _ = tokens.highest();
    }
    let opened = run(async {
        let directory = directory(&[("config.json", bytes)]).await;
        headstart::checkpoint::Checkpoint::config_only(&directory).await
    });
    let Ok(checkpoint) = opened else { return };
    for task in [Task::SequenceClassification, Task::ImageClassification] {
        let Ok(network) = Architecture::from_config(&checkpoint.config, task, 3) else { continue };
        // A thousand layers are as good as four thousand, and sooner tabled.
        if network.layers() <= 1000 {
            let table = network.parameters();
            assert!(Trainable::new(&table, &[]).expect("all of it trains").len() as u64 <= 1 << 40);
            assert_eq!(hash(&table).len(), 64);
        }
    }
    let vit: Value = json!({"model_type": "vit", "image_size": 8, "patch_size": 2, "num_channels": 3, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8});
    let Ok(Architecture::ViT(vit)) = Architecture::from_config(&vit, Task::ImageClassification, 3) else {
        panic!("a network in order");
    };
    if let Ok(processor) = ImageProcessor::from_json(&checkpoint.config, &vit) {
        assert_eq!((processor.mean.len(), processor.std.len()), (3, 3));
    }
});
