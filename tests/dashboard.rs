//! The dashboard of a real run: what its server answers, and what a real browser makes of it, through faults and a restart.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use headstart_tests::browser::{Browser, driver};
use headstart_tests::processes::until;
use headstart_tests::{command, digits, headstart, repository, succeed, text};
use serde_json::{Value, json};

/// Longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A killed worker is seen within this time, in milliseconds.
const SEEN: u64 = 2000;
/// Event streams that there may be.
const STREAMS: usize = 8;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run on fixed ports, whoever coordinates it.
struct Run<'a> {
    directory: &'a Path,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl<'a> Run<'a> {
    fn new(directory: &'a Path) -> Run<'a> {
        // Both are held until both are known: they differ.
        let held = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let [listen, admin] = held.map(|port| port.local_addr().expect("it is bound"));
        Run { directory, listen, admin }
    }

    /// A coordinator that listens.
    fn coordinator(&self, more: &[&str]) -> Process {
        let mut start = command("headstart-coordinator", self.directory);
        start.args(["run.yaml", "--listen", &self.listen.to_string(), "--admin", &self.admin.to_string()]);
        start.args(["--dashboard", "--set", "max_steps=100000", "--set", "save_steps=10"]);
        start.args(["--set", "resume_from_checkpoint=auto", "--set", "eval_on_start=true"]).args(more);
        let mut child = start.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let output = child.stdout.take().expect("it is piped");
        let said: Vec<String> = BufReader::new(output).lines().map_while(Result::ok).take(3).collect();
        let expected = [
            format!("admin on http://{}", self.admin),
            format!("dashboard on http://{}/", self.admin),
            format!("listening on http://{}", self.listen),
        ];
        assert_eq!(said, expected);
        Process(child)
    }

    fn worker(&self) -> Process {
        let mut start = command("headstart-worker", self.directory);
        start.args(["--coordinator", &format!("http://{}", self.listen), "--device", "cpu"]);
        Process(start.stderr(Stdio::null()).spawn().expect("it starts"))
    }

    fn page(&self) -> String {
        format!("http://{}/", self.admin)
    }
}

/// Asks with this `Host`; the head and the body.
fn ask(address: SocketAddr, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

/// A reader of the event stream that has had its first message.
fn stream(address: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is read");
    let mut stream = BufReader::new(stream);
    until_line(&mut stream, "event: hello");
    stream
}

/// Reads until a line comes; what came before it.
fn until_line(stream: &mut BufReader<TcpStream>, wanted: &str) -> String {
    let mut before = String::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("text") > 0, "it ended before {wanted:?}: {before}");
        if line.trim_end() == wanted {
            return before;
        }
        before.push_str(&line);
    }
}

#[test]
fn the_server_answers_who_names_it_rightly_and_keeps_secrets_and_bounds() {
    let directory = digits();
    let run = Run::new(directory.path());
    let _coordinator = run.coordinator(&["--dashboard-host", "Train.example"]);
    let own = run.admin.to_string();
    for host in [&own, "localhost:1", "train.example:80"] {
        let (head, page) = ask(run.admin, "/", host);
        assert!(head.starts_with("http/1.1 200") && page.starts_with("<!doctype html>"), "{host}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    }
    for path in ["/", "/dashboard/run.json", "/dashboard/events", "/dashboard/metrics", "/dashboard/app.js"] {
        assert!(ask(run.admin, path, "evil.example").0.starts_with("http/1.1 403"), "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(
            ask(run.admin, path, "evil.example").0.starts_with("http/1.1 200"),
            "{path}: anybody may ask"
        );
    }
    let about: Value =
        serde_json::from_str(&ask(run.admin, "/dashboard/run.json", "localhost").1).expect("JSON");
    assert_eq!(about["run"]["total_steps"], 100_000);
    assert_eq!(about["run_file"]["task"], "image-classification");
    assert_eq!(about["metrics"], json!(["loss", "accuracy", "f1"]));

    let mut streams: Vec<_> = (0..STREAMS).map(|_| stream(run.admin)).collect();
    let _newcomer = stream(run.admin);
    until_line(&mut streams[0], "event: evicted");
    until_line(&mut streams[1], "event: status");
    // Connections that say nothing displace each other, neither streams nor a health check.
    let _idle: Vec<_> = (0..200).map(|_| TcpStream::connect(run.admin).expect("the port is open")).collect();
    assert!(ask(run.admin, "/healthz", "localhost").0.starts_with("http/1.1 200"));
    until_line(&mut streams[1], "event: status");
}

#[test]
fn train_prints_the_address_of_a_page_that_hears_of_the_end() {
    let directory = digits();
    let mut train = command("headstart", directory.path());
    train.args(["train", "run.yaml", "--workers", "1", "--set", "max_steps=30"]);
    let mut train = train.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(train.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let page =
        lines.find_map(|line| Some(line.strip_prefix("dashboard on http://")?.strip_suffix('/')?.to_owned()));
    let address: SocketAddr = page.expect("it says where").parse().expect("an address");
    assert!(address.ip().is_loopback());
    let mut stream = stream(address);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("\"state\":\"finished\""), "{rest}");
    assert_eq!(train.wait().expect("it ends").code(), Some(0), "{}", lines.collect::<Vec<_>>().join("\n"));

    let refused = |arguments: &[&str]| {
        let output = headstart(directory.path(), &[&["train", "run.yaml"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        text(&output)
    };
    assert!(refused(&["--dashboard", "off", "--compare", "out"]).contains("use --dashboard on"));
    let said = refused(&["--compare", "nowhere", "--set", "output_dir=other"]);
    assert!(said.contains("nowhere is neither the output_dir of a finished run nor"), "{said}");
}

/// Points that the charts hold.
const POINTS: &str = "[...document.querySelectorAll('.canvas')].reduce((sum, chart) => sum + Number(chart.dataset.points ?? 0), 0)";

#[test]
fn the_page_follows_a_run_through_a_dead_worker_and_a_dead_coordinator() {
    let directory = digits();
    let Some(mut browser) = Browser::start() else { return };
    // A second run, whose evaluations are at steps of this one's.
    let before = ["train", "run.yaml", "--workers", "1", "--dashboard", "off", "--set", "output_dir=before"];
    succeed(directory.path(), &[&before[..], &["--set", "eval_on_start=true"]].concat());
    let run = Run::new(directory.path());
    let compare = ["--compare", "before"];
    let first = run.coordinator(&compare);
    browser.open(&run.page(), 1400, false);
    browser.until("document.getElementById('state').textContent === 'waiting for workers'");
    let steady = run.worker();
    browser.until("document.querySelectorAll('.worker').length === 1");
    let doomed = run.worker();
    browser.until("document.querySelectorAll('.worker').length === 2");
    browser.until("document.getElementById('state').textContent === 'training'");
    moves(&mut browser);
    charts_are_read(&mut browser);

    drop(doomed);
    let took = browser.until("document.querySelector('.worker.gone h3')?.textContent.startsWith('Worker 2')");
    assert!(took <= SEEN, "a dead worker is seen after {took} ms");
    browser.until("[...document.querySelectorAll('#events .fault')].some((event) => event.textContent.includes('worker 2 leaves'))");
    assert_eq!(
        browser.complaints(),
        [""; 0],
        "nothing goes wrong in the page, and the policy forbids nothing it does"
    );

    let step = number(&browser.text("#progress-text"));
    let commits = || std::fs::read_dir(directory.path().join("out/manifests")).map_or(0, Iterator::count);
    let now = commits();
    until("commits that have all this", || commits() >= now + 2);
    drop(first);
    browser.until("document.getElementById('link').dataset.link === 'lost'");
    let said = browser.text("#link");
    assert_eq!(said, "connection lost, reconnecting");
    let second = run.coordinator(&compare);
    browser.until("document.getElementById('link').dataset.link === 'live'");
    browser.until("[...document.querySelectorAll('#events .start')].some((event) => event.textContent.includes('coordinator 2 starts'))");
    let fault = browser.value("document.querySelectorAll('#events .fault').length");
    assert_eq!(fault, 1, "what has happened is not forgotten, and is told once");
    moves(&mut browser);
    until("the page to get beyond where it was", || number(&browser.text("#progress-text")) > step);
    browser.complaints();
    moves(&mut browser);
    assert_eq!(browser.complaints(), [""; 0], "after the restart");

    for (width, dark) in [(1400, false), (1400, true), (400, false), (400, true)] {
        looks_well(&mut browser, &run, width, dark);
    }
    drop((second, steady));
}

/// The charts get new points.
fn moves(browser: &mut Browser) {
    browser.until(&format!("{POINTS} > 0"));
    let points = browser.value(POINTS);
    browser.until(&format!("{POINTS} > {points} + 20"));
}

/// The step in `Step 1 234 of 100 000, epoch 3.21`.
fn number(text: &str) -> u64 {
    let step = text.strip_prefix("Step ").and_then(|rest| rest.split(" of ").next());
    let digits: String = step.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no step: {text}"))
}

/// Pointing, zooming, another axis, and a second run from a file.
fn charts_are_read(browser: &mut Browser) {
    browser.until("document.getElementById('compare-said').textContent.includes('before')");
    let names = browser.text(".readout");
    assert!(names.contains("this run") && names.contains("before"), "{names}");
    browser.act("hover", json!({"selector": ".chart .u-over", "at": 0.5}));
    browser.until("document.getElementById('at').textContent.startsWith('step ')");
    assert_eq!(browser.value("document.getElementById('whole').disabled"), true);
    browser.act("drag", json!({"selector": ".chart .u-over", "from": 0.2, "to": 0.6}));
    browser.until("!document.getElementById('whole').disabled");
    browser.act("click", json!({"selector": "#whole"}));
    browser.until("document.getElementById('whole').disabled");
    browser.act("click", json!({"selector": "label:has(input[value=time])"}));
    browser.act("click", json!({"selector": ".chart details summary"}));
    browser.until("document.querySelectorAll('.chart details table tbody tr').length > 1");
    browser.act("click", json!({"selector": ".chart details summary"}));
    browser.act("click", json!({"selector": "label:has(input[value=step])"}));

    browser.act("click", json!({"selector": "#remove"}));
    browser.until("!document.querySelector('.readout').textContent.includes('before')");
    browser.act("drop", json!({"name": "nonsense.txt", "text": "nothing\nof this\n{}\n"}));
    browser
        .until("document.getElementById('compare-said').textContent.includes('no line of a metrics.jsonl')");
    let lines = "{\"step\":0,\"eval_accuracy\":0.99,\"eval_samples\":9}\n{\"step\":1,\"loss\":9.5}\n";
    browser.act("drop", json!({"name": "dropped.jsonl", "text": lines}));
    browser.until("document.getElementById('compare-said').textContent.includes('dropped')");
    assert!(browser.text("#compare-table").contains("99.0"), "{}", browser.text("#compare-table"));
}

/// A page of this width that everybody can use; leaves a picture of it in the build's folder for temporary files.
fn looks_well(browser: &mut Browser, run: &Run<'_>, width: u32, dark: bool) {
    browser.open(&run.page(), width, dark);
    moves(browser);
    let barriers = browser.ask("barriers", json!({})).expect("it looks");
    assert_eq!(barriers, json!([]), "{width} px, dark: {dark}");
    assert_eq!(browser.ask("overflow", json!({})), Ok(0.into()), "{width} px");
    let name = format!("dashboard_{width}{}.png", if dark { "_dark" } else { "" });
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    browser.act("picture", json!({"path": path}));
    assert!(std::fs::metadata(&path).is_ok_and(|file| file.len() > 10_000), "a picture");
    assert_eq!(browser.complaints(), [""; 0], "{width} px");
}

#[test]
fn uplot_is_what_its_package_has() {
    let package = driver().join("node_modules/uplot");
    for file in ["LICENSE", "dist/uPlot.iife.min.js", "dist/uPlot.min.css"] {
        let ours = std::fs::read(repository().join("third_party/uplot").join(file)).expect("it is committed");
        let theirs = std::fs::read(package.join(file)).expect("it is installed");
        assert!(ours == theirs, "{file} differs from the package's");
    }
}
