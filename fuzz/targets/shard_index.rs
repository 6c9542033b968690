//! A `model.safetensors.index.json` beside two shards.
#![no_main]

use headstart_fuzz::{directory, load, run};
use libfuzzer_sys::fuzz_target;

const SHARDS: [(&str, &[u8]); 2] = [
    (
        "model-00001-of-00003.safetensors",
        include_bytes!("../../src/checkpoint/testdata/sharded/model-00001-of-00003.safetensors"),
    ),
    (
        "model-00002-of-00003.safetensors",
        include_bytes!("../../src/checkpoint/testdata/sharded/model-00002-of-00003.safetensors"),
    ),
];

fuzz_target!(|bytes: &[u8]| {
    run(async {
        let files = [("config.json", b"{}".as_slice()), ("model.safetensors.index.json", bytes)];
        // A refusal is an answer.
        let _ = load(&directory(&[&files[..], &SHARDS].concat()).await).await;
    });
});
