//! Finds a checkpoint's files and reads their headers.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::Value;

use super::header::{self, Dtype, Stored};
use super::{CheckpointError, HeaderProblem, Progress, hub};
use crate::run_file::{InitFrom, RunSpec};
use crate::store::{Location, Meta, STAND_IN, StoreError, Stores, stand_in};

/// Bytes of the largest JSON file read.
const LARGEST_JSON: u64 = 16 << 20;
const MOST_SHARDS: usize = 10_000;
const HEADERS_IN_FLIGHT: usize = 8;
/// How the pickle formats begin: a zip archive, and protocols 2 to 5.
const PICKLES: [&[u8]; 5] = [b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"];

/// An HF checkpoint directory whose files were found and checked. Its tensors are read later.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub directory: Location,
    /// `config.json`.
    pub config: Value,
    /// Its text.
    pub config_text: String,
    /// The files with weights; empty when only the config was wanted.
    pub files: Vec<TensorFile>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorEntry>,
    /// Tensors that the index places in a shard which does not hold them, and that shard.
    pub absent: BTreeMap<String, String>,
    /// How far [`Checkpoint::load`] is.
    pub progress: Progress,
}

/// A file with weights.
#[derive(Clone, Debug)]
pub struct TensorFile {
    /// Where it is.
    pub location: Location,
    /// Its etag: later reads are refused if it changes.
    pub meta: Meta,
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// Index into [`Checkpoint::files`].
    pub file: usize,
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Bytes of the file.
    pub range: Range<u64>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The checkpoint that a run begins from; without weights if they are drawn.
    pub async fn of_run(stores: &Stores, spec: &RunSpec) -> Result<Checkpoint, CheckpointError> {
        let directory = Checkpoint::directory_at(stores, &spec.base_model)?;
        let opened = match spec.init {
            InitFrom::Pretrained => Checkpoint::open(&directory).await,
            InitFrom::Random => Checkpoint::config_only(&directory).await,
        };
        opened.map_err(|error| hub::explained(error, &spec.base_model))
    }

    /// The same without weights, also if they will be read later.
    pub async fn config_of_run(stores: &Stores, spec: &RunSpec) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::config_at(stores, &spec.base_model).await
    }

    /// The checkpoint that a person names, without weights.
    pub async fn config_at(stores: &Stores, model: &str) -> Result<Checkpoint, CheckpointError> {
        let directory = Checkpoint::directory_at(stores, model)?;
        let opened = Checkpoint::config_only(&directory).await;
        opened.map_err(|error| hub::explained(error, model))
    }

    fn directory_at(stores: &Stores, model: &str) -> Result<Location, CheckpointError> {
        if let Some(id) = hub::in_url(model) {
            return Err(CheckpointError::HubId { id, found: model.to_owned() });
        }
        Ok(stores.locate(model)?)
    }

    /// Reads `config.json` and the headers of all weights.
    pub async fn open(directory: &Location) -> Result<Checkpoint, CheckpointError> {
        let mut checkpoint = Checkpoint::config_only(directory).await?;
        let single = directory.join("model.safetensors")?;
        match single.head().await {
            Ok(meta) => checkpoint.open_single(single, meta).await?,
            Err(StoreError::NotFound { .. }) => checkpoint.open_shards().await?,
            Err(error) => return Err(error.into()),
        }
        Ok(checkpoint)
    }

    /// Reads `adapter_config.json` and the header of `adapter_model.safetensors`.
    pub async fn adapter(directory: &Location) -> Result<Checkpoint, CheckpointError> {
        let missing = |wanted| CheckpointError::NoAdapter { directory: directory.to_string(), wanted };
        let config = json::<Value>(&directory.join("adapter_config.json")?, LARGEST_JSON).await?;
        let config = config.ok_or_else(|| missing("adapter_config.json"))?;
        let mut checkpoint = Checkpoint {
            directory: directory.clone(),
            config,
            config_text: String::new(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            absent: BTreeMap::new(),
            progress: Progress::default(),
        };
        let weights = directory.join("adapter_model.safetensors")?;
        match weights.head().await {
            Ok(meta) => checkpoint.open_single(weights, meta).await?,
            Err(StoreError::NotFound { .. }) => {
                let pickle = directory.join("adapter_model.bin")?;
                return Err(match pickle.exists().await? {
                    true => CheckpointError::Pickle { url: pickle.to_string() },
                    false => missing("adapter_model.safetensors"),
                });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(checkpoint)
    }

    /// Reads `config.json` only: for training from random weights.
    pub async fn config_only(directory: &Location) -> Result<Checkpoint, CheckpointError> {
        let location = directory.join("config.json")?;
        let Some((config, text)) = json_and_text::<Value>(&location, LARGEST_JSON).await? else {
            return Err(CheckpointError::Missing { directory: directory.to_string(), wanted: "config.json" });
        };
        if !config.is_object() {
            let reason = "must hold a JSON object".to_owned();
            return Err(CheckpointError::Json { url: location.to_string(), reason });
        }
        Ok(Checkpoint {
            directory: directory.clone(),
            config,
            config_text: String::from_utf8_lossy(&text).into_owned(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            absent: BTreeMap::new(),
            progress: Progress::default(),
        })
    }

    async fn open_single(&mut self, location: Location, meta: Meta) -> Result<(), CheckpointError> {
        for tensor in read_header(&location, &meta).await? {
            self.tensors.insert(tensor.name.clone(), entry(0, tensor));
        }
        self.files = vec![TensorFile { location, meta }];
        Ok(())
    }

    async fn open_shards(&mut self) -> Result<(), CheckpointError> {
        let index = self.directory.join("model.safetensors.index.json")?;
        let Some(Index { weight_map }) = json(&index, LARGEST_JSON).await? else {
            return Err(self.no_weights().await?);
        };
        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        if shards.len() > MOST_SHARDS {
            let reason = format!("names {} shards, more than the {MOST_SHARDS} allowed", shards.len());
            return Err(CheckpointError::Json { url: index.to_string(), reason });
        }
        let opened: Vec<(TensorFile, Vec<Stored>)> = futures::stream::iter(&shards)
            .map(|shard| open_shard(&self.directory, &index, shard))
            .buffered(HEADERS_IN_FLIGHT)
            .try_collect()
            .await?;
        for (number, (file, tensors)) in opened.into_iter().enumerate() {
            for tensor in tensors {
                // A copy of a tensor that the index places elsewhere is not the one meant.
                if weight_map.get(&tensor.name) == Some(shards[number]) {
                    self.tensors.insert(tensor.name.clone(), entry(number, tensor));
                }
            }
            self.files.push(file);
        }
        // Whether the network needs one of them is seen later.
        let absent = weight_map.into_iter().filter(|(tensor, _)| !self.tensors.contains_key(tensor));
        self.absent = absent.collect();
        Ok(())
    }

    /// Why there is neither a single file nor an index.
    async fn no_weights(&self) -> Result<CheckpointError, CheckpointError> {
        for name in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
            let pickle = self.directory.join(name)?;
            if pickle.exists().await? {
                return Ok(CheckpointError::Pickle { url: pickle.to_string() });
            }
        }
        Ok(CheckpointError::Missing { directory: self.directory.to_string(), wanted: "model.safetensors" })
    }
}

async fn open_shard(
    directory: &Location,
    index: &Location,
    shard: &str,
) -> Result<(TensorFile, Vec<Stored>), CheckpointError> {
    let location = directory
        .join(shard)
        .map_err(|error| CheckpointError::Json { url: index.to_string(), reason: error.to_string() })?;
    let meta = match location.head().await {
        Err(StoreError::NotFound { .. }) => {
            return Err(CheckpointError::MissingShard { index: index.to_string(), shard: shard.to_owned() });
        }
        meta => meta?,
    };
    let tensors = read_header(&location, &meta).await?;
    Ok((TensorFile { location, meta }, tensors))
}

/// The tensors of a safetensors file, in file order. Nothing is allocated by a number the file claims unchecked.
async fn read_header(location: &Location, meta: &Meta) -> Result<Vec<Stored>, CheckpointError> {
    let failed = |problem| CheckpointError::Header { url: location.to_string(), problem };
    // One request for both: most headers do not fit in here, but what lies in a file's place does.
    let beginning = location.read_range(meta, 0..meta.size.min(STAND_IN)).await?;
    if let Some(found) = stand_in(&beginning) {
        return Err(CheckpointError::StandIn { url: location.to_string(), found });
    }
    let first = &beginning[..beginning.len().min(header::LENGTH as usize)];
    if PICKLES.iter().any(|magic| first.starts_with(magic)) && !plausible(first, meta.size) {
        return Err(CheckpointError::Pickle { url: location.to_string() });
    }
    let first = first.try_into().map_err(|_| failed(HeaderProblem::TooShort(meta.size)))?;
    let length = header::header_length(first, meta.size).map_err(failed)?;
    let start = header::LENGTH + length;
    let bytes = location.read_range(meta, header::LENGTH..start).await?;
    header::parse(&bytes, meta.size - start).map_err(failed)
}

/// Whether the bytes are a header length that fits the file: a length can begin like a pickle.
fn plausible(first: &[u8], size: u64) -> bool {
    first.try_into().is_ok_and(|first| header::header_length(first, size).is_ok())
}

fn entry(file: usize, tensor: Stored) -> TensorEntry {
    let Stored { name: _, dtype, shape, range } = tensor;
    TensorEntry { file, dtype, shape, range }
}

/// A JSON file of at most `largest` bytes; `None` when it is not there.
pub(crate) async fn json<T: for<'de> Deserialize<'de>>(
    location: &Location,
    largest: u64,
) -> Result<Option<T>, CheckpointError> {
    Ok(json_and_text(location, largest).await?.map(|(value, _)| value))
}

/// The same, and the file's bytes.
async fn json_and_text<T: for<'de> Deserialize<'de>>(
    location: &Location,
    largest: u64,
) -> Result<Option<(T, Bytes)>, CheckpointError> {
    let failed = |reason: String| CheckpointError::Json { url: location.to_string(), reason };
    let bytes = match location.read(largest).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(StoreError::TooLarge { size, limit, .. }) => {
            return Err(failed(format!("{size} bytes, more than the {limit} allowed")));
        }
        Err(error) => return Err(error.into()),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some((value, bytes))),
        Err(error) => Err(match stand_in(&bytes) {
            Some(found) => CheckpointError::StandIn { url: location.to_string(), found },
            None if bytes.is_empty() => failed("the file is empty".to_owned()),
            None => failed(error.to_string()),
        }),
    }
}
