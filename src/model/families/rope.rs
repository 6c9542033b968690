//! Rotary positions: from the keys of a configuration to frequencies.
//!
//! Sums and products are those of transformers' `modeling_rope_utils.py`, in f32 where it computes in f32: a frequency that
//! differs turns positions far from the first by another angle. Powers and logarithms are crate `libm`'s, the same on every
//! machine.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::f64::consts::PI;

use serde_json::Value;

use crate::model::ModelError;
use crate::model::blueprint::Rope;
use crate::model::keys::{Keys, wrong};

/// Base of the frequencies where no key says it.
const THETA: f64 = 10_000.0;
/// Largest base accepted.
const LARGEST_THETA: f64 = 1e15;
/// Largest factor accepted.
const LARGEST_FACTOR: f64 = 1e6;
/// The keys that hold the positions' settings: version 4 of transformers wrote the first, version 5 the second.
const PLACES: [&str; 2] = ["rope_scaling", "rope_parameters"];
/// Under which other networks hold settings for some of their layers.
const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];
const TYPES: &str = "one of default, linear, llama3, yarn";

/// Reads the rotary positions of heads of `size` elements, in a network of `positions` positions.
pub(super) fn read(keys: &Keys<'_>, size: u64, positions: u64) -> Result<Rope, ModelError> {
    let place = PLACES.into_iter().find(|place| {
        keys.get(place).is_some_and(|value| value.as_object().is_none_or(|settings| !settings.is_empty()))
    });
    let Some(place) = place else {
        return read_settings(keys, &Keys::empty(), size, positions);
    };
    PLACES.into_iter().for_each(|other| keys.settle(other));
    keys.within(place, |settings| read_settings(keys, settings, size, positions))
}

fn read_settings(
    keys: &Keys<'_>,
    settings: &Keys<'_>,
    size: u64,
    positions: u64,
) -> Result<Rope, ModelError> {
    if let Some(layers) = LAYER_TYPES.into_iter().find(|layers| settings.peek(layers).is_some()) {
        return Err(ModelError::NotSupported { what: format!("rotary positions of their own for {layers}") });
    }
    let [kind, older] = ["rope_type", "type"].map(|key| settings.text_or(key, "default"));
    let (kind, older) = (kind?, older?);
    let kind = if settings.get("rope_type").is_some() { kind } else { older };
    let theta = in_either(keys, settings, "rope_theta", THETA)?;
    if !(theta > 1.0 && theta <= LARGEST_THETA) {
        let expected = format!("a number above 1, and at most {LARGEST_THETA:e}");
        return Err(wrong("rope_theta", expected, &Value::from(theta)));
    }
    let turned = in_either(keys, settings, "partial_rotary_factor", 1.0)?;
    if turned != 1.0 {
        return Err(ModelError::NotSupported { what: format!("partial_rotary_factor {turned}") });
    }
    let plain = || frequencies(theta, size);
    Ok(match kind {
        "default" => {
            keys.settle("original_max_position_embeddings");
            Rope { frequencies: plain(), factor: 1.0 }
        }
        "linear" => {
            keys.settle("original_max_position_embeddings");
            let factor = factor(settings)? as f32;
            Rope { frequencies: plain().iter().map(|frequency| frequency / factor).collect(), factor: 1.0 }
        }
        "llama3" => {
            let original = original(keys, settings, positions)?;
            Rope { frequencies: by_wavelength(&plain(), settings, original)?, factor: 1.0 }
        }
        "yarn" => yarn(settings, theta, size, positions, original(keys, settings, positions)?)?,
        other => return Err(wrong("rope_type", TYPES, &Value::from(other))),
    })
}

/// A number of the settings, else of the configuration itself.
fn in_either(
    keys: &Keys<'_>,
    settings: &Keys<'_>,
    key: &'static str,
    default: f64,
) -> Result<f64, ModelError> {
    match settings.get(key) {
        Some(value) => {
            // Tools of both versions of transformers read a file that says it twice.
            if keys.peek(key).is_none_or(|other| other.as_f64() == value.as_f64()) {
                keys.settle(key);
            }
            settings.number_or(key, default, f64::MAX)
        }
        None => keys.number_or(key, default, f64::MAX),
    }
}

/// By how much the context was stretched.
fn factor(settings: &Keys<'_>) -> Result<f64, ModelError> {
    let value = settings.get("factor").ok_or(ModelError::Missing { key: "factor" })?;
    let factor = settings.number_or("factor", 1.0, LARGEST_FACTOR)?;
    match factor >= 1.0 / LARGEST_FACTOR {
        true => Ok(factor),
        false => Err(wrong("factor", format!("a number from {} on", 1.0 / LARGEST_FACTOR), value)),
    }
}

/// Positions that the network had before its context was stretched.
fn original(keys: &Keys<'_>, settings: &Keys<'_>, positions: u64) -> Result<f64, ModelError> {
    const KEY: &str = "original_max_position_embeddings";
    let inner = settings.size_or(KEY, positions)?;
    Ok(keys.size_or(KEY, inner)? as f64)
}

/// Radians per position: `theta ^ (−2i ÷ size)`.
fn frequencies(theta: f64, size: u64) -> Vec<f32> {
    periods(theta, size).map(|period| 1.0 / period).collect()
}

/// Positions per radian.
fn periods(theta: f64, size: u64) -> impl Iterator<Item = f32> {
    let base = f64::from(theta as f32);
    (0..size / 2).map(move |pair| libm::pow(base, f64::from((2 * pair) as f32 / size as f32)) as f32)
}

/// Llama 3.1's: long waves are stretched by `factor`, short ones are left, and those between are mixed.
fn by_wavelength(plain: &[f32], settings: &Keys<'_>, original: f64) -> Result<Vec<f32>, ModelError> {
    let factor = factor(settings)? as f32;
    let number = |key| {
        let value = settings.get(key).ok_or(ModelError::Missing { key })?;
        match settings.number_or(key, 1.0, LARGEST_FACTOR)? {
            0.0 => Err(wrong(key, "a number above 0", value)),
            number => Ok(number),
        }
    };
    let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
    if high - low < 1.0 / LARGEST_FACTOR {
        let expected = format!("more than low_freq_factor, {low}");
        return Err(wrong("high_freq_factor", expected, &Value::from(high)));
    }
    let (longest, shortest) = ((original / low) as f32, (original / high) as f32);
    let stretched = |frequency: f32| {
        let length = (1.0 / frequency) * (2.0 * PI) as f32;
        if length > longest {
            return frequency / factor;
        }
        if length < shortest {
            return frequency;
        }
        let share = ((1.0 / length) * original as f32 - low as f32) / (high - low) as f32;
        (1.0 - share) * frequency / factor + share * frequency
    };
    Ok(plain.iter().map(|&frequency| stretched(frequency)).collect())
}

/// YaRN (Peng et al., 2023): pairs that turn often are left, those that turn seldom are stretched, with a ramp between, and
/// a factor of cosines and sines that keeps attention as sharp as it was.
fn yarn(
    settings: &Keys<'_>,
    theta: f64,
    size: u64,
    positions: u64,
    original: f64,
) -> Result<Rope, ModelError> {
    let factor = match settings.given("factor") {
        // As networks are read whose factor is left to be found.
        Some(Value::Null) => positions as f64 / original,
        _ => factor(settings)?,
    };
    let number = |key| settings.number_or(key, 0.0, LARGEST_FACTOR);
    let or = |number: f64, default: f64| if number == 0.0 { default } else { number };
    let (fast, slow) = (or(number("beta_fast")?, 32.0), or(number("beta_slow")?, 1.0));
    let cut = match settings.given("truncate") {
        Some(Value::Null) => false,
        _ => settings.bool_or("truncate", true)?,
    };
    // The pair, counted in halves of a head, that turns this often over the original positions.
    let pair =
        |turns: f64| (size as f64 * libm::log(original / (turns * 2.0 * PI))) / (2.0 * libm::log(theta));
    let (mut low, mut high) = (pair(fast), pair(slow));
    if cut {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(size as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let (start, width, factor32) = (low as f32, (high - low) as f32, factor as f32);
    let mixed = (0u16..).zip(periods(theta, size)).map(|(index, period)| {
        let kept = 1.0 - ((f32::from(index) - start) / width).clamp(0.0, 1.0);
        (1.0 / (factor32 * period)) * (1.0 - kept) + (1.0 / period) * kept
    });
    Ok(Rope { frequencies: mixed.collect(), factor: sharpness(settings, factor)? })
}

/// The factor of cosines and sines: `attention_factor`, else what follows from the stretch.
fn sharpness(settings: &Keys<'_>, factor: f64) -> Result<f64, ModelError> {
    let number = |key| settings.number_or(key, 0.0, LARGEST_FACTOR);
    let given = settings.get("attention_factor").map(|_| number("attention_factor")).transpose()?;
    let (mscale, all) = (number("mscale")?, number("mscale_all_dim")?);
    let of = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * libm::log(factor) + 1.0 };
    Ok(match given {
        Some(given) => given,
        None if mscale != 0.0 && all != 0.0 => of(mscale) / of(all),
        None => of(1.0),
    })
}
