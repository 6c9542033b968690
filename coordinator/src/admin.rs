//! The admin port: health, readiness and metrics of one coordinator over HTTP, and the dashboard where it is wanted. It is
//! read-only, and all its resources are bounded, so that no client can disturb the run.

mod prometheus;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::dashboard::{Body, Dashboard, Loaded, SEATS, Settings, full};
use crate::machine::Activity;
use crate::serve::Serving;

/// Maximum connections; a new one evicts the oldest, so that a flood of idle ones does not block health checks. Streams are
/// not among them.
const CONNECTIONS: usize = 64;
/// Maximum connections of streams, with those that have lost their place and do not read that they have.
const STREAMS: usize = 2 * SEATS;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;
/// Time for the head of a request, and for all of a connection, which carries one request: a constant, and as long as its answer
/// takes at this many bytes a second.
const HEAD: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(10);
const SLOWEST: f64 = 64e3;
/// Time for a stream that has lost its place to say so.
const GRACE: Duration = Duration::from_secs(1);
/// Largest head of a request in bytes, and most headers in it. Bodies are not read.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// The actor's loop turns at least once a second, unless it copies or hashes large weights. Silence beyond this is a hang.
const PULSE: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted, as when file descriptors have run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The admin port, which answers from before the run is loaded until the process ends.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    site: Arc<Site>,
}

/// What there is to answer from.
#[derive(Debug)]
struct Site {
    run: Loaded,
    dashboard: Option<Dashboard>,
}

impl Admin {
    /// Takes the address and answers on it, with a dashboard if there are settings for one.
    pub fn start(address: SocketAddr, dashboard: Option<Settings>) -> io::Result<Admin> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let dashboard = dashboard.map(|settings| Dashboard::new(settings, address));
        let site = Arc::new(Site { run: Loaded::default(), dashboard });
        tokio::spawn(accept(listener, site.clone()));
        Ok(Admin { address, site })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on there is a run to speak of.
    pub fn serving(&self, serving: Serving) {
        // Only the first one counts: a process serves one run.
        let _ = self.site.run.set(serving);
    }

    /// Lets the streams of the dashboard tell of the end of the run, for a bounded time.
    pub async fn farewell(&self) {
        if let Some(dashboard) = &self.site.dashboard {
            dashboard.farewell().await;
        }
    }
}

/// What a connection's answer is, once its request is there.
type KindOfAnswer = Arc<OnceLock<Kind>>;

/// What decides how long an answer may take.
#[derive(Debug)]
enum Kind {
    /// Its size in bytes.
    Whole(u64),
    /// The token is cancelled when the stream has lost its place.
    Stream(CancellationToken),
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<(AbortHandle, KindOfAnswer)> = VecDeque::new();
    let mut streams: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        streams.retain(|connection| !connection.is_finished());
        oldest.retain(|(connection, kind)| {
            let is_stream = matches!(kind.get(), Some(Kind::Stream(_)));
            if is_stream && !connection.is_finished() {
                streams.push_back(connection.clone());
            }
            !is_stream && !connection.is_finished()
        });
        while streams.len() > STREAMS
            && let Some(connection) = streams.pop_front()
        {
            connection.abort();
        }
        if oldest.len() >= CONNECTIONS
            && let Some((connection, _)) = oldest.pop_front()
        {
            connection.abort();
        }
        let kind = KindOfAnswer::default();
        oldest.push_back((connections.spawn(converse(stream, site.clone(), kind.clone())), kind));
    }
}

/// One connection: one request, one answer.
async fn converse(stream: TcpStream, site: Arc<Site>, kind: KindOfAnswer) {
    let limit = limit(kind.clone());
    let service = service_fn(move |request| {
        let (answer, evicted) = answer(&request, &site);
        let size = answer.size_hint().lower();
        // A connection has one request, so this is the first.
        let _ = kind.set(evicted.map_or(Kind::Whole(size), Kind::Stream));
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Whoever sends nonsense, or nothing, gets no answer and no log line.
        _ = connection => {}
        () = limit => {}
    }
}

/// How long a connection may last.
async fn limit(kind: KindOfAnswer) {
    tokio::time::sleep(WHOLE).await;
    match kind.get() {
        None => {}
        Some(Kind::Whole(bytes)) => {
            tokio::time::sleep(Duration::from_secs_f64(*bytes as f64 / SLOWEST)).await;
        }
        Some(Kind::Stream(evicted)) => {
            evicted.cancelled().await;
            tokio::time::sleep(GRACE).await;
        }
    }
}

/// The answer to a request; with a stream comes the token that is cancelled when it has lost its place.
fn answer(request: &Request<Incoming>, site: &Site) -> (Response<Body>, Option<CancellationToken>) {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return (refused, None);
    }
    let run = site.run.get();
    let answer = match request.uri().path() {
        "/healthz" => verdict(healthy(run)),
        "/readyz" => verdict(ready(run)),
        "/metrics" => metrics(run),
        _ => match &site.dashboard {
            None => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n"),
            Some(dashboard) => {
                return dashboard.answer(request, &site.run).unwrap_or_else(|| {
                    (text(StatusCode::NOT_FOUND, "there are /, /healthz, /readyz and /metrics\n"), None)
                });
            }
        },
    };
    (answer, None)
}

fn metrics(run: Option<&Serving>) -> Response<Body> {
    match prometheus::render(run) {
        Ok(metrics) => {
            let mut answer = text(StatusCode::OK, metrics);
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn verdict(verdict: Result<(), &'static str>) -> Response<Body> {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Whether the actor's loop turns. While the run is loaded there is none, and the process is as healthy as its answer.
fn healthy(run: Option<&Serving>) -> Result<(), &'static str> {
    run.map_or(Ok(()), |serving| pulse(serving.clock.elapsed(), serving.handle.turned()))
}

fn pulse(now: Duration, turned: Duration) -> Result<(), &'static str> {
    match now.saturating_sub(turned) <= PULSE {
        true => Ok(()),
        false => Err("the coordinator's loop hangs"),
    }
}

/// Whether workers are welcome.
fn ready(run: Option<&Serving>) -> Result<(), &'static str> {
    let Some(serving) = run else { return Err("the run is being loaded") };
    let status = serving.handle.status();
    let status = status.borrow();
    match status.ended {
        Some(_) => Err("the run is over"),
        None => welcomes(&status.snapshot.activity),
    }
}

fn welcomes(activity: &Activity) -> Result<(), &'static str> {
    match activity {
        Activity::Waiting { .. }
        | Activity::Training
        | Activity::Evaluating { .. }
        | Activity::Probing { .. } => Ok(()),
        Activity::Saving => Err("the run is stopping: its weights are being written"),
        Activity::Ended => Err("the run is over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_has_not_turned_for_long_is_not_healthy() {
        let at = Duration::from_secs;
        assert_eq!(pulse(at(100), at(99)), Ok(()));
        assert_eq!(pulse(at(100), at(70)), Ok(()));
        assert!(pulse(at(100), at(69)).is_err());
        assert_eq!(pulse(at(69), at(70)), Ok(()), "read in another order");
    }

    #[test]
    fn nobody_is_ready_before_the_run_is_loaded() {
        assert_eq!(healthy(None), Ok(()));
        assert!(ready(None).is_err());
    }

    #[test]
    fn workers_are_welcome_until_the_run_stops() {
        assert_eq!(welcomes(&Activity::Waiting { ready: 0, needed: 1 }), Ok(()));
        assert_eq!(welcomes(&Activity::Training), Ok(()));
        assert!(welcomes(&Activity::Saving).is_err());
        assert!(welcomes(&Activity::Ended).is_err());
    }
}
