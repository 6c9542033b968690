//! Writes weights the way transformers' `save_pretrained` does, one tensor in memory at a time.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{CheckpointError, header};
use crate::store::{Location, StoreError, Writer};
use crate::wire;

/// Bytes of tensors in one file, at most; a larger tensor has a file of its own.
pub const SHARD_BYTES: u64 = 5_000_000_000;
const F32_BYTES: u64 = 4;
/// Elements converted and uploaded at a time.
const CHUNK: usize = 1 << 18;
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

/// Writes F32 tensors as `model.safetensors`, or as shards of at most `shard_bytes` ([`SHARD_BYTES`]) with an index.
///
/// `values` gives the tensor at an index of `tensors`, which need not be in memory before.
pub async fn write_model<E, F>(
    directory: &Location,
    tensors: &[(String, Vec<u64>)],
    shard_bytes: u64,
    mut values: impl FnMut(usize) -> F,
) -> Result<Vec<WrittenFile>, E>
where
    E: From<CheckpointError>,
    F: Future<Output = Result<Vec<f32>, E>>,
{
    let shards = shards(tensors, shard_bytes);
    let mut written = Vec::new();
    let mut weight_map = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        for &tensor in shard {
            weight_map.insert(tensors[tensor].0.as_str(), name.clone());
        }
        let mut file = HashedFile::create(directory, name)?;
        file.put(safetensors_header(
            shard.iter().map(|&tensor| (tensors[tensor].0.as_str(), &*tensors[tensor].1)),
        ))
        .await?;
        for &tensor in shard {
            let (name, shape) = &tensors[tensor];
            let values = values(tensor).await?;
            let (found, expected) = (values.len() as u64, shape.iter().product());
            if found != expected {
                return Err(CheckpointError::Length { tensor: name.clone(), found, expected }.into());
            }
            file.put_values(&values).await?;
        }
        written.push(file.finish().await?);
    }
    if shards.len() > 1 {
        let total_size: u64 = tensors.iter().map(|(_, shape)| bytes_of(shape)).sum();
        let index = serde_json::json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
        let mut file = HashedFile::create(directory, "model.safetensors.index.json".to_owned())?;
        file.put(format!("{index:#}\n")).await?;
        written.push(file.finish().await?);
    }
    Ok(written)
}

/// Copies what training does not change (tokenizer, preprocessing, licence), byte for byte; sorted by name.
pub async fn copy_files(from: &Location, to: &Location) -> Result<Vec<WrittenFile>, CheckpointError> {
    let mut written = Vec::new();
    for name in COPIED {
        let bytes = match from.join(name)?.read(LARGEST_COPY).await {
            Err(StoreError::NotFound { .. }) => continue,
            bytes => bytes?,
        };
        let mut file = HashedFile::create(to, name.to_owned())?;
        file.put(bytes).await?;
        written.push(file.finish().await?);
    }
    Ok(written)
}

/// Which tensors go into which file: huggingface_hub's rule, then the order inside a file: safetensors' rule.
fn shards(tensors: &[(String, Vec<u64>)], shard_bytes: u64) -> Vec<Vec<usize>> {
    let mut shards = Vec::new();
    let (mut current, mut size) = (Vec::new(), 0);
    for (tensor, (_, shape)) in tensors.iter().enumerate() {
        let bytes = bytes_of(shape);
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
        shard.sort_by_key(|&tensor| &tensors[tensor].0);
    }
    shards
}

fn bytes_of(shape: &[u64]) -> u64 {
    shape.iter().product::<u64>() * F32_BYTES
}

/// What a safetensors file of F32 tensors begins with: their names and shapes, in the order in which their values follow.
pub fn safetensors_header<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u64])>) -> Vec<u8> {
    header::write(tensors)
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
            self.put(wire::payload(chunk)).await?;
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
