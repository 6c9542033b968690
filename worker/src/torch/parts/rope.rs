//! Rotary positions: Su et al., 2021, as transformers' `apply_rotary_pos_emb` computes them.

use headstart::model::blueprint;
use tch::{Device, Kind, Tensor};

use crate::trainer::TrainError;

pub(super) struct Rope {
    /// `[pairs]`: radians per position.
    frequencies: Tensor,
    factor: f64,
}

impl Rope {
    pub(super) fn new(part: &blueprint::Rope, device: Device) -> Rope {
        Rope { frequencies: Tensor::from_slice(&part.frequencies).to_device(device), factor: part.factor }
    }

    /// `[rows, heads, tokens, head size]` in and out; row `t` turns by position `t`.
    pub(super) fn forward(&self, heads: &Tensor) -> Result<Tensor, TrainError> {
        let (tokens, size) = (heads.size()[2], heads.size()[3]);
        let positions = Tensor::f_arange(tokens, (Kind::Float, heads.device()))?;
        let angles = positions.f_unsqueeze(1)?.f_mul(&self.frequencies)?;
        let (cos, sin) =
            (angles.f_cos()?.f_mul_scalar(self.factor)?, angles.f_sin()?.f_mul_scalar(self.factor)?);
        let pairs = self.frequencies.size()[0];
        let (first, second) = (heads.f_narrow(-1, 0, pairs)?, heads.f_narrow(-1, pairs, pairs)?);
        let turned = [
            first.f_mul(&cos)?.f_sub(&second.f_mul(&sin)?)?,
            second.f_mul(&cos)?.f_add(&first.f_mul(&sin)?)?,
        ];
        let still =
            (size > 2 * pairs).then(|| heads.f_narrow(-1, 2 * pairs, size - 2 * pairs)).transpose()?;
        Ok(Tensor::f_cat(&turned.into_iter().chain(still).collect::<Vec<_>>(), -1)?)
    }
}
