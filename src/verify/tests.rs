use super::sums::parse;
use super::*;
use crate::hash::sha256;

/// A ledger of two steps and an evaluation.
fn ledger() -> String {
    let mut text = String::new();
    let mut previous = String::new();
    for facts in [
        "\"step\":0,\"weights\":\"aa\",\"total_steps\":2",
        "\"step\":1,\"gradient\":\"bb\",\"weights\":\"cc\"",
        "\"step\":1,\"eval_loss\":0.5",
        "\"step\":2,\"gradient\":\"dd\",\"weights\":\"ee\"",
    ] {
        let line = format!("{{{facts},\"previous\":\"{previous}\"}}");
        previous = sha256(line.as_bytes());
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn line_of(difference: &Difference) -> usize {
    match difference {
        Difference::Line { line, .. } => *line,
        other => panic!("{other} names no line"),
    }
}

#[test]
fn a_chain_that_holds_is_read() {
    let read = Ledger::parse(ledger().as_bytes()).expect("it holds");
    assert_eq!((read.lines().len(), read.steps()), (4, 2));
    assert_eq!(read.of_step(1).and_then(|line| line.text_of("weights")), Some("cc"));
    assert_eq!(read.of_step(0).and_then(|line| line.text_of("weights")), Some("aa"));
    assert!(read.of_step(3).is_none());
}

#[test]
fn the_damaged_line_is_named() {
    let good = ledger();
    for (from, to, line) in [("\"cc\"", "\"cd\"", 2), ("0.5", "0.6", 3), ("\"aa\"", "\"ab\"", 1)] {
        let found = Ledger::parse(good.replacen(from, to, 1).as_bytes()).expect_err("it was changed");
        assert_eq!(line_of(&found), line, "{from}: {found}");
    }
    // The hash of the line before, changed: this line is the damaged one.
    let at = good.match_indices("\"previous\":\"").nth(2).expect("three lines have one").0 + 12;
    let mut bytes = good.clone().into_bytes();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    assert_eq!(line_of(&Ledger::parse(&bytes).expect_err("it was changed")), 3);
    // A line taken out: the last one does not fit what is before it, and nothing vouches for either.
    let fewer: String =
        good.lines().filter(|line| !line.contains("eval")).map(|line| format!("{line}\n")).collect();
    assert_eq!(line_of(&Ledger::parse(fewer.as_bytes()).expect_err("a line is missing")), 2);
}

#[test]
fn sums_are_read_in_the_one_way_they_are_written() {
    let hash = "0123456789abcdef".repeat(4);
    let names = ["config.json", "ledger.jsonl", "metrics.jsonl", "run.json"];
    let good: String = names.iter().map(|name| format!("{hash}  {name}\n")).collect();
    assert_eq!(parse(good.as_bytes()).expect("it is good").len(), 4);
    let bad = [
        (good.replacen('a', "A", 1), 1),
        (good.replacen("  ", " ", 1), 1),
        (good.replacen("  ledger", "\tledger", 1), 2),
        (good.trim_end().to_owned(), 4),
        (format!("{good}\n"), 5),
        (good.replacen("config", "zonfig", 1), 2),
    ];
    for (text, line) in bad {
        assert_eq!(line_of(&parse(text.as_bytes()).expect_err("it was changed")), line, "{text}");
    }
    let shorter = good.replacen(&format!("{hash}  run.json\n"), "", 1);
    assert!(parse(shorter.as_bytes()).expect_err("a file is missing").to_string().contains("run.json"));
}

#[tokio::test]
async fn what_is_no_run_is_said_so() {
    let error = verify(&Location::memory("nothing")).await.expect_err("there is nothing");
    assert!(error.to_string().contains("output_dir of a run"), "{error}");
    assert_eq!(error.exit(), Exit::Checkpoint);
}
