//! Rotary positions: from the keys of a configuration to frequencies.

use serde_json::Value;

use crate::model::ModelError;
use crate::model::blueprint::Rope;
use crate::model::keys::Keys;

/// Base of the frequencies where no key says it.
const THETA: f64 = 10_000.0;

/// Reads the rotary positions of heads of `size` elements.
pub(super) fn read(keys: &Keys<'_>, size: u64) -> Result<Rope, ModelError> {
    for key in ["rope_scaling", "rope_parameters"] {
        if let Some(value) = keys.get(key).filter(|value| value.as_object().is_none_or(|map| !map.is_empty()))
        {
            return Err(ModelError::NotSupported { what: format!("{key} {value}") });
        }
    }
    let theta = keys.get("rope_theta").and_then(Value::as_f64).unwrap_or(THETA);
    Ok(Rope { frequencies: frequencies(theta, size), factor: 1.0 })
}

/// Radians per position: `theta ^ (−2i ÷ size)` in f32, step by step as transformers computes them.
fn frequencies(theta: f64, size: u64) -> Vec<f32> {
    let base = f64::from(theta as f32);
    let period = |pair: u64| libm::pow(base, f64::from((2 * pair) as f32 / size as f32)) as f32;
    (0..size / 2).map(|pair| 1.0 / period(pair)).collect()
}
