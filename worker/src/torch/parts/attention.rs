//! Multi-head self-attention: Vaswani et al., 2017; fewer heads of keys and values as Ainslie et al., 2023.

use headstart::model::blueprint;
use tch::{Device, Kind, Tensor};

use super::super::dropout::{DropoutRng, dropout};
use super::super::parameters::Parameters;
use super::super::rows::Rows;
use super::linear::Linear;
use super::norm::Norm;
use super::rope::turn;
use crate::trainer::TrainError;

pub(super) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    /// Which of the network's kinds of rotary positions.
    rope: Option<usize>,
    heads: i64,
    kv_heads: i64,
    head_size: i64,
    scale: Option<f64>,
    causal: bool,
    window: Option<i64>,
    dropout: f64,
}

impl Attention {
    pub(super) fn new(
        part: &blueprint::Attention,
        ropes: &[&blueprint::Rope],
        parameters: &Parameters,
    ) -> Attention {
        let linear = |part: &blueprint::Linear| Linear::new(part, parameters);
        let norm = |part: &Option<blueprint::Norm>| part.as_ref().map(|part| Norm::new(part, parameters));
        Attention {
            query: linear(&part.query),
            key: linear(&part.key),
            value: linear(&part.value),
            output: linear(&part.output),
            query_norm: norm(&part.query_norm),
            key_norm: norm(&part.key_norm),
            rope: part.rope.as_ref().and_then(|rope| ropes.iter().position(|kind| *kind == rope)),
            heads: part.heads as i64,
            kv_heads: part.kv_heads as i64,
            head_size: part.head_size as i64,
            scale: part.scale,
            causal: part.causal,
            window: part.window.map(|window| window as i64),
            dropout: part.dropout,
        }
    }

    pub(super) fn forward(
        &self,
        hidden: &Tensor,
        rows: &Rows,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        // [tokens, heads, head size]
        let split = |projected: Tensor, heads: i64| projected.f_view([-1, heads, self.head_size]);
        let turned = |heads: Tensor, norm: &Option<Norm>| -> Result<Tensor, TrainError> {
            let heads = norm.as_ref().map_or(Ok(heads.shallow_clone()), |norm| norm.forward(&heads))?;
            self.rope.map_or(Ok(heads.shallow_clone()), |rope| turn(&heads, rows.turns(rope)))
        };
        let query = turned(split(self.query.forward(hidden, rng)?, self.heads)?, &self.query_norm)?;
        let key = turned(split(self.key.forward(hidden, rng)?, self.kv_heads)?, &self.key_norm)?;
        let value = split(self.value.forward(hidden, rng)?, self.kv_heads)?;
        let context = rows.each([query, key, value], |parts| self.attend(parts, rng))?;
        self.output.forward(&context, rng)
    }

    /// Queries, keys and values of rows of one length, `[rows, heads, tokens, head size]`; the context, of the queries' shape.
    fn attend(&self, parts: [&Tensor; 3], rng: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        let [query, key, value] = parts;
        let (tokens, device) = (query.size()[2], query.device());
        if let Some(rng) = rng.filter(|_| self.dropout > 0.0 && device == Device::Cpu) {
            return self.with_own_dropout(parts, self.visible(tokens, device)?.as_ref(), rng);
        }
        let (p, grouped) = (rng.map_or(0.0, |_| self.dropout), self.kv_heads < self.heads);
        // Fused kernels know what causal means; only a window needs a mask.
        let windowed = self.window.is_some_and(|window| window < tokens);
        let (causal, mask) = match self.causal && !windowed {
            true => (true, None),
            false => (false, self.visible(tokens, device)?),
        };
        let (scale, mask) = (self.scale, mask.as_ref());
        Ok(Tensor::f_scaled_dot_product_attention(query, key, value, mask, p, causal, scale, grouped)?)
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

    /// Which tokens see which, bool, `[tokens, tokens]`; `None`: all see all.
    fn visible(&self, tokens: i64, device: Device) -> Result<Option<Tensor>, TrainError> {
        if !self.causal {
            return Ok(None);
        }
        let everything = Tensor::f_ones([tokens, tokens], (Kind::Bool, device))?;
        let seen = everything.f_tril(0)?;
        Ok(Some(match self.window {
            Some(window) => seen.f_logical_and(&everything.f_triu(1 - window)?)?,
            None => seen,
        }))
    }
}
