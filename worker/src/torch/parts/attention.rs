//! Multi-head self-attention: Vaswani et al., 2017; fewer heads of keys and values as Ainslie et al., 2023.

use headstart::model::blueprint;
use tch::{Device, Kind, Tensor};

use super::super::dropout::{DropoutRng, dropout};
use super::super::parameters::Parameters;
use super::linear::Linear;
use super::norm::Norm;
use super::rope::Rope;
use crate::trainer::TrainError;

pub(super) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    rope: Option<Rope>,
    heads: i64,
    kv_heads: i64,
    head_size: i64,
    scale: Option<f64>,
    causal: bool,
    window: Option<i64>,
    dropout: f64,
}

impl Attention {
    pub(super) fn new(part: &blueprint::Attention, parameters: &Parameters) -> Attention {
        let linear = |part: &blueprint::Linear| Linear::new(part, parameters);
        let norm = |part: &Option<blueprint::Norm>| part.as_ref().map(|part| Norm::new(part, parameters));
        Attention {
            query: linear(&part.query),
            key: linear(&part.key),
            value: linear(&part.value),
            output: linear(&part.output),
            query_norm: norm(&part.query_norm),
            key_norm: norm(&part.key_norm),
            rope: part.rope.as_ref().map(|rope| Rope::new(rope, parameters.device())),
            heads: part.heads as i64,
            kv_heads: part.kv_heads as i64,
            head_size: part.head_size as i64,
            scale: part.scale,
            causal: part.causal,
            window: part.window.map(|window| window as i64),
            dropout: part.dropout,
        }
    }

    /// `mask`: `[rows, 1, 1, tokens]` bool, true where a token may be attended to; `None`: everywhere.
    pub(super) fn forward(
        &self,
        hidden: &Tensor,
        mask: Option<&Tensor>,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let (rows, tokens, _) = hidden.size3()?;
        // [rows, heads, tokens, head size]
        let split = |projected: Tensor, heads: i64| -> Result<Tensor, TrainError> {
            Ok(projected.f_view([rows, tokens, heads, self.head_size])?.f_transpose(1, 2)?)
        };
        let turned = |heads: Tensor, norm: &Option<Norm>| -> Result<Tensor, TrainError> {
            let heads = norm.as_ref().map_or(Ok(heads.shallow_clone()), |norm| norm.forward(&heads))?;
            self.rope.as_ref().map_or(Ok(heads.shallow_clone()), |rope| rope.forward(&heads))
        };
        let query = turned(split(self.query.forward(hidden)?, self.heads)?, &self.query_norm)?;
        let key = turned(split(self.key.forward(hidden)?, self.kv_heads)?, &self.key_norm)?;
        let value = split(self.value.forward(hidden)?, self.kv_heads)?;
        let visible = self.visible(tokens, mask, hidden.device())?;
        let context = match rng.filter(|_| self.dropout > 0.0) {
            Some(rng) if hidden.device() == Device::Cpu => {
                self.with_own_dropout([&query, &key, &value], visible.as_ref(), rng)?
            }
            rng => {
                let (p, grouped) = (rng.map_or(0.0, |_| self.dropout), self.kv_heads < self.heads);
                let (scale, mask) = (self.scale, visible.as_ref());
                Tensor::f_scaled_dot_product_attention(&query, &key, &value, mask, p, false, scale, grouped)?
            }
        };
        let width = self.heads * self.head_size;
        self.output.forward(&context.f_transpose(1, 2)?.f_reshape([rows, tokens, width])?)
    }

    /// As `scaled_dot_product_attention` computes it without a fused kernel, with dropout of our own.
    fn with_own_dropout(
        &self,
        [query, key, value]: [&Tensor; 3],
        visible: Option<&Tensor>,
        rng: &DropoutRng,
    ) -> Result<Tensor, TrainError> {
        let scale = self.scale.unwrap_or_else(|| 1.0 / (self.head_size as f64).sqrt());
        let shared = self.heads / self.kv_heads;
        let repeat = |heads: &Tensor| match shared {
            1 => Ok(heads.shallow_clone()),
            shared => heads.f_repeat_interleave_self_int(shared, 1, None::<i64>),
        };
        let scores = query.f_mul_scalar(scale)?.f_matmul(&repeat(key)?.f_transpose(-2, -1)?)?;
        let scores = match visible {
            Some(visible) => scores.f_masked_fill(&visible.f_logical_not()?, f64::NEG_INFINITY)?,
            None => scores,
        };
        let probabilities = dropout(&scores.f_softmax(-1, Kind::Float)?, self.dropout, Some(rng))?;
        Ok(probabilities.f_matmul(&repeat(value)?)?)
    }

    /// Which tokens see which, bool, broadcast to `[rows, heads, tokens, tokens]`; `None`: all see all.
    fn visible(
        &self,
        tokens: i64,
        mask: Option<&Tensor>,
        device: Device,
    ) -> Result<Option<Tensor>, TrainError> {
        let mask = mask.map(Tensor::shallow_clone);
        if !self.causal {
            return Ok(mask);
        }
        let everything = Tensor::f_ones([tokens, tokens], (Kind::Bool, device))?;
        let mut seen = everything.f_tril(0)?;
        if let Some(window) = self.window {
            seen = seen.f_logical_and(&everything.f_triu(1 - window)?)?;
        }
        mask.map_or(Ok(Some(seen.shallow_clone())), |mask| Ok(Some(mask.f_logical_and(&seen)?)))
    }
}
