//! Why a checkpoint's configuration cannot be used.

use crate::exit::Exit;
use crate::run_file::Task;

/// What is wrong with `config.json` or with the settings of an image processor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The file holds something other than a JSON object.
    #[error("the file holds no JSON object")]
    NotAnObject,
    /// A key without which the network is undefined.
    #[error("key {key:?} is missing")]
    Missing { key: &'static str },
    /// A value of the wrong type or out of range.
    #[error("{key}: expected {expected}, found {found}")]
    Wrong {
        key: &'static str,
        /// What would do.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The same inside an object.
    #[error("{key}: {error}")]
    Within { key: &'static str, error: Box<ModelError> },
    /// A network this program does not know.
    #[error("model_type {found} is not supported yet; supported are {known}")]
    UnknownModel {
        /// The checkpoint's `model_type`, in JSON.
        found: String,
        /// Those that would do.
        known: String,
    },
    /// The network cannot do the task.
    #[error("a {model_type} network cannot do task {}; choose a checkpoint of type {needed}", task.name())]
    WrongTask {
        /// The checkpoint's `model_type`.
        model_type: &'static str,
        /// The run's task.
        task: Task,
        /// The types that can do the task.
        needed: String,
    },
    /// Attention heads must share the hidden vector equally.
    #[error("{} {hidden} is not divisible by {} {heads}", keys[0], keys[1])]
    Heads {
        /// The keys that hold the two.
        keys: [&'static str; 2],
        /// Elements of a hidden vector.
        hidden: u64,
        heads: u64,
    },
    /// An image must hold at least one patch.
    #[error("patch_size {patch:?} is larger than image_size {image:?}")]
    Patch {
        /// Height and width of a patch.
        patch: [u64; 2],
        /// Height and width of an image.
        image: [u64; 2],
    },
    /// The image processor makes images that the network does not take.
    #[error(
        "images become {found}, but the network takes {} × {} (height × width, image_size in config.json)",
        expected[0], expected[1]
    )]
    ImageSize {
        /// The size that the image processor makes, in words.
        found: String,
        /// Height and width that the network takes.
        expected: [u32; 2],
    },
    /// A setting that would change the result.
    #[error("{what} is not supported yet")]
    NotSupported {
        /// The key and its value.
        what: String,
    },
    /// Classification needs two labels or more.
    #[error("{0} labels: classification needs at least 2")]
    Labels(usize),
    /// More elements than any machine holds.
    #[error("the network would have more than 2^40 weights")]
    TooLarge,
}

impl ModelError {
    /// The exit code of a program that ends with this error.
    pub fn exit(&self) -> Exit {
        Exit::Checkpoint
    }
}
