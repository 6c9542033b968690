//! The dashboard: one page about a run, and the data behind it, over the admin port. It only reads, and all it takes is bounded.
//!
//! The page is static; what it shows comes from four places that hold JSON, and from a stream of server-sent events. The stream
//! says `hello` when there is a run to speak of, and the page then asks for the rest, also after it has lost the connection. So a
//! page needs no state of the server's, and goes on with the coordinator that comes after this one.

mod assets;
mod compare;
mod host;
mod seats;
mod status;
mod stream;
mod why;
mod window;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use headstart::run_file::hide_secrets;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::serve::Serving;
use crate::services::Facts;
pub use compare::{CompareError, Compared, read as read_compared};
use host::Hosts;
pub use seats::SEATS;
use seats::Seats;
use stream::Stream;

/// The body of an answer: all at once, or as it comes.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The run, once it is loaded.
pub type Loaded = Arc<OnceLock<Serving>>;

/// How long the end of a run waits until streams have told of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Nothing from elsewhere, nothing inline, no frame around it, no form. What a page of another origin could gain from the answers
/// is refused by the headers beside it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is told of a run before it is loaded, and to whom.
#[derive(Debug)]
pub struct Settings {
    /// The run file with every default filled in, as [`headstart::run_file::RunSpec::shown`] has it.
    pub run_file: Map<String, Value>,
    /// What its evaluations measure, none if there are none.
    pub metrics: Vec<&'static str>,
    /// Names under which browsers may ask, beside those of the loopback interface and the address.
    pub names: Vec<String>,
    /// A second run, to be shown beside this one.
    pub compared: Option<Compared>,
}

/// The dashboard of one coordinator.
#[derive(Debug)]
pub struct Dashboard {
    run_file: Map<String, Value>,
    metrics: Vec<&'static str>,
    hosts: Hosts,
    compared: Option<Compared>,
    seats: Seats,
}

impl Dashboard {
    /// A dashboard that answers on `address`.
    pub fn new(settings: Settings, address: SocketAddr) -> Dashboard {
        let Settings { run_file, metrics, names, compared } = settings;
        Dashboard {
            run_file,
            metrics,
            hosts: Hosts::new(address.ip(), names),
            compared,
            seats: Seats::default(),
        }
    }

    /// Answers a GET or HEAD; `None` for a path that is not the dashboard's. The token comes with a stream: it is cancelled when
    /// another one takes its place.
    pub fn answer<B>(
        &self,
        request: &Request<B>,
        loaded: &Loaded,
    ) -> Option<(Response<Body>, Option<CancellationToken>)> {
        let path = request.uri().path();
        if path != "/" && !path.starts_with("/dashboard/") {
            return None;
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if !self.hosts.admit(host) {
            let why =
                "the dashboard is not known under this name: start the run with --dashboard-host NAME\n";
            return Some((plain(StatusCode::FORBIDDEN, why), None));
        }
        if path == "/dashboard/events" && request.method() == Method::GET {
            let (stream, evicted) = Stream::new(loaded.clone(), self.seats.take());
            let body = StreamBody::new(stream.frames()).boxed_unsync();
            return Some((dressed(body, STREAM), Some(evicted)));
        }
        Some((self.at_once(path, loaded.get()), None))
    }

    /// What is there already.
    fn at_once(&self, path: &str, run: Option<&Serving>) -> Response<Body> {
        let text = |text: String, kind| dressed(full(text), kind);
        match path {
            "/dashboard/run.json" => text(self.describe(run).to_string(), "application/json"),
            "/dashboard/metrics" => {
                text(run.map(|run| run.handle.history().text()).unwrap_or_default(), LINES)
            }
            "/dashboard/compare" => match &self.compared {
                Some(compared) => text(compared.text(), LINES),
                None => plain(StatusCode::NOT_FOUND, "no second run was named: --compare RUN names one\n"),
            },
            // HEAD: what a stream would be, without one.
            "/dashboard/events" => dressed(full(""), STREAM),
            _ => match assets::find(path) {
                Some((kind, content)) => dressed(full(content), kind),
                None => plain(StatusCode::NOT_FOUND, "the dashboard is at /\n"),
            },
        }
    }

    /// What does not change while a run is served.
    fn describe(&self, run: Option<&Serving>) -> Value {
        let mut about = json!({
            "headstart": env!("CARGO_PKG_VERSION"),
            "run_file": self.run_file,
            "metrics": self.metrics,
            "compare": self.compared.as_ref().map(|compared| json!({"name": compared.name()})),
            "run": null,
        });
        if let Some(serving) = run {
            let Facts { run_id, epoch, output_dir, trainable, rows, total_steps, steps_per_epoch, .. } =
                serving.facts.as_ref();
            let mut facts = json!({
                "run_id": run_id,
                "output_dir": output_dir,
                "epoch": epoch.0,
                "trainable_parameters": trainable,
                "train_rows": rows[0],
                "eval_rows": rows[1],
                "total_steps": total_steps,
                "steps_per_epoch": steps_per_epoch,
            });
            hide_secrets(&mut facts);
            about["run"] = facts;
        }
        about
    }

    /// Asks every stream to tell of the end of the run, and waits for that, for a bounded time.
    pub async fn farewell(&self) {
        // Whoever does not read misses it.
        let _ = tokio::time::timeout(FAREWELL, self.seats.close()).await;
    }
}

const STREAM: &str = "text/event-stream";
/// Lines of JSON.
const LINES: &str = "application/x-ndjson; charset=utf-8";

/// A body that is there already.
pub(crate) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed_unsync()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = dressed(full(text), "text/plain; charset=utf-8");
    *answer.status_mut() = status;
    answer
}

/// An answer with the headers that every answer of the dashboard has.
fn dressed(body: Body, kind: &'static str) -> Response<Body> {
    let mut answer = Response::new(body);
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("content-security-policy"), POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    answer
        .headers_mut()
        .extend(headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard() -> Dashboard {
        let settings =
            Settings { run_file: Map::new(), metrics: Vec::new(), names: Vec::new(), compared: None };
        Dashboard::new(settings, SocketAddr::from(([127, 0, 0, 1], 9090)))
    }

    fn get(path: &str, host: Option<&str>) -> Option<Response<Body>> {
        let mut request = Request::builder().uri(path);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let request = request.body(()).expect("a request");
        dashboard().answer(&request, &Loaded::default()).map(|(answer, _)| answer)
    }

    #[test]
    fn the_page_and_its_assets_are_there_for_who_names_the_host_rightly() {
        let page = get("/", Some("localhost:9090")).expect("the dashboard's");
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers()["content-security-policy"], POLICY);
        for host in [None, Some("evil.example"), Some("127.0.0.1.evil.example:9090")] {
            for path in ["/", "/dashboard/run.json", "/dashboard/events", "/dashboard/metrics"] {
                assert_eq!(
                    get(path, host).map(|answer| answer.status()),
                    Some(StatusCode::FORBIDDEN),
                    "{path}"
                );
            }
        }
        assert_eq!(get("/dashboard/../x", Some("localhost")).expect("it is").status(), StatusCode::NOT_FOUND);
        assert!(get("/healthz", Some("evil.example")).is_none(), "whoever asks");
    }

    #[tokio::test]
    async fn a_run_that_is_not_loaded_has_a_run_file_and_no_numbers() {
        let body = |path| async move {
            let answer = get(path, Some("127.0.0.1")).expect("the dashboard's");
            answer.into_body().collect().await.expect("it cannot fail").to_bytes()
        };
        let about: Value = serde_json::from_slice(&body("/dashboard/run.json").await).expect("JSON");
        assert!(about["run"].is_null() && about["run_file"].is_object(), "{about}");
        assert!(body("/dashboard/metrics").await.is_empty());
    }
}
