//! The first values of a network's parameters: the checkpoint's, those of an adapter that is continued, and fresh ones.

use half::bf16;

use super::Network;
use crate::checkpoint::{CheckpointError, Dtype, Progress, Values};
use crate::hash;
use crate::model::{self, Parameter};

impl Network {
    /// Gives the first values of the parameters that are `wanted` to `sink`, with their indexes in the table, in the formats in
    /// which they are stored: version 0. Fresh values are F32.
    pub async fn load_stored<E: From<CheckpointError>>(
        &self,
        wanted: impl Fn(usize) -> bool,
        mut sink: impl FnMut(usize, Values) -> Result<(), E>,
    ) -> Result<(), E> {
        let initial = |parameter: &Parameter| model::initial_values(parameter, self.seed);
        let of_base = |index: usize| wanted(index) && !self.continues(index);
        self.checkpoint.load(&self.resolution, &self.table, of_base, initial, &mut sink).await?;
        if let Some((adapter, resolution)) = &self.continued {
            let of_adapter = |index: usize| wanted(index) && self.continues(index);
            adapter.load(resolution, &self.table, of_adapter, initial, sink).await?;
        }
        Ok(())
    }

    /// The first values of all parameters, in the order of the table, as [`Network::load_stored`] gives them.
    pub async fn load_all(&self) -> Result<Vec<Values>, CheckpointError> {
        let mut values = vec![Values::F32(Vec::new()); self.table.len()];
        let take = |index: usize, loaded| {
            values[index] = loaded;
            Ok::<(), CheckpointError>(())
        };
        self.load_stored(|_| true, take).await?;
        Ok(values)
    }

    /// What a probe compares the first values with, of all parameters in the order of the table: random ones, or the base of an
    /// adapter that is continued.
    ///
    /// Where a checkpoint stores 16 bits, random values are rounded to bf16, so that they take as much memory.
    pub async fn zero_line(&self) -> Result<Vec<Values>, CheckpointError> {
        let initial = |parameter: &Parameter| model::initial_values(parameter, self.seed);
        if self.continued.is_none() {
            let random = |(index, parameter): (usize, &Parameter)| match self.is_stored_in_16_bits(index) {
                true => Values::Bf16(initial(parameter).into_iter().map(bf16::from_f32).collect()),
                false => Values::F32(initial(parameter)),
            };
            return Ok(self.table.iter().enumerate().map(random).collect());
        }
        let mut values = vec![Values::F32(Vec::new()); self.table.len()];
        let take = |index: usize, loaded| {
            values[index] = loaded;
            Ok::<(), CheckpointError>(())
        };
        self.checkpoint.load(&self.resolution, &self.table, |_| true, initial, take).await?;
        Ok(values)
    }

    /// What counts the bytes of checkpoint and adapter while they are loaded.
    pub fn progress(&self) -> Vec<Progress> {
        let adapter = self.continued.iter().map(|(adapter, _)| adapter.progress.clone());
        std::iter::once(self.checkpoint.progress.clone()).chain(adapter).collect()
    }

    /// One parameter's first values.
    pub async fn load_one(&self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let (checkpoint, resolution) = match &self.continued {
            Some((adapter, resolution)) if self.continues(index) => (adapter, resolution),
            _ => (&self.checkpoint, &self.resolution),
        };
        match checkpoint.load_one(resolution, index).await? {
            Some(values) => Ok(values.into_f32()),
            None => Ok(model::initial_values(&self.table[index], self.seed)),
        }
    }

    /// The first parameter whose values neither checkpoint nor adapter has, so that they are drawn.
    pub fn first_drawn(&self) -> Option<&str> {
        let drawn = |index: &usize| self.resolution.sources[*index].is_none() && !self.continues(*index);
        (0..self.table.len()).find(drawn).map(|index| self.table[index].name.as_str())
    }

    /// Whether a parameter comes from the adapter that is continued.
    fn continues(&self, index: usize) -> bool {
        self.continued.as_ref().is_some_and(|(_, resolution)| resolution.sources[index].is_some())
    }

    /// The trainable vector of version 0. Reads nothing that is frozen.
    pub async fn initial_vector(&self) -> Result<Vec<f32>, CheckpointError> {
        let mut vector = vec![0.0; self.trainable.len()];
        let places = self.trainable.places(self.table.len());
        self.load_stored(
            |index| places[index].is_some(),
            |index, values| {
                if let Some(range) = places[index].clone() {
                    vector[range].copy_from_slice(&values.into_f32());
                }
                Ok::<(), CheckpointError>(())
            },
        )
        .await?;
        Ok(vector)
    }

    /// Whether values that train are stored in 16 bits, so that the checkpoint holds them rounded.
    pub fn is_rounded(&self) -> bool {
        let stored = |index| self.checkpoint.stored(&self.resolution, index);
        self.trainable
            .slots()
            .iter()
            .any(|slot| stored(slot.parameter).is_some_and(|(_, entry)| entry.dtype != Dtype::F32))
    }

    /// Whether a parameter's first values are held in 16 bits, as the checkpoint stores them. Fresh values never are.
    pub fn is_stored_in_16_bits(&self, index: usize) -> bool {
        let source = self.resolution.sources[index].as_ref();
        let entry = source.and_then(|name| self.checkpoint.tensors.get(name));
        !self.continues(index) && entry.is_some_and(|entry| matches!(entry.dtype, Dtype::BF16 | Dtype::F16))
    }

    /// Bytes of all first values, as they are held.
    pub fn stored_bytes(&self) -> u64 {
        let bytes = |(index, parameter): (usize, &Parameter)| {
            parameter.len() as u64 * if self.is_stored_in_16_bits(index) { 2 } else { 4 }
        };
        self.table.iter().enumerate().map(bytes).sum()
    }

    /// Reads the frozen values; their hash as [`Network::frozen_hash`] gives it.
    pub async fn read_frozen(&self) -> Result<Option<u128>, CheckpointError> {
        let places = self.trainable.places(self.table.len());
        let mut hashes = vec![0; self.table.len()];
        let take = |index: usize, values: Values| {
            hashes[index] = values.hash();
            Ok::<(), CheckpointError>(())
        };
        self.load_stored(|index| places[index].is_none(), take).await?;
        Ok(self.frozen_hash(&hashes))
    }

    /// Hash of the frozen values from the hashes of all parameters' stored values ([`Values::hash`]), in the order of the
    /// table; `None` if nothing is frozen.
    pub fn frozen_hash(&self, hashes: &[u128]) -> Option<u128> {
        let places = self.trainable.places(self.table.len());
        let frozen = hashes.iter().zip(&places).filter(|(_, place)| place.is_none());
        let frozen: Vec<u128> = frozen.map(|(&hash, _)| hash).collect();
        (!frozen.is_empty()).then(|| hash::of_segments(&frozen))
    }
}
