//! The control stream of one session: commands in, events out.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use headstart::id::LeaseId;
use headstart::message::{FromWorker, Join, ToWorker, Welcome};
use headstart::wire::{channel, pb};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::info;

use crate::error::WorkerError;
use crate::member::{Done, Worker};
use crate::settings::Settings;
use crate::times::Times;

/// Commands that may wait while a lease is computed.
const COMMANDS: usize = 64;
/// Longest wait for the answer to a join: the coordinator may be busy with its weights.
const GREETING: Duration = Duration::from_secs(60);

/// One session's stream.
pub(crate) struct Control {
    events: mpsc::Sender<pb::WorkerEvent>,
    commands: Streaming<pb::Command>,
    revocations: BTreeMap<LeaseId, CancellationToken>,
    waiting: VecDeque<ToWorker>,
}

impl Control {
    /// Asks to take part, and waits for the answer.
    pub(crate) async fn join(
        connected: Channel,
        settings: &Settings,
    ) -> Result<(Control, Welcome), WorkerError> {
        let late = |_| WorkerError::Broken(format!("no answer within {GREETING:?}"));
        timeout(GREETING, Control::greet(connected, settings)).await.map_err(late)?
    }

    async fn greet(connected: Channel, settings: &Settings) -> Result<(Control, Welcome), WorkerError> {
        let (events, outgoing) = mpsc::channel(16);
        let Settings { name, device, memory, .. } = settings.clone();
        let join = FromWorker::Join(Join { name, device, memory });
        events.send(join.into()).await.expect("the receiver is still here");
        let mut client = channel::control_client(connected);
        let commands = client.session(ReceiverStream::new(outgoing)).await.map_err(broken)?.into_inner();
        let (revocations, waiting) = (BTreeMap::new(), VecDeque::new());
        let mut control = Control { events, commands, revocations, waiting };
        match control.receive().await? {
            ToWorker::Welcome(welcome) => Ok((control, welcome)),
            other => Err(WorkerError::Broken(format!("expected a welcome, got {other:?}"))),
        }
    }

    /// Tells the coordinator.
    pub(crate) async fn say(&self, message: FromWorker) -> Result<(), WorkerError> {
        self.events.send(message.into()).await.map_err(|_| WorkerError::Broken("it was closed".into()))
    }

    /// The next command from the stream; `Stop` is an error, so that every wait ends with it.
    async fn receive(&mut self) -> Result<ToWorker, WorkerError> {
        let message = self.commands.message().await.map_err(broken)?;
        let message = message.ok_or_else(|| WorkerError::Broken("the coordinator ended it".into()))?;
        match ToWorker::try_from(message)? {
            ToWorker::Stop { reason, detail } => Err(WorkerError::Stopped { reason, detail }),
            command => Ok(command),
        }
    }

    /// Listens while something else is going on: notes revocations, keeps the rest; returns when the session is over.
    pub(crate) async fn ended(&mut self) -> WorkerError {
        loop {
            match self.receive().await {
                Err(error) => return error,
                Ok(ToWorker::Revoke { lease, reason }) => self.revoke(lease, &reason),
                Ok(command) if self.waiting.len() < COMMANDS => self.waiting.push_back(command),
                Ok(command) => {
                    return WorkerError::Broken(format!("too many commands; the last: {command:?}"));
                }
            }
        }
    }

    /// Says at intervals that the worker is alive, for as long as the returned handle is.
    pub(crate) fn start_heartbeat(&self, every: Duration, times: Arc<Times>) -> AbortOnDropHandle<()> {
        let events = self.events.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                if events.send(times.heartbeat().into()).await.is_err() {
                    return;
                }
            }
        }))
    }

    /// Performs commands one after the other, listening for `Stop` and `Revoke` all the while. What is being performed when
    /// the session ends is dropped.
    pub(crate) async fn work(mut self, mut worker: Worker<'_>) -> Result<Infallible, WorkerError> {
        loop {
            let command = self.next(&mut worker).await?;
            let revoked = CancellationToken::new();
            if let ToWorker::Lease { lease, .. } = &command {
                // The partial of the one before may still be on its way.
                while self.revocations.len() > 1 {
                    self.revocations.pop_first();
                }
                self.revocations.insert(*lease, revoked.clone());
            }
            let done = tokio::select! {
                biased;
                done = worker.perform(command, &revoked) => done?,
                ended = self.ended() => return Err(ended),
            };
            match done {
                Done::Nothing => {}
                Done::Computed(lease) => self.say(FromWorker::Computed(lease)).await?,
                Done::Failed(lease, failure) => {
                    info!(%lease, ?failure, "lease failed");
                    self.say(FromWorker::LeaseFailed { lease, failure }).await?;
                }
            }
        }
    }

    /// The next command. Until it comes, what goes on beside the commands may end.
    async fn next(&mut self, worker: &mut Worker<'_>) -> Result<ToWorker, WorkerError> {
        loop {
            if let Some(command) = self.waiting.pop_front() {
                return Ok(command);
            }
            let (waited, sends) = (Instant::now(), worker.sends());
            let command = tokio::select! {
                biased;
                command = self.receive() => Some(command?),
                ended = worker.background() => {
                    ended?;
                    None
                }
            };
            worker.times.wait(waited.elapsed(), sends);
            match command {
                // It may be about a partial on its way.
                Some(ToWorker::Revoke { lease, reason }) => self.revoke(lease, &reason),
                Some(command) => return Ok(command),
                None => {}
            }
        }
    }

    fn revoke(&mut self, lease: LeaseId, reason: &str) {
        info!(%lease, reason, "revoked");
        if let Some(revoked) = self.revocations.get(&lease) {
            revoked.cancel();
        }
        self.waiting.retain(|command| !is_lease(command, lease));
    }

    /// Where the coordinator is told things.
    pub(crate) fn events(&self) -> mpsc::Sender<pb::WorkerEvent> {
        self.events.clone()
    }
}

fn broken(status: Status) -> WorkerError {
    let message = status.message().to_owned();
    match status.code() {
        // It would be said again.
        Code::InvalidArgument | Code::Unimplemented => WorkerError::Declined(message),
        _ => WorkerError::Broken(message),
    }
}

fn is_lease(command: &ToWorker, id: LeaseId) -> bool {
    matches!(command, ToWorker::Lease { lease, .. } if *lease == id)
}
