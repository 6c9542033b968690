//! Why an adapter cannot be made or read.

use crate::checkpoint::CheckpointError;
use crate::exit::Exit;

/// Why an adapter cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A name that no module ends with.
    #[error("{key}: {name:?} is no module of this network that can be {done}; there are {known}")]
    Unknown {
        /// The run file's key.
        key: &'static str,
        name: String,
        /// What was to become of it: adapted, or saved.
        done: &'static str,
        /// Those that would do.
        known: String,
    },
    /// A module outside of the layers.
    #[error(
        "lora_target_modules: {name:?} names the head, and only linear modules of the layers are adapted; to train it whole, \
         list it under lora_modules_to_save"
    )]
    Head { name: String },
    /// A layer that is not there.
    #[error("layers_to_transform: the network has {depth} layers, numbered from 0, and no layer {layer}")]
    NoSuchLayer { layer: u32, depth: usize },
    /// A module that would be trained twice.
    #[error("{module:?} is adapted and would be saved whole by lora_modules_to_save: choose one of them")]
    Both { module: String },
    /// More elements than any machine holds.
    #[error("lora_r: {rank} makes an adapter of more than 2^40 elements")]
    TooLarge { rank: u64 },
    /// The adapter to continue from does not fit the network.
    #[error("{url} does not fit base_model: {reason}")]
    OfAnother {
        url: String,
        /// In words.
        reason: String,
    },
    /// A key of `adapter_config.json` that is wrong or missing.
    #[error("{url}/adapter_config.json: {key} is {found}, expected {expected}")]
    Config {
        url: String,
        key: &'static str,
        /// What is there, in JSON.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A key of the run file that the adapter contradicts.
    #[error(
        "{key} is {given}, but the adapter in {url} has {found}: remove {key}, or choose another lora_model_dir"
    )]
    Disagrees {
        key: &'static str,
        given: String,
        url: String,
        /// What the adapter has.
        found: String,
    },
    /// Its files cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl AdapterError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            AdapterError::Unknown { .. }
            | AdapterError::Head { .. }
            | AdapterError::NoSuchLayer { .. }
            | AdapterError::Both { .. }
            | AdapterError::TooLarge { .. } => Exit::Usage,
            AdapterError::OfAnother { .. } | AdapterError::Config { .. } | AdapterError::Disagrees { .. } => {
                Exit::Checkpoint
            }
            AdapterError::Checkpoint(error) => error.exit(),
        }
    }
}
