//! Coordinators and workers as programs, each started by itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{command, text, texts};

/// What takes longer than this does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the answer is yes; panics when it takes too long.
pub fn until(what: &str, mut question: impl FnMut() -> bool) {
    let began = Instant::now();
    while !question() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for this: {what}");
        std::thread::yield_now();
    }
}

/// Starts a coordinator of `run.yaml` in a directory, on a free port, its outputs piped.
pub fn coordinator(directory: &Path, sets: &[&str]) -> Child {
    let mut coordinator = command("headstart-coordinator", directory);
    coordinator.args(["run.yaml", "--listen", "127.0.0.1:0"]);
    coordinator.args(sets.iter().flat_map(|set| ["--set", set]));
    coordinator.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// The address that a coordinator says it listens on; `None` when it ends instead.
pub fn address(coordinator: &mut Child) -> Option<String> {
    let mut line = String::new();
    let said = coordinator.stdout.take().expect("it is piped");
    BufReader::new(said).read_line(&mut line).expect("it is text");
    line.trim_end().strip_prefix("listening on ").map(str::to_owned)
}

/// Starts a worker.
pub fn worker(directory: &Path, address: &str) -> Child {
    let mut worker = command("headstart-worker", directory);
    worker.args(["--coordinator", address, "--device", "cpu"]).stderr(Stdio::null());
    worker.spawn().expect("it starts")
}

/// A run of [`texts`] that SIGTERM ended after it had written four manifests.
pub fn interrupted(sets: &[&str]) -> TempDir {
    let directory = texts();
    let mut first = coordinator(directory.path(), sets);
    let address = address(&mut first).expect("it listens");
    let mut helper = worker(directory.path(), &address);
    let manifest = directory.path().join(format!("out/manifests/{:020}.json", 3));
    until("the fourth manifest", || {
        assert_eq!(first.try_wait().expect("it can be asked"), None, "it ended before");
        manifest.exists()
    });
    kill(Pid::from_raw(first.id() as i32), Signal::SIGTERM).expect("it runs");
    let output = first.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(143), "{}", text(&output));
    helper.kill().expect("it runs");
    helper.wait().expect("it ends");
    directory
}
