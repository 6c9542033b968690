//! Gradients with libtorch. Nothing outside this folder knows about tensors.
//!
//! A network is a chain of blocks: embed, layers, head; `network` builds it from a blueprint and `parts`, over the tokens of all
//! `rows` end to end. `step` runs it forward block by block, each seeded by what it computes, and backward from the last block
//! to the first. `parameters` ties tensors to the flat trainable vector, and `gradient` takes what a step finds.
//!
//! A device has a copy of the weights that train (`staged`) and a shard's gradient (`device_gradient`), each in one tensor
//! (`padded`). What crosses between it and the host goes through `bus`.

mod bus;
mod canary;
mod device;
mod device_gradient;
mod dropout;
mod environment;
mod gradient;
mod host;
mod lookup;
mod network;
mod objective;
mod padded;
mod parameters;
mod parts;
mod rows;
mod shim;
mod staged;
mod step;
#[cfg(test)]
mod tests;
mod trainer;

pub use device::choose_device;
pub use environment::fix_environment;
pub use trainer::{TorchTrainer, describe, make_trainer};

use crate::trainer::TrainError;

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        // libtorch appends a C++ stack trace; its first line says what is wrong.
        let text = error.to_string();
        TrainError::Torch(text.lines().next().unwrap_or_default().to_owned())
    }
}
