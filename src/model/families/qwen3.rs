//! Qwen 3 (Yang et al., 2025), as transformers' `Qwen3ForCausalLM` defines it: norms of queries and keys, and heads whose size
//! does not follow from the hidden one.

use super::decoder::{Decoder, Defaults, Switches, windows};
use crate::model::ModelError;
use crate::model::blueprint::{Blueprint, Identity};
use crate::model::keys::Keys;

const DEFAULTS: Defaults = Defaults { positions: 32_768, kv_heads: Some(32), head_size: Some(128) };

pub(super) fn read(keys: &Keys<'_>, identity: Identity, _labels: usize) -> Result<Blueprint, ModelError> {
    let decoder = Decoder::read(keys, &DEFAULTS)?;
    let bias = keys.bool_or("attention_bias", false)?;
    let windows = windows(keys, decoder.layers)?;
    let switches =
        Switches { input_bias: bias, output_bias: bias, mlp_bias: false, head_norms: true, windows };
    Ok(decoder.blueprint(identity, &switches))
}
