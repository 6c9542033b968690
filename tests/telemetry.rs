//! What a run shows of itself while it goes on: the admin port's answers, and spans that a collector receives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use headstart::client::{Client, RunStatus};
use headstart_tests::exposition::Scrape;
use headstart_tests::{command, headstart, outcome, repository, succeed, text, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the admin port once; the status code and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no status: {head}")), body.to_owned())
}

fn scrape(address: SocketAddr) -> Scrape {
    let (code, body) = get(address, "/metrics");
    assert_eq!(code, 200, "{body}");
    Scrape::parse(&body)
}

/// A run of real programs. Its processes end with the standard input that this one holds.
struct Run {
    coordinator: Child,
    workers: Vec<Child>,
    admin: SocketAddr,
    url: String,
}

impl Run {
    fn start(directory: &Path, sets: &[&str], workers: usize) -> Run {
        let mut start = command("headstart-coordinator", directory);
        start.args(["run.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--exit-with-parent"]);
        start.args(sets.iter().map(|set| format!("--set={set}")));
        let start = start.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut coordinator = start.spawn().expect("the coordinator starts");
        let output = coordinator.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let mut said = |prefix: &str| {
            let line = lines.find(|line| !line.starts_with("loading ")).unwrap_or_default();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("it said {line:?}")).to_owned()
        };
        let admin: SocketAddr = said("admin on http://").parse().expect("an address");
        assert_eq!(get(admin, "/healthz").0, 200, "from the beginning");
        let url = said("listening on ");
        let worker = |_| {
            let mut start = command("headstart-worker", directory);
            start.args(["--coordinator", &url, "--device", "cpu", "--exit-with-parent"]);
            let start = start.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            start.spawn().expect("the worker starts")
        };
        Run { workers: (0..workers).map(worker).collect(), coordinator, admin, url }
    }

    fn signal(&self, signal: Signal) {
        for worker in &self.workers {
            kill(Pid::from_raw(worker.id() as i32), signal).expect("the worker is ours");
        }
    }

    /// Stops the workers once `step` updates are applied; what status and scrape say when nothing moves any more.
    async fn freeze_at(&self, step: u64) -> (RunStatus, Scrape) {
        let client = Client::connect(&self.url).await.expect("the coordinator listens");
        let began = Instant::now();
        let mut frozen = false;
        loop {
            assert!(began.elapsed() < PATIENCE, "the run comes to step {step} and rests there");
            let status = client.status().await.expect("an answer");
            if !frozen && status.step >= step {
                self.signal(Signal::SIGSTOP);
                frozen = true;
            }
            let (seen, seen_again) = (scrape(self.admin), scrape(self.admin));
            let same = |name: &str| seen.sum(name) == seen_again.sum(name);
            let rests = same("headstart_step") && same("headstart_bytes_up_total");
            let leased = seen.0.contains_key("headstart_worker_lease_age_seconds");
            if frozen && rests && leased && unchanged(&client, &status).await {
                return (status, seen);
            }
        }
    }

    fn end(mut self) {
        self.signal(Signal::SIGCONT);
        // Waiting closes a process's standard input, with which these end; so it is held here.
        let inputs: Vec<_> =
            self.workers.iter_mut().chain([&mut self.coordinator]).map(|one| one.stdin.take()).collect();
        let ended = self.coordinator.wait().expect("it can be waited for");
        assert_eq!(ended.code(), Some(0));
        for worker in &mut self.workers {
            assert_eq!(worker.wait().expect("it can be waited for").code(), Some(0));
        }
        drop(inputs);
    }
}

/// Whether the status is still the same. Compared as text: a number that does not exist yet is NaN, which equals nothing.
async fn unchanged(client: &Client, before: &RunStatus) -> bool {
    let now = client.status().await.expect("an answer");
    format!("{now:?}") == format!("{before:?}")
}

/// The lines of a finished run's metrics that are about steps, by step.
fn steps(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output.join("final/metrics.jsonl")).expect("the run is finished");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["loss"].is_number()).collect()
}

/// Bytes of all tensors of a finished run's weights.
fn model_bytes(output: &Path) -> f64 {
    let file = std::fs::read(output.join("final/model.safetensors")).expect("the run is finished");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("a safetensors file");
    tensors.tensors().iter().map(|(_, tensor)| tensor.data().len() as f64).sum()
}

#[tokio::test]
async fn a_scrape_says_what_status_and_metrics_say() {
    let directory = texts();
    let sets = ["max_steps=200", "eval_steps=10", "cluster.min_workers=2"];
    let run = Run::start(directory.path(), &sets, 2);
    let (status, seen) = run.freeze_at(12).await;
    assert_eq!(get(run.admin, "/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(get(run.admin, "/healthz"), (200, "ok\n".to_owned()));
    let value =
        |name: &str| seen.value(&format!("headstart_{name}"), &[]).unwrap_or_else(|| panic!("no {name}"));
    let step = status.step;
    assert_eq!([value("step"), value("weights_version")], [step as f64; 2]);
    assert_eq!([value("total_steps"), value("workers"), value("workers_ready")], [200.0, 2.0, 2.0]);
    assert_eq!(value("loss"), status.loss);
    assert_eq!(value("samples_per_second"), status.samples_per_second);
    assert_eq!(seen.value("headstart_eval", &[("metric", "accuracy")]), Some(status.eval["eval_accuracy"]));
    assert_eq!(seen.sum("headstart_state"), 1.0);
    let mut shards = 0.0;
    for worker in &status.workers {
        let id = worker.worker_id.to_string();
        let mine = seen.value("headstart_worker_shards_total", &[("worker", &id)]).expect("it is here");
        assert_eq!(mine, worker.shards as f64);
        shards += mine;
    }
    assert_eq!(seen.sum("headstart_shards_accepted_total"), shards);
    let trained = seen.value("headstart_shards_accepted_total", &[("pass", "train")]).expect("it trains");
    // An epoch's last step has fewer shards with samples than the six of the others.
    assert!((5 * step..=6 * (step + 1)).contains(&(trained as u64)), "{trained} of {step} steps");
    documented(&seen);

    run.end();
    let output = directory.path().join("out");
    let (lines, at) = (steps(&output), step as usize - 1);
    let field = |line: usize, name: &str| lines[line][name].as_f64().expect("a number");
    for name in ["step", "loss", "grad_norm", "epoch", "samples_per_second"] {
        assert_eq!(value(name), field(at, name), "{name}");
    }
    assert_eq!(value("learning_rate"), field(at + 1, "learning_rate"), "of the step in flight");
    let measured = lines[..=at].iter().filter(|line| line["step_time"].is_number()).count();
    let count = seen.0["headstart_step_seconds"].samples.iter().find(|(name, ..)| name.ends_with("_count"));
    assert_eq!(count.expect("a histogram has a count").2, measured as f64);
    let partials = seen.value("headstart_partials_accepted_total", &[("pass", "train")]).expect("it trains");
    assert!(partials >= step as f64);
    assert!(value("bytes_up_total") >= model_bytes(&output) * partials, "every partial is a whole gradient");
    let until_now: f64 = (0..=at).map(|line| field(line, "bytes_up")).sum();
    assert!(value("bytes_up_total") >= until_now);
}

/// Every metric is in the table of docs/metrics.md with its type, and every metric of the table exists.
fn documented(seen: &Scrape) {
    let table = std::fs::read_to_string(repository().join("docs/metrics.md")).expect("it is committed");
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `headstart_")?.split(" | ");
        let name = cells.next()?.strip_suffix('`').expect("a name is code");
        Some((format!("headstart_{name}"), cells.next().expect("a type").to_owned()))
    });
    let rows: Vec<(String, String)> = rows.collect();
    let mut sorted = rows.clone();
    sorted.sort();
    let families: Vec<(String, String)> =
        seen.0.iter().map(|(name, family)| (name.clone(), family.kind.clone())).collect();
    assert_eq!(families, sorted);
}

#[test]
fn the_admin_port_answers_what_it_is_asked_and_nothing_else() {
    let directory = texts();
    let mut run = Run::start(directory.path(), &[], 0);
    assert_eq!(get(run.admin, "/readyz").0, 200, "workers are welcome");
    let (code, metrics) = get(run.admin, "/metrics");
    assert!(code == 200 && metrics.contains("headstart_state{state=\"waiting\"} 1\n"), "{metrics}");
    Scrape::parse(&metrics);
    assert_eq!(get(run.admin, "/").0, 404);
    assert_eq!(get(run.admin, "/metrics?debug=1").0, 200, "a query changes nothing");
    assert_eq!(ask(run.admin, "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").0, 405);
    assert_eq!(ask(run.admin, "nonsense\r\n\r\n").0, 400);
    let long = format!("GET /healthz HTTP/1.1\r\nLong: {}\r\n\r\n", "x".repeat(15 << 10));
    assert_eq!(ask(run.admin, &long).0, 200, "within the limit");
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(ask(run.admin, &many).0, 431, "too many headers");
    drop(run.coordinator.stdin.take());
    assert_eq!(run.coordinator.wait().expect("it can be waited for").code(), Some(143));
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_starts() {
    let directory = texts();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    for arguments in [["train", "run.yaml", "--admin", &address], ["train", "run.yaml", "--admin", "nowhere"]]
    {
        let output = headstart(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(
            text(&output).contains("--admin") && text(&output).contains(arguments[3]),
            "{}",
            text(&output)
        );
        assert!(!directory.path().join("out").exists());
    }
    let same = ["run.yaml", "--listen", "0.0.0.0:17070", "--admin", "127.0.0.1:17070"];
    let output = command("headstart-coordinator", directory.path()).args(same).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("--listen has the same port"), "{}", text(&output));
}

#[test]
fn two_hundred_slow_connections_do_not_disturb_a_run() {
    let directory = texts();
    let steps = ["--set", "max_steps=400"];
    let undisturbed = ["train", "run.yaml", "--workers", "1", "--set", "output_dir=undisturbed"];
    succeed(directory.path(), &[&undisturbed[..], &steps].concat());
    let mut run = command("headstart", directory.path())
        .args(["train", "run.yaml", "--workers", "1", "--admin", "127.0.0.1:0"])
        .args(steps)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("headstart starts");
    let mut lines = BufReader::new(run.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let admin = lines.find_map(|line| line.strip_prefix("admin on http://").map(str::to_owned));
    let admin: SocketAddr = admin.expect("it says where").parse().expect("an address");
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(admin).expect("the port is open");
            stream.write_all(b"GET /heal").expect("it is connected");
            stream
        })
        .collect();
    assert_eq!(get(admin, "/healthz").0, 200, "a health check is answered all the same");
    Scrape::parse(&get(admin, "/metrics").1);
    let rest: Vec<String> = lines.collect();
    assert_eq!(run.wait().expect("it ends").code(), Some(0), "{}", rest.join("\n"));
    drop(slow);
    let [disturbed, undisturbed] =
        ["out", "undisturbed"].map(|output| outcome(&directory.path().join(output)));
    assert_eq!(disturbed, undisturbed);
}
