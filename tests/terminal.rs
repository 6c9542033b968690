//! What a run shows on a terminal, in a file, and to a program.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use headstart_tests::processes::{address, coordinator, until, worker};
use headstart_tests::terminal::{Terminal, rows};
use headstart_tests::{children, command, succeed, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// `headstart train` of a run that is long enough to lose a worker.
fn train(directory: &Path, more: &[&str]) -> Command {
    let mut train = command("headstart", directory);
    train.args(["train", "run.yaml", "--workers", "2", "--device", "cpu", "--set", "eval_strategy=no"]);
    train.args(more).env("TERM", "xterm");
    train
}

/// Ends one of the run's workers, as `kill -9` does.
fn kill_a_worker(train: u32) {
    let workers = children(train, "headstart-worker");
    kill(Pid::from_raw(*workers.last().expect("there are two")), Signal::SIGKILL).expect("it runs");
}

#[test]
fn a_terminal_of_any_width_shows_a_bar_and_what_goes_on() {
    for (columns, coloured) in [(80, true), (40, false)] {
        let directory = texts();
        let mut train = train(directory.path(), &["--set", "max_steps=2000"]);
        // Says when both workers are ready.
        train.env("RUST_LOG", "warn,headstart_coordinator::actor=info");
        if coloured {
            train.env_remove("NO_COLOR");
        }
        let terminal = Terminal::start(train, columns);
        until("both are ready and the bar has moved", || {
            let raw = terminal.raw();
            raw.contains("INFO ready worker=worker 2") && raw.contains("━") && raw.contains("samples/s")
        });
        kill_a_worker(terminal.child.id());
        let (code, raw) = terminal.end();
        assert_eq!(code, Some(0), "{raw}");
        let rows = rows(&raw, columns);
        let begins = |row: &&String| row.starts_with(['━', '╸']) && row.contains("/2000 ");
        assert!(rows.iter().any(|row| begins(&row)), "{rows:#?}");
        // No word is broken: a row of numbers begins where the numbers do.
        let numbers: Vec<&String> = rows.iter().filter(|row| row.contains("samples/s")).collect();
        assert!(!numbers.is_empty() && numbers.iter().all(|row| row.starts_with("loss ")), "{numbers:#?}");
        // Longer lines go on in the next row, wherever they are cut.
        let screen = rows.concat().replace(' ', "");
        for shown in [
            "no probe of the checkpoint",
            "was killed by signal 9",
            "faults survived: workers lost 1",
            "took ",
        ] {
            assert!(screen.contains(&shown.replace(' ', "")), "{shown}: {screen}");
        }
        assert_eq!(raw.contains("\u{1b}[32m"), coloured, "NO_COLOR is respected: {raw}");
    }
}

#[test]
fn a_file_gets_plain_lines_now_and_then() {
    let directory = texts();
    let out = directory.path().join("out.log");
    let file = std::fs::File::create(&out).expect("writable");
    let mut child = train(directory.path(), &["--set", "max_steps=100000", "--set", "probe=60"])
        .env_remove("NO_COLOR")
        .stdout(file.try_clone().expect("a file"))
        .stderr(file)
        .spawn()
        .expect("it starts");
    let said = || std::fs::read_to_string(&out).expect("it was made");
    until("two lines of progress", || said().matches(" samples/s, ").count() >= 2);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    child.wait().expect("it is ours");
    let said = said();
    assert!(!said.contains(['\u{1b}', '\r']), "nothing moves the cursor or changes colours: {said}");
    let steps: Vec<&str> = said.lines().filter(|line| line.starts_with("step ")).collect();
    assert!(steps.iter().all(|line| line.chars().count() <= 80), "{steps:?}");
    assert!(steps.iter().any(|line| line.contains(" samples/s, ") && line.ends_with(" left")), "{steps:?}");
    assert!(steps.len() <= 30, "a line every few seconds: {said}");
    assert_eq!(said.matches("probe: ").count(), 1, "one line tells the verdict: {said}");
    assert!(!said.contains("WARN head start"), "{said}");
}

#[test]
fn a_program_gets_nothing_but_json() {
    let directory = texts();
    let more =
        ["--set", "max_steps=2000", "--set", "probe=60", "--set", "run_name=ignored", "--log-format", "json"];
    let mut child = train(directory.path(), &more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut events = Vec::new();
    let mut next = |events: &mut Vec<Value>| {
        let line = lines.next()?.expect("text");
        events.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        Some(())
    };
    while events.iter().all(|event: &Value| event["event"] != "probe") {
        next(&mut events).expect("the verdict comes before the end");
    }
    let start = events.iter().find(|event| event["event"] == "start").expect("it has begun");
    let url = start["coordinator"].as_str().expect("an address").to_owned();
    until("both workers are ready", || {
        let status = succeed(directory.path(), &["status", "--json", "--coordinator", &url]);
        status.matches("\"ready\": true").count() == 2
    });
    kill_a_worker(child.id());
    while next(&mut events).is_some() {}
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let errors: Vec<Value> =
        errors.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let said = |word: &str| {
        errors.iter().any(|error| error["text"].as_str().is_some_and(|text| text.contains(word)))
    };
    assert!(said("keys without effect") && said("was killed by signal 9"), "{errors:?}");
    let fault = events.iter().find(|event| event["event"] == "fault").expect("a worker was lost");
    assert_eq!(fault["fault"], "leave", "{fault}");
    let end = events.last().expect("there are some");
    assert_eq!(end["event"], "end");
    assert_eq!(end["summary"]["faults"]["workers lost"], 1, "{end}");
    // Mistakes too.
    let output = command("headstart", directory.path())
        .args(["train", "run.yaml", "--log-format", "json", "--set", "learning_rat=1"])
        .output()
        .expect("it starts");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| panic!("{}", text(&output)));
    assert!(error["text"].as_str().is_some_and(|text| text.contains("did you mean")), "{error}");
}

#[test]
fn a_watch_tells_of_a_coordinator_that_was_restarted_and_of_the_verdict() {
    let directory = texts();
    let sets =
        ["probe=60", "save_steps=1", "max_steps=100000", "resume_from_checkpoint=auto", "eval_strategy=no"];
    let mut first = coordinator(directory.path(), &sets);
    let url = address(&mut first).expect("it listens");
    let port = url.rsplit(':').next().expect("a port").to_owned();
    let mut helper = worker(directory.path(), &url);
    let watch = command("headstart", directory.path())
        .env("TERM", "xterm")
        .args(["watch", "--coordinator", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut watch = watch.expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut line = |word: &str| {
        lines
            .by_ref()
            .map(|line| line.expect("text"))
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("no line has {word}"))
    };
    assert!(line("probe: ").starts_with("probe: "));
    let status = succeed(directory.path(), &["status", "--coordinator", &url]);
    assert!(status.contains("\nprobe: "), "{status}");
    until("a step is committed", || directory.path().join(format!("out/manifests/{:020}.json", 3)).exists());
    first.kill().expect("it is ours");
    first.wait().expect("it is ours");
    line("trying again for 60 s");
    let mut second = command("headstart-coordinator", directory.path());
    second.args(["run.yaml", "--listen", &format!("127.0.0.1:{port}")]);
    second.args(sets.iter().flat_map(|set| ["--set", set]));
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    assert!(line("the coordinator was restarted").ends_with("(term 2): the run goes on"));
    let status = succeed(directory.path(), &["status", "--coordinator", &url]);
    assert!(status.contains("\nprobe: "), "the verdict is remembered: {status}");
    for child in [&mut watch, &mut helper, &mut second] {
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
}

#[test]
fn a_coordinator_tells_its_parent_how_much_of_the_checkpoint_is_loaded() {
    let directory = texts();
    let mut child = command("headstart-coordinator", directory.path())
        .args(["run.yaml", "--listen", "127.0.0.1:0", "--exit-with-parent"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines =
        BufReader::new(child.stdout.take().expect("it is piped")).lines().map(|line| line.expect("text"));
    let lines: Vec<String> = lines.take_while(|line| !line.starts_with("listening on")).collect();
    let last = lines.last().and_then(|line| line.strip_prefix("loading ")?.split_once(' ')).expect("bytes");
    let size =
        std::fs::metadata(directory.path().join("model/model.safetensors")).expect("it is there").len();
    let (done, total): (u64, u64) = (last.0.parse().expect("a number"), last.1.parse().expect("a number"));
    assert!(done == total && total > size / 2 && total <= size, "{done} of {total}, of a file of {size}");
    drop(child.stdin.take());
    child.wait().expect("it is ours");
}
