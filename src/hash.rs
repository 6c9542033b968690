//! Hashes: of bytes, as text, and of a trainable vector.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use crate::trainable::SEGMENT;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Hash of one segment of a trainable vector.
pub fn segment(values: &[f32]) -> u128 {
    xxh3_128(bytemuck::cast_slice(values))
}

/// XXH3-128 of bytes.
pub fn of_bytes(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// Hash of a trainable vector from those of its segments, in order: what the ledger records.
pub fn of_segments(hashes: &[u128]) -> u128 {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
    xxh3_128(&bytes)
}

/// Hash of a trainable vector.
pub fn vector(values: &[f32]) -> u128 {
    let hashes: Vec<u128> = values.chunks(SEGMENT).map(segment).collect();
    of_segments(&hashes)
}
