//! What a program says of itself: lines on standard error and, where the environment names a collector, spans over OTLP.

pub mod context;
mod otlp;

use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is collected until the program ends. [`Telemetry::end`] sends the rest.
#[derive(Debug)]
#[must_use = "spans that are not sent by the end are lost"]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// Log filter of long-running programs: their own messages, and only warnings of the storage client.
pub const USUAL: &str = "info,object_store=warn";
/// How long the end of a program waits for its last spans to be sent.
const FLUSH: Duration = Duration::from_secs(2);

/// Starts logging, and the sending of spans if a collector is named. Called once, by `main`.
///
/// `RUST_LOG` decides which lines are written, `usual` if it is not set. It does not decide which spans are sent: those of
/// Headstart, down to the single lease, as often as `OTEL_TRACES_SAMPLER` says. `program` is their `service.name` unless
/// the environment has another.
pub fn start(program: &'static str, format: LogFormat, usual: &str) -> Telemetry {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let lines = match format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines);
    let spans = match otlp::provider(program) {
        Ok(spans) => spans,
        Err(why) => {
            registry.init();
            tracing::warn!("spans are not sent: {why}");
            return Telemetry { spans: None };
        }
    };
    match &spans {
        None => registry.init(),
        Some(provider) => {
            let layer = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("headstart"))
                // Spans are entered for every poll of a task: that has to cost nothing.
                .with_context_activation(false)
                .with_tracked_inactivity(false)
                .with_threads(false)
                .with_location(false);
            // Not the spans of the libraries that send them.
            let ours = Targets::new().with_target("headstart", Level::DEBUG);
            registry.with(layer.with_filter(ours)).init();
        }
    }
    Telemetry { spans }
}

impl Telemetry {
    /// Sends what has not been sent yet, for two seconds at most. Blocks.
    pub fn end(self) {
        if let Some(spans) = self.spans {
            // Nobody is left who could be told.
            let _ = spans.shutdown_with_timeout(FLUSH);
        }
    }
}
