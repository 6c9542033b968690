//! Dropout whose draws depend on what is computed alone: seed, step, shard, micro-batch and block.

use std::cell::Cell;

use headstart::draw;
use headstart::model::Block;
use tch::{Device, Tensor};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::host;
use crate::trainer::{Draw, TrainError};

/// The draws of one block of one micro-batch.
///
/// In host memory they are drawn here, several times faster than libtorch draws them, which takes one after the other. On
/// another device they are libtorch's, whose generator is seeded by the same key.
pub(super) struct DropoutRng {
    key: u64,
    used: Cell<u64>,
}

impl DropoutRng {
    /// The draws for this.
    pub(super) fn new(draw: Draw, block: Block, device: Device) -> DropoutRng {
        let Draw { seed, step, shard, micro_batch } = draw;
        let block = match block {
            Block::Embed => 0,
            Block::Layer(layer) => 1 + u64::from(layer),
            Block::Head => u64::MAX,
        };
        let words = [step, u64::from(shard), u64::from(micro_batch), block];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let key = xxh3_64_with_seed(&bytes, seed);
        if device != Device::Cpu {
            tch::manual_seed(key as i64);
        }
        DropoutRng { key, used: Cell::new(0) }
    }

    /// A tensor of this shape: 0 with probability `p`, else what keeps the expectation, 1 ÷ (1 − p).
    fn mask(&self, shape: &[i64], p: f64) -> Result<Tensor, TrainError> {
        let (limit, scale) = ((p * (1u64 << 32) as f64) as u64, (1.0 / (1.0 - p)) as f32);
        let first = self.used.get();
        host::filled(shape, |mask| {
            self.used.set(first + mask.len().div_ceil(2) as u64);
            let value = |bits: u64| if bits < limit { 0.0 } else { scale };
            for (pair, counter) in mask.chunks_mut(2).zip(first..) {
                let bits = draw::bits(self.key, counter);
                pair[0] = value(bits & u64::from(u32::MAX));
                if let Some(second) = pair.get_mut(1) {
                    *second = value(bits >> 32);
                }
            }
        })
    }
}

/// Zeroes elements with probability `p` and scales the others up. Without draws, as in evaluation, nothing changes.
pub(super) fn dropout(input: &Tensor, p: f64, draws: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
    match draws.filter(|_| p > 0.0) {
        None => Ok(input.shallow_clone()),
        Some(draws) if input.device() == Device::Cpu => Ok(input.f_mul(&draws.mask(&input.size(), p)?)?),
        Some(_) => Ok(input.f_dropout(p, true)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn draws(shard: u32) -> DropoutRng {
        DropoutRng::new(Draw { seed: 5, step: 3, shard, micro_batch: 0 }, Block::Layer(1), Device::Cpu)
    }

    fn dropped(draws: &DropoutRng) -> Vec<bool> {
        let ones = Tensor::ones([101, 99], (Kind::Float, Device::Cpu));
        let tensor = dropout(&ones, 0.1, Some(draws)).expect("a small tensor");
        host::elements(&tensor, |values| values.iter().map(|&value| value == 0.0).collect())
            .expect("on the host")
    }

    #[test]
    fn equal_work_draws_equally_and_other_work_otherwise() {
        let first = draws(0);
        let (one, next) = (dropped(&first), dropped(&first));
        assert_eq!(one, dropped(&draws(0)));
        assert_ne!(one, next, "the second dropout of a block");
        assert_ne!(one, dropped(&draws(1)));
        let share = one.iter().filter(|&&dropped| dropped).count() as f64 / one.len() as f64;
        assert!((share - 0.1).abs() < 0.015, "{share}");
    }
}
