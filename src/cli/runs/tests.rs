//! What is read of runs, and which of them belong together.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use headstart::manifest::{Manifest, Parts, Piece, Pins as ManifestPins, RunState, State};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const METRICS: &str = r#"{"step":0,"epoch":0.0,"eval_accuracy":0.1,"eval_loss":2.3,"eval_samples":100,"time":5.0}
{"step":1,"loss":2.0}
{"step":10,"epoch":1.0,"eval_accuracy":0.5,"eval_loss":null,"eval_samples":100,"time":9.5}
"#;

fn parse(text: &str) -> Result<Metrics, RunError> {
    Metrics::parse(text, "run/metrics.jsonl")
}

#[test]
fn metrics_are_curves_by_name() {
    let metrics = parse(METRICS).unwrap();
    assert_eq!(metrics.series("eval_accuracy"), [(0, 0.1), (10, 0.5)]);
    assert_eq!(metrics.finite("eval_loss"), [(0, 2.3)], "null is no value");
    assert!(metrics.series("eval_loss")[1].1.is_nan(), "but a gap");
    assert_eq!(metrics.series("loss"), [(1, 2.0)]);
    assert_eq!(metrics.evaluated().collect::<Vec<_>>(), ["accuracy", "loss"]);
    assert_eq!((metrics.written, metrics.has_tokens, metrics.cut_off), (Some((5.0, 9.5)), false, None));
}

#[test]
fn a_step_that_was_measured_twice_counts_as_it_was_measured_last() {
    let metrics =
        parse("{\"step\":2,\"loss\":1.0}\n{\"step\":1,\"loss\":3.0}\n{\"step\":2,\"loss\":2.0}\n").unwrap();
    assert_eq!(metrics.series("loss"), [(1, 3.0), (2, 2.0)]);
}

#[test]
fn a_last_line_that_is_cut_off_is_left_out_and_any_other_is_an_error_that_names_it() {
    let cut_off = parse(&format!("{METRICS}{{\"step\":11,\"lo")).unwrap();
    assert_eq!(cut_off.cut_off, Some(4));
    assert_eq!(cut_off.series("loss"), [(1, 2.0)]);
    for (text, place) in [
        ("{\"step\":1}\n{\n{\"step\":2}\n", "run/metrics.jsonl:2: "),
        ("{\"step\":1}\n\n{\n", "run/metrics.jsonl:3: "),
        ("{\"loss\":1}\n", "run/metrics.jsonl:1: there is no step"),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.starts_with(place) && said.contains("headstart verify"), "{said}");
    }
    assert_eq!(parse("").unwrap(), Metrics::default());
}

proptest! {
    /// Whoever wrote the file: no panic, and curves are in order of steps.
    #[test]
    fn any_file_is_read_or_refused(
        lines in prop::collection::vec(prop_oneof![
            "\\PC{0,20}",
            (any::<Option<u64>>(), any::<Option<f64>>())
                .prop_map(|(step, loss)| json!({"step": step, "eval_loss": loss}).to_string()),
        ], 0..6),
    ) {
        if let Ok(metrics) = parse(&lines.join("\n")) {
            prop_assert!(metrics.series("eval_loss").is_sorted_by(|one, next| one.0 < next.0));
            prop_assert!(metrics.finite("eval_loss").iter().all(|(_, value)| value.is_finite()));
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Writes what a finished run leaves, as far as it is read.
fn finish(place: &Path, run: serde_json::Value, ledger: serde_json::Value) {
    std::fs::create_dir_all(place.join("final")).unwrap();
    std::fs::write(place.join("final/metrics.jsonl"), METRICS).unwrap();
    std::fs::write(place.join("final/run.json"), run.to_string()).unwrap();
    std::fs::write(place.join("final/ledger.jsonl"), format!("{ledger}\n{{\"step\":1}}\n")).unwrap();
}

#[tokio::test]
async fn a_run_is_found_by_its_output_dir_or_its_final() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("pets");
    let error = Run::read(&text(&place), None, &[]).await.unwrap_err();
    assert!(error.to_string().contains("output_dir of a run"), "{error}");
    std::fs::create_dir_all(place.join("final")).unwrap();
    std::fs::write(place.join("final/metrics.jsonl"), METRICS).unwrap();
    let error = Run::read(&text(&place), None, &[]).await.unwrap_err();
    assert!(error.to_string().contains("pets/final/run.json: it is missing"), "{error}");
    let spec = json!({"seed": 1, "base_model": "https://me:secret@host/m?token=secret"});
    finish(&place, json!({"total_steps": 90, "spec": spec}), json!({"data": "d"}));
    for path in [place.clone(), place.join("final")] {
        let run = Run::read(&text(&path), None, &[]).await.unwrap();
        assert_eq!((run.name.as_str(), run.total_steps(), run.progress().as_str()), ("pets", 90, "finished"));
        assert_eq!(run.pins.key("base_model"), "https://host/m", "secrets are not shown");
        assert_eq!(run.pins.first["data"], "d");
    }
    std::fs::create_dir_all(place.join("manifests")).unwrap();
    std::fs::write(place.join("manifests").join(Manifest::file_name(3)), manifest(None).seal().0).unwrap();
    let error = Files::find(&text(&place)).await.unwrap_err();
    assert!(matches!(error, RunError::Uncommitted { .. }), "final/ is being written: {error}");
    std::fs::write(place.join("final/SHA256SUMS"), "").unwrap();
    assert!(Files::find(&text(&place)).await.unwrap().0.is_final());
    for (run, said) in [("[1]", "no JSON object"), ("{}", "total_steps is missing"), ("{", "run.json: EOF")] {
        std::fs::write(place.join("final/run.json"), run).unwrap();
        let error = Run::read(&text(&place), None, &[]).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

fn manifest(texts: Option<Parts>) -> Manifest {
    let keys =
        [("seed".to_owned(), json!(7)), ("learning_rate".to_owned(), json!(0.1))].into_iter().collect();
    let pins =
        ManifestPins { keys, parameters: "p".into(), data: "d".into(), weights: "w".into(), base: None };
    let standing = RunState { version: 10, ..RunState::default() };
    Manifest {
        number: 3,
        previous: String::new(),
        run_id: "abc".into(),
        epoch: 2,
        nonce: String::new(),
        owner: String::new(),
        pins,
        state: State { standing, vectors: None, best: None, texts, exports: Vec::new() },
        drops: Vec::new(),
    }
}

#[tokio::test]
async fn of_a_run_that_is_not_finished_the_last_commit_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (place, manifests) = (text(directory.path()), directory.path().join("manifests"));
    std::fs::create_dir_all(&manifests).unwrap();
    let write = |number: u64, content: &str| {
        std::fs::write(manifests.join(Manifest::file_name(number)), content).unwrap();
    };
    write(3, &manifest(None).seal().0);
    let error = Run::read(&place, None, &[]).await.unwrap_err();
    assert!(error.to_string().contains("not committed anything yet"), "{error}");
    let pieces = ["metrics.jsonl", "ledger.jsonl"].map(|name| Piece {
        name: name.into(),
        size: 1,
        sha256: String::new(),
    });
    let parts = Parts { directory: "parts/x-texts".into(), files: pieces.into() };
    write(3, &manifest(Some(parts)).seal().0);
    write(4, "damaged");
    let error = Run::read(&place, None, &[]).await.unwrap_err();
    assert!(matches!(error, RunError::Store(StoreError::NotFound { .. })), "{error}");
    std::fs::create_dir_all(directory.path().join("parts/x-texts")).unwrap();
    std::fs::write(directory.path().join("parts/x-texts/metrics.jsonl"), METRICS).unwrap();
    let error = Run::read(&place, None, &[]).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("ledger.jsonl"), "a run without what its manifest names is not read half: {said}");
    std::fs::write(directory.path().join("parts/x-texts/ledger.jsonl"), "{\"total_steps\":40}\n").unwrap();
    let run = Run::read(&place, Some("mine"), &[]).await.unwrap();
    assert_eq!(run.progress(), "not finished: its last commit is of step 10 of 40");
    assert_eq!(
        (run.name.as_str(), run.pins.seed(), run.pins.facts["run_id"].as_str()),
        ("mine", Some(7), Some("abc"))
    );
    std::fs::remove_file(manifests.join(Manifest::file_name(3))).unwrap();
    let error = Run::read(&place, None, &[]).await.unwrap_err();
    assert!(error.to_string().contains("00000000000000000004.json: it is damaged"), "{error}");
}

/// Runs of the directories `names`, with these run files and data hashes.
async fn runs(directory: &Path, of: &[(&str, serde_json::Value, &str)]) -> Vec<Run> {
    let mut places = Vec::new();
    for (name, keys, data) in of {
        let place = directory.join(name);
        finish(&place, json!({"total_steps": 90, "spec": keys}), json!({"data": data}));
        places.push(text(&place));
    }
    read(&places, &[], &[]).await.unwrap()
}

fn grouped(runs: &[Run], each: bool) -> Vec<(String, Vec<usize>)> {
    groups(runs, each).into_iter().map(|group| (group.title(), group.members)).collect()
}

#[tokio::test]
async fn runs_that_differ_in_their_seed_alone_are_one_group_named_by_what_differs() {
    let directory = tempfile::tempdir().unwrap();
    let keys =
        |init: &str, seed: u64| json!({"init": init, "seed": seed, "output_dir": seed, "save_steps": seed});
    let all = [
        ("head_1", keys("pretrained", 1), "d"),
        ("scratch_1", keys("random", 1), "d"),
        ("head_2", keys("pretrained", 2), "d"),
        ("scratch_2", keys("random", 2), "d"),
        ("other", keys("random", 3), "other data"),
    ];
    let all = runs(directory.path(), &all).await;
    let found = grouped(&all, false);
    let expected = [
        ("init=pretrained (2 seeds)".to_owned(), vec![0, 2]),
        ("init=random (2 seeds)".to_owned(), vec![1, 3]),
        ("other".to_owned(), vec![4]),
    ];
    assert_eq!(found, expected);
    assert_eq!(grouped(&all, true).len(), 5);
    assert_eq!(
        grouped(&[all[0].clone(), all[2].clone()], false),
        [("head (2 seeds)".to_owned(), vec![0, 1])]
    );
    let renamed: Vec<Run> = [0, 2, 1]
        .map(|place| Run { name: if place == 1 { "b" } else { "a" }.to_owned(), ..all[place].clone() })
        .into();
    assert_eq!(
        grouped(&renamed, false)[0],
        ("a (2 seeds)".to_owned(), vec![0, 1]),
        "a name that was given to all"
    );
    let twice = [all[0].clone(), all[2].clone(), all[0].clone()];
    assert_eq!(grouped(&twice, false).len(), 3, "a seed that is there twice is no spread");
}

const PLACES: [&str; 8] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];

fn with_seed(keys: &serde_json::Value, seed: u64) -> serde_json::Value {
    let mut keys = keys.clone();
    keys["seed"] = seed.into();
    keys
}

#[tokio::test]
async fn a_group_that_differs_in_much_has_a_short_name() {
    let directory = tempfile::tempdir().unwrap();
    let keys = |number: u64, seed: u64| {
        let path = format!("s3://bucket/{}/{number}.jsonl", "long/".repeat(20));
        json!({"a": number, "b": number, "c": number, "datasets": [{"path": path}], "seed": seed})
    };
    let all =
        [("x1", keys(1, 1), "d"), ("x2", keys(1, 2), "d"), ("y1", keys(2, 1), "e"), ("y2", keys(2, 2), "e")];
    let all = runs(directory.path(), &all).await;
    assert_eq!(grouped(&all, false)[1].0, "a=2 (2 seeds)", "one key tells them apart");
    let crossed = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(a, b)| json!({"a": a, "b": b, "d": 1}));
    let crossed = crossed.iter().flat_map(|keys| [1, 2].map(|seed| with_seed(keys, seed)));
    let crossed: Vec<(&str, serde_json::Value, &str)> =
        crossed.zip(PLACES).map(|(keys, place)| (place, keys, "d")).collect();
    let crossed = runs(directory.path(), &crossed).await;
    assert_eq!(grouped(&crossed, false)[1].0, "a=1, b=2 (2 seeds)", "two keys do");
    let by_data: Vec<Run> = all
        .into_iter()
        .map(|mut run| {
            ["a", "b", "c"].iter().for_each(|name| drop(run.pins.keys.shift_remove(*name)));
            run
        })
        .collect();
    let name = grouped(&by_data, false)[1].0.clone();
    assert!(
        name.starts_with("datasets=…") && name.ends_with("/2.jsonl (2 seeds)") && name.len() < 70,
        "{name}"
    );
}

#[test]
fn a_mean_is_of_the_steps_that_all_seeds_have() {
    let one = [(0, 0.2), (10, 0.4), (20, f64::NAN), (30, 0.8)];
    let two = [(10, 0.6), (20, 0.5), (30, 0.9), (40, 1.0)];
    let found: Vec<(u64, f64, f64, f64)> =
        spread(&[&one, &two]).iter().map(|here| (here.step, here.mean, here.low, here.high)).collect();
    assert_eq!(found, [(10, 0.5, 0.4, 0.6), (30, 0.8500000000000001, 0.8, 0.9)]);
    assert!(spread(&[&one, &[]]).is_empty() && spread(&[]).is_empty());
}

#[tokio::test]
async fn names_and_numbers_of_runs_are_checked() {
    let places: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    assert!(matches!(read(&places, &[], &[]).await, Err(RunError::TooMany(101))));
    let error = read(&places[..2], &["a".to_owned()], &[]).await.unwrap_err();
    assert_eq!((error.exit(), error.to_string().contains("1 names for 2 runs")), (Exit::Usage, true));
    let directory = tempfile::tempdir().unwrap();
    let twins = runs(directory.path(), &[("a/run", json!({}), ""), ("b/run", json!({}), "")]).await;
    assert!(twins[0].name.ends_with("a/run") && twins[1].name.ends_with("b/run"), "{}", twins[0].name);
    assert_eq!(grouped(&twins, false).len(), 2, "without a seed there are no groups");
}
