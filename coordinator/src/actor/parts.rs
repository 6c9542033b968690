//! What an actor is made of.

use std::sync::Arc;

use headstart::plan::Plan;
use headstart::store::Outages;

use crate::clock::Clock;
use crate::commit::Committer;
use crate::events::EventLog;
use crate::journal::save::Best;
use crate::machine::Machine;
use crate::master::Master;
use crate::probe::{Probe, TooFew};
use crate::record::Records;
use crate::reduce::Reducer;

/// What an actor is made of.
pub struct Parts {
    /// The run's decisions.
    pub machine: Machine,
    pub master: Arc<Master>,
    pub reducer: Arc<Reducer>,
    /// Writes what remains of a run.
    pub committer: Arc<Committer>,
    pub plan: Plan,
    /// Ledger and metrics.
    pub records: Records,
    /// What was written of events before, and this coordinator's term.
    pub events: (EventLog, u64),
    /// The best evaluated weights so far, where they may be written at the end.
    pub best: Option<Best>,
    /// What the probe that the machine begins with is judged with, or why a run that should have one begins with none.
    pub probe: Result<Option<Probe>, TooFew>,
    /// Servers that do not answer.
    pub outages: Outages,
    pub clock: Clock,
}
