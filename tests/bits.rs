//! Equal bits from any number of worker processes, with and without one that is killed.

use std::path::Path;

use headstart_tests::{children, command, delivered, digits, outcome, succeed, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Trains `run.yaml` into `name` with `workers` workers, and asserts that all took part.
fn train(directory: &Path, name: &str, workers: usize, sets: &[&str]) -> [String; 2] {
    let (output, count) = (format!("output_dir={name}"), workers.to_string());
    let least = format!("cluster.min_workers={workers}");
    let mut arguments = vec!["train", "run.yaml", "--workers", &count, "--set", &output, "--set", &least];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
    let shards = delivered(&directory.join(name));
    assert_eq!(shards.len(), workers, "{shards:?}");
    assert!(shards.iter().all(|&shards| shards > 0), "each worker delivered something: {shards:?}");
    outcome(&directory.join(name))
}

fn any_number_of_workers(directory: &Path, other_shards: &str) {
    let expected = train(directory, "one", 1, &[]);
    for (name, workers) in [("two", 2), ("three", 3), ("five", 5)] {
        assert_eq!(train(directory, name, workers, &[]), expected, "{workers} workers");
    }
    let other = train(directory, "other", 2, &[other_shards]);
    assert_ne!(
        other[0], expected[0],
        "another shards_per_step gives other weights, so comparing shows something"
    );
    assert_ne!(other[1], expected[1]);
}

#[test]
fn digits_do_not_depend_on_the_number_of_workers() {
    any_number_of_workers(digits().path(), "shards_per_step=4");
}

#[test]
fn texts_do_not_depend_on_the_number_of_workers() {
    any_number_of_workers(texts().path(), "shards_per_step=4");
}

#[test]
fn smoothed_labels_do_not_depend_on_the_number_of_workers() {
    let directory = texts();
    let smoothed = ["label_smoothing_factor=0.1"];
    let expected = train(directory.path(), "one", 1, &smoothed);
    assert_eq!(train(directory.path(), "three", 3, &smoothed), expected);
    assert_ne!(train(directory.path(), "plain", 1, &["label_smoothing_factor=0"]), expected);
}

#[test]
fn memory_and_network_carry_the_same_bits() {
    let directory = texts();
    let expected = train(directory.path(), "memory", 2, &[]);
    assert_eq!(train(directory.path(), "network", 2, &["cluster.shared_memory=false"]), expected);
}

#[test]
fn a_killed_worker_changes_nothing() {
    let directory = digits();
    let sets = ["max_steps=150", "eval_strategy=no"];
    let expected = train(directory.path(), "undisturbed", 1, &sets);
    let mut arguments = vec!["train", "run.yaml", "--workers", "3", "--set", "output_dir=killed"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let run = command("headstart", directory.path())
        .args(arguments)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("headstart starts");
    let victim = worker_at_work(run.id());
    kill(Pid::from_raw(victim), Signal::SIGKILL).expect("the worker is ours to kill");
    let output = run.wait_with_output().expect("headstart ends");
    let said = headstart_tests::text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("was killed by signal 9") && said.contains("goes on with 2 workers"), "{said}");
    assert_eq!(outcome(&directory.path().join("killed")), expected);
}

/// Waits until a worker has computed for a while: its threads have used two fifths of a second of processor time.
fn worker_at_work(parent: u32) -> i32 {
    const TICKS: u64 = 40;
    for _ in 0..3000 {
        for worker in children(parent, "headstart-worker") {
            if compute_ticks(worker) >= TICKS {
                return worker;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no worker of process {parent} ever computed");
}

/// Processor time of the thread named `compute`, in hundredths of a second.
fn compute_ticks(process: i32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    for thread in threads.flatten() {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        if let Some((name, rest)) = stat.rsplit_once(") ")
            && name.ends_with("(compute")
        {
            let fields: Vec<&str> = rest.split(' ').collect();
            return [11, 12].iter().filter_map(|&field| fields.get(field)?.parse::<u64>().ok()).sum();
        }
    }
    0
}
