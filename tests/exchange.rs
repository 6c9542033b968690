//! However gradients travel, weights and ledger are the same: in memory or over TCP, to replicas or to workers that take weights
//! with each step, in every wire format, whoever is killed, paused, late or started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headstart_tests::processes::{address, coordinator, until};
use headstart_tests::{command, delivered, outcome, program, succeed, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const WIRES: [&str; 3] = ["wire=f32", "wire=bf16", "wire=int8"];
const NETWORK: &str = "cluster.shared_memory=false";
/// Parameters that train at different rates, begin in the middle, and are pulled back.
const TRANSFER: [&str; 4] = [
    "layer_decay=0.7",
    "unfreeze=[{step: 5, parameters: ['*.layer.1.*']}, {step: 9, parameters: ['*.layer.0.*', '*.embeddings.*']}]",
    "l2_sp=5",
    "weight_decay=0.1",
];
/// More than 2²⁰ elements, of which a batch looks up a few rows.
const WIDE: [&str; 3] = ["init=random", "model_overrides.vocab_size=36000", "max_steps=5"];

/// Trains `run.yaml` into `name` with `workers` workers, all of which take part.
fn train(directory: &Path, name: &str, workers: usize, sets: &[&str]) -> [String; 2] {
    let (output, count) = (format!("output_dir={name}"), workers.to_string());
    let least = format!("cluster.min_workers={workers}");
    let mut arguments = vec!["train", "run.yaml", "--workers", &count, "--set", &output, "--set", &least];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
    let shards = delivered(&directory.join(name));
    assert!(shards.len() == workers && shards.iter().all(|&shards| shards > 0), "{shards:?}");
    outcome(&directory.join(name))
}

/// Trains in memory with one worker, and over TCP with and without replicas.
fn every_way(wire: &str, sets: &[&str]) -> [String; 2] {
    let directory = texts();
    let with = |more: &[&'static str]| [&[wire][..], more, sets].concat();
    let expected = train(directory.path(), "memory", 1, &with(&[]));
    assert_eq!(train(directory.path(), "replicas", 3, &with(&[NETWORK])), expected, "{wire}, replicas");
    let pulled = with(&[NETWORK, "cluster.replicas=false"]);
    assert_eq!(train(directory.path(), "pulled", 2, &pulled), expected, "{wire}, weights with each step");
    expected
}

#[test]
fn f32_has_the_same_bits_however_it_travels() {
    every_way(WIRES[0], &[]);
}

#[test]
fn bf16_has_the_same_bits_however_it_travels() {
    let bf16 = every_way(WIRES[1], &[]);
    let directory = texts();
    assert_ne!(train(directory.path(), "other", 1, &[WIRES[0]]), bf16, "the format is part of the result");
    let five = train(directory.path(), "five", 5, &[WIRES[1], NETWORK]);
    assert_eq!(five, bf16, "five replicas");
}

#[test]
fn int8_has_the_same_bits_however_it_travels() {
    every_way(WIRES[2], &["max_grad_norm=0", "optim=sgd", "optim_args=momentum=0.9"]);
}

#[test]
fn segments_that_arrive_apart_have_the_same_bits() {
    every_way(WIRES[2], &WIDE);
}

#[test]
fn parameters_that_are_treated_apart_have_the_same_bits_however_they_travel() {
    let all = every_way(WIRES[0], &TRANSFER);
    every_way(WIRES[2], &[&TRANSFER[..], &["optim=sgd", "optim_args=momentum=0.9"]].concat());
    let directory = texts();
    for (number, key) in TRANSFER.iter().take(3).enumerate() {
        let others: Vec<&str> = TRANSFER.iter().copied().filter(|other| other != key).collect();
        let without = train(directory.path(), &format!("without-{number}"), 1, &others);
        assert_ne!(without, all, "{key} is part of the result");
    }
}

/// A process that ends with the test.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Waits until it has said something.
    fn until_said(&self, what: &str) {
        until(what, || self.said(what));
    }

    fn said(&self, what: &str) -> bool {
        std::fs::read_to_string(&self.log).expect("it has a log").contains(what)
    }

    fn ends_well(&mut self) {
        let status = self.child.wait().expect("it can be waited for");
        let said = std::fs::read_to_string(&self.log).expect("it has a log");
        assert!(status.success(), "{status:?}\n{said}");
    }
}

/// A run whose coordinator and workers are started one by one.
struct Run {
    directory: TempDir,
    sets: Vec<String>,
    logs: AtomicUsize,
}

impl Run {
    fn new(sets: &[&str]) -> Run {
        let own =
            ["save_steps=5", "save_total_limit=2", "resume_from_checkpoint=auto", "cluster.min_workers=2"];
        let sets = own.iter().chain(sets).map(|set| (*set).to_owned()).collect();
        Run { directory: texts(), sets, logs: AtomicUsize::new(0) }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The result of one worker in memory that nothing happens to.
    fn undisturbed(&self) -> [String; 2] {
        let directory = texts();
        let own = |set: &&str| !set.starts_with("cluster.");
        let sets: Vec<&str> = self.sets.iter().map(String::as_str).filter(own).collect();
        train(directory.path(), "out", 1, &sets)
    }

    /// A coordinator that listens, on a port of its own or that of the one before, and its address.
    fn coordinator(&self, before: Option<&str>) -> (Process, String) {
        let sets: Vec<&str> = self.sets.iter().map(String::as_str).collect();
        let mut child = match before {
            None => coordinator(self.path(), &sets),
            Some(before) => command("headstart-coordinator", self.path())
                .args(["run.yaml", "--listen", before.trim_start_matches("http://")])
                .args(sets.iter().flat_map(|set| ["--set", set]))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts"),
        };
        let Some(address) = address(&mut child) else {
            panic!("{}", text(&child.wait_with_output().expect("it ends")))
        };
        let log = self.log();
        let mut said = child.stderr.take().expect("it is piped");
        let mut file = File::create(&log).expect("the directory is writable");
        std::thread::spawn(move || std::io::copy(&mut said, &mut file));
        (Process { child, log }, address)
    }

    fn log(&self) -> PathBuf {
        self.path().join(format!("log-{}", self.logs.fetch_add(1, Ordering::Relaxed)))
    }

    fn worker(&self, address: &str) -> Process {
        self.worker_by(command("headstart-worker", self.path()), address)
    }

    /// A worker that sees no other process of this machine; `None` where that takes rights that this one does not have.
    fn hidden_worker(&self, address: &str) -> Option<Process> {
        let apart = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let possible = Command::new("unshare").args(apart).arg("true").output();
        if !possible.is_ok_and(|tried| tried.status.success()) {
            return None;
        }
        let mut unshare = Command::new("unshare");
        unshare.args(apart).arg(program("headstart-worker")).current_dir(self.path()).stdin(Stdio::null());
        Some(self.worker_by(unshare, address))
    }

    fn worker_by(&self, mut command: Command, address: &str) -> Process {
        let log = self.log();
        let file = File::create(&log).expect("the directory is writable");
        command.args(["--coordinator", address, "--device", "cpu"]);
        command.env("RUST_LOG", "headstart_worker=debug").env("NO_COLOR", "1").stderr(file);
        Process { child: command.spawn().expect("it starts"), log }
    }

    /// Waits for a commit beyond those that there are.
    fn until_commit(&self, more: usize) {
        let manifests = self.path().join("out/manifests");
        let count = || std::fs::read_dir(&manifests).map_or(0, Iterator::count);
        let before = count();
        until("a commit", || count() >= before + more);
    }

    fn outcome(&self) -> [String; 2] {
        outcome(&self.path().join("out"))
    }
}

/// What a worker says whose replica cannot begin with what it has.
const STATE: &str = "the replica takes the whole state";
const CURRENT: &str = "the replica is current";

#[test]
fn memory_and_network_mix() {
    let run = Run::new(&[WIRES[2]]);
    let (mut coordinator, address) = run.coordinator(None);
    let mut near = run.worker(&address);
    let hidden = run.hidden_worker(&address);
    let apart = hidden.is_some();
    let mut far = hidden.unwrap_or_else(|| run.worker(&address));
    for process in [&mut coordinator, &mut near, &mut far] {
        process.ends_well();
    }
    assert!(!near.said(CURRENT) && !near.said("out of reach"), "it reads the coordinator's memory");
    // Otherwise this was a run over memory alone.
    if apart {
        assert!(far.said("memory is out of reach") && far.said(CURRENT), "it keeps a replica");
    }
    let shards = delivered(&run.path().join("out"));
    assert!(shards.len() == 2 && shards.iter().all(|&shards| shards > 0), "{shards:?}");
    assert_eq!(run.outcome(), run.undisturbed());
}

/// Three replicas; one is killed, one is paused for a while, and one comes late.
fn disturbed(sets: &[&str]) {
    let run = Run::new(&[&["max_steps=120", "eval_strategy=no", NETWORK][..], sets].concat());
    let (mut coordinator, address) = run.coordinator(None);
    let [killed, mut paused, mut steady] = [0; 3].map(|_| run.worker(&address));
    run.until_commit(3);
    killed.signal(Signal::SIGKILL);
    paused.signal(Signal::SIGSTOP);
    let mut late = run.worker(&address);
    late.until_said(CURRENT);
    assert!(late.said(STATE), "what it began with is old");
    std::thread::sleep(PAUSE);
    paused.signal(Signal::SIGCONT);
    for process in [&mut coordinator, &mut paused, &mut steady, &mut late] {
        process.ends_well();
    }
    let shards = delivered(&run.path().join("out"));
    assert!(shards.len() == 4 && shards.iter().all(|&shards| shards > 0), "{shards:?}");
    assert_eq!(run.outcome(), run.undisturbed());
}

/// Long enough for other workers to take over what a paused one computes.
const PAUSE: Duration = Duration::from_secs(2);

#[test]
fn killed_paused_and_late_replicas_change_nothing() {
    disturbed(&[WIRES[1]]);
}

#[test]
fn killed_paused_and_late_replicas_change_nothing_where_every_lease_is_audited() {
    disturbed(&[WIRES[2], "audit=1.0"]);
}

#[test]
fn killed_paused_and_late_replicas_change_nothing_in_the_middle_of_an_unfreezing() {
    let later = "unfreeze=[{step: 12, parameters: ['*.layer.1.*']}, {step: 90, parameters: ['*.layer.0.*']}]";
    disturbed(&[WIRES[1], TRANSFER[0], later, TRANSFER[2]]);
}

#[test]
fn replicas_take_the_state_anew_from_a_coordinator_that_was_started_again() {
    started_again(&[]);
}

#[test]
fn a_coordinator_that_was_started_again_goes_on_in_the_middle_of_an_unfreezing() {
    let later = "unfreeze=[{step: 4, parameters: ['*.layer.1.*']}, {step: 90, parameters: ['*.layer.0.*']}]";
    started_again(&[TRANSFER[0], later, TRANSFER[2]]);
}

fn started_again(sets: &[&str]) {
    let own = ["max_steps=120", "eval_strategy=no", NETWORK, WIRES[2]];
    let run = Run::new(&[&own[..], sets].concat());
    let (first, address) = run.coordinator(None);
    let mut workers = [run.worker(&address), run.worker(&address)];
    run.until_commit(3);
    assert!(workers.iter().all(|worker| worker.said(CURRENT) && !worker.said(STATE)));
    first.signal(Signal::SIGKILL);
    drop(first);
    let (mut second, _) = run.coordinator(Some(&address));
    second.ends_well();
    workers.iter_mut().for_each(Process::ends_well);
    for worker in &workers {
        assert!(worker.said(STATE), "steps of another coordinator may be other steps");
    }
    assert_eq!(run.outcome(), run.undisturbed());
}
