//! What a person or a program asks of a running coordinator.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::wire::{MESSAGE_LIMIT, pb};

/// Longest wait for a connection, and for the answer to a question.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// A connection to a coordinator's client plane.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    jobs: pb::jobs_client::JobsClient<Channel>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no coordinator answers at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What was tried.
        reason: String,
    },
    /// It refused, or went away.
    #[error("the coordinator at {url}: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// What it said.
        reason: String,
    },
}

impl Client {
    /// Connects, or fails within seconds.
    pub async fn connect(url: &str) -> Result<Client, ClientError> {
        let unreachable = |error: tonic::transport::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            ClientError::Unreachable { url: url.to_owned(), reason: format!("{error}{cause}") }
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(unreachable)?;
        let channel = endpoint.connect_timeout(CONNECT).connect().await.map_err(unreachable)?;
        let jobs = pb::jobs_client::JobsClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        Ok(Client { url: url.to_owned(), jobs })
    }

    /// The run as it is now.
    pub async fn status(&mut self) -> Result<pb::RunStatus, ClientError> {
        let mut request = tonic::Request::new(pb::StatusRequest {});
        request.set_timeout(ANSWER);
        let answer = self.jobs.status(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.refused(&status))
    }

    /// The run as it is now and after every change.
    pub async fn watch(&mut self) -> Result<Streaming<pb::RunStatus>, ClientError> {
        let answer = self.jobs.watch(pb::StatusRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.refused(&status))
    }

    /// Ends the run; returns what is kept of it. Writing that may take up to `patience`.
    pub async fn stop(&mut self, reason: &str, patience: Duration) -> Result<String, ClientError> {
        let mut request = tonic::Request::new(pb::StopRequest { reason: reason.to_owned() });
        request.set_timeout(patience);
        let answer = self.jobs.stop(request).await;
        answer.map(|answer| answer.into_inner().kept).map_err(|status| self.refused(&status))
    }

    fn refused(&self, status: &Status) -> ClientError {
        ClientError::Refused { url: self.url.clone(), reason: status.message().to_owned() }
    }
}
