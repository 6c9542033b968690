//! Spans over OTLP: a collector receives a step's spans from several processes as one trace, and none is needed.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use headstart_tests::{command, outcome, succeed, text, texts};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    program: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    fields: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Arrived>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut arrived = self.0.lock().expect("nobody panicked");
        for resource in request.into_inner().resource_spans {
            let about = fields(resource.resource.unwrap_or_default().attributes);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                arrived.push(Arrived {
                    program: about.get("service.name").cloned().unwrap_or_default(),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    fields: fields(span.attributes),
                    resource: about.clone(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn fields(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}

impl Collector {
    async fn start() -> (Collector, SocketAddr) {
        let collector = Collector::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let server =
            tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

/// Trains for three steps with this environment, on a thread that may block.
async fn train(directory: &Path, output: &str, environment: &[(&str, String)]) -> Output {
    let mut run = command("headstart", directory);
    run.args([
        "train",
        "run.yaml",
        "--workers",
        "2",
        "--set",
        "max_steps=3",
        "--set",
        "cluster.min_workers=2",
    ]);
    run.args(["--set", &format!("output_dir={output}")]).envs(environment.iter().cloned());
    let run = tokio::task::spawn_blocking(move || run.output().expect("headstart starts"));
    let output = run.await.expect("it does not panic");
    assert!(output.status.success(), "{}", text(&output));
    output
}

fn only<'a>(spans: &'a [Arrived], what: &str, is: impl Fn(&Arrived) -> bool) -> &'a Arrived {
    let found: Vec<&Arrived> = spans.iter().filter(|span| is(span)).collect();
    assert_eq!(found.len(), 1, "one {what}: {found:#?}");
    found[0]
}

const COORDINATOR: &str = "headstart-coordinator";
const WORKER: &str = "headstart-worker";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_one_trace_across_processes() {
    let directory = texts();
    let (collector, address) = Collector::start().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test".to_owned()),
    ];
    train(directory.path(), "out", &environment).await;
    let spans = collector.arrived();
    assert!(spans.iter().all(|span| span.resource["deployment.environment"] == "test"));
    let of = |program: &'static str, name: &'static str| {
        move |span: &&Arrived| span.program == program && span.name == name
    };
    let run = only(&spans, "run", |span| of(COORDINATOR, "run")(&span));
    let written = only(&spans, "final write", |span| of(COORDINATOR, "final write")(&span));
    assert_eq!(written.parent, run.id);
    assert_eq!(spans.iter().filter(of(WORKER, "session")).count(), 2);
    assert_eq!(spans.iter().filter(of(COORDINATOR, "evaluation")).count(), 1, "at the end");
    for number in ["0", "1", "2"] {
        let step =
            only(&spans, "step", |span| of(COORDINATOR, "step")(&span) && span.fields["step"] == number);
        assert!(step.parent.is_empty() && step.fields.contains_key("loss"), "{step:?}");
        let trace: Vec<Arrived> = spans.iter().filter(|span| span.trace == step.trace).cloned().collect();
        let update = only(&trace, "update", |span| of(COORDINATOR, "update")(&span));
        assert_eq!(update.parent, step.id);
        let leases: Vec<&Arrived> = trace.iter().filter(of(COORDINATOR, "lease")).collect();
        assert!(!leases.is_empty(), "{trace:#?}");
        for lease in leases {
            assert_eq!(lease.parent, step.id);
            let under = |parent: &Arrived, program, name| {
                let parent = parent.id.clone();
                only(&trace, name, |span| of(program, name)(&span) && span.parent == parent).clone()
            };
            let computed = under(lease, WORKER, "lease");
            assert_eq!(computed.fields["lease"], lease.fields["lease"]);
            under(&computed, WORKER, "compute");
            let push = under(&computed, WORKER, "push");
            let received = under(&push, COORDINATOR, "push");
            assert_eq!(received.fields["worker"], lease.fields["worker"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_switched_off_or_gone_changes_nothing() {
    let directory = texts();
    let sets =
        ["train", "run.yaml", "--workers", "1", "--set", "max_steps=3", "--set", "output_dir=expected"];
    succeed(directory.path(), &sets);
    let expected = outcome(&directory.path().join("expected"));
    let (collector, address) = Collector::start().await;
    let endpoint = |address: SocketAddr| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{address}"));
    let off = [endpoint(address), ("OTEL_SDK_DISABLED", "true".to_owned())];
    train(directory.path(), "off", &off).await;
    assert!(collector.arrived().is_empty());

    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    train(directory.path(), "silent", &[endpoint(silent.local_addr().expect("it is bound"))]).await;

    let closed = silent.local_addr().expect("it is bound");
    drop(silent);
    let said = text(&train(directory.path(), "closed", &[endpoint(closed)]).await);
    assert_eq!(said.matches("coordinator: WARN spans could not be sent").count(), 1, "{said}");
    for output in ["off", "silent", "closed"] {
        assert_eq!(outcome(&directory.path().join(output)), expected, "{output}");
    }
}
