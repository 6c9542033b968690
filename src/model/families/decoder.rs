//! What the configurations of decoders share: sizes, embeddings, layers with gates and root mean square norms, the head.

use serde_json::Value;

use super::encoder::{MOST_LAYERS, initializer_range};
use super::rope;
use crate::model::blueprint::{
    Attention, Blueprint, Embedding, Head, Identity, Input, LANGUAGE_HEAD, LanguageHead, Layer, Linear, Mlp,
    Norm, NormKind, Residual, Rope, Table, TextInput,
};
use crate::model::keys::{Keys, wrong};
use crate::model::{Activation, ModelError};

/// Most elements of a head; rotary frequencies of this number are kept for each layer.
const LARGEST_HEAD: u64 = 1 << 12;

/// What one class takes where its keys are absent.
pub(super) struct Defaults {
    /// `max_position_embeddings`
    pub(super) positions: u64,
    /// `num_key_value_heads`; `None`: as many as heads of queries.
    pub(super) kv_heads: Option<u64>,
    /// `head_dim`; `None`: `hidden_size` ÷ `num_attention_heads`.
    pub(super) head_size: Option<u64>,
}

/// What sets one class's layers apart.
#[derive(Default)]
pub(super) struct Switches {
    /// Biases of queries, keys and values.
    pub(super) input_bias: bool,
    /// Bias of attention's output.
    pub(super) output_bias: bool,
    /// Biases of the feed-forward network.
    pub(super) mlp_bias: bool,
    /// Norms of each head's queries and keys.
    pub(super) head_norms: bool,
    /// Window of each layer; empty: no layer has one.
    pub(super) windows: Vec<Option<u64>>,
}

/// Sizes and constants that every layer of a decoder has.
pub(super) struct Decoder {
    pub(super) layers: u64,
    hidden: u64,
    heads: u64,
    kv_heads: u64,
    head_size: u64,
    intermediate: u64,
    vocab: u64,
    padding: Option<u64>,
    positions: u64,
    activation: Activation,
    epsilon: f64,
    initializer_range: f64,
    attention_dropout: f64,
    tied: bool,
    rope: Rope,
}

impl Decoder {
    /// Reads the keys that all decoders have.
    pub(super) fn read(keys: &Keys<'_>, defaults: &Defaults) -> Result<Decoder, ModelError> {
        let (hidden, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let kv_heads = match (keys.given("num_key_value_heads"), defaults.kv_heads) {
            (None, Some(default)) => default,
            _ => keys.size_or("num_key_value_heads", heads)?,
        };
        if !heads.is_multiple_of(kv_heads) {
            let keys = ["num_attention_heads", "num_key_value_heads"];
            return Err(ModelError::Heads { keys, hidden: heads, heads: kv_heads });
        }
        let layers = keys.size("num_hidden_layers")?;
        if layers > MOST_LAYERS {
            let expected = format!("at most {MOST_LAYERS}");
            return Err(wrong("num_hidden_layers", expected, &Value::from(layers)));
        }
        let (vocab, head_size) = (keys.size("vocab_size")?, head_size(keys, defaults, hidden, heads)?);
        let positions = keys.size_or("max_position_embeddings", defaults.positions)?;
        let name = keys.text_or("hidden_act", "silu")?;
        Ok(Decoder {
            layers,
            hidden,
            heads,
            kv_heads,
            head_size,
            intermediate: keys.size("intermediate_size")?,
            vocab,
            padding: padding(keys, vocab)?,
            positions,
            activation: Activation::named(name)
                .ok_or_else(|| wrong("hidden_act", Activation::names(), &Value::from(name)))?,
            epsilon: keys.number_or("rms_norm_eps", 1e-6, 1.0)?,
            initializer_range: initializer_range(keys)?,
            attention_dropout: keys.dropout_or("attention_dropout", 0.0)?,
            tied: keys.bool_or("tie_word_embeddings", false)?,
            rope: rope::read(keys, head_size, positions)?,
        })
    }

    /// The network: embeddings, layers that each begin with a norm, a last norm, and a head without a bias.
    pub(super) fn blueprint(&self, identity: Identity, switches: &Switches) -> Blueprint {
        let prefix = identity.prefix;
        let tokens = Table {
            padding: self.padding,
            ..Table::new(name(prefix, "embed_tokens"), self.vocab, self.hidden)
        };
        let head = if self.tied { tokens.name.clone() } else { LANGUAGE_HEAD.to_owned() };
        Blueprint {
            identity,
            hidden: self.hidden,
            initializer_range: self.initializer_range,
            input: Input::Text(TextInput {
                tokens,
                positions: None,
                token_types: None,
                longest: Some(self.positions),
            }),
            embedding: Embedding { scale: 1.0, norm: None, dropout: 0.0, projection: None },
            layers: (0..self.layers).map(|number| self.layer(prefix, number, switches)).collect(),
            final_norm: Some(self.norm(name(prefix, "norm"), self.hidden)),
            head: Head::Language(LanguageHead {
                output: Linear::unbiased(head, self.hidden, self.vocab),
                tied: self.tied,
            }),
        }
    }

    fn layer(&self, prefix: &str, number: u64, switches: &Switches) -> Layer {
        let name = |part: &str| name(prefix, &format!("layers.{number}.{part}"));
        let before =
            |part: &str| Residual { before: Some(self.norm(name(part), self.hidden)), ..Residual::default() };
        let (hidden, inner) = (self.hidden, self.intermediate);
        let mlp =
            |part: &str, from, to| Linear { bias: switches.mlp_bias, ..Linear::new(name(part), from, to) };
        let window = switches.windows.get(number as usize).copied().flatten();
        Layer {
            attention: self.attention(name, switches, window),
            around_attention: before("input_layernorm"),
            mlp: Mlp {
                gate: Some(mlp("mlp.gate_proj", hidden, inner)),
                inner: mlp("mlp.up_proj", hidden, inner),
                outer: mlp("mlp.down_proj", inner, hidden),
                activation: self.activation,
            },
            around_mlp: before("post_attention_layernorm"),
        }
    }

    fn attention(
        &self,
        name: impl Fn(&str) -> String,
        switches: &Switches,
        window: Option<u64>,
    ) -> Attention {
        let hidden = self.hidden;
        let (queries, keys) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        let input =
            |part: &str, to| Linear { bias: switches.input_bias, ..Linear::new(name(part), hidden, to) };
        let head_norm = |part: &str| switches.head_norms.then(|| self.norm(name(part), self.head_size));
        Attention {
            query: input("self_attn.q_proj", queries),
            key: input("self_attn.k_proj", keys),
            value: input("self_attn.v_proj", keys),
            output: Linear {
                bias: switches.output_bias,
                ..Linear::new(name("self_attn.o_proj"), queries, hidden)
            },
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            query_norm: head_norm("self_attn.q_norm"),
            key_norm: head_norm("self_attn.k_norm"),
            rope: Some(self.rope.clone()),
            scale: None,
            causal: true,
            window,
            dropout: self.attention_dropout,
        }
    }

    fn norm(&self, name: String, width: u64) -> Norm {
        Norm { name, width, kind: NormKind::Rms { offset: 0.0 }, epsilon: self.epsilon }
    }
}

fn name(prefix: &str, part: &str) -> String {
    format!("{prefix}.{part}")
}

/// Elements of a head, which turn in pairs.
fn head_size(keys: &Keys<'_>, defaults: &Defaults, hidden: u64, heads: u64) -> Result<u64, ModelError> {
    let size = match (keys.get("head_dim"), defaults.head_size) {
        (Some(_), _) => keys.size("head_dim")?,
        (None, Some(default)) => default,
        (None, None) if !hidden.is_multiple_of(heads) => {
            return Err(ModelError::Heads { keys: ["hidden_size", "num_attention_heads"], hidden, heads });
        }
        (None, None) => hidden / heads,
    };
    if size > LARGEST_HEAD || !size.is_multiple_of(2) {
        let expected =
            format!("an even number up to {LARGEST_HEAD} (hidden_size ÷ num_attention_heads if absent)");
        return Err(wrong("head_dim", expected, &Value::from(size)));
    }
    Ok(size)
}

/// The row of the embeddings that stands for padding. A negative one counts from the end, as in torch.
fn padding(keys: &Keys<'_>, vocab: u64) -> Result<Option<u64>, ModelError> {
    let Some(value) = keys.get("pad_token_id") else { return Ok(None) };
    let row = value.as_i64().map(|row| if row < 0 { row + vocab as i64 } else { row });
    match row.and_then(|row| u64::try_from(row).ok()).filter(|&row| row < vocab) {
        Some(row) => Ok(Some(row)),
        None => Err(wrong("pad_token_id", format!("a token below vocab_size {vocab}"), value)),
    }
}

/// Window of each layer: those of `layer_types`, else those of the layers from `max_window_layers` on.
pub(super) fn windows(keys: &Keys<'_>, layers: u64) -> Result<Vec<Option<u64>>, ModelError> {
    let width = match keys.bool_or("use_sliding_window", false)? {
        true if keys.given("sliding_window").is_some_and(Value::is_null) => None,
        true => Some(keys.size_or("sliding_window", 4096)?),
        false => {
            keys.settle("sliding_window");
            None
        }
    };
    let Some(types) = keys.get("layer_types") else {
        let Some(width) = width else {
            keys.settle("max_window_layers");
            return Ok(Vec::new());
        };
        let first = keys.count_or("max_window_layers", 28)?;
        return Ok((0..layers).map(|number| (number >= first).then_some(width)).collect());
    };
    keys.settle("max_window_layers");
    let list = types.as_array().filter(|list| list.len() as u64 == layers);
    let Some(list) = list else {
        return Err(wrong("layer_types", format!("a list of {layers} types, one for each layer"), types));
    };
    let window = |kind: &Value| match (kind.as_str(), width) {
        (Some("full_attention"), _) => Ok(None),
        (Some("sliding_attention"), Some(width)) => Ok(Some(width)),
        (Some("sliding_attention"), None) => {
            let expected = "full_attention only, or use_sliding_window and sliding_window beside them";
            Err(wrong("layer_types", expected, kind))
        }
        _ => Err(wrong("layer_types", "full_attention or sliding_attention", kind)),
    };
    list.iter().map(window).collect()
}
