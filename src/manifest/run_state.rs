//! The machine's state in a manifest: everything that a resumed run needs to continue as if it had never stopped.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::NumericClass;

/// A run's decisions so far, between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Updates applied.
    pub version: u64,
    /// Whether these weights have been evaluated, or need no evaluation.
    pub evaluated: bool,
    /// Whether training is over: only the final weights remain to be written.
    pub finished: bool,
    /// The numeric class, and the hash of its canary in hexadecimal; none before the first record.
    pub class: Option<(NumericClass, String)>,
    /// The best evaluation: its weights version and value.
    pub best: Option<(u64, Number)>,
    /// Evaluations since the last improvement.
    pub without_improvement: u32,
    /// The last evaluation: which weights, and their metrics.
    pub eval: Option<(u64, BTreeMap<String, Number>)>,
    /// Mean loss of the last step.
    pub loss: Number,
    /// Norm of its mean gradient.
    pub norm: Number,
}

impl RunState {
    /// The numeric class that binds the run.
    pub fn class(&self) -> Option<(NumericClass, u128)> {
        let (class, canary) = self.class.clone()?;
        Some((class, u128::from_str_radix(&canary, 16).ok()?))
    }
}

/// A 64-bit float, held by its bits: JSON has no infinities, and may round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(u64);

impl Default for Number {
    fn default() -> Number {
        Number::from(f64::NAN)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number(value.to_bits())
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> f64 {
        f64::from_bits(number.0)
    }
}
