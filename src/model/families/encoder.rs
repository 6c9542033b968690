//! What the configurations of encoders share, and the layers of BERT's relatives, which differ in their prefix only.

use serde_json::Value;

use crate::model::blueprint::{
    Attention, Embedding, Layer, Linear, Mlp, Norm, Positions, Residual, Table, TextInput,
};
use crate::model::keys::{Keys, wrong};
use crate::model::{Activation, ModelError};

/// Most layers accepted; each adds some 16 tensors to the table.
pub(super) const MOST_LAYERS: u64 = 1 << 12;

/// Sizes and constants that every layer of an encoder has.
pub(super) struct Encoder {
    pub(super) hidden: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) intermediate: u64,
    pub(super) activation: Activation,
    pub(super) hidden_dropout: f64,
    pub(super) attention_dropout: f64,
    pub(super) epsilon: f64,
    pub(super) initializer_range: f64,
}

/// What one family calls the sizes that all families have.
pub(super) struct SizeKeys {
    pub(super) hidden: &'static str,
    pub(super) layers: &'static str,
    pub(super) heads: &'static str,
    pub(super) intermediate: &'static str,
}

/// The usual names.
pub(super) const SIZES: SizeKeys = SizeKeys {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    intermediate: "intermediate_size",
};

impl Encoder {
    /// Reads the usual keys; `dropout` is the family's default.
    pub(super) fn read(keys: &Keys<'_>, dropout: f64) -> Result<Encoder, ModelError> {
        Ok(Encoder {
            activation: activation(keys, "hidden_act")?,
            hidden_dropout: keys.dropout_or("hidden_dropout_prob", dropout)?,
            attention_dropout: keys.dropout_or("attention_probs_dropout_prob", dropout)?,
            epsilon: keys.number_or("layer_norm_eps", 1e-12, 1.0)?,
            ..Encoder::sizes(keys, &SIZES)?
        })
    }

    /// Reads sizes only: GELU, no dropout, and an epsilon of 1e-12.
    pub(super) fn sizes(keys: &Keys<'_>, named: &SizeKeys) -> Result<Encoder, ModelError> {
        // transformers knows the usual names too, whatever a family calls them.
        let size = |own, usual| keys.size(if keys.get(usual).is_some() { usual } else { own });
        let (hidden, heads) = (size(named.hidden, SIZES.hidden)?, size(named.heads, SIZES.heads)?);
        if !hidden.is_multiple_of(heads) {
            return Err(ModelError::Heads { keys: [named.hidden, named.heads], hidden, heads });
        }
        if let Some(found) = keys.get("head_dim").filter(|found| **found != hidden / heads) {
            return Err(wrong(
                "head_dim",
                format!("{}, {} ÷ {}", hidden / heads, named.hidden, named.heads),
                found,
            ));
        }
        let layers = size(named.layers, SIZES.layers)?;
        if layers > MOST_LAYERS {
            return Err(wrong(named.layers, format!("at most {MOST_LAYERS}"), &Value::from(layers)));
        }
        Ok(Encoder {
            hidden,
            layers,
            heads,
            intermediate: keys.size(named.intermediate)?,
            activation: Activation::Gelu,
            hidden_dropout: 0.0,
            attention_dropout: 0.0,
            epsilon: 1e-12,
            initializer_range: initializer_range(keys)?,
        })
    }

    pub(super) fn linear(&self, name: String) -> Linear {
        Linear::new(name, self.hidden, self.hidden)
    }

    pub(super) fn norm(&self, name: String) -> Norm {
        Norm::layer(name, self.hidden, self.epsilon)
    }

    /// Every token sees every other; the projections are `query`, `key`, `value` and `output`.
    pub(super) fn attention(&self, [query, key, value, output]: [String; 4]) -> Attention {
        Attention {
            query: self.linear(query),
            key: self.linear(key),
            value: self.linear(value),
            output: self.linear(output),
            heads: self.heads,
            kv_heads: self.heads,
            head_size: self.hidden / self.heads,
            query_norm: None,
            key_norm: None,
            rope: None,
            scale: None,
            causal: false,
            window: None,
            dropout: self.attention_dropout,
        }
    }

    /// A feed-forward network without a gate.
    pub(super) fn mlp(&self, inner: String, outer: String) -> Mlp {
        Mlp {
            gate: None,
            inner: Linear::new(inner, self.hidden, self.intermediate),
            outer: Linear::new(outer, self.intermediate, self.hidden),
            activation: self.activation,
        }
    }

    /// BERT's layers: a norm after each sum.
    pub(super) fn bert_layers(&self, prefix: &str) -> Vec<Layer> {
        let layer = |number: u64| {
            let name = |part: &str| format!("{prefix}.encoder.layer.{number}.{part}");
            let after = |part: &str| Residual {
                sum: Some(self.norm(name(part))),
                dropout: self.hidden_dropout,
                ..Residual::default()
            };
            Layer {
                attention: self.attention(
                    [
                        "attention.self.query",
                        "attention.self.key",
                        "attention.self.value",
                        "attention.output.dense",
                    ]
                    .map(name),
                ),
                around_attention: after("attention.output.LayerNorm"),
                mlp: self.mlp(name("intermediate.dense"), name("output.dense")),
                around_mlp: after("output.LayerNorm"),
            }
        };
        (0..self.layers).map(layer).collect()
    }

    /// BERT's tables and their norm. `width`: elements of a row; `token_types`: the default of their number.
    pub(super) fn bert_tables(
        &self,
        keys: &Keys<'_>,
        prefix: &str,
        width: u64,
        padding: Option<u64>,
    ) -> Result<(TextInput, Embedding), ModelError> {
        if let Some(kind) = keys.get("position_embedding_type").filter(|kind| *kind != "absolute") {
            return Err(wrong("position_embedding_type", "\"absolute\"", kind));
        }
        let name = |part: &str| format!("{prefix}.embeddings.{part}");
        let table = |part: &str, rows| Table::new(name(part), rows, width);
        let positions = table("position_embeddings", keys.size_or("max_position_embeddings", 512)?);
        let text = TextInput {
            tokens: Table { padding, ..table("word_embeddings", keys.size("vocab_size")?) },
            positions: Some(Positions { table: positions, first: 0 }),
            token_types: Some(table("token_type_embeddings", keys.size_or("type_vocab_size", 2)?)),
            longest: None,
        };
        let embedding = Embedding {
            scale: 1.0,
            norm: Some(Norm::layer(name("LayerNorm"), width, self.epsilon)),
            dropout: self.hidden_dropout,
            projection: None,
        };
        Ok((text, embedding))
    }
}

/// `initializer_range`. transformers takes a range of 0 for an absent one.
pub(super) fn initializer_range(keys: &Keys<'_>) -> Result<f64, ModelError> {
    let range = keys.number_or("initializer_range", 0.02, 1e3)?;
    Ok(if range == 0.0 { 0.02 } else { range })
}

/// The keys that make an encoder a decoder.
pub(super) fn refuse_decoders(keys: &Keys<'_>) -> Result<(), ModelError> {
    for key in ["is_decoder", "add_cross_attention"] {
        if keys.bool_or(key, false)? {
            return Err(wrong(key, "false: only encoders can classify", &Value::Bool(true)));
        }
    }
    Ok(())
}

/// `pad_token_id`: absent means the family's default as in transformers, an explicit `null` means none.
pub(super) fn pad_token(keys: &Keys<'_>, default: u64) -> Result<Option<u64>, ModelError> {
    let vocab = keys.size("vocab_size")?;
    match keys.given("pad_token_id") {
        None => Ok(Some(default).filter(|&token| token < vocab)),
        Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().filter(|&token| token < vocab) {
            Some(token) => Ok(Some(token)),
            None => Err(wrong("pad_token_id", format!("a token below vocab_size {vocab}"), value)),
        },
    }
}

/// An activation, by transformers' names; GELU where the key is absent.
pub(super) fn activation(keys: &Keys<'_>, key: &'static str) -> Result<Activation, ModelError> {
    let name = keys.text_or(key, "gelu")?;
    Activation::named(name).ok_or_else(|| wrong(key, Activation::names(), &Value::from(name)))
}
