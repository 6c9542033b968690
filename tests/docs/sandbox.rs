//! A directory that looks like the repository after `make build`, where a page's commands are run.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headstart_tests::{digits, program, repository, succeed, texts};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long a block may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Ports that pages name. Free ones take their place, so that pages can be run side by side.
const PORTS: [&str; 2] = ["7070", "9090"];
/// Neither linked nor copied.
const LEFT_OUT: [&str; 5] = [".git", "target", "runs", "examples", "fuzz"];

/// The directory, and the processes that were started in it.
pub(crate) struct Sandbox {
    directory: TempDir,
    ports: [String; 2],
    groups: Vec<Pid>,
}

/// What a block did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    /// Standard output and error as they came.
    pub(crate) output: String,
}

impl Sandbox {
    /// The repository's files, the examples with their data, and a small network in place of the BERT that
    /// `examples/sections/setup.py` downloads.
    pub(crate) fn new() -> Sandbox {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(repository()).expect("the repository can be read").flatten() {
            let name = entry.file_name();
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                symlink(entry.path(), directory.path().join(name)).expect("a link");
            }
        }
        // Prepares the images where they are missing.
        drop(digits());
        for example in ["digits", "sections"] {
            let kept = |name: &str| example == "digits" || !["data", "model"].contains(&name);
            let to = directory.path().join("examples").join(example);
            copy(&repository().join("examples").join(example), &to, &kept);
        }
        sections(&directory.path().join("examples/sections"));
        // Both are held until both are known: they differ.
        let held = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = held.map(|port| port.local_addr().expect("it is bound").port().to_string());
        Sandbox { directory, ports, groups: Vec::new() }
    }

    /// Runs a block to its end. What it leaves in the background lives until the page is done.
    pub(crate) fn run(&mut self, place: &str, text: &str) -> Ran {
        let printed = tempfile::NamedTempFile::new().expect("a temporary file");
        let append = || File::options().append(true).open(printed.path()).expect("it was made");
        let programs = program("headstart").parent().expect("it lies in a directory").to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &self.with_free_ports(text)])
            .current_dir(self.directory.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .env_remove("HEADSTART_COORDINATOR")
            .stdin(Stdio::null())
            .stdout(append())
            .stderr(append())
            .process_group(0)
            .spawn()
            .expect("bash starts");
        self.groups.push(Pid::from_raw(child.id() as i32));
        let output = || {
            let bytes = std::fs::read(printed.path()).expect("it is there");
            self.with_usual_names(&String::from_utf8_lossy(&bytes))
        };
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it is ours") {
                return Ran { code: status.code().unwrap_or(-1), output: output() };
            }
            assert!(
                began.elapsed() < LIMIT,
                "{place} takes more than {LIMIT:?}\n{text}\nprinted\n{}",
                output()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn with_free_ports(&self, text: &str) -> String {
        let pairs = PORTS.iter().zip(&self.ports);
        pairs.fold(text.to_owned(), |text, (named, free)| text.replace(named, free))
    }

    /// Output as it would be in a repository at `/headstart`, with the ports that the page names.
    fn with_usual_names(&self, output: &str) -> String {
        let here = self.directory.path().canonicalize().expect("it is there");
        let output = output.replace(&here.display().to_string(), "/headstart");
        let pairs = PORTS.iter().zip(&self.ports);
        pairs.fold(output, |output, (named, free)| output.replace(&format!(":{free}"), &format!(":{named}")))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for group in &self.groups {
            // Most are gone already.
            let _ = killpg(*group, Signal::SIGKILL);
        }
    }
}

fn copy(from: &Path, to: &Path, kept: &dyn Fn(&str) -> bool) {
    std::fs::create_dir_all(to).expect("the directory is writable");
    for entry in std::fs::read_dir(from).expect("it can be read").flatten() {
        let name = entry.file_name();
        match entry.path().is_dir() {
            _ if !kept(&name.to_string_lossy()) => {}
            true => copy(&entry.path(), &to.join(name), &|_| true),
            false => drop(std::fs::copy(entry.path(), to.join(name)).expect("it can be copied")),
        }
    }
}

/// What `setup.py` would make, small enough for a test.
fn sections(to: &Path) {
    let small = texts();
    let config = small.path().join("model/config.json");
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(&config).expect("it was copied")).expect("it is JSON");
    json["max_position_embeddings"] = 512.into();
    std::fs::write(config, json.to_string()).expect("the directory is writable");
    let model = to.join("model").display().to_string();
    succeed(small.path(), &["init", "run.yaml", &model, "--set", "init=random"]);
    std::fs::create_dir(to.join("data")).expect("the directory is writable");
    for name in ["train.jsonl", "eval.jsonl"] {
        std::fs::copy(small.path().join(name), to.join("data").join(name)).expect("it can be copied");
    }
}
