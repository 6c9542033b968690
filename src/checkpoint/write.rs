//! Writes weights the way transformers' `save_pretrained` does, one tensor in memory at a time.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use half::{bf16, f16};
use sha2::{Digest, Sha256};

use super::{CheckpointError, Dtype, TensorFile, config_text, header};
use crate::store::{Location, StoreError, Writer};

/// Bytes of tensors in one file, at most; a larger tensor has a file of its own.
pub const SHARD_BYTES: u64 = 5_000_000_000;
/// Elements converted and uploaded at a time.
const CHUNK: usize = 1 << 18;
/// Bytes of a stored tensor that are copied at a time.
const PIECE: u64 = 8 << 20;
/// Bytes of the largest file that is copied along.
const LARGEST_COPY: u64 = 256 << 20;

/// What belongs to a model besides its weights and config, and is not changed by training.
const COPIED: [&str; 20] = [
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "image_processor_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its name in the directory.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Hash of its content, in hexadecimal.
    pub sha256: String,
}

/// Hash of the weights among `files`: the weights file's own, or one over the hashes of several.
pub fn weights_hash(files: &[WrittenFile]) -> String {
    let weights: Vec<&str> = files
        .iter()
        .filter(|file| file.name.ends_with(".safetensors"))
        .map(|file| file.sha256.as_str())
        .collect();
    match weights.as_slice() {
        [only] => (*only).to_owned(),
        several => crate::hash::sha256(several.concat().as_bytes()),
    }
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct ToWrite {
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    pub dtype: Dtype,
}

/// The values of a tensor to be written.
#[derive(Clone, Debug)]
pub enum Content {
    /// Numbers, which are rounded to the nearest ones of the tensor's dtype.
    Values(Vec<f32>),
    /// Bytes of a checkpoint's file, in the tensor's dtype; copied a piece at a time.
    Stored(TensorFile, Range<u64>),
}

impl From<(String, Vec<u64>)> for ToWrite {
    /// In 32-bit floats.
    fn from((name, shape): (String, Vec<u64>)) -> ToWrite {
        ToWrite { name, shape, dtype: Dtype::F32 }
    }
}

impl ToWrite {
    fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes()
    }

    async fn put(&self, file: &mut HashedFile, content: Content) -> Result<(), CheckpointError> {
        let (found, expected) = match &content {
            Content::Values(values) => (values.len() as u64, self.elements()),
            Content::Stored(_, range) => ((range.end - range.start) / self.dtype.bytes(), self.elements()),
        };
        if found != expected {
            return Err(CheckpointError::Length { tensor: self.name.clone(), found, expected });
        }
        match content {
            Content::Values(values) if self.dtype == Dtype::F32 => file.put_values(&values).await,
            Content::Values(values) => {
                for chunk in values.chunks(CHUNK) {
                    file.put(self.rounded(chunk)?).await?;
                }
                Ok(())
            }
            Content::Stored(TensorFile { location, meta }, range) => {
                let mut start = range.start;
                while start < range.end {
                    let end = range.end.min(start + PIECE);
                    file.put(location.read_range(&meta, start..end).await?).await?;
                    start = end;
                }
                Ok(())
            }
        }
    }

    /// Numbers in 16 bits, to the nearest, ties to even.
    fn rounded(&self, values: &[f32]) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::with_capacity(values.len() * 2);
        for &value in values {
            let (bits, finite) = match self.dtype {
                Dtype::BF16 => (bf16::from_f32(value).to_bits(), bf16::from_f32(value).is_finite()),
                Dtype::F16 => (f16::from_f32(value).to_bits(), f16::from_f32(value).is_finite()),
                other => {
                    return Err(CheckpointError::Dtype { tensor: self.name.clone(), dtype: other.name() });
                }
            };
            if !finite {
                let (tensor, dtype) = (self.name.clone(), self.dtype.name());
                return Err(CheckpointError::BeyondFormat { tensor, value, dtype });
            }
            bytes.extend_from_slice(&bits.to_le_bytes());
        }
        Ok(bytes)
    }
}

/// Writes tensors as `{stem}.safetensors`, or as shards of at most `shard_bytes` ([`SHARD_BYTES`]) with an index.
///
/// `contents` gives the tensor at an index of `tensors`, which need not be in memory before.
pub async fn write_model<E, F, C>(
    directory: &Location,
    stem: &str,
    tensors: &[ToWrite],
    shard_bytes: u64,
    mut contents: impl FnMut(usize) -> F,
) -> Result<Vec<WrittenFile>, E>
where
    E: From<CheckpointError>,
    F: Future<Output = Result<C, E>>,
    C: Into<Content>,
{
    let shards = shards(tensors, shard_bytes);
    let mut written = Vec::new();
    let mut weight_map = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => format!("{stem}.safetensors"),
            count => format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1),
        };
        for &tensor in shard {
            weight_map.insert(tensors[tensor].name.as_str(), name.clone());
        }
        let mut file = HashedFile::create(directory, name)?;
        let entries = shard.iter().map(|&tensor| &tensors[tensor]);
        file.put(header::write(entries.map(|tensor| (tensor.name.as_str(), &*tensor.shape, tensor.dtype))))
            .await?;
        for &tensor in shard {
            let content = contents(tensor).await?.into();
            tensors[tensor].put(&mut file, content).await?;
        }
        written.push(file.finish().await?);
    }
    if shards.len() > 1 {
        let total_size: u64 = tensors.iter().map(ToWrite::bytes).sum();
        let index = serde_json::json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
        let mut file = HashedFile::create(directory, format!("{stem}.safetensors.index.json"))?;
        file.put(format!("{index:#}\n")).await?;
        written.push(file.finish().await?);
    }
    Ok(written)
}

impl From<Vec<f32>> for Content {
    fn from(values: Vec<f32>) -> Content {
        Content::Values(values)
    }
}

/// Copies what training does not change (tokenizer, preprocessing, licence), byte for byte; sorted by name.
///
/// One key is changed: version 4 of transformers does not know the tokenizer class `TokenizersBackend`, which is its
/// `PreTrainedTokenizerFast`.
pub async fn copy_files(from: &Location, to: &Location) -> Result<Vec<WrittenFile>, CheckpointError> {
    let mut written = Vec::new();
    for name in COPIED {
        let bytes = match from.join(name)?.read(LARGEST_COPY).await {
            Err(StoreError::NotFound { .. }) => continue,
            bytes => bytes?,
        };
        let bytes = if name == "tokenizer_config.json" { for_version_4(bytes) } else { bytes };
        let mut file = HashedFile::create(to, name.to_owned())?;
        file.put(bytes).await?;
        written.push(file.finish().await?);
    }
    Ok(written)
}

/// `tokenizer_config.json` with a class that version 4 of transformers knows too.
fn for_version_4(bytes: Bytes) -> Bytes {
    let Ok(text) = str::from_utf8(&bytes) else { return bytes };
    let class = serde_json::from_str::<serde_json::Value>(text).ok();
    match class.as_ref().and_then(|config| config.get("tokenizer_class")?.as_str()) {
        Some("TokenizersBackend") => {
            let changes =
                BTreeMap::from([("tokenizer_class".to_owned(), Some("PreTrainedTokenizerFast".into()))]);
            config_text::change(text, &changes).map_or(bytes.clone(), Bytes::from)
        }
        _ => bytes,
    }
}

/// Which tensors go into which file: huggingface_hub's rule, then the order inside a file: safetensors' rule, wider
/// elements first, then by name.
fn shards(tensors: &[ToWrite], shard_bytes: u64) -> Vec<Vec<usize>> {
    let mut shards = Vec::new();
    let (mut current, mut size) = (Vec::new(), 0);
    for (tensor, bytes) in tensors.iter().map(ToWrite::bytes).enumerate() {
        if bytes > shard_bytes {
            shards.push(vec![tensor]);
            continue;
        }
        if size + bytes > shard_bytes {
            shards.push(std::mem::take(&mut current));
            size = 0;
        }
        current.push(tensor);
        size += bytes;
    }
    if !current.is_empty() || shards.is_empty() {
        shards.push(current);
    }
    for shard in &mut shards {
        shard
            .sort_by_key(|&tensor| (std::cmp::Reverse(tensors[tensor].dtype.bytes()), &tensors[tensor].name));
    }
    shards
}

/// What a safetensors file of F32 tensors begins with: their names and shapes, in the order in which their values follow.
pub fn safetensors_header<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u64])>) -> Vec<u8> {
    header::write(tensors.map(|(name, shape)| (name, shape, Dtype::F32)))
}

/// An upload and the hash of what went into it. Dropped unfinished, it leaves nothing behind.
pub struct HashedFile {
    writer: Writer,
    name: String,
    size: u64,
    hash: Sha256,
}

impl HashedFile {
    /// An empty file in a directory.
    pub fn create(directory: &Location, name: String) -> Result<HashedFile, CheckpointError> {
        let writer = directory.join(&name)?.writer();
        Ok(HashedFile { writer, name, size: 0, hash: Sha256::new() })
    }

    /// Appends bytes.
    pub async fn put(&mut self, bytes: impl Into<Bytes>) -> Result<(), CheckpointError> {
        let bytes = bytes.into();
        self.hash.update(&bytes);
        self.size += bytes.len() as u64;
        Ok(self.writer.put(bytes).await?)
    }

    /// Appends numbers as little-endian f32, some of them at a time.
    pub async fn put_values(&mut self, values: &[f32]) -> Result<(), CheckpointError> {
        for chunk in values.chunks(CHUNK) {
            self.put(Bytes::copy_from_slice(bytemuck::cast_slice(chunk))).await?;
        }
        Ok(())
    }

    /// Makes the file appear, whole.
    pub async fn finish(self) -> Result<WrittenFile, CheckpointError> {
        self.writer.finish().await?;
        let sha256 = crate::hash::hex(&self.hash.finalize());
        Ok(WrittenFile { name: self.name, size: self.size, sha256 })
    }
}
