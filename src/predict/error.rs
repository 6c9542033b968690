//! Why nothing can be predicted.

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::exit::Exit;
use crate::network::NetworkError;
use crate::store::StoreError;

/// Why nothing can be predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// Nothing says which model is meant.
    #[error(
        "--model is missing: give a checkpoint's directory, or --adapter with an adapter that names its base"
    )]
    NoModel,
    /// An option for models of another task.
    #[error("{option} has no effect on a model for {task}: leave it out")]
    NoEffect {
        option: &'static str,
        /// Of the model.
        task: &'static str,
    },
    /// An adapter that does not name its base.
    #[error("{adapter}: adapter_config.json has no base_model_name_or_path; give the base as --model")]
    NoBase { adapter: String },
    /// The base that an adapter names cannot be opened.
    #[error(
        "{adapter}/adapter_config.json: the base, base_model_name_or_path, is {base:?}: {error}; give the base as --model"
    )]
    Base { adapter: String, base: String, error: Box<PredictError> },
    /// A base for what needs none.
    #[error("{directory} holds a whole model: --model has no effect, leave it out")]
    NotAdapter { directory: String },
    /// An adapter in the place of a model.
    #[error("{model} holds an adapter, not a model: give it as --adapter")]
    IsAdapter { model: String },
    /// A network whose outputs have no meaning here.
    #[error(
        "{model}/config.json: architectures is {found}; predict needs one that ends in ForSequenceClassification, \
         ForImageClassification or ForCausalLM"
    )]
    Architecture {
        model: String,
        /// What is there.
        found: String,
    },
    /// Outputs that are not scores of classes of which one is right.
    #[error(
        "{model}/config.json: {reason}; predict needs a classifier that chooses one of at least two labels"
    )]
    NoClasses { model: String, reason: String },
    /// Weights that are not there would be drawn at random.
    #[error(
        "{model}: no tensor {parameter:?}, or one of another shape; without it predictions would be random. Train the \
         model first, or give its adapter as --adapter"
    )]
    Incomplete {
        model: String,
        /// The first that is missing.
        parameter: String,
    },
    /// A token that the model does not know.
    #[error("token {token} is beyond the model's vocab_size {vocab}")]
    Token { token: u32, vocab: u64 },
    /// A result that is no number.
    #[error("{url}, row {row} at byte {offset}: the model's output is not finite; its weights are damaged")]
    NotFinite { url: String, row: u64, offset: u64 },
    /// A row that does not become tokens or pixels.
    #[error("{url}, row {row} at byte {offset}: {reason}")]
    Row {
        url: String,
        row: u64,
        /// First byte in the file, unpacked.
        offset: u64,
        reason: String,
        /// What the program exits with.
        exit: Exit,
    },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Data(#[from] DataError),
}

impl From<CheckpointError> for PredictError {
    fn from(error: CheckpointError) -> Self {
        NetworkError::from(error).into()
    }
}

impl From<StoreError> for PredictError {
    fn from(error: StoreError) -> Self {
        CheckpointError::from(error).into()
    }
}

impl PredictError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            PredictError::NoModel
            | PredictError::NoEffect { .. }
            | PredictError::NoBase { .. }
            | PredictError::NotAdapter { .. }
            | PredictError::IsAdapter { .. } => Exit::Usage,
            PredictError::Architecture { .. }
            | PredictError::NoClasses { .. }
            | PredictError::Incomplete { .. }
            | PredictError::Token { .. }
            | PredictError::NotFinite { .. } => Exit::Checkpoint,
            PredictError::Base { error, .. } => error.exit(),
            PredictError::Row { exit, .. } => *exit,
            PredictError::Network(error) => error.exit(),
            PredictError::Data(error) => error.exit(),
        }
    }
}
