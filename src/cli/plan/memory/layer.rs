//! What autograd keeps of one layer between its forward and its backward pass, counted from the layer's parts.
//!
//! The counts follow `worker/src/torch/parts/`: an operation keeps what its derivative is made of. A linear layer keeps its input
//! if its weight or its adapter trains; a norm keeps its input, and of root mean squares the normalised values too if its weight
//! trains; an activation keeps its input; a product keeps both factors; fused attention keeps queries, keys, values, context and
//! one number a head; attention with dropout of its own keeps probabilities, mask and product of every pair of tokens. A tensor
//! that two operations keep is counted once.

use headstart::model::Activation;
use headstart::model::blueprint::{Attention, Layer, Linear, Mlp, Norm, NormKind, Residual};

use super::Weights;

/// Floats, by what their number grows with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Floats {
    /// Per token.
    pub(super) of_token: u64,
    /// Per pair of tokens of one row.
    pub(super) of_pair: u64,
}

/// Pairs of tokens have, per head, probabilities, a mask and the product of both.
const OF_PAIR: u64 = 3;
/// What the backward pass of one layer holds beside what was kept: gradients on their way, per token, in hidden vectors and inner
/// vectors. Those of scores take the place of scores that are no longer needed.
const BACKWARD_HIDDEN: u64 = 4;
const BACKWARD_INNER: u64 = 2;
const BACKWARD_INNER_GATED: u64 = 4;
/// What a forward pass without a graph holds of a layer at once, in hidden vectors and inner vectors.
const FORWARD_HIDDEN: u64 = 5;
const FORWARD_INNER: u64 = 3;

impl std::ops::Add for Floats {
    type Output = Floats;

    fn add(self, other: Floats) -> Floats {
        Floats { of_token: self.of_token + other.of_token, of_pair: self.of_pair + other.of_pair }
    }
}

/// Kept by the layer's graph, its input included and its output not.
pub(super) fn kept(layer: &Layer, hidden: u64, weights: &Weights<'_>) -> Floats {
    let Layer { attention, around_attention, mlp, around_mlp } = layer;
    let keeps = |linear: &Linear| keeps_input(linear, weights);
    let projections = [&attention.query, &attention.key, &attention.value];
    let of_attention = projections.iter().any(|linear| keeps(linear));
    let of_mlp = keeps(&mlp.inner) || mlp.gate.as_ref().is_some_and(keeps);
    // The layer's input is kept as the graph's leaf, whatever reads it. So is what the second residual begins with, if it is
    // the first one's norm that gave it, or a norm or a linear layer that reads it.
    let between = around_mlp.before.is_some() || of_mlp;
    let own = hidden * u64::from(between)
        + hidden
        + residual(around_attention, hidden, of_attention, weights)
        + residual(around_mlp, hidden, of_mlp, weights);
    attend(attention, weights) + Floats { of_token: own + feed_forward(mlp, weights), of_pair: 0 }
}

/// What the layer's backward pass holds beside that.
pub(super) fn backward(layer: &Layer, hidden: u64) -> Floats {
    let inner = if layer.mlp.gate.is_some() { BACKWARD_INNER_GATED } else { BACKWARD_INNER };
    Floats { of_token: BACKWARD_HIDDEN * hidden + inner * layer.mlp.inner.to, of_pair: 0 }
}

/// What the layer holds at once where no graph is built: in an evaluation, which has no dropout, so that attention is fused.
pub(super) fn forward(layer: &Layer, hidden: u64) -> Floats {
    Floats { of_token: FORWARD_HIDDEN * hidden + FORWARD_INNER * layer.mlp.inner.to, of_pair: 0 }
}

/// Scores of all pairs of tokens exist only where attention has dropout of its own.
fn scores_exist(attention: &Attention) -> bool {
    attention.dropout > 0.0
}

/// Queries, keys and values as attention reads them, what it gives, and what it computes between.
fn attend(attention: &Attention, weights: &Weights<'_>) -> Floats {
    let Attention { query, key, value, output, heads, kv_heads, head_size, .. } = attention;
    let [of_queries, of_keys] = [heads * head_size, kv_heads * head_size];
    let linears: u64 = [query, key, value, output].iter().map(|linear| of_linear(linear, weights)).sum();
    let normed = |norm: &Option<Norm>, width: u64| match norm {
        // The norm's input is kept beside what it gives, once that is turned.
        Some(norm) => width + of_norm(norm, width, weights),
        None => 0,
    };
    let norms = normed(&attention.query_norm, of_queries) + normed(&attention.key_norm, of_keys);
    // The rows' contexts are laid end to end: a copy that the output layer reads.
    let copy = of_queries * u64::from(keeps_input(output, weights));
    let (read, context, of_pair) = match scores_exist(attention) {
        // Heads that several queries share are repeated.
        true => (3 * of_queries, copy, OF_PAIR * heads),
        false => (of_queries + 2 * of_keys, of_queries + heads + copy, 0),
    };
    Floats { of_token: linears + norms + read + context, of_pair }
}

fn feed_forward(mlp: &Mlp, weights: &Weights<'_>) -> u64 {
    let Mlp { gate, inner, outer, activation } = mlp;
    let width = inner.to;
    let linears = of_linear(inner, weights) + of_linear(outer, weights);
    let read = u64::from(keeps_input(outer, weights));
    match gate {
        // The gate before and after its activation, what it is multiplied with, and the product.
        Some(gate) => of_linear(gate, weights) + linears + width * (3 + read),
        None => match activation {
            Activation::Relu | Activation::Tanh => linears + width,
            Activation::Gelu | Activation::GeluTanh | Activation::Silu => linears + width * (1 + read),
        },
    }
}

/// What is kept around a sub-layer, but for its input. `read`: whether the sub-layer keeps what it reads.
fn residual(part: &Residual, hidden: u64, read: bool, weights: &Weights<'_>) -> u64 {
    let Residual { before, after, sum, dropout } = part;
    let before = before.as_ref().map_or(0, |norm| of_norm(norm, hidden, weights) + hidden * u64::from(read));
    let inputs: u64 =
        [after, sum].into_iter().flatten().map(|norm| hidden + of_norm(norm, hidden, weights)).sum();
    before + inputs + hidden * u64::from(*dropout > 0.0)
}

/// Kept by a norm of `width` numbers beside its input.
fn of_norm(norm: &Norm, width: u64, weights: &Weights<'_>) -> u64 {
    // Mean and deviation.
    let few = 2 * width.div_ceil(norm.width.max(1));
    match norm.kind {
        NormKind::Rms { .. } if weights.trains(&norm.weight()) => few + width,
        NormKind::Rms { .. } | NormKind::Layer => few,
    }
}

/// Kept by a linear layer beside its input: the narrow vector of an adapter, and the mask and product of its dropout.
fn of_linear(linear: &Linear, weights: &Weights<'_>) -> u64 {
    match linear.adapter.filter(|_| weights.trains(&linear.lora_a())) {
        Some(adapter) if adapter.dropout > 0.0 => adapter.rank + 2 * linear.from,
        Some(adapter) => adapter.rank,
        None => 0,
    }
}

/// Whether a linear layer keeps its input.
fn keeps_input(linear: &Linear, weights: &Weights<'_>) -> bool {
    let plain = linear.adapter.is_some_and(|adapter| adapter.dropout == 0.0);
    weights.trains(&linear.weight()) || (plain && weights.trains(&linear.lora_a()))
}
