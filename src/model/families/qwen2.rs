//! Qwen 2 and 2.5 (Yang et al., 2024), as transformers' `Qwen2ForCausalLM` defines them: biases of queries, keys and values,
//! and windows in some layers.

use super::decoder::{Decoder, Defaults, Switches, windows};
use crate::model::ModelError;
use crate::model::blueprint::{Blueprint, Identity};
use crate::model::keys::Keys;

const DEFAULTS: Defaults = Defaults { positions: 32_768, kv_heads: Some(32), head_size: None };

pub(super) fn read(keys: &Keys<'_>, identity: Identity, _labels: usize) -> Result<Blueprint, ModelError> {
    let decoder = Decoder::read(keys, &DEFAULTS)?;
    let windows = windows(keys, decoder.layers)?;
    Ok(decoder.blueprint(identity, &Switches { input_bias: true, windows, ..Switches::default() }))
}
