//! Trackers: what TensorBoard's own reader and a real MLflow server hold of a run whose coordinator was killed, and what a run
//! makes of trackers that are not there.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headstart_tests::processes::{address, until, worker};
use headstart_tests::server::Server;
use headstart_tests::{command, outcome, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Prints a directory's scalars: for each tag its steps and values.
const TENSORBOARD: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps({tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
";
/// Prints the runs of an experiment: status, parameters, and for each metric its steps and values.
const MLFLOW: &str = "
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
runs = []
for run in client.search_runs([experiment.experiment_id]) if experiment else []:
    history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    metrics = {key: [[point.step, point.value] for point in points] for key, points in history.items()}
    runs.append({'status': run.info.status, 'name': run.info.run_name, 'tags': run.data.tags,
                 'params': run.data.params, 'metrics': metrics})
print(json.dumps(runs))
";

/// Steps and values of each metric.
type Series = BTreeMap<String, Vec<(i64, f64)>>;

/// Runs a script with the packages of the trackers; what it printed.
fn python(script: &str, arguments: &[&str]) -> Value {
    let program =
        std::env::var("HEADSTART_TRACKERS").expect("HEADSTART_TRACKERS names a Python: run `make test`");
    let output = Command::new(program).arg("-c").arg(script).args(arguments).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn series(value: &Value) -> Series {
    let points = |value: &Value| -> Vec<(i64, f64)> {
        let points = value.as_array().expect("a list").iter();
        points
            .map(|point| (point[0].as_i64().expect("a step"), point[1].as_f64().expect("a number")))
            .collect()
    };
    let metrics = value.as_object().expect("an object").iter();
    metrics.map(|(name, value)| (name.clone(), points(value))).collect()
}

/// What a finished run's `metrics.jsonl` says, each metric under the name that a tracker has for it.
fn expected(output: &Path, name: impl Fn(&str) -> String, value: impl Fn(f64) -> f64) -> Series {
    let text = std::fs::read_to_string(output.join("final/metrics.jsonl")).expect("the run is finished");
    let mut series = Series::new();
    for line in text.lines() {
        let line: serde_json::Map<String, Value> = serde_json::from_str(line).expect("JSON");
        let of_step = !line.contains_key("eval_samples");
        for (key, found) in &line {
            let is_metric = !["step", "time"].contains(&key.as_str()) && (of_step || key != "epoch");
            if let Some(found) = found.as_f64().filter(|_| is_metric) {
                let step = line["step"].as_i64().expect("a step");
                series.entry(name(key)).or_default().push((step, value(found)));
            }
        }
    }
    series
}

fn tag(name: &str) -> String {
    name.strip_prefix("eval_").map_or(format!("train/{name}"), |name| format!("eval/{name}"))
}

/// Each metric has the same numbers; of those that differ, the first is shown.
fn assert_same(found: &Series, expected: &Series) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, points) in expected {
        assert_eq!(&found[name], points, "{name}");
    }
}

/// A coordinator that is told where trackers are.
fn coordinator(directory: &Path, sets: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut coordinator = command("headstart-coordinator", directory);
    coordinator
        .args(["run.yaml", "--listen", "127.0.0.1:0"])
        .args(sets.iter().flat_map(|set| ["--set", set]));
    coordinator.envs(variables.iter().copied());
    coordinator.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

#[test]
fn each_number_of_a_run_whose_coordinator_was_killed_is_there_once() {
    let server = Server::mlflow();
    let directory = texts();
    let uri = server.url();
    let variables = [("MLFLOW_TRACKING_URI", uri.as_str()), ("MLFLOW_EXPERIMENT_NAME", "a b/c")];
    let sets = [
        "report_to=[tensorboard, mlflow]",
        "max_steps=60",
        "save_steps=5",
        "eval_steps=10",
        "resume_from_checkpoint=auto",
        "output_dir=runs/first",
    ];
    let output = directory.path().join("runs/first");
    let mut first = coordinator(directory.path(), &sets, &variables);
    let mut helper = worker(directory.path(), &address(&mut first).expect("it listens"));
    // Something is there already when it dies, and something is missing.
    let written = || std::fs::read_dir(output.join("tensorboard")).is_ok_and(|files| files.count() >= 3);
    until("three event files", || {
        assert_eq!(first.try_wait().expect("it can be asked"), None, "it ended before");
        written()
    });
    first.kill().expect("it runs");
    let killed = first.wait_with_output().expect("it ends");
    helper.kill().expect("it runs");
    helper.wait().expect("it ends");
    assert!(!output.join("final").exists(), "it was killed in the middle: {}", text(&killed));

    let mut second = coordinator(directory.path(), &sets, &variables);
    let mut helper = worker(directory.path(), &address(&mut second).expect("it listens"));
    let ended = second.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended));
    helper.wait().expect("it ends");

    let found = series(&python(TENSORBOARD, &[output.join("tensorboard").to_str().expect("text")]));
    assert_same(&found, &expected(&output, tag, |value| f64::from(value as f32)));
    assert_eq!(found["train/loss"].len(), 60);

    let runs = python(MLFLOW, &[&uri, "a b/c"]);
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    assert_same(&series(&runs[0]["metrics"]), &expected(&output, str::to_owned, |value| value));
    let run: Value =
        serde_json::from_slice(&std::fs::read(output.join("final/run.json")).expect("it is finished"))
            .expect("JSON");
    assert_eq!(runs[0]["tags"]["headstart.run_id"], run["run_id"]);
    assert_eq!((&runs[0]["status"], &runs[0]["name"]), (&"FINISHED".into(), &"first".into()));
    assert_eq!(runs[0]["params"]["learning_rate"], "0.001");
    assert!(run["spec"].get("report_to").is_none(), "no hashed file depends on it");

    // A complete run whose trackers lost something is started again.
    std::fs::remove_dir_all(output.join("tensorboard")).expect("it is there");
    let again = coordinator(directory.path(), &sets, &variables).wait_with_output().expect("it ends");
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    let found = series(&python(TENSORBOARD, &[output.join("tensorboard").to_str().expect("text")]));
    assert_same(&found, &expected(&output, tag, |value| f64::from(value as f32)));
    assert_eq!(python(MLFLOW, &[&uri, "a b/c"]), runs);
    events(&output);
}

#[test]
fn a_server_sees_whether_a_run_runs_or_was_stopped() {
    let server = Server::mlflow();
    let directory = texts();
    let uri = server.url();
    let variables = [("MLFLOW_TRACKING_URI", uri.as_str()), ("MLFLOW_EXPERIMENT_NAME", "stopped")];
    let sets = [
        "report_to=mlflow",
        "max_steps=100000",
        "save_steps=5",
        "eval_strategy=no",
        "resume_from_checkpoint=auto",
    ];
    let statuses = || -> Vec<String> {
        let runs = python(MLFLOW, &[&uri, "stopped"]);
        let runs = runs.as_array().expect("a list").iter();
        runs.map(|run| run["status"].as_str().expect("text").to_owned()).collect()
    };
    // The second coordinator goes on with the run that the first one was told to stop.
    for _ in 0..2 {
        let mut coordinator = coordinator(directory.path(), &sets, &variables);
        let mut helper = worker(directory.path(), &address(&mut coordinator).expect("it listens"));
        until("the server sees one run, which runs", || statuses() == ["RUNNING"]);
        kill(Pid::from_raw(coordinator.id() as i32), Signal::SIGTERM).expect("it runs");
        let stopped = coordinator.wait_with_output().expect("it ends");
        assert_eq!(stopped.status.code(), Some(143), "{}", text(&stopped));
        // It waits for the next coordinator.
        helper.kill().expect("it runs");
        helper.wait().expect("it ends");
        assert_eq!(statuses(), ["KILLED"]);
    }
}

/// The events of both coordinators, as far as they were committed.
fn events(output: &Path) {
    let text = std::fs::read_to_string(output.join("final/events.jsonl")).expect("the run is finished");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let named = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let epochs: Vec<u64> = named("start").iter().filter_map(|line| line["epoch"].as_u64()).collect();
    assert_eq!(epochs, [1, 2], "{text}");
    assert!(named("join").len() >= 2 && named("commit").len() >= 10, "{text}");
    let evaluated: Vec<u64> = named("evaluation").iter().filter_map(|line| line["step"].as_u64()).collect();
    assert_eq!(evaluated, [10, 20, 30, 40, 50, 60]);
    assert!(named("worker_time").iter().any(|line| line["compute"].is_number()), "{text}");
    let times: Vec<f64> = lines.iter().filter_map(|line| line["time"].as_f64()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// Trains to the end; what it printed, and how long it took.
fn train(directory: &Path, output: &str, uri: Option<&str>) -> (String, Duration) {
    let began = Instant::now();
    let mut train = command("headstart", directory);
    train.args(["train", "run.yaml", "--workers", "1", "--set", "save_steps=3", "--set"]);
    train.arg(format!("output_dir={output}"));
    train.args(uri.map(|_| "--set=report_to=[mlflow]"));
    train.envs(uri.filter(|uri| !uri.is_empty()).map(|uri| ("MLFLOW_TRACKING_URI", uri)));
    let done = train.env("MLFLOW_TRACKING_TOKEN", "confidential").output().expect("it starts");
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    (text(&done), began.elapsed())
}

#[test]
fn a_tracker_that_is_not_there_neither_stops_nor_delays_a_run() {
    let directory = texts();
    let (_, alone) = train(directory.path(), "alone", None);
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound");
    // Connections are taken, and never answered.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let hangs = hanging.local_addr().expect("it is bound");
    for (output, host) in [("closed", closed), ("hanging", hangs)] {
        let (said, took) = train(
            directory.path(),
            output,
            Some(&format!("http://me:confidential@{host}/?key=confidential")),
        );
        assert!(took < alone + Duration::from_secs(8), "{output}: {took:?}, alone {alone:?}");
        assert!(said.contains("mlflow: "), "{output}: a warning: {said}");
        assert!(!said.contains("confidential"), "{output}: {said}");
        assert!(output != "closed" || said.contains(&host.to_string()), "{said}");
    }
    let (said, _) = train(directory.path(), "unset", Some(""));
    assert_eq!(said.matches("MLFLOW_TRACKING_URI is not set").count(), 1, "{said}");
    let outcomes = ["closed", "hanging", "unset"].map(|output| outcome(&directory.path().join(output)));
    for found in outcomes {
        assert_eq!(found, outcome(&directory.path().join("alone")), "the same bits");
    }
}

#[test]
fn a_tracker_that_is_not_there_is_said_before_a_run() {
    let directory = texts();
    let ask = |name: &str, uri: &str| {
        let mut asked = command("headstart", directory.path());
        asked.args([name, "run.yaml", "--set", "report_to=mlflow"]).env("MLFLOW_TRACKING_URI", uri);
        let output = asked.output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    assert!(
        ask("validate", "")
            .contains("warning: report_to: mlflow sends no metrics from here: MLFLOW_TRACKING_URI")
    );
    assert!(!ask("validate", "http://127.0.0.1:9").contains("report_to"));
    let said = ask("doctor", "http://me:confidential@127.0.0.1:9");
    assert!(said.contains("warn  mlflow       127.0.0.1:9: Connection refused"), "{said}");
    assert!(!said.contains("confidential"), "{said}");
}
