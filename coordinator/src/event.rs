//! What happens to the machine, and what it wants done.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use headstart::checkpoint::Loading;
use headstart::exit::Exit;
use headstart::id::{LeaseId, Step, Version, WorkerId};
use headstart::manifest::RunState;
use headstart::message::{
    Failure, GoldenRow, Join, PartialId, Pass, ProbedRow, Ready, TimeBreakdown, ToWorker, Totals, Work,
};
use headstart::probe::Probed;
use headstart::tree::Tree;

use crate::master::{Applied, NotFinite};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A worker opened a session.
    Joined(WorkerId, Join),
    /// A worker can compute.
    Ready(WorkerId, Ready),
    /// Heartbeat of a worker, with its time breakdown.
    Heard(WorkerId, TimeBreakdown),
    /// How far a worker has loaded the checkpoint.
    Loading(WorkerId, Loading),
    /// A worker could not compute a lease.
    LeaseFailed(WorkerId, LeaseId, Failure),
    /// A session ended, politely or not.
    Left(WorkerId, String),
    /// A worker has computed a lease; its partial is on its way.
    Computed(WorkerId, LeaseId),
    /// A worker's replica has caught up with this version.
    Current(WorkerId, Version),
    /// A partial begins to arrive, with these sums beside it. Answered.
    PushBegun(PartialId, Totals, Offer),
    /// All segments of a partial have been added, or only hashed, as the machine wanted; their hash, where it was wanted.
    /// Answered.
    PushEnded(PartialId, Totals, Option<u128>),
    /// A partial that had begun to arrive will not be complete. Its lease lasts until the machine ends it.
    PushBroke(PartialId, Unfit),
    /// The update the machine asked for is done.
    Updated(Step, Result<Applied, NotFinite>),
    /// The commit that the machine asked for is made.
    Committed,
    /// The last state is committed, and the final weights are published.
    Concluded,
    /// `final/` is written.
    Finished,
    /// A client or a signal asks for the end of the run.
    StopRequested {
        reason: String,
        /// The exit code it ends with.
        exit: Exit,
    },
    /// What a stop leaves behind is written.
    Exported,
    /// Something outside the machine failed for good.
    Failed(Exit, String),
    /// Time passed.
    Tick,
    /// The probe has been judged, or there is a reason why it cannot be.
    Judged(Box<Result<Probed, String>>),
}

/// What a worker says of a partial that it begins to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Hash of the weights that it computed with, if it keeps a replica.
    pub weights: Option<u128>,
    /// Whether it still computes.
    pub computing: bool,
}

/// Why a partial that the machine wanted could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is no room for it before partials of other nodes are in.
    Crowded,
    /// One of its values is non-finite.
    NotFinite,
}

/// Something to be done, in order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Answers the event, if it is one that is answered.
    Answer(Result<SegmentUse, Refused>),
    /// Sends to a worker.
    Send(WorkerId, ToWorker),
    /// Ends a worker's session after what was sent.
    Close(WorkerId),
    /// Prepares the reduction of a step.
    OpenStep(Step, Tree),
    /// Two workers, here by name, have computed different gradients; the step waits for a third one.
    Disputed { work: Work, workers: Vec<String> },
    /// Sums are complete: update the weights.
    Update {
        step: Step,
        /// What the gradient sum is divided by.
        divisor: u64,
        learning_rate: f64,
    },
    /// A fact for the ledger and the metrics.
    Record(Record),
    /// Keep a copy of the current weights as the best ones.
    KeepBest(Version),
    /// Commit the current state of the run, in the background.
    Commit(RunState),
    /// Commit the last state, and publish the final weights as `final/` will store them.
    Conclude {
        /// The best evaluated ones rather than the last.
        best: bool,
        /// The machine's part of the state.
        standing: RunState,
    },
    /// Write the final weights, and these rows beside them.
    Finish(Vec<GoldenRow>),
    /// Commit the state of an unfinished run, and write its weights.
    Export(RunState),
    /// Say what these rows of the first weights, and as many of those that they are compared with, show; or why there are none.
    Judge(Result<Vec<ProbedRow>, String>),
    /// The run is over.
    End(Exit, String),
}

/// A fact about the run that depends on the run file, checkpoint and data alone, plus throughput counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Step {
        /// Its number, from 0.
        step: Step,
        /// Sums over its samples.
        totals: Box<Totals>,
        /// Metrics beside the loss, by name.
        metrics: BTreeMap<&'static str, f64>,
        /// Learning rate used.
        learning_rate: f64,
        /// What it did.
        applied: Applied,
        /// Shards skipped because they are non-finite, and their rows.
        skipped: BTreeMap<u32, Vec<u64>>,
        /// Workers that were ready.
        workers: usize,
    },
    Eval {
        /// The weights judged.
        version: Version,
        /// Metrics by name, without the `eval_` prefix.
        metrics: BTreeMap<&'static str, f64>,
        /// Rows judged.
        samples: u64,
    },
}

/// What is to be done with a partial's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentUse {
    /// They are added to the sum.
    Sum,
    /// They are added, and hashed to be compared with another worker's.
    SumAndHash,
    /// They are hashed only: another worker's were added.
    Hash,
}

impl SegmentUse {
    /// Whether segments are added.
    pub fn adds(self) -> bool {
        self != SegmentUse::Hash
    }

    /// Whether segments are hashed.
    pub fn hashes(self) -> bool {
        self != SegmentUse::Sum
    }
}

/// Why a partial is not wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The lease has ended, expired, or belongs to another worker.
    #[error("{lease} is not held by {worker}")]
    NotLeased {
        lease: LeaseId,
        /// Who sent it.
        worker: WorkerId,
    },
    /// The lease is about something else.
    #[error("{lease} is about {leased}, not {sent}")]
    OtherWork {
        lease: LeaseId,
        /// What was leased.
        leased: String,
        /// What was sent.
        sent: String,
    },
    /// It was computed from other weights than the run's.
    #[error(
        "{worker} computed {work} from weights that hash to {found:032x}; the run's hash to {expected:032x}"
    )]
    OtherWeights {
        worker: WorkerId,
        /// What it computed.
        work: String,
        /// Hash of its weights.
        found: u128,
        /// Hash of ours.
        expected: u128,
    },
    /// The sums cannot be right: no samples, more than the node has, or a loss that is no number.
    #[error("{0}")]
    Implausible(String),
    /// Another run, or another coordinator's term.
    #[error("the partial belongs to run {sent}, this is run {ours}")]
    OtherRun {
        /// The sender's.
        sent: String,
        /// Ours.
        ours: String,
    },
}

/// In words, for messages.
pub fn describe(work: &Work) -> String {
    match work.pass {
        Pass::Train => format!("{}, {}", work.step, work.node),
        Pass::Eval => format!("evaluation of {}, {}", work.version, work.node),
        Pass::Golden => format!("rows of the final weights, {}", work.node),
        Pass::Probe => format!("probe, {}", work.node),
    }
}
