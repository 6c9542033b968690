//! Linear layers, with low-rank adapters (Hu et al., 2021).

use headstart::model::blueprint;
use tch::Tensor;

use super::super::dropout::{DropoutRng, dropout};
use super::super::parameters::Parameters;
use super::super::shim;
use crate::trainer::TrainError;

pub(super) struct Linear {
    /// `[to, from]`; as the checkpoint stores it where it does not train.
    weight: Tensor,
    /// `[to]`
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

struct Adapter {
    /// `[rank, from]`
    a: Tensor,
    /// `[to, rank]`
    b: Tensor,
    scale: f64,
    dropout: f64,
}

impl Linear {
    pub(super) fn new(part: &blueprint::Linear, parameters: &Parameters) -> Linear {
        let adapter = part.adapter.map(|adapter| Adapter {
            a: parameters.tensor(&part.lora_a()),
            b: parameters.tensor(&part.lora_b()),
            scale: adapter.scale,
            dropout: adapter.dropout,
        });
        Linear {
            weight: parameters.tensor(&part.weight()),
            bias: part.bias().map(|bias| parameters.tensor(&bias)),
            adapter,
        }
    }

    /// `[…, from]` in, `[…, to]` out.
    pub(super) fn forward(&self, input: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        // Of equal formats this is the tensor itself.
        let kind = input.f_kind()?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        let output = match self.weight.requires_grad() {
            true => input.f_linear(&self.weight.f_to_kind(kind)?, bias.as_ref())?,
            false => shim::frozen_linear(input, &self.weight, bias.as_ref())?,
        };
        let Some(Adapter { a, b, scale, dropout: p }) = &self.adapter else { return Ok(output) };
        // The small product is scaled, not the large one.
        let (a, b) = (a.f_to_kind(kind)?, b.f_to_kind(kind)?);
        let narrow = dropout(input, *p, rng)?.f_linear(&a, None::<&Tensor>)?.f_mul_scalar(*scale)?;
        Ok(output.f_addmm(&narrow, &b.f_tr()?)?)
    }
}
