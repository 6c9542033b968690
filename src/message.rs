//! What coordinator and worker say to each other, as domain types. [`crate::wire`] carries them.

use std::time::Duration;

use crate::checkpoint::Loading;
use crate::id::{CoordinatorEpoch, LeaseId, Step, Version, WorkerId};
use crate::shared_memory::Address;
use crate::tree::Node;

/// Between the name of a worker that rests and why it does, in what people read of it.
pub const IDLES: &str = " idles: ";

/// What a lease computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Gradients of a step.
    Train,
    /// Metrics over the evaluation rows.
    Eval,
    /// Log probabilities of some rows under the final weights, so that any server of them can be checked.
    Golden,
    /// What the first weights, and those they are compared with, make of some training rows.
    Probe,
}

/// What a network makes of a row before it is trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbedRow {
    /// Of a classifier, the vector that its head would read, `[hidden]`. Of a language model, the negative log likelihood, in
    /// nats, of each trained token that stands for text.
    pub values: Vec<f32>,
    /// Language models: these tokens.
    pub token_ids: Vec<u32>,
    /// Language models: the number of tokens of the row before each of them.
    pub before: Vec<u32>,
    /// Language models: bytes of UTF-8 text that these tokens are.
    pub bytes: u64,
}

/// A row's tokens and how likely each was to follow the ones before it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GoldenRow {
    /// The text of exactly these tokens.
    pub prompt: String,
    pub token_ids: Vec<u32>,
    /// Of each token but the first: the natural logarithm of its probability after the tokens before it.
    pub logprobs: Vec<f32>,
}

impl GoldenRow {
    /// Most tokens of a row; a longer one is cut.
    pub const LONGEST: usize = 256;
}

/// One node of one step (or of the evaluation of one weights version).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Gradients or metrics.
    pub pass: Pass,
    /// The step; in evaluation, the number of updates judged.
    pub step: Step,
    /// The shards.
    pub node: Node,
    /// The weights to compute with.
    pub version: Version,
}

/// Sums over the samples of a node. Added along the canonical tree like gradients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Number of samples.
    pub samples: u64,
    /// What loss and gradient are divided by. The objective decides what is counted: for classification, samples.
    pub divisor: u64,
    /// Sum of the losses of everything that `divisor` counts.
    pub loss: f64,
    /// Classification, in evaluation: true positives of each label, then predictions of each, then actual rows of each.
    /// Language models: tokens predicted right.
    pub counts: Vec<u64>,
    /// Sums of further measures, as the objective orders them. For language models: negative log likelihoods, entropies.
    pub measures: Vec<f64>,
    /// Unmasked input tokens; images count as one each.
    pub tokens: u64,
    /// [`Pass::Golden`]: what was computed, in the order of shards.
    pub golden: Vec<GoldenRow>,
    /// [`Pass::Probe`]: the same.
    pub probed: Vec<ProbedRow>,
    /// Time a worker computed. Never part of a result.
    pub compute: Duration,
}

impl Totals {
    /// `left + right`, in the tree's order.
    pub fn merge(left: Totals, right: Totals) -> Totals {
        fn added<T: Copy + std::ops::Add<Output = T>>(left: Vec<T>, right: Vec<T>) -> Vec<T> {
            match (left.is_empty(), right.is_empty()) {
                (true, _) => right,
                (_, true) => left,
                _ => left.iter().zip(&right).map(|(&left, &right)| left + right).collect(),
            }
        }
        Totals {
            samples: left.samples + right.samples,
            divisor: left.divisor.saturating_add(right.divisor),
            loss: left.loss + right.loss,
            counts: added(left.counts, right.counts),
            measures: added(left.measures, right.measures),
            golden: left.golden.into_iter().chain(right.golden).collect(),
            probed: left.probed.into_iter().chain(right.probed).collect(),
            tokens: left.tokens.saturating_add(right.tokens),
            compute: left.compute.saturating_add(right.compute),
        }
    }

    /// The mean loss; 0 where nothing was counted.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.divisor.max(1) as f64
    }
}

/// Everything that must be equal on two machines for equal bits.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NumericClass {
    /// Version of this program.
    pub headstart: String,
    /// Version of libtorch, or the name of a stand-in.
    pub libtorch: String,
    /// Device kind: `cpu`, or a GPU's name.
    pub device: String,
    /// Instruction set in force.
    pub instructions: String,
    pub threads: u32,
    /// Arithmetic of the forward and backward pass.
    pub precision: String,
}

/// A worker asks to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// For people: host and process.
    pub name: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Memory it may use for accumulators.
    pub memory: u64,
}

/// A worker has loaded the checkpoint and can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its numeric class.
    pub class: NumericClass,
    /// Hash of gradients on synthetic weights and inputs, and of what the worker read: the first values of what trains, and
    /// the tokenizer or image processor.
    pub canary: u128,
    /// Hash of the numbers of the frozen weights, whatever they are stored in; `None` if everything trains.
    pub base: Option<u128>,
    /// Hash of the parameter table it built.
    pub parameters: String,
    /// Whether it keeps a replica of weights and optimizer state, which has to catch up first.
    pub follows: bool,
}

/// How a worker has spent its time since it was ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeBreakdown {
    /// Computing.
    pub compute: Duration,
    /// Pushing and pulling.
    pub transfer: Duration,
    /// Without a lease.
    pub wait: Duration,
}

/// What a worker says on its session.
#[derive(Clone, Debug, PartialEq)]
pub enum FromWorker {
    /// First message.
    Join(Join),
    /// The checkpoint is loaded and the canary has run.
    Ready(Ready),
    /// Still alive; and how far its checkpoint is loaded.
    Heartbeat(TimeBreakdown, Loading),
    /// A lease could not be computed.
    LeaseFailed {
        /// Which.
        lease: LeaseId,
        failure: Failure,
    },
    /// A lease is computed; its partial is on its way.
    Computed(LeaseId),
    /// Its replica has caught up with this version.
    Current(Version),
    /// A polite goodbye.
    Leaving { reason: String },
}

/// Why a lease could not be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Computing failed on this worker; the text names file, row or tensor.
    Error(String),
    /// A shard's loss or gradient is NaN or infinite.
    NotFinite {
        /// The shard.
        shard: u32,
    },
    /// A row cannot be used on any worker.
    Data(String),
    /// An object could not be read.
    Storage(String),
    /// A sum of several shards is NaN or infinite, though each of them is finite.
    SumNotFinite,
}

/// What the coordinator says on a session.
#[derive(Clone, Debug, PartialEq)]
pub enum ToWorker {
    /// Answer to `Join`.
    Welcome(Welcome),
    /// Compute this.
    Lease {
        lease: LeaseId,
        /// What to compute.
        work: Work,
        /// Shards of it that count as zero.
        skipped: Vec<u32>,
        /// The coordinator's span of this lease, as W3C trace context; `None` where spans are not sent.
        traceparent: Option<String>,
    },
    /// Forget this lease.
    Revoke {
        /// Which.
        lease: LeaseId,
        reason: String,
    },
    /// New weights can be pulled.
    Publish(Version),
    /// Keep a replica again.
    Follow {
        /// The one that there is differs from the coordinator's weights.
        anew: bool,
    },
    /// Drop the replica: the run goes on faster without this worker.
    Rest { reason: String },
    /// The session is over.
    Stop {
        /// Kind of ending.
        reason: StopReason,
        /// In words.
        detail: String,
    },
}

/// Everything a worker needs to build the network and read the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    pub run_id: String,
    /// The coordinator's term.
    pub epoch: CoordinatorEpoch,
    /// The worker's number.
    pub worker: WorkerId,
    /// The resolved run file as JSON.
    pub spec_json: String,
    pub labels: Vec<String>,
    /// Hash of the parameter table.
    pub parameters: String,
    /// How often to send a heartbeat.
    pub heartbeat: Duration,
    /// Training rows.
    pub train_rows: u64,
    /// Evaluation rows.
    pub eval_rows: u64,
    /// Where the coordinator's weights lie, for workers on the same machine.
    pub memory: Option<Address>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The run is complete.
    Finished,
    /// A person or a signal ended it.
    Stopped,
    /// The run failed.
    Failed,
    /// This worker cannot take part.
    Refused,
    /// This worker would change bits.
    NumericClass,
    /// This worker read other frozen weights than the run's.
    OtherBase,
}

/// Names a partial on the bulk plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialId {
    pub run_id: String,
    /// The coordinator's term.
    pub epoch: CoordinatorEpoch,
    /// Who sends it.
    pub worker: WorkerId,
    /// The lease it ends.
    pub lease: LeaseId,
    /// What was computed.
    pub work: Work,
}
