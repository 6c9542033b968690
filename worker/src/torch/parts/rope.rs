//! Rotary positions: Su et al., 2021, as transformers' `apply_rotary_pos_emb` computes them.

use headstart::model::blueprint;
use tch::{Device, Tensor};

use crate::trainer::TrainError;

/// One kind of rotary positions.
pub(in super::super) struct Rope {
    /// `[pairs]`: radians per position.
    frequencies: Tensor,
    factor: f64,
}

impl Rope {
    pub(in super::super) fn new(part: &blueprint::Rope, device: Device) -> Rope {
        Rope { frequencies: Tensor::from_slice(&part.frequencies).to_device(device), factor: part.factor }
    }

    /// Cosines and sines of positions, `[positions, pairs]` f32.
    pub(in super::super) fn turns(&self, positions: &Tensor) -> Result<[Tensor; 2], TrainError> {
        let angles = positions.f_unsqueeze(1)?.f_mul(&self.frequencies)?;
        Ok([angles.f_cos()?.f_mul_scalar(self.factor)?, angles.f_sin()?.f_mul_scalar(self.factor)?])
    }
}

/// `[tokens, heads, head size]` in and out: pairs of elements turn, the first half of the pairs' elements with the second;
/// elements beyond the pairs do not. Cosines and sines: `[tokens, 1, pairs]`.
pub(super) fn turn(heads: &Tensor, [cosines, sines]: &[Tensor; 2]) -> Result<Tensor, TrainError> {
    let (size, pairs) = (heads.size()[2], cosines.size()[2]);
    let mut parts = heads.f_split_with_sizes([pairs, pairs, size - 2 * pairs], -1)?;
    let still = parts.pop().filter(|still| still.numel() > 0);
    let [first, second] = [&parts[0], &parts[1]];
    let turned = [
        first.f_mul(cosines)?.f_sub(&second.f_mul(sines)?)?,
        second.f_mul(cosines)?.f_add(&first.f_mul(sines)?)?,
    ];
    let turned = Tensor::f_cat(&turned.into_iter().chain(still).collect::<Vec<_>>(), -1)?;
    Ok(turned.f_to_kind(heads.f_kind()?)?)
}
