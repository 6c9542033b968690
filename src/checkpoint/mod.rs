//! HF checkpoint directories in and out.
//!
//! [`Checkpoint::open`] reads config and headers, [`Checkpoint::resolve`] matches tensors to the model's parameters,
//! [`Checkpoint::load`] reads them; [`write_model`] and [`copy_files`] make a directory that transformers opens.

pub mod config_text;
mod error;
mod header;
mod hub;
mod load;
mod open;
mod progress;
mod resolve;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tied;
mod values;
mod write;

pub use error::{CheckpointError, HeaderProblem};
pub use header::Dtype;
pub(crate) use open::json;
pub use open::{Checkpoint, TensorEntry, TensorFile};
pub use progress::{Loading, Progress};
pub use resolve::{Mismatch, Resolution};
pub use values::Values;
pub use write::{
    Content, HashedFile, SHARD_BYTES, ToWrite, WrittenFile, copy_files, safetensors_header, weights_hash,
    write_model,
};
