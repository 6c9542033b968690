//! Llama (Touvron et al., 2023) and its relatives with the same layers, as transformers' `LlamaForCausalLM` defines them.

use super::decoder::{Decoder, Defaults, Switches};
use crate::model::ModelError;
use crate::model::blueprint::{Blueprint, Identity};
use crate::model::keys::Keys;

const DEFAULTS: Defaults = Defaults { positions: 2048, kv_heads: None, head_size: None };

pub(super) fn read(keys: &Keys<'_>, identity: Identity, _labels: usize) -> Result<Blueprint, ModelError> {
    let (hidden, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
    if !hidden.is_multiple_of(heads) {
        // transformers refuses it even where head_dim is given.
        return Err(ModelError::Heads { keys: ["hidden_size", "num_attention_heads"], hidden, heads });
    }
    let decoder = Decoder::read(keys, &DEFAULTS)?;
    let attention_bias = keys.bool_or("attention_bias", false)?;
    let switches = Switches {
        input_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: keys.bool_or("mlp_bias", false)?,
        ..Switches::default()
    };
    Ok(decoder.blueprint(identity, &switches))
}
