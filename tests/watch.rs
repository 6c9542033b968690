//! Watching a run from another terminal, and stopping it from there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use headstart_tests::{command, headstart, succeed, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A coordinator of a long run and its worker; both end with the test.
struct Cluster {
    coordinator: Child,
    worker: Child,
    url: String,
}

impl Cluster {
    fn start(directory: &Path) -> Cluster {
        let mut coordinator = command("headstart-coordinator", directory)
            .args(["run.yaml", "--listen", "127.0.0.1:0", "--set", "max_steps=100000"])
            .args(["--set", "eval_strategy=no"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the coordinator starts");
        let mut line = String::new();
        BufReader::new(coordinator.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where");
        let url = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
        let worker = command("headstart-worker", directory)
            .args(["--coordinator", &url, "--device", "cpu"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the worker starts");
        Cluster { coordinator, worker, url }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in [&mut self.worker, &mut self.coordinator] {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A `headstart watch` whose lines are read one by one.
struct Watch {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(directory: &Path, url: &str, more: &[&str]) -> Watch {
        let mut process = command("headstart", directory)
            .args(["watch", "--coordinator", url, "--log-format", "json"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("headstart starts");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Watch { process, lines }
    }

    /// The next line of this event.
    fn until(&mut self, event: &str) -> Value {
        for line in &mut self.lines {
            let line: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            if line["event"] == event {
                return line;
            }
        }
        panic!("it ended before {event}");
    }

    fn end(self) -> (Option<i32>, String) {
        let output = self.process.wait_with_output().expect("it ends");
        (output.status.code(), text(&output))
    }
}

#[test]
fn a_run_is_watched_and_stopped_from_elsewhere() {
    let directory = texts();
    let mut cluster = Cluster::start(directory.path());
    let url = cluster.url.clone();
    let mut watch = Watch::start(directory.path(), &url, &[]);
    assert_eq!(watch.until("start")["total_steps"], 100_000);
    let trains = |line: &Value| line["step"].as_u64() > Some(0);
    while !trains(&watch.until("progress")) {}

    // Ctrl-C ends the watching only.
    let mut other = Watch::start(directory.path(), &url, &[]);
    other.until("start");
    kill(Pid::from_raw(other.process.id() as i32), Signal::SIGINT).expect("it is ours");
    let (code, said) = other.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the run goes on"), "{said}");
    assert_eq!(cluster.coordinator.try_wait().expect("it is ours"), None, "the run goes on");

    let kept = succeed(directory.path(), &["stop", "--coordinator", &url, "--reason", "enough for today"]);
    assert!(kept.contains("kept: ") && kept.contains("checkpoint-"), "{kept}");
    let end = watch.until("end");
    assert_eq!((&end["state"], &end["exit_code"]), (&"stopped".into(), &130.into()), "{end}");
    assert!(end["detail"].as_str().is_some_and(|detail| detail.contains("enough for today")), "{end}");
    let (code, said) = watch.end();
    assert_eq!(code, Some(130), "{said}");
    let ended = cluster.coordinator.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn a_coordinator_that_goes_away_is_waited_for_a_bounded_time() {
    let directory = texts();
    let mut cluster = Cluster::start(directory.path());
    let mut watch = Watch::start(directory.path(), &cluster.url, &["--patience", "3"]);
    watch.until("start");
    cluster.coordinator.kill().expect("it is ours");
    let began = Instant::now();
    let (code, said) = watch.end();
    assert_eq!(code, Some(20), "{said}");
    assert!(began.elapsed() < Duration::from_secs(60), "it gave up after {:?}", began.elapsed());
    for program in ["watch", "stop"] {
        let output = headstart(directory.path(), &[program, "--coordinator", "http://127.0.0.1:1"]);
        assert_eq!(output.status.code(), Some(20), "{}", text(&output));
    }
}
