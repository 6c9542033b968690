//! Whole pages, of runs of all kinds.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// A finished run's directory, with these metrics.
fn finish(place: &Path, name: &str, keys: Value, metrics: &[Value]) -> String {
    let directory = place.join(name).join("final");
    std::fs::create_dir_all(&directory).unwrap();
    let lines: String = metrics.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(directory.join("metrics.jsonl"), lines).unwrap();
    let file = json!({"url": "https://me:secret@host/train.jsonl?sig=secret", "size": 5, "sha256": "ff00"});
    let data = json!({"train": {"files": [file], "files_total": 30}});
    let run = json!({
        "total_steps": 90, "steps": 90, "run_id": "abc", "headstart": "0.1.0", "spec": keys, "data": data,
        "labels": (0..40).map(|label| label.to_string()).collect::<Vec<_>>(),
        "numeric_class": {"libtorch": "2.11.0", "device": "cpu"},
    });
    std::fs::write(directory.join("run.json"), run.to_string()).unwrap();
    place.join(name).to_str().unwrap().to_owned()
}

fn keys(init: &str, seed: u64) -> Value {
    json!({
        "init": init, "seed": seed, "task": "image-classification", "base_model": "https://me:secret@host/m/final",
        "eval_datasets": [{"path": "e"}], "learning_rate": 0.001,
    })
}

/// Training and evaluations of accuracy, up to `end`.
fn curve(end: f64) -> Vec<Value> {
    let step = |step: u64| {
        let done = step as f64 / 90.0;
        match step % 30 {
            0 => {
                json!({"step": step, "eval_accuracy": end * done, "eval_loss": 2.0 - done, "time": 100.0 + done})
            }
            _ => {
                json!({"step": step, "loss": 2.0 - done, "grad_norm": 1.0, "learning_rate": 1e-5, "samples_per_second": 50.0})
            }
        }
    };
    (0..=90).map(step).collect()
}

async fn page(places: &[String], names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let report = Report::read(places, &names, None, false).await.unwrap();
    let page = page::html(&report, &charts::figures(&report));
    assert_self_contained(&page);
    page
}

/// Well-formed XML (which is more than HTML asks for), without scripts, secrets and references to other files.
fn assert_self_contained(page: &str) {
    let text = page.replacen("<!DOCTYPE html>", "", 1);
    let document =
        resvg::usvg::roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{page}"));
    for element in document.descendants().filter(|node| node.is_element()) {
        let name = element.tag_name().name();
        assert!(!["script", "link", "img", "iframe", "image", "use", "object"].contains(&name), "<{name}>");
        for attribute in element.attributes() {
            let is_reference = ["href", "src", "srcset", "style", "action"].contains(&attribute.name());
            assert!(!is_reference && !attribute.name().starts_with("on"), "{attribute:?}");
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
    assert!(!page.contains("secret") && !page.contains("NaN"));
}

#[tokio::test]
async fn a_head_start_is_told_in_the_words_of_compare() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let places = [
        finish(at, "head start", keys("pretrained", 1), &curve(0.9)),
        finish(at, "from scratch", keys("random", 1), &curve(0.5)),
    ];
    let page = page(&places, &[]).await;
    for part in [
        "<h3>head start against from scratch</h3>",
        "<li>at step 30 of 90: 30.0 % against 16.7 %: +13.3 points</li>",
        "<li>at the end: 90.0 % against 50.0 %: +40.0 points</li>",
        "<data value=\"0.9\">90.0 %</data>",
        "<td>…/m/final</td>",
        "<td>random weights</td>",
        "<code>init</code></th><td>pretrained</td><td>random</td>",
        "https://host/train.jsonl",
        "base_model: &quot;https://host/m/final&quot;",
        "and 29 more files",
        "and 10 more",
        "libtorch 2.11.0, device cpu",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert_eq!(page.matches("<figure>").count(), 6, "loss, two evaluations, learning rate, norm, throughput");
}

#[tokio::test]
async fn a_head_start_is_compared_with_the_run_that_differs_least() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let other_rate = |init: &str, rate: f64| {
        let mut keys = keys(init, 1);
        keys["learning_rate"] = rate.into();
        keys
    };
    let mut places = vec![finish(at, "other rate", other_rate("random", 0.5), &curve(0.4))];
    places.push(finish(at, "twin", keys("random", 1), &curve(0.5)));
    places.extend((0..4).map(|place| {
        finish(
            at,
            &format!("head{place}"),
            other_rate("pretrained", 0.001 * f64::from(place + 1)),
            &curve(0.9),
        )
    }));
    let page = page(&places, &[]).await;
    assert!(
        page.contains("<h3>head0 against twin</h3>") && page.contains("<summary>1 more</summary>"),
        "{page}"
    );
    assert!(!page.contains("head0 against other rate"), "{page}");
    let also = "they also differ in learning_rate: this is not what the head start alone was worth";
    assert_eq!(page.matches(also).count(), 3, "all but head0");
}

#[tokio::test]
async fn names_from_elsewhere_are_text() {
    let directory = tempfile::tempdir().unwrap();
    let odd = "</title><script>&\"'\u{1}\u{fffe}";
    let keys = json!({"base_model": odd, "init": "pretrained", "task": odd, "seed": 1, odd: {odd: odd}});
    let place = finish(directory.path(), "x", keys, &[json!({"step": 1, "loss": 1.0, "eval_</b>": 0.5})]);
    let page = page(&[place], &[odd]).await;
    assert!(page.contains("&lt;/title&gt;&lt;script&gt;&amp;&quot;'"), "{page}");
}

#[tokio::test]
async fn seeds_are_one_line_with_a_band_and_a_mean_with_a_range() {
    let directory = tempfile::tempdir().unwrap();
    let places: Vec<String> = (1..4)
        .map(|seed| {
            finish(
                directory.path(),
                &format!("head_{seed}"),
                keys("pretrained", seed),
                &curve(0.6 + 0.1 * seed as f64),
            )
        })
        .collect();
    let page = page(&places, &[]).await;
    assert!(page.contains("head (3 seeds): mean, and range as a band"), "{page}");
    assert!(page.contains("<small>70.0 to 90.0 %</small>"), "{page}");
    assert!(page.contains("fill-opacity"), "{page}");
    assert!(page.contains("No run here began from random weights"), "{page}");
}

#[tokio::test]
async fn odd_runs_have_a_page_too() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let point = finish(at, "point", keys("random", 1), &[json!({"step": 1, "loss": 1.0})]);
    let empty = finish(at, "empty", json!({}), &[]);
    let diverged = finish(
        at,
        "diverged",
        json!({}),
        &[
            json!({"step": 1, "loss": 1.0}),
            json!({"step": 2, "loss": null}),
            json!({"step": 3, "loss": 1e308}),
        ],
    );
    let alone = page(std::slice::from_ref(&point), &[]).await;
    assert!(alone.contains("<h1>Run point</h1>") && alone.contains("<circle"), "{alone}");
    assert!(alone.contains("No run was evaluated"), "{alone}");
    let nothing = page(std::slice::from_ref(&empty), &[]).await;
    assert!(
        nothing.contains("Nothing was measured yet") && nothing.contains("# none is recorded"),
        "{nothing}"
    );
    let all = page(&[point, empty, diverged], &[]).await;
    assert!(all.contains("The training loss was not finite at step 2"), "{all}");
}

#[tokio::test]
async fn a_language_model_has_bits_and_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = [
        json!({"step": 0, "eval_loss": 2.0794415416798357, "eval_perplexity": 8.0}),
        json!({"step": 1, "loss": 2.0, "num_tokens": 500, "tokens_per_second": 250.5, "samples_per_second": 3.0}),
    ];
    let place = finish(directory.path(), "chat", json!({"task": "causal-lm", "init": "random"}), &metrics);
    let page = page(&[place], &[]).await;
    assert!(page.contains("<data value=\"3.0\">3.000</data>"), "{page}");
    assert!(
        page.contains("perplexity") && page.contains("tokens/s") && !page.contains("samples/s"),
        "{page}"
    );
}

#[tokio::test]
async fn twenty_runs_of_a_hundred_thousand_steps_are_a_page_of_some_megabytes() {
    let directory = tempfile::tempdir().unwrap();
    let line = |step: u64| json!({"step": step, "loss": (step * 7919 % 1000) as f64, "grad_norm": 1.0, "learning_rate": 0.1});
    let metrics: Vec<Value> = (0..100_000).map(line).collect();
    let place = finish(directory.path(), "long", keys("random", 1), &metrics);
    let mut report = Report::read(&[place], &[], None, false).await.unwrap();
    report.runs = vec![report.runs.remove(0); 20];
    report.histories = vec![report.histories.remove(0); 20];
    report.groups = runs::groups(&report.runs, false);
    let page = page::html(&report, &charts::figures(&report));
    assert!(page.len() < 4_000_000, "{}", page.len());
}

#[tokio::test]
async fn pages_and_pictures_are_written_where_they_are_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let place = finish(directory.path(), "run", keys("random", 1), &curve(0.5));
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let arguments = Arguments {
        runs: vec![place],
        names: Vec::new(),
        metric: Some("loss".into()),
        each: false,
        out: path("page.html"),
        plots: Some(path("plots/")),
    };
    run(&arguments).await.unwrap();
    assert!(std::fs::read_to_string(path("page.html")).unwrap().starts_with("<!DOCTYPE html>"));
    for name in ["loss", "eval_accuracy", "eval_loss", "learning_rate", "grad_norm", "samples_per_second"] {
        assert!(std::fs::read(path(&format!("plots/{name}.png"))).unwrap().starts_with(b"\x89PNG"), "{name}");
        assert!(
            std::fs::read_to_string(path(&format!("plots/{name}.svg"))).unwrap().contains("</svg>"),
            "{name}"
        );
    }
    let error = run(&Arguments { metric: Some("f1".into()), ..arguments }).await.unwrap_err();
    assert!(error.to_string().contains("there are: accuracy, loss"), "{error}");
}
