//! A tensor's values in the number format of its file.

use half::{bf16, f16};

use super::CheckpointError;
use super::header::Dtype;
use crate::hash;

/// A tensor's values as its file stores them, row-major. All are finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Stored {
    /// Reads little-endian floats; NaN and infinities are refused.
    pub(super) fn decode(tensor: &str, dtype: Dtype, bytes: &[u8]) -> Result<Stored, CheckpointError> {
        let stored = match dtype {
            Dtype::F32 => {
                Stored::F32(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
            }
            Dtype::F16 => {
                Stored::F16(bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes)).collect())
            }
            Dtype::BF16 => {
                Stored::Bf16(bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes)).collect())
            }
            other => {
                return Err(CheckpointError::Dtype { tensor: tensor.to_owned(), dtype: other.name() });
            }
        };
        match stored.first_not_finite() {
            Some((element, value)) => {
                let element = element as u64;
                Err(CheckpointError::NotFinite { tensor: tensor.to_owned(), element, value })
            }
            None => Ok(stored),
        }
    }

    /// The same values in 32 bits, which holds all of them exactly.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Stored::F32(values) => values,
            Stored::F16(values) => values.into_iter().map(f16::to_f32).collect(),
            Stored::Bf16(values) => values.into_iter().map(bf16::to_f32).collect(),
        }
    }

    /// Hash (XXH3-128) of number format and values.
    pub fn hash(&self) -> u128 {
        let of = |dtype: Dtype, bytes: &[u8]| {
            hash::of_segments(&[hash::of_bytes(dtype.name().as_bytes()), hash::of_bytes(bytes)])
        };
        match self {
            Stored::F32(values) => of(Dtype::F32, bytemuck::cast_slice(values)),
            Stored::F16(values) => of(Dtype::F16, bytemuck::cast_slice(values)),
            Stored::Bf16(values) => of(Dtype::BF16, bytemuck::cast_slice(values)),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Stored::F32(values) => values.len(),
            Stored::F16(values) => values.len(),
            Stored::Bf16(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A tensor of as many rows as `rows` has, with these rows.
    pub(super) fn in_order(self, rows: &[usize]) -> Stored {
        match self {
            Stored::F32(values) => Stored::F32(in_order(&values, rows)),
            Stored::F16(values) => Stored::F16(in_order(&values, rows)),
            Stored::Bf16(values) => Stored::Bf16(in_order(&values, rows)),
        }
    }

    fn first_not_finite(&self) -> Option<(usize, f32)> {
        let (element, value) = match self {
            Stored::F32(values) => {
                let element = values.iter().position(|value| !value.is_finite())?;
                (element, values[element])
            }
            Stored::F16(values) => {
                let element = values.iter().position(|value| !value.is_finite())?;
                (element, values[element].to_f32())
            }
            Stored::Bf16(values) => {
                let element = values.iter().position(|value| !value.is_finite())?;
                (element, values[element].to_f32())
            }
        };
        Some((element, value))
    }
}

fn in_order<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    let width = values.len() / rows.len();
    rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
}
