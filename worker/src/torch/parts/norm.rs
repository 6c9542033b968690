//! Normalisation over the last dimension.

use headstart::model::blueprint::{self, NormKind};
use tch::{Kind, Tensor};

use super::super::parameters::Parameters;
use crate::trainer::TrainError;

pub(super) struct Norm {
    kind: NormKind,
    /// `[width]`
    weight: Tensor,
    /// `[width]`; none for root mean squares.
    bias: Option<Tensor>,
    epsilon: f64,
}

impl Norm {
    pub(super) fn new(part: &blueprint::Norm, parameters: &Parameters) -> Norm {
        Norm {
            kind: part.kind,
            weight: parameters.tensor(&part.weight()),
            bias: part.bias().map(|bias| parameters.tensor(&bias)),
            epsilon: part.epsilon,
        }
    }

    /// `[…, width]` in and out, in the input's number format; computed in f32.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TrainError> {
        Ok(self.normalised(&input.f_to_kind(Kind::Float)?)?.f_to_kind(input.f_kind()?)?)
    }

    fn normalised(&self, input: &Tensor) -> Result<Tensor, TrainError> {
        match self.kind {
            NormKind::Layer => {
                let (shape, bias) = (self.weight.size(), self.bias.as_ref());
                Ok(input.f_layer_norm(shape.as_slice(), Some(&self.weight), bias, self.epsilon, false)?)
            }
            NormKind::Rms { offset } => {
                let mean = input.f_square()?.f_mean_dim(&[-1i64][..], true, Kind::Float)?;
                let normed = input.f_mul(&mean.f_add_scalar(self.epsilon)?.f_rsqrt()?)?;
                match offset {
                    0.0 => Ok(normed.f_mul(&self.weight)?),
                    offset => Ok(normed.f_mul(&self.weight.f_add_scalar(offset)?)?),
                }
            }
        }
    }
}
