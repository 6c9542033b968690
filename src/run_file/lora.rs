//! What a run trains beside a frozen network: the keys of a low-rank adapter (LoRA), and the precision of computing.

use serde::{Deserialize, Serialize};

/// The word that stands for all linear parts of the layers.
pub const ALL_LINEAR: &str = "all-linear";

/// A low-rank adapter (Hu et al., 2021). `None` is a key that was not given: an adapter that is continued decides it.
///
/// Without `lora_model_dir`, every key but the lists has a value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rank of the update of each weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_r: Option<u32>,
    /// The update is scaled by this ÷ rank, or ÷ √rank with `use_rslora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<f64>,
    /// Dropout of the adapter's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_dropout: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_rslora: Option<bool>,
    /// Names or suffixes of linear parts of the layers, or [`ALL_LINEAR`] alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_target_modules: Option<Vec<String>>,
    /// Ends of the names of modules that train whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_modules_to_save: Option<Vec<String>>,
    /// Numbers of the layers that are adapted, from 0; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<u32>>,
    /// URL of a directory with the adapter to continue from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_model_dir: Option<String>,
}

/// Numbers in which the forward and backward pass compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    #[serde(rename = "false")]
    F32,
    /// bfloat16 on a GPU; on a CPU as [`Precision::F32`].
    #[serde(rename = "true")]
    Bf16,
    /// As the device of the first worker can.
    #[serde(rename = "auto")]
    Auto,
}

impl Precision {
    /// Whether it is what a run file says by saying nothing.
    pub fn is_default(&self) -> bool {
        *self == Precision::default()
    }
}
