//! One transformer layer: attention and a feed-forward network, each added to its input.

use headstart::model::{Activation, blueprint};
use tch::Tensor;

use super::super::dropout::{DropoutRng, dropout};
use super::super::parameters::Parameters;
use super::super::rows::Rows;
use super::activation::activate;
use super::attention::Attention;
use super::linear::Linear;
use super::norm::Norm;
use crate::trainer::TrainError;

pub(in super::super) struct Layer {
    attention: Attention,
    around_attention: Residual,
    mlp: Mlp,
    around_mlp: Residual,
}

struct Residual {
    before: Option<Norm>,
    after: Option<Norm>,
    sum: Option<Norm>,
    dropout: f64,
}

struct Mlp {
    gate: Option<Linear>,
    inner: Linear,
    outer: Linear,
    activation: Activation,
}

impl Layer {
    /// `ropes`: all kinds of rotary positions of the network.
    pub(in super::super) fn new(
        part: &blueprint::Layer,
        ropes: &[&blueprint::Rope],
        parameters: &Parameters,
    ) -> Layer {
        Layer {
            attention: Attention::new(&part.attention, ropes, parameters),
            around_attention: Residual::new(&part.around_attention, parameters),
            mlp: Mlp::new(&part.mlp, parameters),
            around_mlp: Residual::new(&part.around_mlp, parameters),
        }
    }

    pub(in super::super) fn forward(
        &self,
        hidden: &Tensor,
        rows: &Rows,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let attended =
            self.around_attention.forward(hidden, rng, |input| self.attention.forward(input, rows, rng))?;
        self.around_mlp.forward(&attended, rng, |input| self.mlp.forward(input, rng))
    }
}

impl Residual {
    fn new(part: &blueprint::Residual, parameters: &Parameters) -> Residual {
        let norm = |part: &Option<blueprint::Norm>| part.as_ref().map(|part| Norm::new(part, parameters));
        Residual {
            before: norm(&part.before),
            after: norm(&part.after),
            sum: norm(&part.sum),
            dropout: part.dropout,
        }
    }

    /// `sum(x + after(dropout(f(before(x)))))`
    fn forward(
        &self,
        input: &Tensor,
        rng: Option<&DropoutRng>,
        sub_layer: impl FnOnce(&Tensor) -> Result<Tensor, TrainError>,
    ) -> Result<Tensor, TrainError> {
        let output = match &self.before {
            Some(norm) => sub_layer(&norm.forward(input)?)?,
            None => sub_layer(input)?,
        };
        let output = dropout(&output, self.dropout, rng)?;
        let output = match &self.after {
            Some(norm) => norm.forward(&output)?,
            None => output,
        };
        let sum = output.f_add(input)?;
        self.sum.as_ref().map_or(Ok(sum.shallow_clone()), |norm| norm.forward(&sum))
    }
}

impl Mlp {
    fn new(part: &blueprint::Mlp, parameters: &Parameters) -> Mlp {
        Mlp {
            gate: part.gate.as_ref().map(|gate| Linear::new(gate, parameters)),
            inner: Linear::new(&part.inner, parameters),
            outer: Linear::new(&part.outer, parameters),
            activation: part.activation,
        }
    }

    fn forward(&self, input: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        let inner = self.inner.forward(input, rng)?;
        let inner = match &self.gate {
            Some(gate) => activate(&gate.forward(input, rng)?, self.activation)?.f_mul(&inner)?,
            None => activate(&inner, self.activation)?,
        };
        self.outer.forward(&inner, rng)
    }
}
