//! A head that shares the embedding table, in checkpoints that store it once, under either name, or twice.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};

use super::{Checkpoint, CheckpointError, Dtype, Resolution, TensorEntry};
use crate::model::blueprint::LANGUAGE_HEAD;

/// Elements of one comparison.
const PIECE: u64 = 1 << 20;

impl Checkpoint {
    /// The tensor of a language model's head, whatever the network's names begin with.
    pub(super) fn head_tensor<'a>(
        &self,
        by_name: &BTreeMap<String, &'a String>,
        prefix: &str,
    ) -> Option<&'a String> {
        let names = [format!("{LANGUAGE_HEAD}.weight"), format!("{prefix}{LANGUAGE_HEAD}.weight")];
        names.iter().find_map(|name| by_name.get(name)).copied()
    }

    /// The names of two tensors that are meant to be one.
    pub(super) fn same_shape(&self, [table, head]: [&String; 2]) -> Result<[String; 2], CheckpointError> {
        let (found, expected) = (&self.tensors[head].shape, &self.tensors[table].shape);
        match found == expected {
            true => Ok([table.clone(), head.clone()]),
            false => Err(CheckpointError::Shape {
                tensor: head.clone(),
                found: found.clone(),
                expected: expected.clone(),
            }),
        }
    }

    /// Refuses a checkpoint whose tied head is stored beside the embedding table with other values. Reads both, a piece at a
    /// time.
    pub async fn check_tied(&self, resolution: &Resolution) -> Result<(), CheckpointError> {
        let Some([table, head]) = &resolution.stored_twice else { return Ok(()) };
        let entries = [&self.tensors[table], &self.tensors[head]];
        let elements: u64 = entries[0].shape.iter().product();
        let mut start = 0;
        while start < elements {
            let piece = start..elements.min(start + PIECE);
            let [ours, theirs] = entries.map(|entry| self.read_elements(entry, piece.clone()));
            let (ours, theirs) = futures::try_join!(ours, theirs)?;
            let same = entries[0].dtype == entries[1].dtype && ours == theirs;
            let differ = |element: &u64| {
                let element = *element as usize;
                number(entries[0].dtype, &ours, element) != number(entries[1].dtype, &theirs, element)
            };
            if let Some(place) = (0..piece.end - start).find(|element| !same && differ(element)) {
                return Err(CheckpointError::TiedDiffer {
                    url: self.directory.to_string(),
                    table: table.clone(),
                    head: head.clone(),
                    element: start + place,
                });
            }
            start = piece.end;
        }
        Ok(())
    }

    /// The bytes of some elements of a tensor.
    async fn read_elements(
        &self,
        entry: &TensorEntry,
        elements: Range<u64>,
    ) -> Result<bytes::Bytes, CheckpointError> {
        let TensorEntry { file, dtype, range, .. } = entry;
        let at = |element: u64| range.start + element * dtype.bytes();
        let file = &self.files[*file];
        Ok(file.location.read_range(&file.meta, at(elements.start)..at(elements.end)).await?)
    }
}

/// An element of a tensor of little-endian numbers; `None` of a type that weights do not have.
fn number(dtype: Dtype, bytes: &[u8], element: usize) -> Option<f32> {
    fn at<const N: usize>(bytes: &[u8], element: usize) -> Option<[u8; N]> {
        bytes.as_chunks().0.get(element).copied()
    }
    match dtype {
        Dtype::F32 => at(bytes, element).map(f32::from_le_bytes),
        Dtype::F16 => at(bytes, element).map(|bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => at(bytes, element).map(|bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => None,
    }
}
