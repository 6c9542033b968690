//! Spans over OTLP, as the environment's `OTEL_` variables say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::Key;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as Export};
use tokio::runtime::Handle;

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    /// Another protocol is asked for.
    #[error(
        "{variable} is {found}, but this program speaks grpc only: name the collector's grpc port (4317)"
    )]
    Protocol {
        /// Where.
        variable: &'static str,
        /// What it says.
        found: String,
    },
    /// The endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] ExporterBuildError),
    /// The system gives no thread.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

/// What sends spans, or `None` if the environment names no collector.
///
/// Spans wait in a queue of a bounded length (`OTEL_BSP_MAX_QUEUE_SIZE`) for a thread that sends them; when it is full
/// they are dropped. So a slow or missing collector loses spans, but never delays the run.
pub(super) fn provider(program: &'static str) -> Result<Option<SdkTracerProvider>, Unsent> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    if !wanted(environment) {
        return Ok(None);
    }
    check_protocol(environment)?;
    let runtime = sending_thread()?;
    // The connection belongs to the runtime that is entered when it is made.
    let _entered = runtime.enter();
    let exporter =
        Reporting { inner: SpanExporter::builder().with_tonic().build()?, failed: AtomicBool::new(false) };
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(program));
    Ok(Some(provider.build()))
}

/// Whether a collector is named and nothing switches it off.
fn wanted(environment: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, value: &str| {
        environment(name).is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
    };
    let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    named.iter().any(|name| environment(name).is_some())
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
}

fn check_protocol(environment: impl Fn(&str) -> Option<String>) -> Result<(), Unsent> {
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    let said = variables.into_iter().find_map(|variable| Some((variable, environment(variable)?)));
    match said {
        Some((variable, found)) if found.trim() != "grpc" => Err(Unsent::Protocol { variable, found }),
        _ => Ok(()),
    }
}

/// A thread of its own for the connection, so that neither side waits for the other's work.
fn sending_thread() -> std::io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("otlp".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Who sends the spans: what the environment says, `program` if it gives no name.
fn resource(program: &'static str) -> Resource {
    let found = Resource::builder().build().get(&Key::new("service.name"));
    match found {
        Some(name) if !name.as_str().starts_with("unknown_service") => Resource::builder().build(),
        _ => Resource::builder().with_service_name(program).build(),
    }
}

/// Warns once that spans could not be sent; the run continues without them.
#[derive(Debug)]
struct Reporting {
    inner: SpanExporter,
    failed: AtomicBool,
}

impl Export for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.inner.export(batch).await;
        if let Err(error) = &outcome
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "spans could not be sent; further failures are not reported");
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn spans_are_sent_only_where_a_collector_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert!(!wanted(environment(&[])));
        assert!(wanted(environment(&[endpoint])));
        assert!(wanted(environment(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4317")])));
        assert!(!wanted(environment(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")])));
        assert!(wanted(environment(&[endpoint, ("OTEL_SDK_DISABLED", "1")])), "only true switches it off");
        assert!(!wanted(environment(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")])));
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_named() {
        let said = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
        let refused = check_protocol(environment(&said)).expect_err("only grpc is spoken").to_string();
        assert!(refused.contains("OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf"), "{refused}");
        assert!(check_protocol(environment(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])).is_ok());
    }
}
