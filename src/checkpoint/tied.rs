//! A head that shares the embedding table, in checkpoints that store it once, under either name, or twice.

use std::collections::BTreeMap;
use std::ops::Range;

use super::load::decode;
use super::{Checkpoint, CheckpointError, Resolution, TensorEntry};
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
            if ours != theirs || entries[0].dtype != entries[1].dtype {
                let ours = decode(table, entries[0].dtype, &ours)?;
                let theirs = decode(head, entries[1].dtype, &theirs)?;
                if let Some(place) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
                    return Err(CheckpointError::TiedDiffer {
                        url: self.directory.to_string(),
                        table: table.clone(),
                        head: head.clone(),
                        element: start + place as u64,
                    });
                }
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
