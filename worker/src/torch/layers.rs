//! What transformer encoders are built of. Shapes: `[rows, tokens, hidden]` unless said otherwise; all f32.

use headstart::model::Activation;
use tch::{Device, Kind, Tensor};

use super::dropout::{DropoutRng, dropout};
use super::parameters::Parameters;
use crate::trainer::TrainError;

/// `y = x·Wᵀ + b`.
pub(super) struct Linear {
    /// `[to, from]`
    weight: Tensor,
    /// `[to]`
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(parameters: &Parameters, name: &str, bias: bool) -> Linear {
        Linear {
            weight: parameters.tensor(&format!("{name}.weight")),
            bias: bias.then(|| parameters.tensor(&format!("{name}.bias"))),
        }
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TrainError> {
        Ok(input.f_linear(&self.weight, self.bias.as_ref())?)
    }
}

/// Layer normalisation over the hidden dimension.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    pub(super) fn new(parameters: &Parameters, name: &str, epsilon: f64) -> Norm {
        let tensor = |part: &str| parameters.tensor(&format!("{name}.{part}"));
        Norm { weight: tensor("weight"), bias: tensor("bias"), epsilon }
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TrainError> {
        let shape = self.weight.size();
        Ok(input.f_layer_norm(shape.as_slice(), Some(&self.weight), Some(&self.bias), self.epsilon, false)?)
    }
}

/// Multi-head self-attention, without its output projection.
pub(super) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    heads: i64,
    dropout: f64,
}

impl Attention {
    /// The projections are `{name}.query`, `{name}.key` and `{name}.value`.
    pub(super) fn new(
        parameters: &Parameters,
        name: &str,
        heads: u64,
        dropout: f64,
        bias: bool,
    ) -> Attention {
        let linear = |part: &str| Linear::new(parameters, &format!("{name}.{part}"), bias);
        Attention {
            query: linear("query"),
            key: linear("key"),
            value: linear("value"),
            heads: heads as i64,
            dropout,
        }
    }

    /// `mask`: `[rows, 1, 1, tokens]` bool, true where a token may be attended to; `None`: everywhere.
    pub(super) fn forward(
        &self,
        hidden: &Tensor,
        mask: Option<&Tensor>,
        draws: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let (rows, tokens, width) = hidden.size3()?;
        // [rows, heads, tokens, width / heads]
        let split = |projected: Tensor| -> Result<Tensor, TrainError> {
            Ok(projected.f_view([rows, tokens, self.heads, width / self.heads])?.f_transpose(1, 2)?)
        };
        let query = split(self.query.forward(hidden)?)?;
        let key = split(self.key.forward(hidden)?)?;
        let value = split(self.value.forward(hidden)?)?;
        let context = match draws.filter(|_| self.dropout > 0.0) {
            Some(draws) if hidden.device() == Device::Cpu => {
                // As scaled_dot_product_attention computes it without a fused kernel, with dropout of our own.
                let scale = 1.0 / ((width / self.heads) as f64).sqrt();
                let scores = query.f_mul_scalar(scale)?.f_matmul(&key.f_transpose(-2, -1)?)?;
                let scores = match mask {
                    Some(mask) => scores.f_masked_fill(&mask.f_logical_not()?, f64::NEG_INFINITY)?,
                    None => scores,
                };
                dropout(&scores.f_softmax(-1, Kind::Float)?, self.dropout, Some(draws))?.f_matmul(&value)?
            }
            draws => {
                let p = draws.map_or(0.0, |_| self.dropout);
                Tensor::f_scaled_dot_product_attention(&query, &key, &value, mask, p, false, None, false)?
            }
        };
        Ok(context.f_transpose(1, 2)?.f_reshape([rows, tokens, width])?)
    }
}

pub(super) fn activate(input: &Tensor, activation: Activation) -> Result<Tensor, TrainError> {
    Ok(match activation {
        Activation::Gelu => input.f_gelu("none")?,
        Activation::GeluTanh => input.f_gelu("tanh")?,
        Activation::Relu => input.f_relu()?,
    })
}
