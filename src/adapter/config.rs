//! What an adapter is: its rank, scale and modules, from a run file or from `adapter_config.json`.

use serde_json::{Value, json};

use super::{AdapterError, modules};
use crate::run_file::{ALL_LINEAR, Lora, Task};

/// Largest rank that is read, and most names.
const LARGEST_RANK: u64 = 1 << 16;
const MOST_NAMES: usize = 1 << 16;
/// Keys that change what an adapter computes, and the values that leave it a plain one.
const PLAIN: [(&str, &[Value]); 17] = [
    ("use_dora", &[Value::Bool(false)]),
    ("rank_pattern", &[]),
    ("alpha_pattern", &[]),
    ("fan_in_fan_out", &[Value::Bool(false)]),
    ("lora_bias", &[Value::Bool(false)]),
    ("layer_replication", &[]),
    ("target_parameters", &[]),
    ("trainable_token_indices", &[]),
    ("exclude_modules", &[]),
    ("use_qalora", &[Value::Bool(false)]),
    ("layers_pattern", &[]),
    ("alora_invocation_tokens", &[]),
    ("arrow_config", &[]),
    ("kasa_config", &[]),
    ("monteclora_config", &[]),
    ("use_bdlora", &[Value::Bool(false)]),
    ("velora_config", &[]),
];
/// How an adapter may have begun. Others change the base network's weights as well.
const BEGINNINGS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// An adapter: `y = x·Wᵀ + b + scale·(dropout(x)·Aᵀ)·Bᵀ` in each of some linear modules.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Rows of A, columns of B.
    pub rank: u64,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Dropout of the input, from 0 to below 1.
    pub dropout: f64,
    /// Whether the scale is alpha ÷ √rank instead of alpha ÷ rank.
    pub rslora: bool,
    /// Names or suffixes of linear modules, or `all-linear` alone; sorted.
    pub target_modules: Vec<String>,
    /// Ends of the names of modules that train whole; sorted.
    pub modules_to_save: Vec<String>,
    /// Layers that are adapted; `None`: all.
    pub layers: Option<Vec<u32>>,
    /// Whether an embedding that is saved is the output head's weight too.
    pub tied: bool,
}

impl AdapterConfig {
    /// That of a run which continues no other adapter.
    pub fn fresh(lora: &Lora) -> AdapterConfig {
        AdapterConfig {
            rank: lora.lora_r.unwrap_or(16).into(),
            alpha: lora.lora_alpha.unwrap_or(32.0),
            dropout: lora.lora_dropout.unwrap_or(0.0),
            rslora: lora.use_rslora.unwrap_or(false),
            target_modules: lora.lora_target_modules.clone().unwrap_or_else(|| vec![ALL_LINEAR.to_owned()]),
            modules_to_save: lora.lora_modules_to_save.clone().unwrap_or_default(),
            layers: lora.layers_to_transform.clone(),
            tied: false,
        }
    }

    /// Factor of the update.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { libm::sqrt(rank) } else { rank }
    }

    pub(super) fn adapts_layer(&self, layer: usize) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.iter().any(|&number| number as usize == layer))
    }

    /// Whether a linear module of a layer is adapted.
    pub(super) fn targets(&self, module: &str) -> bool {
        self.target_modules.iter().any(|name| name == ALL_LINEAR || modules::is_suffix(module, name))
    }

    /// `adapter_config.json` as PEFT reads it, for a base network at `base`.
    pub fn to_json(&self, base: &str, task: Task) -> Value {
        let alpha = match self.alpha.fract() == 0.0 {
            true => json!(self.alpha as u64),
            false => json!(self.alpha),
        };
        let task_type = match task {
            Task::SequenceClassification => json!("SEQ_CLS"),
            Task::ImageClassification => Value::Null,
            Task::CausalLm => json!("CAUSAL_LM"),
        };
        let saved = Some(&self.modules_to_save).filter(|names| !names.is_empty());
        let mut config = json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": self.layers,
            "lora_alpha": alpha,
            "lora_dropout": self.dropout,
            "modules_to_save": saved,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": null,
            "target_modules": self.target_modules,
            "task_type": task_type,
            "use_dora": false,
            "use_rslora": self.rslora,
        });
        // Older versions of PEFT do not know the key.
        if self.tied {
            config["ensure_weight_tying"] = true.into();
        }
        config
    }

    /// Reads `adapter_config.json` of the directory `url`. What is not plain LoRA is refused by the name of its key.
    pub fn from_json(url: &str, config: &Value) -> Result<AdapterConfig, AdapterError> {
        let wrong = |key: &'static str, expected: &'static str| {
            let found = config.get(key).map_or("missing".to_owned(), |value| value.to_string());
            let found = found.chars().take(80).collect();
            AdapterError::Config { url: url.to_owned(), key, found, expected }
        };
        if config.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(wrong("peft_type", "\"LORA\""));
        }
        for (key, plain) in PLAIN {
            let value = config.get(key).unwrap_or(&Value::Null);
            if !is_empty(value) && !plain.contains(value) {
                return Err(wrong(key, "null or false: only plain LoRA is supported yet"));
            }
        }
        if config.get("bias").is_some_and(|bias| bias != "none" && !bias.is_null()) {
            return Err(wrong("bias", "\"none\""));
        }
        let plain = match config.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => true,
            Some(name) => name.as_str().is_some_and(|name| BEGINNINGS.contains(&name)),
        };
        if !plain {
            return Err(wrong("init_lora_weights", "true: others change the base network's weights too"));
        }
        let number = |key| config.get(key).and_then(Value::as_f64);
        let rank = config.get("r").and_then(Value::as_u64).filter(|rank| (1..=LARGEST_RANK).contains(rank));
        let alpha = number("lora_alpha").filter(|alpha| *alpha > 0.0 && *alpha <= 1e6);
        let dropout = number("lora_dropout").unwrap_or(0.0);
        let names = |key| names(config.get(key).unwrap_or(&Value::Null));
        let layers = match config.get("layers_to_transform").unwrap_or(&Value::Null) {
            Value::Null => None,
            Value::Array(list) => Some(list.iter().map(layer).collect::<Option<Vec<u32>>>()),
            one => Some(layer(one).map(|layer| vec![layer])),
        };
        Ok(AdapterConfig {
            rank: rank.ok_or_else(|| wrong("r", "a whole number from 1 to 65536"))?,
            alpha: alpha.ok_or_else(|| wrong("lora_alpha", "a number above 0"))?,
            dropout: Some(dropout)
                .filter(|dropout| (0.0..1.0).contains(dropout))
                .ok_or_else(|| wrong("lora_dropout", "a number from 0 to below 1"))?,
            rslora: config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            target_modules: names("target_modules")
                .filter(|names| !names.is_empty())
                .ok_or_else(|| wrong("target_modules", "a list of names of modules, or all-linear"))?,
            modules_to_save: names("modules_to_save")
                .ok_or_else(|| wrong("modules_to_save", "a list of names of modules"))?,
            layers: layers
                .map(|layers| layers.ok_or_else(|| wrong("layers_to_transform", "a list of layers")))
                .transpose()?,
            tied: config.get("ensure_weight_tying").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A list of names, sorted; the word `all-linear`. Other texts are patterns to PEFT.
fn names(value: &Value) -> Option<Vec<String>> {
    let mut names = match value {
        Value::Null => Vec::new(),
        Value::Array(list) if list.len() <= MOST_NAMES => {
            list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?
        }
        Value::String(word) if word.to_lowercase() == ALL_LINEAR => vec![ALL_LINEAR.to_owned()],
        _ => return None,
    };
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn layer(number: &Value) -> Option<u32> {
    u32::try_from(number.as_u64()?).ok()
}
