//! What is compared of runs and groups of them.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

/// A finished run of a seed, with accuracies at steps 0, 10, ….
fn finish(place: &Path, init: &str, seed: u64, accuracies: &[f64]) -> String {
    let directory = place.join(format!("{init}{seed}"));
    std::fs::create_dir_all(directory.join("final")).unwrap();
    let line = |(index, value): (usize, &f64)| {
        json!({"step": 10 * index, "eval_accuracy": value}).to_string() + "\n"
    };
    let metrics: String = accuracies.iter().enumerate().map(line).collect();
    std::fs::write(directory.join("final/metrics.jsonl"), metrics).unwrap();
    let run = json!({"total_steps": 20, "spec": {"init": init, "seed": seed}});
    std::fs::write(directory.join("final/run.json"), run.to_string()).unwrap();
    directory.to_str().unwrap().to_owned()
}

fn arguments(runs: Vec<String>) -> Arguments {
    Arguments { runs, names: Vec::new(), metric: "accuracy".into(), each: false, plot: None, json: false }
}

#[tokio::test]
async fn groups_are_compared_by_their_means() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let places = [
        finish(at, "pretrained", 1, &[0.2, 0.8, 0.9]),
        finish(at, "random", 1, &[0.1, 0.3, 0.5]),
        finish(at, "pretrained", 2, &[0.2, 0.6, 0.9]),
        finish(at, "random", 2, &[0.1, 0.5]),
    ];
    let all = runs::read(&places, &[], &[]).await.unwrap();
    let groups = runs::groups(&all, false);
    let lines: Vec<Line> = groups.iter().map(|group| Line::of(group, &all, "accuracy").unwrap()).collect();
    assert_eq!(lines[0].title(), "init=pretrained (2 seeds)");
    assert_eq!(lines[0].at(10), Some((0.7, Some((0.6, 0.8)))));
    assert_eq!(lines[1].curve, [(0, 0.1), (10, 0.4)], "where both seeds have been evaluated");
    let worths = [Worth::of(MetricKind::of("accuracy"), &lines[0], &lines[1])];
    let json = as_json("accuracy", &all, &groups, &lines, &worths).unwrap();
    assert_eq!(json["runs"][3]["curve"], json!([[0, 0.1], [10, 0.5]]), "runs are there one by one");
    assert_eq!(json["groups"][0]["runs"], json!(["pretrained1", "pretrained2"]));
    assert_eq!(json["comparisons"][0]["other"], "init=random");
    let picture = chart("accuracy", MetricKind::of("accuracy"), &lines).svg(&Format::ALONE);
    assert_eq!(picture.matches("fill-opacity").count(), 2, "a band for each group");
}

#[tokio::test]
async fn pictures_are_svg_or_png_by_their_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let places = vec![finish(at, "pretrained", 1, &[0.2, 0.9]), finish(at, "random", 1, &[0.1, 0.5])];
    for (name, start) in [("p.svg", &b"<svg "[..]), ("p.PNG", &b"\x89PNG"[..])] {
        let path = at.join(name);
        let plot = Some(path.to_str().unwrap().to_owned());
        run(&Arguments { plot, ..arguments(places.clone()) }).await.unwrap();
        assert!(std::fs::read(path).unwrap().starts_with(start), "{name}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let places = vec![finish(at, "a", 1, &[0.2]), finish(at, "b", 1, &[])];
    let said = async |metric: &str| {
        let arguments = Arguments { metric: metric.to_owned(), ..arguments(places.clone()) };
        run(&arguments).await.unwrap_err().to_string()
    };
    assert!(said("f1").await.contains("no evaluation has the metric \"f1\"; there are: accuracy"));
    assert!(said("accuracy").await.contains("b1/final: the run was never evaluated"));
}

#[tokio::test]
async fn seeds_without_a_common_step_have_no_mean() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let places = vec![finish(at, "a", 1, &[0.2]), finish(at, "a", 2, &[f64::NAN, 0.5])];
    let error = run(&arguments(places.clone())).await.unwrap_err().to_string();
    assert!(error.starts_with("a1, a2: ") && error.contains("--each"), "{error}");
    run(&Arguments { each: true, ..arguments(places) }).await.unwrap();
}
