//! The handle to the actor: its inbox, and the published status of the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart::exit::Exit;
use headstart::id::WorkerId;
use headstart::message::{Join, ToWorker};
use tokio::sync::{mpsc, oneshot, watch};

use crate::event::{Event, Refused, SegmentUse};
use crate::events::EventLog;
use crate::history::History;
use crate::holdup::Arrivals;
use crate::machine::Snapshot;
use crate::meter::Meter;
use crate::record::Speed;

use super::observers::Told;

/// Capacity of a worker's command queue. The session of a worker whose queue is full is closed.
const OUTBOX: usize = 256;

/// Sends events to the actor, and reads the status that it publishes.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) inbox: mpsc::Sender<Mail>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) workers: Arc<AtomicU64>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) meter: Arc<Meter>,
    pub(super) events: Arc<EventLog>,
    pub(super) history: Arc<History>,
    /// When the actor's loop last turned, in milliseconds since the run began.
    pub(super) turned: Arc<AtomicU64>,
}

/// Bytes of bulk payload since the run began.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Partials received.
    pub up: AtomicU64,
    /// Weights sent.
    pub down: AtomicU64,
    /// Partials of the step that is being reduced, by lease.
    pub arrivals: Arrivals,
}

/// The run as people see it.
#[derive(Clone, Debug)]
pub struct Status {
    pub snapshot: Snapshot,
    /// Of the last step.
    pub speed: Speed,
    /// How the run ended, once it has.
    pub ended: Option<(Exit, String)>,
    /// What a stopped run left behind.
    pub kept: Option<String>,
    /// What is going wrong, or slow.
    pub told: Told,
}

/// An event on its way to the actor.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) event: Event,
    pub(super) answer: Option<oneshot::Sender<Result<SegmentUse, Refused>>>,
    pub(super) outbox: Option<mpsc::Sender<ToWorker>>,
}

/// The coordinator has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator is shutting down")]
pub struct Gone;

impl Handle {
    /// Reports something; waits while the inbox is full.
    pub async fn tell(&self, event: Event) -> Result<(), Gone> {
        self.inbox.send(Mail { event, answer: None, outbox: None }).await.map_err(|_| Gone)
    }

    /// Reports something that is answered.
    pub async fn ask(&self, event: Event) -> Result<Result<SegmentUse, Refused>, Gone> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Mail { event, answer: Some(answer), outbox: None }).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Opens a worker's session: its number, and the commands for it until the session is closed.
    pub async fn join(&self, join: Join) -> Result<(WorkerId, mpsc::Receiver<ToWorker>), Gone> {
        let worker = WorkerId(self.workers.fetch_add(1, Ordering::Relaxed) + 1);
        let (outbox, commands) = mpsc::channel(OUTBOX);
        let event = Event::Joined(worker, join);
        self.inbox.send(Mail { event, answer: None, outbox: Some(outbox) }).await.map_err(|_| Gone)?;
        Ok((worker, commands))
    }

    /// Follows the status.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Where bulk bytes are counted.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Where durations and what is in flight are measured.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// What has happened so far.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// The metrics so far, committed or not; thinned out where they are many.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// When the actor's loop last turned, as its clock has it.
    pub fn turned(&self) -> Duration {
        Duration::from_millis(self.turned.load(Ordering::Relaxed))
    }

    pub(super) fn turn(&self, now: Duration) {
        self.turned.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Events that wait for the loop.
    pub fn queued(&self) -> usize {
        self.inbox.max_capacity() - self.inbox.capacity()
    }
}
