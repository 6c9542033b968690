//! A network ready to be trained: architecture, parameters, layout of the trainable vector, and where values come from.
//!
//! Coordinator and worker build it from the same run file and labels, and compare the hash of its parameters.

use serde_json::{Map, Value, json};

use crate::checkpoint::{self, Checkpoint, CheckpointError, Resolution};
use crate::exit::Exit;
use crate::model::{self, Architecture, ImageProcessor, ModelError, Parameter, Token, Tokens};
use crate::run_file::{InitFrom, RunSpec, Task};
use crate::store::{Location, StoreError, Stores};
use crate::trainable::{LayoutError, Trainable};

/// A network and its checkpoint.
#[derive(Clone, Debug)]
pub struct Network {
    /// Kind and dimensions.
    pub architecture: Architecture,
    /// All parameters, in the architecture's order.
    pub table: Vec<Parameter>,
    /// Those that train.
    pub trainable: Trainable,
    /// Hash of the table.
    pub parameters: String,
    /// Where values come from.
    pub resolution: Resolution,
    /// How values that no checkpoint has are drawn.
    pub seed: u64,
    /// `config.json` with the run's overrides and labels.
    pub config: Value,
    checkpoint: Checkpoint,
    task: Task,
}

/// Why a network cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The checkpoint cannot be read or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its configuration describes no network this program knows.
    #[error("{url}/config.json: {error}")]
    Model {
        /// The checkpoint's directory.
        url: String,
        /// What is wrong.
        error: ModelError,
    },
    /// Nothing could be trained.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file beside the weights is missing.
    #[error("{url}: no {file}; {task:?} needs it to read its data")]
    MissingFile {
        /// The checkpoint's directory.
        url: String,
        /// The file.
        file: &'static str,
        /// The task.
        task: Task,
    },
    /// A token that the network has no embedding for.
    #[error(
        "{url}/tokenizer.json: token {token:?} has number {number}, beyond the network's vocab_size {vocab}"
    )]
    Token {
        /// The checkpoint's directory.
        url: String,
        /// The token.
        token: String,
        /// Its number.
        number: u64,
        /// Of the network.
        vocab: u64,
    },
    /// Longer sequences than the network has positions for.
    #[error("sequence_len is {asked}, but {url} has only {most} positions (max_position_embeddings)")]
    TooLong {
        /// The checkpoint's directory.
        url: String,
        /// Of the run file.
        asked: u64,
        /// Of the network.
        most: u64,
    },
    /// Shorter than a sequence can be.
    #[error(
        "sequences of {0} tokens (sequence_len): at least {SHORTEST} are needed, two of them special ones"
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
            NetworkError::Layout(_) | NetworkError::TooLong { .. } | NetworkError::TooShort(_) => Exit::Usage,
            NetworkError::Model { .. } | NetworkError::MissingFile { .. } | NetworkError::Token { .. } => {
                Exit::Checkpoint
            }
        }
    }
}

/// Tokens of the shortest sequence: one between the two special ones.
const SHORTEST: u64 = 3;
/// Bytes of the largest file that says how data is prepared.
const LARGEST_JSON: u64 = 64 << 20;

impl Network {
    /// Opens the run's checkpoint and lays the network out for these labels. Reads headers, not weights.
    pub async fn open(stores: &Stores, spec: &RunSpec, labels: &[String]) -> Result<Network, NetworkError> {
        let network = Network::open_without_files(stores, spec, labels).await?;
        network.check_length(spec.sequence_len)?;
        network.check_files().await?;
        Ok(network)
    }

    /// As [`Network::open`], but takes no interest in how texts or images are prepared for the network.
    pub async fn open_without_files(
        stores: &Stores,
        spec: &RunSpec,
        labels: &[String],
    ) -> Result<Network, NetworkError> {
        let directory = stores.locate(&spec.base_model)?;
        let checkpoint = match spec.init {
            InitFrom::Pretrained => Checkpoint::open(&directory).await?,
            InitFrom::Random => Checkpoint::config_only(&directory).await?,
        };
        let mut config = checkpoint.config.clone();
        let same_labels = labels_of(&config).is_some_and(|before| before == labels);
        for (key, value) in &spec.model_overrides {
            config[key] = value.clone();
        }
        let model = |error| NetworkError::Model { url: directory.url().to_owned(), error };
        let architecture = Architecture::from_config(&config, spec.task, labels.len()).map_err(model)?;
        let table = architecture.parameters();
        let resolution = match spec.init {
            InitFrom::Pretrained => {
                let resolution = checkpoint.resolve(&table, architecture.prefix())?;
                if same_labels { resolution } else { resolution.with_new_head(&table) }
            }
            InitFrom::Random => Resolution::random(&table),
        };
        describe_head(&mut config, architecture.hf_class(), labels);
        Ok(Network {
            trainable: Trainable::new(&table, &spec.freeze)?,
            parameters: model::hash(&table),
            architecture,
            table,
            resolution,
            seed: spec.seed,
            config,
            checkpoint,
            task: spec.task,
        })
    }

    /// The checkpoint's directory.
    pub fn directory(&self) -> &Location {
        &self.checkpoint.directory
    }

    /// Gives every parameter's first values to `sink`, with its index in the table: version 0.
    pub async fn load<E: From<CheckpointError>>(
        &self,
        sink: impl FnMut(usize, Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let initial = |parameter: &Parameter| model::initial_values(parameter, self.seed);
        self.checkpoint.load(&self.resolution, &self.table, initial, sink).await
    }

    /// One parameter's first values.
    pub async fn load_one(&self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        match &self.resolution.sources[index] {
            Some(tensor) => self.checkpoint.read_tensor(tensor).await,
            None => Ok(model::initial_values(&self.table[index], self.seed)),
        }
    }

    /// The trainable vector of version 0.
    pub async fn initial_vector(&self) -> Result<Vec<f32>, CheckpointError> {
        let mut vector = vec![0.0; self.trainable.len()];
        let mut place = vec![None; self.table.len()];
        for slot in self.trainable.slots() {
            place[slot.parameter] = Some(slot.range.clone());
        }
        self.load(|index, values| {
            if let Some(range) = place[index].clone() {
                vector[range].copy_from_slice(&values);
            }
            Ok::<(), CheckpointError>(())
        })
        .await?;
        Ok(vector)
    }

    /// The bytes of `tokenizer.json`.
    pub async fn tokenizer(&self) -> Result<Vec<u8>, NetworkError> {
        Ok(self.directory().join("tokenizer.json")?.read(LARGEST_JSON).await?.into())
    }

    /// How images become pixels.
    pub async fn image_processor(&self) -> Result<Option<ImageProcessor>, NetworkError> {
        let Architecture::ViT(vit) = &self.architecture else { return Ok(None) };
        let location = self.directory().join("preprocessor_config.json")?;
        let config = checkpoint::json(&location, LARGEST_JSON).await?;
        let config = config.unwrap_or_else(|| Value::Object(Map::new()));
        let url = self.directory().url().to_owned();
        ImageProcessor::from_json(&config, vit).map(Some).map_err(|error| NetworkError::Model { url, error })
    }

    fn check_length(&self, asked: Option<u32>) -> Result<(), NetworkError> {
        let Architecture::Bert(bert) = &self.architecture else { return Ok(()) };
        let most = bert.positions;
        match asked.map_or(most, u64::from) {
            length if length < SHORTEST => Err(NetworkError::TooShort(length)),
            length if length > most => {
                let url = self.directory().url().to_owned();
                Err(NetworkError::TooLong { url, asked: length, most })
            }
            _ => Ok(()),
        }
    }

    async fn check_files(&self) -> Result<(), NetworkError> {
        match &self.architecture {
            Architecture::Bert(bert) => self.check_tokenizer(bert.vocab).await,
            Architecture::ViT(_) => self.image_processor().await.map(drop),
        }
    }

    /// The tokenizer is there, and every number it may give has an embedding.
    async fn check_tokenizer(&self, vocab: u64) -> Result<(), NetworkError> {
        let location = self.directory().join("tokenizer.json")?;
        let url = self.directory().url().to_owned();
        let Some(tokens) = checkpoint::json::<Tokens>(&location, LARGEST_JSON).await? else {
            return Err(NetworkError::MissingFile { url, file: "tokenizer.json", task: self.task });
        };
        match tokens.highest().filter(|token| token.number >= vocab) {
            Some(Token { text, number }) => Err(NetworkError::Token { url, token: text, number, vocab }),
            None => Ok(()),
        }
    }
}

/// The checkpoint's label names in the order of their numbers.
fn labels_of(config: &Value) -> Option<Vec<String>> {
    let names = config.get("id2label")?.as_object()?;
    (0..names.len()).map(|id| names.get(&id.to_string())?.as_str().map(str::to_owned)).collect()
}

/// Writes the new head into `config.json`, as transformers describes one.
fn describe_head(config: &mut Value, class: &str, labels: &[String]) {
    let id2label: Map<String, Value> =
        labels.iter().enumerate().map(|(id, label)| (id.to_string(), label.clone().into())).collect();
    let label2id: Map<String, Value> =
        labels.iter().enumerate().map(|(id, label)| (label.clone(), id.into())).collect();
    config["architectures"] = json!([class]);
    config["id2label"] = id2label.into();
    config["label2id"] = label2id.into();
    config["problem_type"] = "single_label_classification".into();
    if let Some(object) = config.as_object_mut() {
        object.remove("num_labels");
        object.remove("torch_dtype");
        object.insert("dtype".into(), "float32".into());
    }
}
