//! Inputs that must be refused: what `headstart` says of them, and what it must not do meanwhile.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::{program, text, texts};

/// Seconds until a refusal; a worker, if one is needed to see the fault, has longer to start.
const PATIENCE: f64 = 10.0;
/// KiB that a refusal may take beyond a `validate` of a small run that is in order.
const MEMORY: u64 = 200 << 10;

/// Starts what follows its first argument, and writes exit code, peak memory (KiB) and seconds to that file.
/// The kernel counts a child's peak from before its `exec`, so the parent must be small: the test itself may not be.
const MEASURE: &str = "
import resource, subprocess, sys, time
began = time.monotonic()
try:
    code = subprocess.run(sys.argv[2:], timeout=60).returncode
except subprocess.TimeoutExpired:
    code = 'none: it did not end'
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], 'w') as file:
    file.write(f'{peak}\\n{time.monotonic() - began}\\n{code}\\n')
";

/// A command that should be refused, before it runs.
pub struct Attempt {
    programs: TempDir,
    command: Command,
    shown: String,
}

/// A refusal as it was seen. Every method that returns it asserts something, and shows all output when it is not so.
pub struct Refused {
    seen: Seen,
    shown: String,
}

struct Seen {
    output: Output,
    code: String,
    peak: u64,
    seconds: f64,
    worker_started: bool,
}

impl Refused {
    /// `headstart` with these arguments, in a directory. Nothing runs before [`Attempt::code`].
    pub fn of(directory: &Path, arguments: &[&str]) -> Attempt {
        let programs = programs();
        let mut command = Command::new("python3");
        command.args(["-c", MEASURE]).arg(programs.path().join("measured"));
        command.arg(programs.path().join("headstart")).args(arguments).current_dir(directory);
        command.stdin(Stdio::null()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        Attempt { programs, command, shown: format!("headstart {}", arguments.join(" ")) }
    }

    /// Standard error contains each of these, wherever lines were broken.
    #[track_caller]
    pub fn says(self, fragments: &[&str]) -> Refused {
        let said = unwrapped(&String::from_utf8_lossy(&self.seen.output.stderr));
        for fragment in fragments {
            assert!(said.contains(&unwrapped(fragment)), "{self}\nlacks {fragment:?}");
        }
        self
    }

    /// No worker was ever started.
    #[track_caller]
    pub fn before_workers(self) -> Refused {
        assert!(!self.seen.worker_started, "{self}\na worker was started");
        self
    }

    /// Standard error as it was printed.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.seen.output.stderr).into_owned()
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { output, code, peak, seconds, worker_started: _ } = &self.seen;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        write!(f, "{}: exit code {code} after {seconds:.1} s, {} MiB\n{out}{err}", self.shown, peak >> 10)
    }
}

impl Attempt {
    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Attempt {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end, which must have this exit code, and be no panic. Unless a worker was started, it must also
    /// come soon and take little memory.
    #[track_caller]
    pub fn code(self, code: i32) -> Refused {
        let refused = Refused { shown: self.shown.clone(), seen: self.run() };
        let seen = &refused.seen;
        assert_eq!(seen.code, code.to_string(), "{refused}");
        for output in [&seen.output.stdout, &seen.output.stderr] {
            assert!(!String::from_utf8_lossy(output).contains("panicked at"), "{refused}");
        }
        if !seen.worker_started {
            assert!(seen.seconds < PATIENCE, "{refused}\nmust end within {PATIENCE} s");
            let limit = baseline() + MEMORY;
            assert!(seen.peak <= limit, "{refused}\nmust take at most {} MiB", limit >> 10);
        }
        refused
    }

    fn run(mut self) -> Seen {
        let output = self.command.output().expect("python3 starts");
        let at = |name: &str| self.programs.path().join(name);
        let measured = std::fs::read_to_string(at("measured"))
            .unwrap_or_else(|error| panic!("{}: not measured: {error}: {}", self.shown, text(&output)));
        let fields: Vec<&str> = measured.trim().split('\n').collect();
        let [peak, seconds, code] = fields[..] else { panic!("three lines: {measured:?}") };
        Seen {
            code: code.to_owned(),
            peak: peak.parse().expect("a number"),
            seconds: seconds.parse().expect("a number"),
            worker_started: at("headstart-worker.started").exists(),
            output,
        }
    }
}

/// Peak memory in KiB of a `validate` that is in order, measured once.
fn baseline() -> u64 {
    static BASELINE: OnceLock<u64> = OnceLock::new();
    *BASELINE.get_or_init(|| {
        let directory = texts();
        let attempt = Refused::of(directory.path(), &["validate", "run.yaml"]);
        let seen = attempt.run();
        assert_eq!(seen.code, "0", "{}", text(&seen.output));
        seen.peak
    })
}

/// The programs, linked into a directory of their own, where the worker leaves a mark before it begins.
fn programs() -> TempDir {
    let release = program("headstart");
    let directory = tempfile::tempdir_in(release.parent().expect("it lies in a directory"))
        .expect("the target directory is writable");
    for name in ["headstart", "headstart-coordinator"] {
        std::fs::hard_link(program(name), directory.path().join(name)).expect("the same file system");
    }
    let worker = directory.path().join("headstart-worker");
    let real = program("headstart-worker");
    let script = format!("#!/bin/sh\n: > \"$0.started\"\nexec '{}' \"$@\"\n", real.display());
    std::fs::write(&worker, script).expect("the directory is writable");
    std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    directory
}

/// The text on one line: what a report breaks or frames reads as it was written.
fn unwrapped(text: &str) -> String {
    let framed = |piece: &&str| !piece.chars().all(|sign| "×│╭╰─▲·├╯╮╵╷".contains(sign));
    text.split_whitespace().filter(framed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_measured() {
        let directory = texts();
        Refused::of(directory.path(), &["train", "run.yaml", "--set", "base_model=nowhere"])
            .code(12)
            .says(&["nowhere", "looks like a model's id"])
            .before_workers();
    }

    #[test]
    #[should_panic(expected = "a worker was started")]
    fn a_worker_leaves_a_mark() {
        let directory = texts();
        let run = ["train", "run.yaml", "--workers", "1", "--set", "learning_rate=1e30"];
        Refused::of(directory.path(), &run).code(30).before_workers();
    }

    #[test]
    #[should_panic(expected = "lacks \"somewhere\"")]
    fn what_is_not_said_is_missed() {
        let directory = texts();
        Refused::of(directory.path(), &["validate", "run.yaml", "--set", "base_model=nowhere"])
            .code(12)
            .says(&["somewhere"]);
    }

    #[test]
    fn broken_lines_are_joined() {
        assert_eq!(
            unwrapped("  × one two\n  │ three\n   ╭─[run.yaml:1:1]\n"),
            "one two three ╭─[run.yaml:1:1]"
        );
    }
}
