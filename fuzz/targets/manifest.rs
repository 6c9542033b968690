//! A manifest of the commit log. Most changes of its file are refused for its hash alone, so its text is also sealed anew.
#![no_main]

use headstart::hash::sha256;
use headstart::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    open(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    open(format!("{{\"manifest\":{text},\"sha256\":\"{}\"}}\n", sha256(text.as_bytes())).as_bytes());
});

/// What was accepted says the same when it is written again.
fn open(file: &[u8]) {
    let number = 7;
    let Ok((manifest, _)) = Manifest::open(number, file) else { return };
    let _ = manifest.state.standing.class();
    assert!(manifest.state.directories().count() >= manifest.state.texts.iter().len());
    let (again, hash) = manifest.seal();
    let (opened, found) = Manifest::open(number, again.as_bytes()).expect("it was just sealed");
    assert_eq!((opened, found), (manifest, hash));
}
