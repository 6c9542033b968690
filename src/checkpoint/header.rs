//! The safetensors header: read with every guard, written as the reference library writes it.
//!
//! Layout: 8 bytes little-endian header length, a JSON object padded with spaces, then the tensors' bytes, end to end.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::HeaderProblem;

/// Bytes of the header's length.
pub(super) const LENGTH: u64 = 8;
/// Bytes of the longest header read.
pub(super) const LONGEST_HEADER: u64 = 16 << 20;
const MOST_TENSORS: usize = 100_000;

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtype {
    name: &'static str,
    bytes: u64,
}

impl Dtype {
    /// 32-bit floats.
    pub const F32: Dtype = Dtype { name: "F32", bytes: 4 };
    /// IEEE half precision.
    pub const F16: Dtype = Dtype { name: "F16", bytes: 2 };
    /// Brain floats: the upper half of an `F32`.
    pub const BF16: Dtype = Dtype { name: "BF16", bytes: 2 };

    const ALL: [Dtype; 16] = [
        Dtype::F32,
        Dtype::F16,
        Dtype::BF16,
        Dtype { name: "F64", bytes: 8 },
        Dtype { name: "C64", bytes: 8 },
        Dtype { name: "I64", bytes: 8 },
        Dtype { name: "U64", bytes: 8 },
        Dtype { name: "I32", bytes: 4 },
        Dtype { name: "U32", bytes: 4 },
        Dtype { name: "I16", bytes: 2 },
        Dtype { name: "U16", bytes: 2 },
        Dtype { name: "I8", bytes: 1 },
        Dtype { name: "U8", bytes: 1 },
        Dtype { name: "BOOL", bytes: 1 },
        Dtype { name: "F8_E4M3", bytes: 1 },
        Dtype { name: "F8_E5M2", bytes: 1 },
    ];

    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// Its name in a header.
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// A tensor of one file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    /// Bytes of the file.
    pub(super) range: Range<u64>,
}

/// Checks the first 8 bytes of a file of `size` bytes; the header's length.
pub(super) fn header_length(first: [u8; 8], size: u64) -> Result<u64, HeaderProblem> {
    let header = u64::from_le_bytes(first);
    if header > LONGEST_HEADER {
        return Err(HeaderProblem::TooLong(header));
    }
    if header > size.saturating_sub(LENGTH) {
        return Err(HeaderProblem::BeyondFile { header, file: size });
    }
    Ok(header)
}

/// The tensors of a header, in file order; `data` is the number of bytes that follow it in the file.
pub(super) fn parse(header: &[u8], data: u64) -> Result<Vec<Stored>, HeaderProblem> {
    if header.first() != Some(&b'{') {
        return Err(HeaderProblem::Json("it does not begin with {".to_owned()));
    }
    let Entries(entries) =
        serde_json::from_slice(header).map_err(|error| HeaderProblem::Json(error.to_string()))?;
    if entries.len() > MOST_TENSORS {
        return Err(HeaderProblem::TooManyTensors(entries.len()));
    }
    let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(HeaderProblem::Duplicate(pair[0].to_owned()));
    }
    let start = LENGTH + header.len() as u64;
    let mut tensors = entries.into_iter().map(Entry::check).collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    let mut end = 0;
    for tensor in &mut tensors {
        let Range { start: first, end: last } = tensor.range;
        if first < end {
            return Err(HeaderProblem::Overlap(tensor.name.clone()));
        }
        if first > end {
            return Err(HeaderProblem::Gap(tensor.name.clone()));
        }
        if last > data {
            return Err(HeaderProblem::Truncated { found: data, expected: last });
        }
        end = last;
        tensor.range = start + first..start + last;
    }
    if end < data {
        return Err(HeaderProblem::Trailing(data - end));
    }
    Ok(tensors)
}

/// The header of a file that holds tensors of these names, shapes and dtypes in this order, with its length before it.
pub(super) fn write<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u64], Dtype)>) -> Vec<u8> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut json = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut end = 0;
    for (name, shape, dtype) in tensors {
        let start = end;
        end += shape.iter().product::<u64>() * dtype.bytes;
        let shape = shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let (name, dtype) = (quoted(name), dtype.name);
        json.push_str(&format!(
            ",{name}:{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[{start},{end}]}}"
        ));
    }
    json.push('}');
    let padded = json.len().next_multiple_of(8);
    let mut bytes = (padded as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(LENGTH as usize + padded, b' ');
    bytes
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check((tensor, entry): (String, Entry)) -> Result<Stored, HeaderProblem> {
        let Entry { dtype, shape, data_offsets: (start, end) } = entry;
        let Some(dtype) = Dtype::ALL.into_iter().find(|known| known.name == dtype) else {
            return Err(HeaderProblem::UnknownDtype { tensor, dtype });
        };
        if end < start {
            return Err(HeaderProblem::Backwards(tensor));
        }
        // A zero in the shape does not excuse dimensions no machine can count to.
        let elements =
            shape.iter().try_fold(1u64, |product, &dimension| product.checked_mul(dimension.max(1)));
        let limit =
            elements.and_then(|elements| elements.checked_mul(dtype.bytes)).filter(|&bytes| bytes >> 63 == 0);
        let Some(full) = limit else {
            return Err(HeaderProblem::ShapeOverflow(tensor));
        };
        let expected = if shape.contains(&0) { 0 } else { full };
        if end - start != expected {
            return Err(HeaderProblem::Size { tensor, found: end - start, expected });
        }
        Ok(Stored { name: tensor, dtype, shape, range: start..end })
    }
}

/// The header's entries as they stand, duplicates included: a map would hide them.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
