//! Traces that go on in another process: W3C trace context, in a lease or in a request's metadata.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Request;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The name of the W3C header, and of its entry in a request's metadata.
const TRACEPARENT: &str = "traceparent";

/// What another process needs to continue this span's trace; `None` while spans are not sent.
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let (trace, parent, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    context.is_valid().then(|| format!("00-{trace}-{parent}-{flags:02x}"))
}

/// Makes a span the child of one in another process. Anything that is no trace context is ignored.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent.filter(|_| !span.is_disabled()) else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    if parent.span().span_context().is_valid() {
        // It fails if nobody collects spans, or if this one has children already.
        let _ = span.set_parent(parent);
    }
}

/// Writes the current span into a request, for [`extract`] at the other end.
pub fn inject<T>(request: &mut Request<T>) {
    let value = traceparent(&Span::current()).and_then(|text| text.parse().ok());
    if let Some(value) = value {
        request.metadata_mut().insert(TRACEPARENT, value);
    }
}

/// Makes the current span the child of the one that a request names.
pub fn extract<T>(request: &Request<T>) {
    let value = request.metadata().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    continue_trace(&Span::current(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_trace_goes_on_at_the_other_end_of_a_request() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let here = tracing::debug_span!("here");
            let mut request = Request::new(());
            here.in_scope(|| inject(&mut request));
            let there = tracing::debug_span!(parent: None, "there");
            let value = request.metadata().get(TRACEPARENT).and_then(|value| value.to_str().ok());
            continue_trace(&there, value);
            let trace = |span: &Span| traceparent(span).expect("it is collected")[..35].to_owned();
            assert_eq!(trace(&there), trace(&here));

            let stranger = tracing::debug_span!(parent: None, "stranger");
            continue_trace(&stranger, Some("00-nonsense"));
            assert_ne!(trace(&stranger), trace(&here));
        });
    }

    #[test]
    fn nothing_is_said_where_nothing_is_collected() {
        assert_eq!(traceparent(&tracing::debug_span!("nobody listens")), None);
    }
}
