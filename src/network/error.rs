//! Why a network cannot be built.

use crate::adapter::AdapterError;
use crate::chat::ChatError;
use crate::checkpoint::CheckpointError;
use crate::exit::Exit;
use crate::model::ModelError;
use crate::model::tokenizer::TokenizerError;
use crate::store::StoreError;
use crate::trainable::LayoutError;

/// Why a network cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The checkpoint cannot be read or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its configuration describes no network this program knows.
    #[error("{url}/{file}: {error}")]
    Model {
        url: String,
        /// The file that says so.
        file: &'static str,
        error: ModelError,
    },
    /// The tokenizer marks the second text of a pair, which the network has no embedding for.
    #[error(
        "{url}: its type_vocab_size is {types}, but text_pair_column needs 2: one type for each text of a pair"
    )]
    TokenTypes { url: String, types: u64 },
    /// A key of `model_overrides` that would change nothing.
    #[error("model_overrides: this network does not read {key:?} from config.json; {cure}")]
    Override { key: String, cure: String },
    /// The adapter cannot be made, or is one of another network.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Nothing could be trained.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The files beside the weights make no tokenizer.
    #[error("{url}/{error}")]
    Tokenizer { url: String, error: TokenizerError },
    /// A token that the network has no embedding for.
    #[error(
        "{url}: the tokenizer's token {token:?} has number {number}, beyond the network's vocab_size {vocab}"
    )]
    Token {
        url: String,
        token: String,
        /// Its number.
        number: u64,
        /// Of the network.
        vocab: u64,
    },
    /// Longer sequences than the network has positions for.
    #[error("sequence_len is {asked}, but {url} has only {most} positions (max_position_embeddings)")]
    TooLong {
        url: String,
        /// Of the run file.
        asked: u64,
        /// Of the network.
        most: u64,
    },
    /// Templates and end tokens that rows cannot be made tokens with.
    #[error("{url}: {error}")]
    Chat { url: String, error: Box<ChatError> },
    /// A template or a configuration that is no text.
    #[error("{url}: not valid UTF-8")]
    NotText { url: String },
    /// Shorter than a sequence can be.
    #[error(
        "sequences of {0} tokens (sequence_len, or the tokenizer's model_max_length): at least {shortest} are needed, \
         two of them special ones",
        shortest = super::SHORTEST
    )]
    TooShort(u64),
}

impl From<StoreError> for NetworkError {
    fn from(error: StoreError) -> Self {
        NetworkError::Checkpoint(error.into())
    }
}

impl NetworkError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            NetworkError::Checkpoint(error) => error.exit(),
            NetworkError::Adapter(error) => error.exit(),
            NetworkError::Chat { error, .. } => error.exit(),
            NetworkError::Layout(_)
            | NetworkError::Override { .. }
            | NetworkError::TooLong { .. }
            | NetworkError::TooShort(_) => Exit::Usage,
            NetworkError::Model { .. }
            | NetworkError::NotText { .. }
            | NetworkError::Tokenizer { .. }
            | NetworkError::TokenTypes { .. }
            | NetworkError::Token { .. } => Exit::Checkpoint,
        }
    }
}
