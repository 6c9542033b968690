//! Which steps leave a `checkpoint-<step>/`: every one that is due, however fast the steps are.

use std::path::Path;

use headstart_tests::{outcome, succeed, texts};
use serde_json::Value;

/// Trains `run.yaml` into `name`, 20 steps.
fn train(directory: &Path, name: &str, sets: &[&str]) -> [String; 2] {
    let output = format!("output_dir={name}");
    let mut arguments =
        vec!["train", "run.yaml", "--workers", "1", "--set", &output, "--set", "max_steps=20"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
    outcome(&directory.join(name))
}

/// The steps of the directories `checkpoint-<step>/`, each of which must be whole.
fn checkpoints(output: &Path) -> Vec<u64> {
    let names = std::fs::read_dir(output).expect("it is there").flatten().map(|entry| entry.file_name());
    let mut steps: Vec<u64> =
        names.filter_map(|name| name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()).collect();
    steps.sort_unstable();
    for step in &steps {
        let at = output.join(format!("checkpoint-{step}"));
        let state = std::fs::read_to_string(at.join("trainer_state.json")).expect("it is written last");
        let state: Value = serde_json::from_str(&state).expect("it is JSON");
        assert_eq!(state["global_step"], *step);
        assert!(at.join("model.safetensors").is_file() && at.join("config.json").is_file());
        let lines = state["log_history"].as_array().expect("a list");
        assert!(lines.iter().all(|line| line["step"].as_u64() <= Some(*step)), "nothing of later steps");
    }
    steps
}

#[test]
fn every_step_that_is_due_leaves_a_checkpoint_and_no_bit_changes() {
    let directory = texts();
    let at = |name: &str| directory.path().join(name);
    let expected = train(directory.path(), "none", &["save_strategy=no"]);
    assert_eq!(checkpoints(&at("none")), [0; 0]);
    // 90 rows in batches of 16 are six steps an epoch. Step 7 and 14 are evaluated too.
    let cases: [(&str, &[&str], Vec<u64>); 5] = [
        ("each", &["save_steps=1"], (1..=20).collect()),
        ("seven", &["save_steps=7", "load_best_model_at_end=true"], vec![7, 14]),
        ("ratio", &["save_steps=0.25"], vec![5, 10, 15, 20]),
        ("epochs", &["save_strategy=epoch"], vec![6, 12, 18]),
        ("newest", &["save_steps=1", "save_total_limit=3"], vec![18, 19, 20]),
    ];
    for (name, sets, due) in cases {
        let found = train(directory.path(), name, sets);
        assert_eq!(checkpoints(&at(name)), due, "{sets:?}");
        // The best weights may be other ones than the last; the ledger knows all of them.
        assert_eq!(found[1], expected[1], "{sets:?}");
        if name != "seven" {
            assert_eq!(found[0], expected[0], "{sets:?}");
        }
    }
    let last = at("each/checkpoint-20/model.safetensors");
    let weights = std::fs::read(last).expect("it is there");
    assert!(weights == std::fs::read(at("each/final/model.safetensors")).expect("it is there"));
    let again = ["save_steps=1", "resume_from_checkpoint=auto"];
    assert_eq!(train(directory.path(), "each", &again), expected, "it was complete");
}
