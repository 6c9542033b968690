//! What a person or a program asks of a running coordinator: status, watch, stop. Every wait is bounded.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::exit::Exit;
use crate::id::WorkerId;
use crate::message::IDLES;
use crate::wire::channel::{self, CONNECT};
use crate::wire::{clip, pb};

/// Longest wait for the answer to a question.
const ANSWER: Duration = Duration::from_secs(10);

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Too few workers are ready.
    Waiting,
    /// Computing steps.
    Training,
    /// Finding out what the first weights know of the task.
    Probing,
    /// Judging the weights.
    Evaluating,
    /// Writing the weights.
    Saving,
    /// Over, with a result.
    Finished,
    /// Over, without one.
    Failed,
    /// Over because a client or a signal asked for it.
    Stopped,
    /// Something that only a newer coordinator does.
    Unknown,
}

/// A run at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunStatus {
    pub run_id: String,
    /// What it is doing.
    pub state: State,
    /// What it waits for, or why it ended.
    pub detail: String,
    /// Updates applied.
    pub step: u64,
    /// Updates to apply.
    pub total_steps: u64,
    /// Passes over the data.
    pub epoch: f64,
    /// Mean loss of the last step; NaN before the first.
    pub loss: f64,
    /// Learning rate of the step in flight.
    pub learning_rate: f64,
    /// Training speed of the last step.
    pub samples_per_second: f64,
    /// The same in tokens; 0 where samples say it.
    pub tokens_per_second: f64,
    /// Workers with a session.
    pub workers: Vec<WorkerStatus>,
    /// Metrics of the last evaluation, with the `eval_` prefix.
    pub eval: BTreeMap<String, f64>,
    /// Updates that the evaluated weights had seen.
    pub eval_step: u64,
    /// URL under which everything is written.
    pub output_dir: String,
    /// Shards done of the running evaluation.
    pub eval_done: u64,
    /// All of its shards; 0 when none is running.
    pub eval_total: u64,
    /// The coordinator's exit code, once the run is over.
    pub exit_code: i32,
    /// The coordinator's term: raised by one whenever another takes the run over.
    pub coordinator_epoch: u64,
}

/// A worker at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker_id: u64,
    /// What it calls itself.
    pub name: String,
    /// What it computes on.
    pub device: String,
    /// Shards that became part of a result.
    pub shards: u64,
    /// Whether it can compute.
    pub ready: bool,
    /// What it computes, in words.
    pub activity: String,
    /// Seconds of compute for one shard; NaN before the first.
    pub shard_seconds: f64,
}

impl WorkerStatus {
    /// Why it rests, with the cure, if the run goes on faster without it.
    pub fn rests(&self) -> Option<&str> {
        let who = WorkerId(self.worker_id).to_string();
        self.activity.strip_prefix(&who)?.strip_prefix(IDLES)
    }
}

impl RunStatus {
    /// Whether the run is over.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Finished | State::Failed | State::Stopped)
    }

    /// Workers that can compute.
    pub fn ready(&self) -> usize {
        self.workers.iter().filter(|worker| worker.ready).count()
    }
}

impl From<pb::RunStatus> for RunStatus {
    #[rustfmt::skip]
    fn from(status: pb::RunStatus) -> Self {
        let pb::RunStatus {
            run_id, state: number, detail, step, total_steps, epoch, loss, learning_rate, samples_per_second, workers,
            eval, eval_step, output_dir, eval_done, eval_total, exit_code, coordinator_epoch, tokens_per_second,
        } = status;
        RunStatus {
            run_id, state: state(number), detail, step, total_steps, epoch, loss, learning_rate, samples_per_second,
            tokens_per_second,
            workers: workers.into_iter().map(WorkerStatus::from).collect(),
            eval: eval.into_iter().collect(),
            eval_step, output_dir, eval_done, eval_total, exit_code, coordinator_epoch,
        }
    }
}

impl From<pb::WorkerStatus> for WorkerStatus {
    fn from(worker: pb::WorkerStatus) -> Self {
        let pb::WorkerStatus { worker_id, name, device, shards, ready, activity, shard_seconds } = worker;
        WorkerStatus { worker_id, name, device, shards, ready, activity, shard_seconds }
    }
}

fn state(number: i32) -> State {
    use pb::run_status::State as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Waiting) => State::Waiting,
        Ok(Wire::Training) => State::Training,
        Ok(Wire::Evaluating) => State::Evaluating,
        Ok(Wire::Probing) => State::Probing,
        Ok(Wire::Saving) => State::Saving,
        Ok(Wire::Finished) => State::Finished,
        Ok(Wire::Failed) => State::Failed,
        Ok(Wire::Stopped) => State::Stopped,
        Ok(Wire::Unspecified) | Err(_) => State::Unknown,
    }
}

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
