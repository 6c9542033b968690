//! Reports of real runs: the page is HTML that needs nothing else, and its numbers are those that the run wrote.

use std::path::Path;

use headstart_tests::processes::{address, coordinator, interrupted, until, worker};
use headstart_tests::{digits, headstart, succeed, text, texts};
use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::Value;

/// An element: its name, its attributes, and all text below it.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
}

/// Parses a page as browsers do; there is nothing wrong with it.
fn elements(page: &Path) -> Vec<Element> {
    let html = std::fs::read_to_string(page).expect("it was written");
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(html);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors.borrow());
    let mut found = Vec::new();
    collect(&dom.document, &mut found);
    found
}

fn collect(node: &Handle, found: &mut Vec<Element>) -> String {
    let place = match &node.data {
        NodeData::Text { contents } => return contents.borrow().to_string(),
        NodeData::Element { name, attrs, .. } => {
            let attribute = |attribute: &html5ever::Attribute| {
                (attribute.name.local.to_string(), attribute.value.to_string())
            };
            let attributes = attrs.borrow().iter().map(attribute).collect();
            found.push(Element { name: name.local.to_string(), attributes, text: String::new() });
            Some(found.len() - 1)
        }
        _ => None,
    };
    let text: String = node.children.borrow().iter().map(|child| collect(child, found)).collect();
    if let Some(place) = place {
        found[place].text.clone_from(&text);
    }
    text
}

/// Nothing is loaded, run, or led to.
fn assert_self_contained(elements: &[Element]) {
    let forbidden =
        ["script", "link", "img", "image", "iframe", "object", "embed", "use", "a", "form", "base"];
    for element in elements {
        assert!(!forbidden.contains(&element.name.as_str()), "<{}>", element.name);
        for (name, value) in &element.attributes {
            let is_reference =
                ["href", "src", "srcset", "style", "action", "data", "poster"].contains(&name.as_str());
            assert!(!is_reference && !name.starts_with("on"), "{name}={value}");
        }
    }
    let styles = elements.iter().filter(|element| element.name == "style");
    assert!(styles.into_iter().all(|style| !style.text.contains("url(") && !style.text.contains("@import")));
    let policy = elements
        .iter()
        .flat_map(|element| &element.attributes)
        .find(|(_, value)| value.contains("default-src"));
    assert_eq!(policy.expect("there is a policy").1, "default-src 'none'; style-src 'unsafe-inline'");
}

/// Lines of a run's metrics.
fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("final/metrics.jsonl")).expect("the run is finished");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// All numbers on the page, in all their digits.
fn numbers(elements: &[Element]) -> Vec<f64> {
    let values =
        elements.iter().filter(|element| element.name == "data").map(|element| &element.attributes[0].1);
    values.map(|value| value.parse().expect("a number")).collect()
}

#[test]
fn the_numbers_of_a_real_run_are_those_of_its_metrics() {
    let directory = digits();
    succeed(
        directory.path(),
        &["train", "run.yaml", "--workers", "2", "--set", "audit=0.5", "--set", "save_steps=8"],
    );
    let printed = succeed(directory.path(), &["report", "out", "--plots", "plots"]);
    assert!(printed.starts_with("wrote report.html: 1 run, 7 charts\n"), "{printed}");
    let page = elements(&directory.path().join("report.html"));
    assert_self_contained(&page);
    let numbers = numbers(&page);
    let lines = metrics(&directory.path().join("out"));
    let evaluations: Vec<&Value> = lines.iter().filter(|line| line.get("eval_accuracy").is_some()).collect();
    assert_eq!(evaluations.len(), 2, "after 12 steps and 24");
    for evaluation in evaluations {
        for name in ["eval_accuracy", "eval_f1", "eval_loss"] {
            let value = evaluation[name].as_f64().expect("a number");
            assert!(numbers.contains(&value), "{name} {value} is not among {numbers:?}");
        }
    }
    let loss = lines.iter().filter_map(|line| line["loss"].as_f64()).next_back().expect("there are steps");
    assert!(numbers.contains(&loss), "{loss} is not among {numbers:?}");
    let body = &page.iter().find(|element| element.name == "body").expect("a page").text;
    for part in [
        "leases were computed twice, with equal bits",
        "2 workers joined",
        "random weights",
        "seed: 42",
        "finished",
    ] {
        assert!(body.contains(part), "{part} is not in\n{body}");
    }
    let run: Value = serde_json::from_slice(
        &std::fs::read(directory.path().join("out/final/run.json")).expect("the run is finished"),
    )
    .expect("JSON");
    for hash in ["weights_sha256", "ledger_sha256", "parameters", "run_id"] {
        assert!(body.contains(run[hash].as_str().expect("a text")), "{hash}");
    }
    pictures(&directory.path().join("plots"));
}

/// Each chart is an SVG and a PNG, and a PNG is not one colour.
fn pictures(directory: &Path) {
    let names: Vec<String> = std::fs::read_dir(directory)
        .expect("it was made")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert_eq!(names.len(), 14, "{names:?}");
    for name in names.iter().filter(|name| name.ends_with(".png")) {
        let file = std::fs::File::open(directory.join(name)).expect("it is there");
        let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("it is small")];
        let frame = reader.next_frame(&mut pixels).expect("it can be decoded");
        assert_eq!(frame.width, 1640, "{name}");
        let colours: std::collections::BTreeSet<&[u8]> = pixels.chunks(4).collect();
        assert!(
            colours.len() > 20,
            "{name}: text and curves have soft edges, so many colours: {}",
            colours.len()
        );
    }
}

#[test]
fn a_run_that_was_interrupted_is_reported_up_to_its_last_commit() {
    let directory = interrupted(&["max_steps=100000", "save_steps=3", "eval_steps=3"]);
    let printed = succeed(directory.path(), &["report", "out", "--out", "page.html"]);
    assert!(printed.contains("1 run"), "{printed}");
    let page = elements(&directory.path().join("page.html"));
    assert_self_contained(&page);
    let body = &page.iter().find(|element| element.name == "body").expect("a page").text;
    assert!(
        body.contains("not finished: its last commit is of step") && body.contains("of 100000"),
        "{body}"
    );
    let compared = succeed(directory.path(), &["compare", "out", "out", "--metric", "loss"]);
    assert!(compared.contains("loss by training step"), "{compared}");
}

#[test]
fn a_run_can_be_reported_while_it_goes_on() {
    let directory = texts();
    let sets = ["max_steps=100000", "save_steps=1", "save_total_limit=1", "eval_strategy=no"];
    let mut coordinator = coordinator(directory.path(), &sets);
    let address = address(&mut coordinator).expect("it listens");
    let mut worker = worker(directory.path(), &address);
    let manifest = directory.path().join(format!("out/manifests/{:020}.json", 2));
    until("the third manifest", || manifest.exists());
    let reports: Vec<_> = (0..5).map(|_| headstart(directory.path(), &["report", "out"])).collect();
    for child in [&mut worker, &mut coordinator] {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    for report in reports {
        assert!(report.status.success(), "{}", text(&report));
    }
}

#[test]
fn what_cannot_be_reported_is_said_with_its_cure() {
    let directory = texts();
    let refused = |arguments: &[&str], code: i32, said: &str| {
        let output = headstart(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(said), "{}", text(&output));
    };
    refused(&["report", "nowhere"], 10, "give the output_dir of a run");
    refused(&["report", "http://127.0.0.1:9/run"], 21, "127.0.0.1:9");
    refused(&["report", "a", "b", "--names", "x"], 2, "1 names for 2 runs");
    std::fs::create_dir_all(directory.path().join("run/final")).expect("the directory is writable");
    let metrics = directory.path().join("run/final/metrics.jsonl");
    std::fs::write(&metrics, "{\"step\":1}\nbroken\n{\"step\":2}\n").expect("the directory is writable");
    refused(&["report", "run"], 10, "run/final/metrics.jsonl:2: ");
}
