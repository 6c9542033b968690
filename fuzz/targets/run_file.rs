//! A run file, and after a NUL byte one override.
#![no_main]

use headstart::run_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (file, sets) = match text.split_once('\0') {
        Some((file, set)) => (file, vec![set.to_owned()]),
        None => (text, Vec::new()),
    };
    match run_file::parse("run.yaml", file, &sets) {
        Ok(spec) => {
            // It travels to the workers as JSON, and means the same there.
            let json = serde_json::to_string(&spec).expect("a run is plain data");
            assert_eq!(serde_json::from_str::<run_file::RunSpec>(&json).expect("its own JSON"), spec);
        }
        Err(error) => {
            assert!(!error.problems().is_empty() && !error.to_string().is_empty());
            for problem in error.problems() {
                let span = problem.span.clone().unwrap_or(0..0);
                assert!(problem.text().get(span).is_some(), "the caret is in the text");
            }
        }
    }
});
