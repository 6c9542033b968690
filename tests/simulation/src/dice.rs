//! Draws: streams of random numbers that the seed and a name decide.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart::draw;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One stream.
#[derive(Debug)]
pub struct Dice {
    key: u64,
    drawn: AtomicU64,
}

impl Dice {
    /// The stream of this name.
    pub fn new(seed: u64, name: &str) -> Dice {
        Dice { key: xxh3_64_with_seed(name.as_bytes(), seed), drawn: AtomicU64::new(0) }
    }

    /// A number below `end`, which is not 0.
    pub fn below(&self, end: u64) -> u64 {
        draw::bits(self.key, self.drawn.fetch_add(1, Ordering::Relaxed)) % end
    }

    /// Whether one thing in a thousand, times `permille`, happens.
    pub fn happens(&self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of them.
    pub fn choose<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }

    /// Up to `longest`, and not less than an eighth of a thousandth of it: every magnitude is as likely as another.
    pub fn time(&self, longest: Duration) -> Duration {
        let magnitude = longest / (1 << self.below(13));
        magnitude / 2 + magnitude.mul_f64(self.below(1000) as f64 / 2000.0)
    }
}
