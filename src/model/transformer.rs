//! What the configurations of all transformer encoders share.

use serde_json::Value;

use super::ModelError;
use super::keys::{Keys, wrong};

/// Most layers accepted; each adds some 16 tensors to the table.
const MOST_LAYERS: u64 = 1 << 12;

/// An activation function, by transformers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu`: with the error function.
    Gelu,
    /// `gelu_new`, `gelu_pytorch_tanh`: the tanh approximation.
    GeluTanh,
    /// `relu`.
    Relu,
}

/// The keys all encoders have in common.
pub(super) struct Transformer {
    pub(super) hidden: u64,
    pub(super) layers: u32,
    pub(super) heads: u64,
    pub(super) intermediate: u64,
    pub(super) activation: Activation,
    pub(super) hidden_dropout: f64,
    pub(super) attention_dropout: f64,
    pub(super) norm_epsilon: f64,
    pub(super) initializer_range: f64,
}

impl Transformer {
    /// Reads and checks them; `dropout` is the architecture's default.
    pub(super) fn from_keys(keys: &Keys<'_>, dropout: f64, labels: usize) -> Result<Transformer, ModelError> {
        if !(2..=1 << 20).contains(&labels) {
            return Err(ModelError::Labels(labels));
        }
        let hidden = keys.size("hidden_size")?;
        let heads = keys.size("num_attention_heads")?;
        if !hidden.is_multiple_of(heads) {
            return Err(ModelError::Heads { hidden, heads });
        }
        if let Some(found) = keys.get("head_dim").filter(|found| **found != hidden / heads) {
            return Err(wrong(
                "head_dim",
                format!("{}, hidden_size ÷ num_attention_heads", hidden / heads),
                found,
            ));
        }
        let layers = keys.size("num_hidden_layers")?;
        if layers > MOST_LAYERS {
            return Err(wrong("num_hidden_layers", format!("at most {MOST_LAYERS}"), &Value::from(layers)));
        }
        let range = keys.number_or("initializer_range", 0.02, 1e3)?;
        Ok(Transformer {
            hidden,
            layers: layers as u32,
            heads,
            intermediate: keys.size("intermediate_size")?,
            activation: activation(keys.text_or("hidden_act", "gelu")?)?,
            hidden_dropout: keys.dropout_or("hidden_dropout_prob", dropout)?,
            attention_dropout: keys.dropout_or("attention_probs_dropout_prob", dropout)?,
            norm_epsilon: keys.number_or("layer_norm_eps", 1e-12, 1.0)?,
            // transformers takes a range of 0 for an absent one.
            initializer_range: if range == 0.0 { 0.02 } else { range },
        })
    }

    /// Elements of one layer.
    pub(super) fn layer_elements(&self) -> u64 {
        (4 * self.hidden + 2 * self.intermediate + 9) * self.hidden + self.intermediate
    }
}

fn activation(name: &str) -> Result<Activation, ModelError> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => {
            Err(wrong("hidden_act", "one of gelu, gelu_new, gelu_pytorch_tanh, relu", &Value::from(other)))
        }
    }
}
