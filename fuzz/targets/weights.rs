//! A `model.safetensors`: its header, then its values.
#![no_main]

use headstart_fuzz::{directory, load, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    run(async {
        let files = [("config.json", b"{}".as_slice()), ("model.safetensors", bytes)];
        // A refusal is an answer.
        let _ = load(&directory(&files).await).await;
    });
});
