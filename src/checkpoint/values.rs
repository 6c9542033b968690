//! The numbers of a tensor, in the format in which a checkpoint stores them.

use half::{bf16, f16};
use xxhash_rust::xxh3::Xxh3;

use super::CheckpointError;
use super::header::Dtype;

/// Numbers converted at a time while they are hashed.
const CHUNK: usize = 1 << 16;

/// The numbers of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Values {
    /// Little-endian numbers of a file; NaN and infinities are refused.
    pub(super) fn decode(tensor: &str, dtype: Dtype, bytes: &[u8]) -> Result<Values, CheckpointError> {
        let values = match dtype {
            Dtype::F32 => {
                Values::F32(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
            }
            Dtype::F16 => {
                Values::F16(bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect())
            }
            Dtype::BF16 => {
                Values::Bf16(bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes)).collect())
            }
            other => return Err(CheckpointError::Dtype { tensor: tensor.to_owned(), dtype: other.name() }),
        };
        let odd = match &values {
            Values::F32(list) => list.iter().position(|value| !value.is_finite()),
            Values::F16(list) => list.iter().position(|value| !value.is_finite()),
            Values::Bf16(list) => list.iter().position(|value| !value.is_finite()),
        };
        match odd {
            Some(element) => Err(CheckpointError::NotFinite {
                tensor: tensor.to_owned(),
                element: element as u64,
                value: values.get(element),
            }),
            None => Ok(values),
        }
    }

    fn get(&self, element: usize) -> f32 {
        match self {
            Values::F32(list) => list[element],
            Values::F16(list) => list[element].to_f32(),
            Values::Bf16(list) => list[element].to_f32(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(list) => list.len(),
            Values::F16(list) => list.len(),
            Values::Bf16(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same numbers as 32-bit floats, which hold each of them exactly.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Values::F32(list) => list,
            Values::F16(list) => list.into_iter().map(f16::to_f32).collect(),
            Values::Bf16(list) => list.into_iter().map(bf16::to_f32).collect(),
        }
    }

    /// XXH3-128 of the numbers as little-endian 32-bit floats: equal for equal numbers, whatever the format and the machine.
    pub fn hash(&self) -> u128 {
        const { assert!(cfg!(target_endian = "little"), "big-endian machines need a conversion here") };
        let mut hash = Xxh3::new();
        match self {
            Values::F32(list) => hash.update(bytemuck::cast_slice(list)),
            Values::F16(list) => feed(&mut hash, list, f16::to_f32),
            Values::Bf16(list) => feed(&mut hash, list, bf16::to_f32),
        }
        hash.digest128()
    }

    /// The tensor with these of its rows, in order, where it has as many.
    pub(super) fn in_order(self, rows: &[usize]) -> Values {
        match self {
            Values::F32(list) => Values::F32(in_order(&list, rows)),
            Values::F16(list) => Values::F16(in_order(&list, rows)),
            Values::Bf16(list) => Values::Bf16(in_order(&list, rows)),
        }
    }
}

/// Hashes narrow numbers as wide ones, a chunk at a time.
fn feed<T: Copy>(hash: &mut Xxh3, list: &[T], widen: impl Fn(T) -> f32 + Copy) {
    for chunk in list.chunks(CHUNK) {
        let wide: Vec<f32> = chunk.iter().copied().map(widen).collect();
        hash.update(bytemuck::cast_slice(&wide));
    }
}

fn in_order<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    let width = values.len() / rows.len();
    rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_no_part_of_the_hash() {
        let (brain, single) = (Values::Bf16(vec![bf16::ONE; 3]), Values::F32(vec![1.0; 3]));
        assert_eq!(brain.hash(), single.hash());
        assert_eq!(brain.clone().into_f32(), single.into_f32());
        assert_ne!(brain.hash(), Values::F32(vec![1.0, 1.0, 1.5]).hash());
    }
}
