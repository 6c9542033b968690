//! Random numbers as a function of what they are for, with no state to carry along.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// Draw number `counter` of the stream `key`: SplitMix64 (Steele et al., 2014) with its state computed rather than kept.
#[inline]
pub fn bits(key: u64, counter: u64) -> u64 {
    let mut bits = key.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Draw number `counter` of a stream named by a seed and a word, from 0 to below 1.
pub fn unit(seed: u64, word: &str, counter: u64) -> f64 {
    let key = xxhash_rust::xxh3::xxh3_64_with_seed(word.as_bytes(), seed);
    (bits(key, counter) >> 11) as f64 / (1u64 << 53) as f64
}
