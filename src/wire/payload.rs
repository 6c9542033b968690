//! Numbers of a trainable vector as bytes, in the run's wire format.
//!
//! A chunk of `n` elements becomes: a bit for each unit of 64 elements, set if any of them is not +0; with int8 an exponent for
//! each block of 256 elements that has such a unit; then the elements of those units. Units of zeros are left out, which makes
//! gradients of embedding tables small: only the rows that a batch looked up are not zero. Nothing need be known of tables for
//! that, nothing is lost, and a chunk that is not sparse pays one bit for 64 elements.
//!
//! Packing loses nothing: f32 holds every number, and sums in a narrow format are rounded before ([`crate::rounding`]). An int8
//! exponent is found again from the largest magnitude; it may be smaller than the one that was rounded with, and then divides
//! every number of the block just as well.

use bytes::Bytes;
use pulp::Arch;

use crate::rounding::{self, BLOCK, LARGEST_EXPONENT, SMALLEST_EXPONENT};
use crate::run_file::Wire;

/// Elements of a chunk, at most: a multiple of a block. A chunk of 32-bit floats has half a MiB: it fits in a frame of HTTP/2, and
/// in a core's cache while it is packed, checked and unpacked.
pub const CHUNK: usize = 1 << 17;
/// Elements that are there or left out together.
const UNIT: usize = 64;
const UNITS_OF_BLOCK: usize = BLOCK / UNIT;
/// What is added to an exponent to make a byte of it.
const BIAS: i32 = 1 - SMALLEST_EXPONENT;

/// Bytes that are no chunk of this format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{found} bytes, expected {expected}")]
    Length { found: usize, expected: usize },
    #[error("a bit is set for elements beyond the end")]
    Beyond,
    #[error("{0} is no exponent of a scale")]
    Exponent(u8),
    #[error("-128 is no code")]
    Code,
}

/// Packs numbers that the format holds exactly, and appends them to `into`.
pub fn encode(wire: Wire, values: &[f32], into: &mut Vec<u8>) {
    Arch::new().dispatch(|| pack(wire, values, into));
}

#[inline(always)]
fn pack(wire: Wire, values: &[f32], into: &mut Vec<u8>) {
    let start = into.len();
    into.resize(start + bitmap_len(values.len()), 0);
    for (unit, values) in values.chunks(UNIT).enumerate() {
        if values.iter().fold(0, |bits, value| bits | value.to_bits()) != 0 {
            into[start + unit / 8] |= 1 << (unit % 8);
        }
    }
    let (exponents, elements) = lengths(wire, &into[start..], values.len());
    // Not more: packed sums wait in queues.
    into.reserve_exact(exponents + elements);
    let mut exponent = into.len();
    if wire == Wire::Int8 {
        for (number, block) in values.chunks(BLOCK).enumerate() {
            if units_of(&into[start..], number) != 0 {
                into.push((rounding::exponent(rounding::largest(block)) + BIAS) as u8);
            }
        }
    }
    for (number, block) in values.chunks(BLOCK).enumerate() {
        let units = units_of(&into[start..], number);
        if units == 0 {
            continue;
        }
        let inverse = match wire {
            Wire::Int8 => rounding::power(BIAS - i32::from(into[exponent])),
            Wire::F32 | Wire::Bf16 => 1.0,
        };
        exponent += 1;
        let size = piece(units, block.len());
        for (_, values) in block.chunks(size).enumerate().filter(|(unit, _)| units >> unit & 1 == 1) {
            append(wire, inverse, values, into);
        }
    }
}

/// Appends elements that are there. `inverse`: what makes a code of an element.
#[inline(always)]
fn append(wire: Wire, inverse: f32, values: &[f32], into: &mut Vec<u8>) {
    /// Added to a whole number of few digits, it leaves them in the lowest bits, in two's complement.
    const WHOLE: f32 = 12_582_912.0;
    let start = into.len();
    match wire {
        Wire::F32 => into.extend_from_slice(bytemuck::cast_slice(values)),
        Wire::Bf16 => {
            into.resize(start + 2 * values.len(), 0);
            for (bytes, value) in into[start..].as_chunks_mut().0.iter_mut().zip(values) {
                *bytes = ((value.to_bits() >> 16) as u16).to_le_bytes();
            }
        }
        Wire::Int8 => {
            into.resize(start + values.len(), 0);
            for (byte, value) in into[start..].iter_mut().zip(values) {
                *byte = (value * inverse + WHOLE).to_bits() as u8;
            }
        }
    }
}

/// Elements of a block that are packed together: all, if all of its units are there.
#[inline(always)]
fn piece(units: u8, block: usize) -> usize {
    if u32::from(units).count_ones() as usize == block.div_ceil(UNIT) { BLOCK } else { UNIT }
}

/// Packs a segment, or the end of one: for each chunk its first element and its bytes.
pub fn chunks(wire: Wire, values: &[f32]) -> impl Iterator<Item = (usize, Bytes)> {
    values.chunks(CHUNK).enumerate().map(move |(number, values)| {
        let mut bytes = Vec::new();
        encode(wire, values, &mut bytes);
        (number * CHUNK, bytes.into())
    })
}

/// Unpacks a chunk into `values`, all of which are overwritten.
pub fn decode(wire: Wire, payload: &[u8], values: &mut [f32]) -> Result<(), Malformed> {
    let chunk = Chunk::split(wire, payload, values.len())?;
    Arch::new().dispatch(|| unpack_chunk(wire, &chunk, values))
}

#[inline(always)]
fn unpack_chunk(wire: Wire, chunk: &Chunk<'_>, values: &mut [f32]) -> Result<(), Malformed> {
    let mut exponents = chunk.exponents.iter();
    let mut rest = chunk.elements;
    for (number, block) in values.chunks_mut(BLOCK).enumerate() {
        let units = units_of(chunk.bitmap, number);
        if units == 0 {
            block.fill(0.0);
            continue;
        }
        let scale = match wire {
            Wire::Int8 => scale(*exponents.next().expect("counted by Chunk::split"))?,
            Wire::F32 | Wire::Bf16 => 1.0,
        };
        let size = piece(units, block.len());
        for (unit, values) in block.chunks_mut(size).enumerate() {
            if units >> unit & 1 == 0 {
                values.fill(0.0);
                continue;
            }
            let (bytes, after) = rest.split_at(values.len() * width(wire));
            rest = after;
            unpack(wire, bytes, scale, values)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn unpack(wire: Wire, bytes: &[u8], scale: f32, values: &mut [f32]) -> Result<(), Malformed> {
    match wire {
        Wire::F32 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Wire::Bf16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }
        }
        Wire::Int8 => {
            let mut worst = 0;
            for (value, &byte) in values.iter_mut().zip(bytes) {
                let code = byte as i8;
                worst = worst.min(code);
                *value = f32::from(code) * scale;
            }
            if worst == i8::MIN {
                return Err(Malformed::Code);
            }
        }
    }
    Ok(())
}

fn scale(byte: u8) -> Result<f32, Malformed> {
    let exponent = i32::from(byte) - BIAS;
    match (SMALLEST_EXPONENT..=LARGEST_EXPONENT).contains(&exponent) {
        true => Ok(rounding::power(exponent)),
        false => Err(Malformed::Exponent(byte)),
    }
}

/// The parts of a payload.
struct Chunk<'a> {
    bitmap: &'a [u8],
    exponents: &'a [u8],
    elements: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Cuts a payload of `len` elements, and checks that it is as long as its bits say.
    fn split(wire: Wire, payload: &'a [u8], len: usize) -> Result<Chunk<'a>, Malformed> {
        let bits = bitmap_len(len);
        let short = |expected| Malformed::Length { found: payload.len(), expected };
        let (bitmap, rest) = payload.split_at_checked(bits).ok_or_else(|| short(bits))?;
        let units = len.div_ceil(UNIT);
        if bitmap.last().is_some_and(|last| !units.is_multiple_of(8) && last >> (units % 8) != 0) {
            return Err(Malformed::Beyond);
        }
        let (exponents, elements) = lengths(wire, bitmap, len);
        let expected = bits + exponents + elements;
        if payload.len() != expected {
            return Err(short(expected));
        }
        let (exponents, elements) = rest.split_at(exponents);
        Ok(Chunk { bitmap, exponents, elements })
    }
}

/// Bytes of exponents and of elements after the bits of `len` elements.
fn lengths(wire: Wire, bitmap: &[u8], len: usize) -> (usize, usize) {
    let units = len.div_ceil(UNIT);
    let there = bitmap.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    // The last unit may be short.
    let last = units.checked_sub(1).is_some_and(|last| bitmap[last / 8] >> (last % 8) & 1 == 1);
    let missing = if last { units * UNIT - len } else { 0 };
    let exponents = match wire {
        Wire::Int8 => (0..len.div_ceil(BLOCK)).filter(|&block| units_of(bitmap, block) != 0).count(),
        Wire::F32 | Wire::Bf16 => 0,
    };
    (exponents, (there * UNIT - missing) * width(wire))
}

/// Bytes of an element.
fn width(wire: Wire) -> usize {
    match wire {
        Wire::F32 => 4,
        Wire::Bf16 => 2,
        Wire::Int8 => 1,
    }
}

fn bitmap_len(elements: usize) -> usize {
    elements.div_ceil(UNIT).div_ceil(8)
}

/// The four bits of a block's units.
fn units_of(bitmap: &[u8], block: usize) -> u8 {
    const { assert!(UNITS_OF_BLOCK == 4) };
    bitmap[block / 2] >> (4 * (block % 2)) & 0xF
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Step;
    use crate::rounding::Rounding;
    use crate::tree::Node;

    const ALL: [Wire; 3] = [Wire::F32, Wire::Bf16, Wire::Int8];

    fn packed(wire: Wire, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(wire, values, &mut bytes);
        bytes
    }

    fn rounded(wire: Wire, values: &[f32]) -> Vec<f32> {
        let mut values = values.to_vec();
        let node = Node { first: 0, shards: 1 };
        Rounding::new(wire, 42).round(Step(3), node, 0, &mut values).expect("all are finite");
        values
    }

    /// Runs of zeros between numbers of every magnitude.
    fn sparse() -> impl Strategy<Value = Vec<f32>> {
        let number = prop_oneof![-1.0f32..1.0, prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL];
        let run =
            prop_oneof![prop::collection::vec(Just(0.0f32), 1..400), prop::collection::vec(number, 1..200),];
        prop::collection::vec(run, 1..12).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_to_the_same_bits(values in sparse()) {
            for wire in ALL {
                let values = rounded(wire, &values);
                let bytes = packed(wire, &values);
                let mut found = vec![f32::NAN; values.len()];
                decode(wire, &bytes, &mut found).expect("it was packed");
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found), bits(&values), "{:?}", wire);
            }
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..700), len in 0usize..700) {
            for wire in ALL {
                let _ = decode(wire, &bytes, &mut vec![0.0; len]);
            }
        }

        #[test]
        fn whatever_is_unpacked_is_packed_to_the_same_numbers(
            units in 0u16..1 << 11,
            exponents in prop::collection::vec(1..=(LARGEST_EXPONENT + BIAS) as u8, 3),
            codes in prop::collection::vec(-127i8..=127, 700),
        ) {
            let there = |unit: usize| units >> unit & 1 == 1;
            let mut bytes = units.to_le_bytes().to_vec();
            bytes.extend((0..3).filter(|block| units_of(&bytes, *block) != 0).map(|block| exponents[block]).collect::<Vec<_>>());
            let there = codes.iter().enumerate().filter(|(element, _)| there(element / UNIT));
            bytes.extend(there.map(|(_, code)| *code as u8));
            let mut values = vec![f32::NAN; 700];
            decode(Wire::Int8, &bytes, &mut values).expect("every number is in its bounds");
            let mut again = vec![f32::NAN; 700];
            decode(Wire::Int8, &packed(Wire::Int8, &values), &mut again).expect("it was packed");
            prop_assert_eq!(again, values);
        }

        #[test]
        fn a_payload_that_was_cut_or_has_grown_is_refused(values in sparse(), cut: prop::sample::Index) {
            for wire in ALL {
                let mut bytes = packed(wire, &rounded(wire, &values));
                bytes.push(0);
                let mut found = vec![0.0; values.len()];
                prop_assert!(decode(wire, &bytes, &mut found).is_err());
                bytes.pop();
                prop_assert!(decode(wire, &bytes[..cut.index(bytes.len())], &mut found).is_err());
            }
        }
    }

    #[test]
    fn zeros_cost_a_bit_for_64_of_them() {
        let mut values = vec![0.0; CHUNK];
        for wire in ALL {
            assert_eq!(packed(wire, &values).len(), CHUNK / UNIT / 8);
        }
        values[..384].fill(0.5);
        let row = [4 * 384, 2 * 384, 384 + 2];
        assert_eq!(ALL.map(|wire| packed(wire, &values).len() - CHUNK / UNIT / 8), row);
        values.fill(0.5);
        assert_eq!(packed(Wire::Int8, &values).len(), CHUNK + CHUNK / BLOCK + CHUNK / UNIT / 8);
    }

    #[test]
    fn what_no_worker_packs_is_refused() {
        let mut values = [0.0; 1];
        let decode = |bytes: &[u8], values: &mut [f32]| decode(Wire::Int8, bytes, values);
        assert_eq!(decode(&[0b10], &mut values), Err(Malformed::Beyond));
        assert_eq!(decode(&[1, 0, 1], &mut values), Err(Malformed::Exponent(0)));
        assert_eq!(decode(&[1, 250, 1], &mut values), Err(Malformed::Exponent(250)));
        assert_eq!(decode(&[1, 127, 0x80], &mut values), Err(Malformed::Code));
        assert_eq!(decode(&[1, 127, 0x81], &mut values), Ok(()));
        assert_eq!(values, [-127.0]);
        assert_eq!(decode(&[1, 127], &mut values), Err(Malformed::Length { found: 2, expected: 3 }));
    }
}
