//! Activation functions.

use headstart::model::Activation;
use tch::Tensor;

use crate::trainer::TrainError;

/// Any shape in and out.
pub(super) fn activate(input: &Tensor, activation: Activation) -> Result<Tensor, TrainError> {
    Ok(match activation {
        Activation::Gelu => input.f_gelu("none")?,
        Activation::GeluTanh => input.f_gelu("tanh")?,
        Activation::Relu => input.f_relu()?,
        Activation::Silu => input.f_silu()?,
        Activation::Tanh => input.f_tanh()?,
    })
}
