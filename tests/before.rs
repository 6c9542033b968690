//! Before a run: what it will take, and whether this machine has it.

use headstart_tests::{digits, headstart, succeed, text, texts};
use serde_json::Value;

fn plan(directory: &std::path::Path, more: &[&str]) -> Value {
    let arguments = [&["plan", "run.yaml", "--format", "json"][..], more].concat();
    serde_json::from_str(&succeed(directory, &arguments)).expect("JSON")
}

#[test]
fn a_plan_counts_what_a_run_will_take() {
    let directory = texts();
    let given = ["--samples-per-second", "100", "--bandwidth", "8G", "--workers", "2"];
    let found = plan(directory.path(), &given);
    assert_eq!(
        (&found["steps"], &found["steps_per_epoch"], &found["samples"]),
        (&14.into(), &6.into(), &212.into())
    );
    let trainable = found["trainable_parameters"].as_u64().expect("a number");
    let by_workers = found["by_workers"].as_array().expect("a list");
    let two = by_workers.iter().find(|line| line["workers"] == 2).expect("as asked");
    // Six shards are a node of four and one of two: two workers are leased two, two, one and one.
    assert_eq!(two["partials_per_step"], 4);
    // Rows of tokens that are not looked up do not travel, in either direction.
    let bytes = |line: &Value, key: &str| line[key].as_u64().expect("a number");
    let [up, down] = ["bytes_up_per_step", "bytes_down_per_step"].map(|key| bytes(two, key));
    assert!(up > 0 && up <= 16 * trainable && down > 0 && down <= 8 * trainable, "{up} up, {down} down");
    assert_eq!(found["bandwidth_bits_per_second"]["source"], "given");
    let worker = found["memory"]["worker_bytes"].as_u64().expect("a number");
    assert!(worker > 50 << 20, "libtorch alone takes more than {worker} bytes");
    let across = found["memory"]["worker_across_network_bytes"].as_u64().expect("a number");
    assert!(
        across >= worker + 12 * trainable,
        "a replica takes 12 bytes a parameter, not {across} − {worker}"
    );

    let with = |set: &str| plan(directory.path(), &[&given[..], &["--set", set]].concat());
    let narrow = with("wire=int8");
    let narrow = &narrow["by_workers"].as_array().expect("a list")[1];
    assert_eq!(narrow["workers"], 2);
    assert!(3 * bytes(narrow, "bytes_up_per_step") < up, "{narrow} is a quarter of {up}");
    let weights = with("cluster.replicas=false");
    assert_eq!(weights["by_workers"][1]["bytes_down_per_step"], 8 * trainable, "weights travel whole");
    assert!(!directory.path().join("out").exists());
}

#[test]
fn a_plan_measures_what_it_is_not_told() {
    let directory = digits();
    let found = plan(directory.path(), &[]);
    let (speed, link) = (&found["worker_samples_per_second"], &found["bandwidth_bits_per_second"]);
    assert!(speed["value"].as_f64().is_some_and(|value| value > 1.0), "{speed}");
    assert!(speed["source"].as_str().is_some_and(|source| source.starts_with("measured")), "{speed}");
    assert!(link["source"].as_str().is_some_and(|source| source.starts_with("measured")), "{link}");
    assert!(!directory.path().join("out").exists());
}

#[test]
fn a_plan_says_what_makes_no_sense() {
    let directory = texts();
    let output = headstart(
        directory.path(),
        &["plan", "run.yaml", "--samples-per-second", "1e6", "--bandwidth", "1k", "--workers", "9"],
    );
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("9 workers, but a step has only 6 shards") && said.contains("shards_per_step to 9"),
        "{said}"
    );
    assert!(said.contains("more workers do not make this run faster"), "{said}");
    assert!(said.contains("recommended: 1 worker\n"), "{said}");
    let output = headstart(directory.path(), &["plan", "run.yaml", "--bandwidth", "fast"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_doctor_finds_what_is_well_and_leaves_no_trace() {
    let directory = texts();
    let said = succeed(directory.path(), &["doctor", "run.yaml"]);
    for check in ["libtorch", "device", "threads", "disk", "output_dir", "base_model", "bandwidth"] {
        let line = said.lines().find(|line| line.split_whitespace().nth(1) == Some(check));
        assert!(
            line.is_some_and(|line| line.starts_with("ok ") || line.starts_with("warn ")),
            "{check}: {said}"
        );
    }
    assert!(said.contains("read, write, conditional create"), "{said}");
    let speeds: Vec<&str> = said.lines().filter(|line| line.contains("GB/s over loopback")).collect();
    assert_eq!(speeds.len(), 4, "raw TCP and three formats: {said}");
    assert!(speeds[0].contains("raw TCP") && speeds[1].contains("of raw TCP (this run's wire)"), "{said}");
    assert!(!directory.path().join("out").exists());
    succeed(directory.path(), &["doctor"]);
}

#[test]
fn a_doctor_names_the_cure_and_ends_with_the_code_of_the_first_failure() {
    let directory = texts();
    let look = |more: &[&str]| {
        let output = headstart(directory.path(), &[&["doctor", "run.yaml"][..], more].concat());
        (output.status.code(), text(&output))
    };
    let (code, said) = look(&["--set", "base_model=nowhere"]);
    assert!(code == Some(12) && said.contains("fail  base_model"), "{said}");
    let (code, said) = look(&["--set", "output_dir=run.yaml/out"]);
    assert!(code == Some(21) && said.contains("fail  output_dir"), "{said}");
    let (code, said) = look(&["--coordinator", "http://127.0.0.1:1"]);
    assert!(code == Some(20) && said.contains("fail  coordinator"), "{said}");
    let (code, said) = look(&["--set", "threads_per_worker=1000"]);
    assert!(code == Some(0) && said.contains("warn  threads"), "{said}");
    let (code, said) = look(&["--device", "tpu", "--set", "base_model=nowhere"]);
    assert!(code == Some(2) && said.contains("fail  libtorch"), "the first failure counts: {said}");
}
