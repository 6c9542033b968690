//! What the gRPC services stand on, and which status a refusal becomes.

use std::sync::Arc;

use bytes::Bytes;
use headstart::id::CoordinatorEpoch;
use headstart::wire;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::actor::{Gone, Handle};
use crate::event::Refused;
use crate::master::{Master, Overtaken};
use crate::reduce::{self, Reducer};

/// What the services need.
#[derive(Clone)]
pub struct Services {
    pub handle: Handle,
    /// Where partials go.
    pub reducer: Arc<Reducer>,
    /// Where weights come from.
    pub master: Arc<Master>,
    pub facts: Arc<Facts>,
    /// The turn of workers that receive the state.
    pub(crate) joining: Arc<Semaphore>,
}

/// What never changes during a run.
#[derive(Debug)]
pub struct Facts {
    /// Name of the run.
    pub run_id: String,
    /// This coordinator's term.
    pub epoch: CoordinatorEpoch,
    /// URL everything is written under.
    pub output_dir: String,
    /// Parameters that train.
    pub trainable: u64,
    /// Rows of the training and of the evaluation data.
    pub rows: [u64; 2],
    /// Updates to apply, and those of one pass over the training data.
    pub total_steps: u64,
    pub steps_per_epoch: u64,
    /// The encoded row index of the training data.
    pub train_index: Bytes,
    /// That of the evaluation data.
    pub eval_index: Bytes,
}

impl Services {
    /// Whether a request is about this run.
    pub(crate) fn same_run(&self, run_id: &str) -> Result<(), Status> {
        match run_id == self.facts.run_id {
            true => Ok(()),
            false => Err(Status::failed_precondition(format!("this is run {}", self.facts.run_id))),
        }
    }
}

impl From<Gone> for Status {
    fn from(gone: Gone) -> Self {
        Status::unavailable(gone.to_string())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let text = wire::clip(&refused.to_string());
        match refused {
            Refused::NotLeased { .. } | Refused::OtherRun { .. } | Refused::OtherWeights { .. } => {
                Status::failed_precondition(text)
            }
            Refused::OtherWork { .. } | Refused::Implausible(_) => Status::invalid_argument(text),
        }
    }
}

impl From<reduce::Refused> for Status {
    fn from(refused: reduce::Refused) -> Self {
        let text = refused.to_string();
        match refused {
            reduce::Refused::WrongStep(_) => Status::failed_precondition(text),
            reduce::Refused::NotANode(_) | reduce::Refused::NoSegment(_) => Status::invalid_argument(text),
            reduce::Refused::Crowded(_) => Status::resource_exhausted(text),
        }
    }
}

impl From<Overtaken> for Status {
    fn from(overtaken: Overtaken) -> Self {
        Status::failed_precondition(overtaken.to_string())
    }
}
