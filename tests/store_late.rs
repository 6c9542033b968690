//! Storage that does not answer yet when a program starts is waited for, and that is said.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use headstart_tests::processes::address;
use headstart_tests::web::{Answer, Request, Reserved, Web, file};
use headstart_tests::{command, text, texts};

/// Base model and data in a bucket whose server does not answer yet.
const READ: [&str; 3] = [
    "base_model=s3://bucket/model",
    "datasets.0.path=s3://bucket/train.jsonl",
    "cluster.store_retry_seconds=60",
];

/// The environment that leads to a server.
fn environment(url: String) -> [(&'static str, String); 3] {
    let test = || "test".to_owned();
    [("AWS_ENDPOINT_URL", url), ("AWS_ACCESS_KEY_ID", test()), ("AWS_SECRET_ACCESS_KEY", test())]
}

/// Serves what is below a directory as a bucket.
fn serve(reserved: Reserved, directory: &Path) -> Web {
    let root = directory.to_owned();
    reserved.start(move |request| match request.path.strip_prefix("/bucket") {
        Some(path) => file(&root, &Request { path: path.to_owned(), ..request.clone() }),
        None => Answer::status(404),
    })
}

/// Reads what a program says until it waits for storage; the reader goes on from there.
fn until_it_waits(child: &mut Child) -> (String, BufReader<std::process::ChildStderr>) {
    let mut reader = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    while !said.contains("trying again") {
        assert_ne!(reader.read_line(&mut said).expect("it is text"), 0, "it ended: {said}");
    }
    (said, reader)
}

#[test]
fn a_coordinator_waits_for_storage_that_comes_late() {
    let (directory, reserved) = (texts(), Reserved::default());
    let host = reserved.url().trim_start_matches("http://").to_owned();
    let mut command = command("headstart-coordinator", directory.path());
    command.args(["run.yaml", "--listen", "127.0.0.1:0"]).args(READ.iter().flat_map(|set| ["--set", set]));
    command.envs(environment(reserved.url())).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = command.spawn().expect("it starts");
    let (said, mut rest) = until_it_waits(&mut waiting);
    assert!(said.contains(&format!("storage at {host} does not answer (Connection refused")), "{said}");
    assert!(said.contains("trying again for up to 60 s"), "{said}");
    let _web = serve(reserved, directory.path());
    let address = address(&mut waiting);
    waiting.kill().expect("it runs");
    let mut said = String::new();
    rest.read_to_string(&mut said).expect("it is text");
    waiting.wait().expect("it ends");
    assert!(address.is_some(), "it ended: {said}");
    assert!(said.contains(&format!("storage at {host} answers again")), "{said}");
    assert!(!said.contains("max_retries") && !said.contains("backing off"), "{said}");
}

#[test]
fn a_worker_waits_for_storage_that_comes_late() {
    let (directory, reserved) = (texts(), Reserved::default());
    // The coordinator reaches the same storage by a way that is open already.
    let open = Reserved::default();
    let url = open.url();
    let _open = serve(open, directory.path());
    let mut first = command("headstart-coordinator", directory.path());
    first.args(["run.yaml", "--listen", "127.0.0.1:0"]).args(READ.iter().flat_map(|set| ["--set", set]));
    let mut first =
        first.envs(environment(url)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let address = address(&mut first).expect("it listens");
    let mut late = command("headstart-worker", directory.path());
    late.args(["--coordinator", &address, "--device", "cpu"]).envs(environment(reserved.url()));
    let mut late = late.stderr(Stdio::piped()).spawn().expect("it starts");
    let (_, mut rest) = until_it_waits(&mut late);
    let _web = serve(reserved, directory.path());
    let mut said = String::new();
    rest.read_to_string(&mut said).expect("it is text");
    assert_eq!(late.wait().expect("it ends").code(), Some(0), "{said}");
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
}

#[test]
fn commands_that_somebody_sits_before_wait_for_a_shorter_time_and_say_so() {
    for program in ["validate", "plan"] {
        let (directory, reserved) = (texts(), Reserved::default());
        let mut command = command("headstart", directory.path());
        command.args([program, "run.yaml"]).args(READ.iter().flat_map(|set| ["--set", set]));
        if program == "plan" {
            command.args(["--samples-per-second", "10", "--bandwidth", "1G"]);
        }
        command.envs(environment(reserved.url())).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut waiting = command.spawn().expect("it starts");
        let (said, mut rest) = until_it_waits(&mut waiting);
        assert!(said.contains("trying again for up to 10 s"), "{said}");
        let _web = serve(reserved, directory.path());
        let mut said = String::new();
        rest.read_to_string(&mut said).expect("it is text");
        assert_eq!(waiting.wait().expect("it ends").code(), Some(0), "{program}: {said}");
    }
}

#[test]
fn storage_that_never_comes_is_given_up_by_time() {
    let (directory, reserved) = (texts(), Reserved::default());
    let output = command("headstart", directory.path())
        .args(["validate", "run.yaml", "--set", READ[0], "--set", READ[1]])
        .args(["--set", "cluster.store_retry_seconds=1"])
        .envs(environment(reserved.url()))
        .output()
        .expect("headstart starts");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(21), "{said}");
    assert!(said.contains("trying again for up to 1 s") && said.contains("Connection refused"), "{said}");
    assert!(!said.contains("max_retries"), "{said}");
}
