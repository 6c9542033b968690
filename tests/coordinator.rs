//! The coordinator as a program: it knows nothing of libtorch, answers health and reflection, and its bits do not depend
//! on its processor.

use std::process::Command;

use headstart_tests::{command, digits, program, repository};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[test]
fn it_links_no_libtorch() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree = Command::new(cargo)
        .args(["tree", "--locked", "--package", "headstart-coordinator", "--prefix", "none"])
        .current_dir(repository())
        .output()
        .expect("cargo starts");
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("tonic v"), "this is a dependency tree: {tree}");
    assert!(!tree.contains("torch-sys") && !tree.contains("tch v"), "{tree}");
    let needed = Command::new("ldd").arg(program("headstart-coordinator")).output().expect("ldd starts");
    let needed = String::from_utf8_lossy(&needed.stdout).into_owned();
    assert!(needed.contains("libc.so"), "these are libraries: {needed}");
    assert!(!needed.contains("torch") && !needed.contains("libc10"), "{needed}");
}

/// A coordinator that listens, and its URL. It ends with its standard input.
fn listening() -> (std::process::Child, String, tempfile::TempDir) {
    use std::io::BufRead;
    let directory = digits();
    let mut coordinator = command("headstart-coordinator", directory.path())
        .args(["run.yaml", "--listen", "127.0.0.1:0", "--exit-with-parent"])
        .env("LD_LIBRARY_PATH", "/nonexistent")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the coordinator starts");
    let mut line = String::new();
    let output = coordinator.stdout.take().expect("its output is piped");
    std::io::BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    let url =
        line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said {line:?}")).to_owned();
    (coordinator, url, directory)
}

#[tokio::test]
async fn it_answers_health_and_reflection_and_ends_with_its_parent() {
    let (mut coordinator, url, _directory) = listening();
    let channel =
        tonic::transport::Endpoint::from_shared(url).expect("a URL").connect().await.expect("it listens");
    let request = HealthCheckRequest { service: "headstart.v1.Control".into() };
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let answer = health.check(request).await.expect("an answer").into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("an answer")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one message").message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["headstart.v1.Control", "headstart.v1.Bulk", "headstart.v1.Jobs", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{name} is missing from {names:?}");
    }

    drop(coordinator.stdin.take());
    let ended = coordinator.wait().expect("it can be waited for");
    assert_eq!(ended.code(), Some(143));
}
