//! Headers of every kind, and what damage makes of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::header::{self, Dtype, Stored};
use super::{HALF, SINGLE, tensor};

/// Element types and their bytes, as the format's specification has them.
const TYPES: [(&str, u64); 6] = [("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("U8", 1), ("F8_E4M3", 1)];

/// One tensor of a generated file: its name, type and shape.
type Tensor = (String, usize, Vec<u64>);

/// Header text and bytes of data of a file with these tensors; `order` is that of the entries, which is free.
fn written(tensors: &[Tensor], order: &[u64]) -> (String, u64) {
    let mut end = 0;
    let mut entries: Vec<(u64, String)> = tensors
        .iter()
        .zip(order)
        .map(|((name, kind, shape), &place)| {
            let (dtype, bytes) = TYPES[*kind];
            let start = end;
            end += shape.iter().product::<u64>() * bytes;
            let quoted = serde_json::Value::from(name.as_str()).to_string();
            let entry = tensor("x", dtype, &format!("{shape:?}"), start, end);
            (place, entry.replacen("\"x\"", &quoted, 1))
        })
        .collect();
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(_, entry)| entry).collect();
    (format!("{{{}}}", entries.join(",")), end)
}

fn tensors() -> impl Strategy<Value = Vec<Tensor>> {
    let name = "\\PC{0,8}".prop_filter("reserved", |name| name != "__metadata__");
    let kind_and_shape = (0..TYPES.len(), prop::collection::vec(0u64..9, 0..4));
    prop::collection::btree_map(name, kind_and_shape, 0..9)
        .prop_map(|tensors| tensors.into_iter().map(|(name, (kind, shape))| (name, kind, shape)).collect())
}

/// Accepted tensors lie end to end, cover the data exactly, and are as long as their shapes say.
fn sound(tensors: &[Stored], header: usize, data: u64) -> Result<(), TestCaseError> {
    let mut end = 8 + header as u64;
    for Stored { name, dtype, shape, range } in tensors {
        prop_assert_eq!(range.start, end, "{}", name);
        let bytes = match dtype.name() {
            "F64" | "C64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            _ => 1,
        };
        let elements = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        prop_assert_eq!(
            elements.and_then(|elements| elements.checked_mul(bytes)),
            Some(range.end - range.start)
        );
        end = range.end;
    }
    prop_assert_eq!(end, 8 + header as u64 + data);
    Ok(())
}

#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// A number becomes another.
    Number(Index, u64),
    /// A piece of the header is there twice.
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![any::<u8>(), prop::sample::select(b"{}[]:,\"0123456789-.eE \\".to_vec())];
    let number = prop_oneof![any::<u64>(), 0u64..100, (0u32..64).prop_map(|bits| 1 << bits)];
    prop_oneof![
        (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Remove),
        (any::<Index>(), number).prop_map(|(at, number)| Damage::Number(at, number)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn apply(header: &mut Vec<u8>, damage: &Damage) {
    let len = header.len();
    if len == 0 {
        return;
    }
    match damage {
        Damage::Set(at, byte) => header[at.index(len)] = *byte,
        Damage::Insert(at, byte) => header.insert(at.index(len), *byte),
        Damage::Remove(at) => drop(header.remove(at.index(len))),
        Damage::Number(at, number) => {
            let begins = |at: &usize| header[*at].is_ascii_digit() && !header[at - 1].is_ascii_digit();
            let places: Vec<usize> = (1..header.len()).filter(begins).collect();
            if places.is_empty() {
                return;
            }
            let start = places[at.index(places.len())];
            let digits = header[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            header.splice(start..start + digits, number.to_string().bytes());
        }
        Damage::Repeat(from, to) => {
            let (one, other) = (from.index(len), to.index(len));
            let piece = header[one.min(other)..one.max(other)].to_vec();
            header.splice(one.max(other)..one.max(other), piece);
        }
    }
}

proptest! {
    #[test]
    fn our_headers_survive_the_round_trip(tensors in tensors()) {
        let shapes: BTreeMap<&str, &[u64]> =
            tensors.iter().map(|(name, _, shape)| (name.as_str(), shape.as_slice())).collect();
        let bytes = header::write(shapes.iter().map(|(name, shape)| (*name, *shape, Dtype::F32)));
        prop_assert_eq!(bytes.len() % 8, 0);
        let data: u64 = shapes.values().map(|shape| shape.iter().product::<u64>() * 4).sum();
        let length = header::header_length(bytes[..8].try_into().unwrap(), bytes.len() as u64 + data).unwrap();
        prop_assert_eq!(length as usize, bytes.len() - 8);
        let parsed = header::parse(&bytes[8..], data).unwrap();
        sound(&parsed, bytes.len() - 8, data)?;
        let found: BTreeMap<_, _> = parsed.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
        prop_assert_eq!(found, shapes);
    }

    #[test]
    fn valid_headers_are_accepted(tensors in tensors(), order in prop::collection::vec(any::<u64>(), 9)) {
        let (header, data) = written(&tensors, &order);
        let parsed = header::parse(header.as_bytes(), data).unwrap();
        sound(&parsed, header.len(), data)?;
        let mut found: Vec<(&str, &str, &[u64])> = parsed
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.dtype.name(), tensor.shape.as_slice()))
            .collect();
        found.sort();
        let expected: Vec<(&str, &str, &[u64])> =
            tensors.iter().map(|(name, kind, shape)| (name.as_str(), TYPES[*kind].0, shape.as_slice())).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(header::parse(header.as_bytes(), data + 1).is_err(), "a byte too many");
        prop_assert!(data == 0 || header::parse(header.as_bytes(), data - 1).is_err(), "a byte too few");
    }

    /// No bytes make the parser panic, and whatever it accepts is sound.
    #[test]
    fn damaged_headers_are_refused_or_sound(
        tensors in tensors(),
        order in prop::collection::vec(any::<u64>(), 9),
        damage in prop::collection::vec(damage(), 1..6),
        python: Option<bool>,
    ) {
        let (header, mut data) = written(&tensors, &order);
        let mut header = header.into_bytes();
        if let Some(half) = python {
            let file = if half { HALF } else { SINGLE };
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            (header, data) = (file[8..8 + length].to_vec(), (file.len() - 8 - length) as u64);
        }
        damage.iter().for_each(|damage| apply(&mut header, damage));
        if let Ok(parsed) = header::parse(&header, data) {
            sound(&parsed, header.len(), data)?;
        }
    }

    #[test]
    fn no_length_is_beyond_its_file(first: [u8; 8], small in 0u64..64, size in 0u64..1 << 26) {
        for first in [first, small.to_le_bytes()] {
            if let Ok(length) = header::header_length(first, size) {
                prop_assert!(length + 8 <= size && length <= 16 << 20);
            }
        }
    }
}
