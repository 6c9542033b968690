//! From the last layer's output to logits.

use headstart::model::Activation;
use headstart::model::blueprint::{self, Blueprint};
use tch::Tensor;

use super::super::dropout::{DropoutRng, dropout};
use super::super::parameters::Parameters;
use super::activation::activate;
use super::linear::Linear;
use super::norm::Norm;
use crate::trainer::TrainError;

pub(in super::super) struct Head {
    norm: Option<Norm>,
    dropout_before: f64,
    dense: Option<(Linear, Activation)>,
    dropout: f64,
    output: Linear,
}

impl Head {
    pub(in super::super) fn new(network: &Blueprint, parameters: &Parameters) -> Head {
        let linear = |part: &blueprint::Linear| Linear::new(part, parameters);
        let part = &network.head;
        Head {
            norm: network.final_norm.as_ref().map(|norm| Norm::new(norm, parameters)),
            dropout_before: part.dropout_before,
            dense: part.dense.as_ref().map(|(dense, activation)| (linear(dense), *activation)),
            dropout: part.dropout,
            output: linear(&part.output),
        }
    }

    /// `[rows, tokens, hidden]` in, logits `[rows, labels]` out.
    pub(in super::super) fn forward(
        &self,
        hidden: &Tensor,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        // [rows, hidden]; normalising only the first token's vector gives the bits of normalising all.
        let mut first = hidden.f_select(1, 0)?;
        if let Some(norm) = &self.norm {
            first = norm.forward(&first)?;
        }
        first = dropout(&first, self.dropout_before, rng)?;
        if let Some((dense, activation)) = &self.dense {
            first = activate(&dense.forward(&first)?, *activation)?;
        }
        self.output.forward(&dropout(&first, self.dropout, rng)?)
    }
}
