//! Coordinators as programs, killed, ended, paused and doubled: the run goes on, to the bits of an undisturbed one.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use headstart_tests::processes::until;
use headstart_tests::{command, outcome, succeed, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Long enough to be disturbed, with a commit every few steps.
const SETS: [&str; 4] =
    ["max_steps=400", "save_steps=20", "save_total_limit=2", "resume_from_checkpoint=auto"];

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("it runs");
    }

    fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("it can be waited for")
    }
}

/// A run's directory and address, whoever coordinates it.
struct Run {
    directory: TempDir,
    port: u16,
}

impl Run {
    fn new() -> Run {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr();
        Run { directory: texts(), port: port.expect("it is bound").port() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, sets: &[&str]) -> std::process::Command {
        self.command_on(self.port, sets)
    }

    fn command_on(&self, port: u16, sets: &[&str]) -> std::process::Command {
        let mut coordinator = command("headstart-coordinator", self.path());
        coordinator.args(["run.yaml", "--listen", &format!("127.0.0.1:{port}")]);
        coordinator.args(SETS.iter().chain(sets).flat_map(|set| ["--set", set]));
        coordinator
    }

    /// A coordinator that listens.
    fn coordinator(&self, sets: &[&str]) -> Process {
        self.listening(&mut self.command(sets))
    }

    fn listening(&self, command: &mut std::process::Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where");
        assert!(line.starts_with("listening on "), "{line:?}");
        Process(child)
    }

    fn worker(&self) -> Process {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut worker = command("headstart-worker", self.path());
        worker.args(["--coordinator", &url, "--device", "cpu"]).stderr(Stdio::null());
        Process(worker.spawn().expect("it starts"))
    }

    /// Waits for manifests beyond a number, which proves that commits were made.
    fn until_manifest(&self, number: usize) {
        let file = self.path().join(format!("out/manifests/{number:020}.json"));
        until("a manifest", || file.exists());
    }

    /// The newest manifest's number.
    fn newest(&self) -> usize {
        std::fs::read_dir(self.path().join("out/manifests")).expect("it is there").count() - 1
    }

    fn outcome(&self) -> [String; 2] {
        outcome(&self.path().join("out"))
    }
}

fn undisturbed() -> [String; 2] {
    let run = Run::new();
    let mut coordinator = run.coordinator(&[]);
    let mut worker = run.worker();
    assert!(coordinator.wait().success());
    assert!(worker.wait().success());
    run.outcome()
}

#[test]
fn killed_coordinators_are_taken_over_and_workers_find_the_next() {
    let expected = undisturbed();
    let run = Run::new();
    let mut workers = [run.worker(), run.worker()];
    for killed in 0..4 {
        let mut coordinator = run.coordinator(&[]);
        // Each takes over with a manifest of its own, then commits.
        run.until_manifest(run.newest() + 2);
        if killed == 1 {
            workers[0] = run.worker();
        }
        coordinator.signal(Signal::SIGKILL);
        coordinator.wait();
    }
    let mut coordinator = run.coordinator(&[]);
    assert!(coordinator.wait().success());
    for mut worker in workers {
        assert!(worker.wait().success());
    }
    assert_eq!(run.outcome(), expected);
    let kept = std::fs::read_dir(run.path().join("out")).expect("it is there").flatten();
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint-")).count();
    assert_eq!(kept, 2, "save_total_limit");
}

#[test]
fn an_ended_coordinator_has_committed_what_it_finished() {
    let expected = undisturbed();
    let run = Run::new();
    let mut coordinator = run.coordinator(&[]);
    let mut worker = run.worker();
    run.until_manifest(2);
    coordinator.signal(Signal::SIGTERM);
    assert_eq!(coordinator.wait().code(), Some(143));
    let mut coordinator = run.coordinator(&["cluster.min_workers=2", "save_steps=150"]);
    let mut another = run.worker();
    assert!(coordinator.wait().success(), "keys that cannot change bits may change");
    assert!(worker.wait().success(), "it was told when the run was over, not when its coordinator was");
    assert!(another.wait().success());
    assert_eq!(run.outcome(), expected);
    let again = run.command(&[]).output().expect("it starts");
    assert!(again.status.success(), "{}", text(&again));
    assert!(text(&again).contains("was complete already"), "{}", text(&again));
    let manifests = run.newest();
    succeed(run.path(), &["verify", "out"]);
    std::fs::remove_dir_all(run.path().join("out/final")).expect("it was written");
    let gone = run.command(&[]).output().expect("it starts");
    assert_eq!(gone.status.code(), Some(12), "{}", text(&gone));
    assert!(text(&gone).contains("its final/ is not there any more"), "{}", text(&gone));
    assert_eq!(run.newest(), manifests, "nobody took it over");
}

#[test]
fn a_newcomer_leaves_a_living_owner_alone_and_takes_over_from_a_paused_one() {
    let expected = undisturbed();
    let run = Run::new();
    let mut first = run.coordinator(&[]);
    let mut worker = run.worker();
    run.until_manifest(1);
    let refused = run.command_on(0, &[]).output().expect("it starts");
    assert_eq!(refused.status.code(), Some(22), "{}", text(&refused));
    assert!(text(&refused).contains(&format!("127.0.0.1:{}", run.port)), "{}", text(&refused));

    first.signal(Signal::SIGSTOP);
    let second_port = Run::new().port;
    let mut second = run.listening(&mut run.command_on(second_port, &[]));
    // The first wakes up while the second is at work: it fails at its next commit.
    first.signal(Signal::SIGCONT);
    assert_eq!(first.wait().code(), Some(22));
    worker.signal(Signal::SIGKILL);
    worker.wait();
    let other = Run { directory: texts(), port: second_port };
    let mut worker = other.worker();
    assert!(second.wait().success());
    assert!(worker.wait().success());
    assert_eq!(run.outcome(), expected);
}

#[test]
fn another_run_is_not_resumed() {
    let run = Run::new();
    let mut coordinator = run.coordinator(&[]);
    let worker = run.worker();
    run.until_manifest(1);
    coordinator.signal(Signal::SIGKILL);
    coordinator.wait();
    drop(worker);
    let refused = |sets: &[&str]| {
        let mut refused = Process(
            run.command(sets).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts"),
        );
        until("it ends", || refused.0.try_wait().expect("it can be asked").is_some());
        let mut said = String::new();
        refused.0.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it is text");
        assert_eq!(refused.wait().code(), Some(2), "{said}");
        said
    };
    let said = refused(&["learning_rate=2e-3", "seed=7"]);
    assert!(said.contains("learning_rate is 0.002, the run has 0.001; seed is 7, the run has 42"), "{said}");
    let said = refused(&["resume_from_checkpoint=no"]);
    assert!(said.contains("set resume_from_checkpoint: auto"), "{said}");
    let rows = std::fs::read_to_string(run.path().join("train.jsonl")).expect("it is there");
    std::fs::write(run.path().join("train.jsonl"), rows.replacen("game", "font", 1)).expect("writable");
    let said = refused(&[]);
    assert!(said.contains("the data is not what it was"), "{said}");
}

#[test]
fn workers_that_read_another_checkpoint_than_the_run_began_from_are_refused() {
    let run = Run::new();
    let frozen = ["freeze=[\"bert.embeddings.*\"]"];
    let mut coordinator = run.coordinator(&frozen);
    let worker = run.worker();
    run.until_manifest(1);
    coordinator.signal(Signal::SIGKILL);
    coordinator.wait();
    drop(worker);
    let refused = |file: &str, code: i32, change: &dyn Fn(&mut Vec<u8>)| {
        let path = run.path().join("model").join(file);
        let good = std::fs::read(&path).expect("it is there");
        let mut other = good.clone();
        change(&mut other);
        assert_ne!(other, good);
        std::fs::write(&path, other).expect("writable");
        let mut coordinator = run.coordinator(&frozen);
        let mut worker = run.worker();
        assert_eq!(worker.wait().code(), Some(code), "with another {file}");
        coordinator.signal(Signal::SIGKILL);
        coordinator.wait();
        std::fs::write(&path, good).expect("writable");
    };
    // The first parameter, which does not train.
    refused("model.safetensors", 12, &|bytes| {
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        bytes[start] ^= 1;
    });
    refused("tokenizer.json", 23, &|bytes| {
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        *bytes = text.replacen("\"game\"", "\"gave\"", 1).into_bytes();
    });
    let mut coordinator = run.coordinator(&frozen);
    let mut worker = run.worker();
    assert!(coordinator.wait().success(), "with the checkpoint that it began from it goes on");
    assert!(worker.wait().success());
}
