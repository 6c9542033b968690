//! A worker's life: one session after the other, until the coordinator says stop.
//!
//! A session that breaks is an immediate leave: the coordinator leases the worker's node to another. The worker comes back
//! as a new one, but with the network, the trainer and the loader that it has.

use std::convert::Infallible;
use std::sync::Arc;

use headstart::id::Version;
use headstart::message::{FromWorker, Ready, Welcome};
use headstart::wire::channel::endpoint;
use tokio::time::Instant;
use tonic::transport::Channel;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::backoff::{Backoff, PATIENCE};
use crate::control::Control;
use crate::error::WorkerError;
use crate::exchange::Exchange;
use crate::member::Worker;
use crate::prepare::Prepared;
use crate::settings::Settings;
use crate::times::Times;
use crate::trainer::MakeTrainer;

/// Takes part in a run until it is over. An `Err` of [`WorkerError::Stopped`] with `Finished` is the good ending.
pub async fn run(settings: Settings, make: MakeTrainer) -> Result<(), WorkerError> {
    if let Err(error) = endpoint(&settings.coordinator) {
        let reason = format!("{error}; write http://host:port");
        return Err(WorkerError::Unreachable { url: settings.coordinator, reason });
    }
    let mut backoff = Backoff::new(&settings.name, Instant::now());
    let mut life = Life { settings, make, prepared: None, joined: None };
    loop {
        let Err(error) = life.session().await;
        if !error.passes() {
            return Err(error);
        }
        match backoff.next(life.joined.take(), Instant::now()) {
            None => return Err(error.after(PATIENCE)),
            Some(pause) => {
                match error {
                    WorkerError::Unreachable { .. } => debug!(%error, ?pause, "not reachable"),
                    _ => warn!(%error, ?pause, "the session is over; joining again"),
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// What outlasts a session.
struct Life {
    settings: Settings,
    make: MakeTrainer,
    prepared: Option<Prepared>,
    /// When the session began, if there is or was one.
    joined: Option<Instant>,
}

impl Life {
    /// One session, from dialling to its end.
    async fn session(&mut self) -> Result<Infallible, WorkerError> {
        let (control, welcome) = Control::join(self.dial().await?, &self.settings).await?;
        self.joined = Some(Instant::now());
        let span = info_span!("session", worker = welcome.worker.0, run_id = welcome.run_id);
        self.attend(control, welcome).instrument(span).await
    }

    async fn attend(&mut self, mut control: Control, welcome: Welcome) -> Result<Infallible, WorkerError> {
        info!(worker = %welcome.worker, run = welcome.run_id, "joined");
        let exchange = Exchange::new(self.dial().await?, welcome.run_id.clone());
        let times = Arc::new(Times::default());
        let _heartbeat = control.start_heartbeat(welcome.heartbeat, times.clone());
        let version = self.prepare(&mut control, &welcome, &exchange, &times).await;
        let version = leave_on_error(&control, version).await?;
        let prepared = self.prepared.as_ref().expect("it was prepared just now");
        let mut worker = Worker::new(prepared, &welcome, exchange, times, version, control.events());
        if worker.follows() {
            // Before steps wait for this worker, or pass without it.
            leave_on_error(&control, prepared.complete_replica().await).await?;
        }
        let ready = Ready { follows: worker.follows(), ..prepared.ready.clone() };
        control.say(FromWorker::Ready(ready)).await?;
        worker.follow();
        control.work(worker).await
    }

    /// Loads what is not loaded yet. Returns the version of the trainer's weights, where it is known.
    async fn prepare(
        &mut self,
        control: &mut Control,
        welcome: &Welcome,
        exchange: &Exchange,
        times: &Times,
    ) -> Result<Option<Version>, WorkerError> {
        if let Some(prepared) = &self.prepared {
            prepared.check_run(welcome)?;
            if prepared.suits(welcome) {
                return Ok(None);
            }
        }
        // Two networks may be more than this machine can hold.
        self.prepared = None;
        let mut loading = std::pin::pin!(Prepared::load(&self.settings, welcome, exchange, times, self.make));
        let prepared = tokio::select! {
            biased;
            prepared = &mut loading => prepared?,
            ended = control.ended() => match ended.passes() {
                // What took minutes to load serves the next session.
                true => loading.await?,
                false => return Err(ended),
            },
        };
        self.prepared = Some(prepared);
        Ok(Some(Version(0)))
    }

    async fn dial(&self) -> Result<Channel, WorkerError> {
        let url = &self.settings.coordinator;
        let unreachable = |error: tonic::transport::Error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let reason = format!("{error}{}", source.unwrap_or_default());
            WorkerError::Unreachable { url: url.clone(), reason }
        };
        let endpoint = endpoint(url).map_err(unreachable)?;
        self.settings.platform.connector.connect(&endpoint).await.map_err(unreachable)
    }
}

/// Tells the coordinator why this worker leaves; if it is gone, it does not need to know.
async fn leave_on_error<T>(control: &Control, outcome: Result<T, WorkerError>) -> Result<T, WorkerError> {
    if let Err(error) = &outcome {
        let _ = control.say(FromWorker::Leaving { reason: error.to_string() }).await;
    }
    outcome
}
