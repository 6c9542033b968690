//! The transport of all storage clients: it reports outages, and adds reasons to refusals.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use tracing::{info, warn};

use super::refusal::Refusal;
use super::{Outage, Outages, odd_keys};

/// An outage is reported once, and another one not sooner than this after it.
const QUIET: Duration = Duration::from_secs(10);

/// Makes the clients of one store.
#[derive(Debug)]
pub(super) struct Connector {
    /// How long requests are repeated.
    pub(super) patience: Duration,
    /// Where the bucket is looked for.
    pub(super) region: String,
    pub(super) outages: Outages,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        let (patience, news) = (self.patience, self.outages.clone());
        let outage = Arc::new(Silence { patience, news, seen: Mutex::default() });
        Ok(HttpClient::new(Transport { client, region: self.region.clone(), outage }))
    }
}

/// A client of one store.
#[derive(Debug)]
struct Transport {
    client: HttpClient,
    region: String,
    outage: Arc<Silence>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);

#[tonic::async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let (head, listing) = (request.method() == "HEAD", is_listing(&request));
        let answer = self.client.execute(request).await.map_err(|error| {
            // Without its own causes: an error of a socket would be taken for one of a file.
            HttpError::new(error.kind(), Unanswered(cause(&error)))
        });
        if gives_credentials(&host) {
            return answer;
        }
        let answer = answer.inspect_err(|error| self.outage.began(&host, &cause(error)))?;
        let status = answer.status();
        if status.is_server_error() || status == 429 {
            self.outage.began(&host, &status.to_string());
            return Ok(answer);
        }
        self.outage.ended(&host);
        let refused = matches!(status.as_u16(), 301 | 307 | 400 | 401 | 403 | 409);
        if !(refused || (listing && status.is_success())) {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body = if head { Default::default() } else { body.bytes().await? };
        if refused {
            match Refusal::of(status.as_u16(), &parts.headers, &body, &self.region) {
                Some(refusal) if refusal.passes() => {
                    return Err(HttpError::new(HttpErrorKind::Timeout, refusal));
                }
                Some(refusal) => return Err(HttpError::new(HttpErrorKind::Unknown, refusal)),
                None => return Ok(HttpResponse::from_parts(parts, body.into())),
            }
        }
        let body = match std::str::from_utf8(&body) {
            Ok(xml) => odd_keys::readable(xml).into_owned().into(),
            Err(_) => body.into(),
        };
        Ok(HttpResponse::from_parts(parts, body))
    }
}

/// Whether a store does not answer, and since when that is known.
#[derive(Debug)]
struct Silence {
    patience: Duration,
    news: Outages,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    since: Option<Instant>,
    reported: Option<Instant>,
    /// Whether the present silence is one that was reported.
    told: bool,
}

impl Silence {
    fn began(&self, host: &str, why: &str) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.told && seen.reported.is_none_or(|last| now.duration_since(last) > QUIET) {
            let seconds = self.patience.as_secs();
            warn!("storage at {host} does not answer ({why}): trying again for up to {seconds} s");
            self.news.report(Outage::Began { host: host.to_owned(), why: why.to_owned() });
            seen.reported = Some(now);
            seen.told = true;
        }
        seen.since.get_or_insert(now);
    }

    fn ended(&self, host: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let told = std::mem::take(&mut seen.told);
        if let Some(since) = seen.since.take() {
            if told {
                self.news.report(Outage::Ended { host: host.to_owned(), after: since.elapsed() });
            }
            info!("storage at {host} answers again, after {:.1} s", since.elapsed().as_secs_f32());
        }
    }
}

/// Whether credentials are asked for there: addresses of the machine's own cloud, where a refusal has another meaning.
fn gives_credentials(host: &str) -> bool {
    host.starts_with("169.254.")
        || host.starts_with("metadata.google.internal")
        || host.starts_with("[fd00:ec2::")
}

fn is_listing(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == "GET" && query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// The innermost reason: the outer ones say only that a request failed.
fn cause(error: &HttpError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_reported_when_it_begins_and_when_it_ends_but_not_each_flicker() {
        let news = Outages::default();
        let silence = Silence { patience: QUIET, news: news.clone(), seen: Mutex::default() };
        silence.ended("store:1");
        assert_eq!(news.take(), [], "it has answered all the time");
        silence.began("store:1", "refused");
        silence.began("store:1", "refused");
        let began = Outage::Began { host: "store:1".into(), why: "refused".into() };
        assert_eq!(news.take(), [began]);
        silence.ended("store:1");
        let ended = news.take();
        assert!(matches!(&ended[..], [Outage::Ended { host, .. }] if host == "store:1"), "{ended:?}");
        silence.began("store:1", "refused");
        silence.ended("store:1");
        assert_eq!(news.take(), [], "so soon after the first");
    }
}
