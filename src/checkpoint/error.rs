//! What can be wrong with a checkpoint.

use crate::exit::Exit;
use crate::model::blueprint::LANGUAGE_HEAD;
use crate::store::StoreError;

/// Why a checkpoint cannot be read or written. Names the file or the tensor.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CheckpointError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory without what makes it a checkpoint.
    #[error("{directory}: no {wanted}; a checkpoint is a directory with config.json and model.safetensors")]
    Missing {
        directory: String,
        /// The file looked for.
        wanted: &'static str,
    },
    /// A directory without what makes it an adapter.
    #[error(
        "{directory}: no {wanted}; an adapter is a directory with adapter_config.json and adapter_model.safetensors"
    )]
    NoAdapter {
        directory: String,
        /// The file looked for.
        wanted: &'static str,
    },
    /// A model's name on the Hugging Face Hub in the place of a directory.
    #[error(
        "base_model {id:?} looks like a model's id on the Hugging Face Hub ({found}). Nothing is downloaded here: run \
         `hf download {id} --local-dir {id}`, and give that directory as base_model"
    )]
    HubId {
        id: String,
        /// Why it is no checkpoint here.
        found: String,
    },
    /// A JSON file that is not what it should be.
    #[error("{url}: {reason}")]
    Json { url: String, reason: String },
    /// Weights in Python's pickle format, which can run any code when loaded.
    #[error(
        "{url}: a pickle, which is never loaded; save the model with save_pretrained(…, safe_serialization=True)"
    )]
    Pickle { url: String },
    /// Something else in the file's place.
    #[error("{url}: {found}")]
    StandIn {
        url: String,
        /// What it is, and what to do.
        found: &'static str,
    },
    /// A safetensors file that breaks its format.
    #[error("{url}: not a usable safetensors file: {problem}")]
    Header { url: String, problem: HeaderProblem },
    /// The index names a file that is not there.
    #[error("{index}: shard {shard:?} is missing")]
    MissingShard {
        index: String,
        /// The file it names.
        shard: String,
    },
    /// The index places a tensor in a file that lacks it.
    #[error("{index}: tensor {tensor:?} is not in {shard:?}, where the index places it")]
    Misplaced { index: String, tensor: String, shard: String },
    /// Another shape than the model's.
    #[error("tensor {tensor:?} has shape {found:?}, the model expects {expected:?}")]
    Shape {
        tensor: String,
        found: Vec<u64>,
        /// The model's shape.
        expected: Vec<u64>,
    },
    /// Numbers of a kind weights do not have.
    #[error("tensor {tensor:?} is {dtype}; weights are read as F32, F16 or BF16")]
    Dtype {
        tensor: String,
        /// Its type.
        dtype: &'static str,
    },
    /// NaN or infinity among the weights.
    #[error("tensor {tensor:?} holds {value} at element {element}")]
    NotFinite {
        tensor: String,
        /// Index of the first such element.
        element: u64,
        /// NaN or an infinity.
        value: f32,
    },
    /// The body of the network is there in part.
    #[error(
        "{url}: tensor {first:?} is missing{}, though {loaded} others of the network are there: the checkpoint is \
         damaged or of another model; {}to begin with random values in its place, set init_missing: true",
        match *.more { 0 => String::new(), more => format!(", and {more} more") },
        if is_head(.first) { TIE } else { "" },
    )]
    MissingTensors {
        url: String,
        /// The first of them.
        first: String,
        /// How many more are missing.
        more: usize,
        /// Parameters of the network that are there.
        loaded: usize,
    },
    /// A head that shares the embedding table is stored beside it, with other values.
    #[error(
        "{url}: tensor {head:?} differs from {table:?} at element {element}, although tie_word_embeddings is true: the \
         checkpoint is damaged; if its head is one of its own, set model_overrides: {{tie_word_embeddings: false}}"
    )]
    TiedDiffer {
        url: String,
        /// The embedding table.
        table: String,
        head: String,
        /// Index of the first such element.
        element: u64,
    },
    /// No tensor fits the model.
    #[error("{url}: none of its {tensors} tensors belongs to this model; is it another architecture?")]
    NothingFits {
        url: String,
        /// Tensors it has.
        tensors: usize,
    },
    /// A trained weight that the checkpoint's format cannot hold.
    #[error(
        "tensor {tensor:?} holds {value}, which {dtype} cannot hold: convert base_model to BF16 or F32 first"
    )]
    BeyondFormat {
        tensor: String,
        value: f32,
        /// The format.
        dtype: &'static str,
    },
    /// A value to be written whose length is not its shape's.
    #[error("tensor {tensor:?} has {found} elements, its shape has {expected}")]
    Length {
        tensor: String,
        /// Elements given.
        found: u64,
        /// Elements of the shape.
        expected: u64,
    },
}

/// What cures a missing head, if it is no fault of the file.
const TIE: &str = "if its head is the embedding table, set model_overrides: {tie_word_embeddings: true}; ";

fn is_head(tensor: &str) -> bool {
    tensor.strip_suffix(".weight") == Some(LANGUAGE_HEAD)
}

/// How a safetensors file breaks its format.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderProblem {
    /// Not even a header length.
    #[error("{}", if *.0 == 0 { "the file is empty".to_owned() } else { format!("{0} bytes are too few", .0) })]
    TooShort(u64),
    /// A header longer than any real one.
    #[error("the header claims {0} bytes, more than the 16 MiB allowed")]
    TooLong(u64),
    /// A header longer than the file.
    #[error("the header claims {header} bytes, the file has {file}: it is truncated or not safetensors")]
    BeyondFile {
        /// Bytes claimed.
        header: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// Not the JSON it must be.
    #[error("the header is not valid: {0}")]
    Json(String),
    /// More tensors than any real model.
    #[error("{0} tensors, more than the 100,000 allowed")]
    TooManyTensors(usize),
    /// One name twice.
    #[error("two tensors are named {0:?}")]
    Duplicate(String),
    /// An element type that does not exist.
    #[error("tensor {tensor:?} has the unknown type {dtype:?}")]
    UnknownDtype {
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// A shape whose size is not a number.
    #[error("tensor {0:?} has an impossibly large shape")]
    ShapeOverflow(String),
    /// A shape that needs another number of bytes than it has.
    #[error("tensor {tensor:?} has {found} bytes, its shape needs {expected}")]
    Size {
        tensor: String,
        /// Bytes it has.
        found: u64,
        /// Bytes its shape needs.
        expected: u64,
    },
    /// Offsets that run backwards.
    #[error("tensor {0:?} ends before it begins")]
    Backwards(String),
    /// Two tensors share bytes.
    #[error("tensor {0:?} overlaps the one before it")]
    Overlap(String),
    /// Bytes between tensors.
    #[error("there are unused bytes before tensor {0:?}")]
    Gap(String),
    /// Bytes after the last tensor.
    #[error("{0} bytes follow the last tensor")]
    Trailing(u64),
    /// Fewer bytes than tensors.
    #[error("truncated: the tensors need {expected} bytes, the file has {found}")]
    Truncated {
        /// Bytes of data the file has.
        found: u64,
        /// Bytes of data the header names.
        expected: u64,
    },
}

impl CheckpointError {
    /// The exit code of a process that ends for this reason.
    pub fn exit(&self) -> Exit {
        match self {
            CheckpointError::Store(StoreError::DeadLink { .. } | StoreError::OddName { .. }) => {
                Exit::Checkpoint
            }
            CheckpointError::Store(error) => error.exit(),
            CheckpointError::Length { .. } => Exit::Internal,
            CheckpointError::Missing { .. }
            | CheckpointError::NoAdapter { .. }
            | CheckpointError::BeyondFormat { .. }
            | CheckpointError::HubId { .. }
            | CheckpointError::Json { .. }
            | CheckpointError::Pickle { .. }
            | CheckpointError::StandIn { .. }
            | CheckpointError::Header { .. }
            | CheckpointError::MissingShard { .. }
            | CheckpointError::Misplaced { .. }
            | CheckpointError::MissingTensors { .. }
            | CheckpointError::Shape { .. }
            | CheckpointError::Dtype { .. }
            | CheckpointError::NotFinite { .. }
            | CheckpointError::TiedDiffer { .. }
            | CheckpointError::NothingFits { .. } => Exit::Checkpoint,
        }
    }
}
