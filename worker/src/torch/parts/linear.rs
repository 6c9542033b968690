//! `y = x·Wᵀ + b`.

use headstart::model::blueprint;
use tch::Tensor;

use super::super::parameters::Parameters;
use crate::trainer::TrainError;

pub(super) struct Linear {
    /// `[to, from]`
    weight: Tensor,
    /// `[to]`
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(part: &blueprint::Linear, parameters: &Parameters) -> Linear {
        Linear {
            weight: parameters.tensor(&part.weight()),
            bias: part.bias().map(|bias| parameters.tensor(&bias)),
        }
    }

    /// `[…, from]` in, `[…, to]` out.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TrainError> {
        Ok(input.f_linear(&self.weight, self.bias.as_ref())?)
    }
}
