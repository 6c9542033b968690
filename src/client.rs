//! What a person or a program asks of a running coordinator: status, watch, stop. Every wait is bounded.

mod status;

use std::error::Error;
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::exit::Exit;
use crate::wire::channel::{self, CONNECT};
use crate::wire::{clip, pb};

pub use status::{Cause, Fault, Holdup, ProbeSummary, RunStatus, State, WorkerStatus};

/// Longest wait for the answer to a question.
const ANSWER: Duration = Duration::from_secs(10);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{url:?} is no coordinator's address ({reason}): write http://host:port")]
    BadUrl {
        /// As the user wrote it.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No coordinator answers.
    #[error("no coordinator answers at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What was tried.
        reason: String,
    },
    /// The coordinator answers with a refusal.
    #[error("the coordinator at {url}: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// What it said.
        reason: String,
    },
}

impl ClientError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::BadUrl { .. } => Exit::Usage,
            ClientError::Unreachable { .. } => Exit::Unreachable,
            ClientError::Refused { .. } => Exit::Internal,
        }
    }
}

/// A connection to a coordinator's client plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    jobs: pb::jobs_client::JobsClient<Channel>,
}

impl Client {
    /// Connects, or fails within seconds.
    pub async fn connect(url: &str) -> Result<Client, ClientError> {
        let bad = |reason: &str| ClientError::BadUrl { url: url.to_owned(), reason: reason.to_owned() };
        if !url.starts_with("http://") {
            return Err(bad("it does not begin with http://"));
        }
        let endpoint = channel::endpoint(url).map_err(|error| bad(&error.to_string()))?;
        let unreachable = |reason| ClientError::Unreachable { url: url.to_owned(), reason };
        let connected = timeout(CONNECT, endpoint.connect())
            .await
            .map_err(|_| unreachable(format!("no connection within {CONNECT:?}")))?
            .map_err(|error| unreachable(innermost(&error)))?;
        Ok(Client { url: url.to_owned(), jobs: channel::jobs_client(connected) })
    }

    /// The run as it is now.
    pub async fn status(&self) -> Result<RunStatus, ClientError> {
        let mut jobs = self.jobs.clone();
        let answer = self.bounded(ANSWER, jobs.status(pb::StatusRequest {})).await?;
        Ok(answer.into_inner().into())
    }

    /// The run as it is now and after every change.
    pub async fn watch(&self) -> Result<Watch, ClientError> {
        let mut jobs = self.jobs.clone();
        let answer = self.bounded(ANSWER, jobs.watch(pb::StatusRequest {})).await?;
        Ok(Watch { url: self.url.clone(), stream: answer.into_inner() })
    }

    /// Ends the run; returns what is kept of it. Writing that may take up to `patience`.
    pub async fn stop(&self, reason: &str, patience: Duration) -> Result<String, ClientError> {
        let mut jobs = self.jobs.clone();
        let request = pb::StopRequest { reason: clip(reason) };
        let pb::StopResponse { kept } = self.bounded(patience, jobs.stop(request)).await?.into_inner();
        Ok(kept)
    }

    async fn bounded<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        match timeout(patience, answer).await {
            Ok(answer) => answer.map_err(|status| failed(&self.url, &status)),
            Err(_) => {
                let reason = format!("no answer within {patience:?}");
                Err(ClientError::Unreachable { url: self.url.clone(), reason })
            }
        }
    }
}

/// A run being followed.
#[derive(Debug)]
pub struct Watch {
    url: String,
    stream: Streaming<pb::RunStatus>,
}

impl Watch {
    /// The next status; `None` after the coordinator's last. The caller bounds the wait.
    pub async fn next(&mut self) -> Result<Option<RunStatus>, ClientError> {
        let status = self.stream.message().await.map_err(|status| failed(&self.url, &status))?;
        Ok(status.map(RunStatus::from))
    }
}

/// Broken connections reach us as statuses too; those have a cause.
fn failed(url: &str, status: &Status) -> ClientError {
    let url = url.to_owned();
    match (status.source(), status.code()) {
        (Some(cause), _) => ClientError::Unreachable { url, reason: innermost(cause) },
        (None, Code::Unavailable | Code::DeadlineExceeded) => {
            ClientError::Unreachable { url, reason: status.message().to_owned() }
        }
        (None, code) => ClientError::Refused { url, reason: format!("{} ({code})", status.message()) },
    }
}

/// The cause at the bottom of a chain: "Connection refused" rather than "transport error".
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_at_home_is_said_with_the_address() {
        // Bound and closed again: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Client::connect(&format!("http://{free}")).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let said = error.to_string();
        assert!(said.contains(&free.to_string()) && said.contains("refused"), "{said}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_a_usage_error() {
        for url in ["127.0.0.1:7070", "https://host:1", "", "http://a b"] {
            let error = Client::connect(url).await.unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{url}: {error}");
        }
    }
}
