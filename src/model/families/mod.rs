//! The families this program knows: how each one's `config.json` becomes a [`Blueprint`].
//!
//! To add one, write a file that reads its keys, and give it a row in [`FAMILIES`].

mod bert;
mod decoder;
mod distilbert;
mod electra;
mod encoder;
pub(super) mod image_processors;
mod llama;
mod no_effect;
mod qwen2;
mod qwen3;
mod roberta;
mod rope;
mod vit;

use std::collections::BTreeSet;

use serde_json::Value;

use super::ModelError;
use super::blueprint::{Blueprint, Identity};
use super::keys::Keys;
use super::tokenizer::Registered;
use crate::run_file::Task;

/// A row of the registry.
struct Family {
    /// `model_type` of its `config.json`.
    model_type: &'static str,
    /// Prefix of the base network's names in checkpoints.
    prefix: &'static str,
    /// The tokenizer class that transformers gives to it.
    tokenizer: Registered,
    /// The transformers class that does a task.
    classes: &'static [(Task, &'static str)],
    /// See [`Identity::renamed`].
    renamed: &'static [(&'static str, &'static str)],
    /// Reads its keys, for a head with a number of labels, which a language model has not.
    read: fn(&Keys<'_>, Identity, usize) -> Result<Blueprint, ModelError>,
}

const TEXTS: Task = Task::SequenceClassification;
const IMAGES: Task = Task::ImageClassification;
const LANGUAGE: Task = Task::CausalLm;

const FAMILIES: &[Family] = &[
    Family {
        model_type: "bert",
        prefix: "bert",
        tokenizer: Registered::as_class("BertTokenizer"),
        classes: &[(TEXTS, "BertForSequenceClassification")],
        renamed: &[],
        read: bert::read,
    },
    Family {
        model_type: "distilbert",
        prefix: "distilbert",
        tokenizer: Registered::as_class("BertTokenizer"),
        classes: &[(TEXTS, "DistilBertForSequenceClassification")],
        renamed: &[],
        read: distilbert::read,
    },
    Family {
        model_type: "electra",
        prefix: "electra",
        tokenizer: Registered::as_class("BertTokenizer"),
        classes: &[(TEXTS, "ElectraForSequenceClassification")],
        renamed: &[],
        read: electra::read,
    },
    Family {
        model_type: "roberta",
        prefix: "roberta",
        tokenizer: Registered::as_class("RobertaTokenizer"),
        classes: &[(TEXTS, "RobertaForSequenceClassification")],
        renamed: &[],
        read: roberta::read,
    },
    Family {
        model_type: "xlm-roberta",
        prefix: "roberta",
        tokenizer: Registered::as_class("XLMRobertaTokenizer"),
        classes: &[(TEXTS, "XLMRobertaForSequenceClassification")],
        renamed: &[],
        read: roberta::read,
    },
    Family {
        model_type: "vit",
        prefix: "vit",
        tokenizer: Registered::NONE,
        classes: &[(IMAGES, "ViTForImageClassification")],
        renamed: vit::RENAMED,
        read: vit::read,
    },
    Family {
        model_type: "deit",
        prefix: "deit",
        tokenizer: Registered::NONE,
        classes: &[(IMAGES, "DeiTForImageClassification")],
        renamed: vit::RENAMED,
        read: vit::read_deit,
    },
    Family {
        model_type: "llama",
        prefix: "model",
        tokenizer: Registered::NONE,
        classes: &[(LANGUAGE, "LlamaForCausalLM")],
        renamed: &[],
        read: llama::read,
    },
    Family {
        model_type: "qwen2",
        prefix: "model",
        tokenizer: Registered { class: Some("Qwen2Tokenizer"), overrides: true },
        classes: &[(LANGUAGE, "Qwen2ForCausalLM")],
        renamed: &[],
        read: qwen2::read,
    },
    Family {
        model_type: "qwen3",
        prefix: "model",
        tokenizer: Registered::as_class("Qwen2Tokenizer"),
        classes: &[(LANGUAGE, "Qwen3ForCausalLM")],
        renamed: &[],
        read: qwen3::read,
    },
];

/// What a `config.json` says.
#[derive(Clone, Debug)]
pub struct ConfigRead {
    pub blueprint: Blueprint,
    /// The keys that the family looks for: setting another one changes nothing.
    pub looked_for: BTreeSet<&'static str>,
    /// Keys of a language model that nothing here knows, and that therefore have no effect, sorted. Other networks' are not
    /// looked at.
    pub unknown: Vec<String>,
}

/// Fewest labels of a classifier, and most.
const LABELS: std::ops::RangeInclusive<usize> = 2..=1 << 20;

impl Blueprint {
    /// Reads an HF `config.json` (already merged with the run's `model_overrides`) for a task with a number of labels.
    pub fn from_config(config: &Value, task: Task, labels: usize) -> Result<Blueprint, ModelError> {
        Ok(Blueprint::read(config, task, labels)?.blueprint)
    }

    /// As [`Blueprint::from_config`], with what became of the keys.
    pub fn read(config: &Value, task: Task, labels: usize) -> Result<ConfigRead, ModelError> {
        let keys = Keys::new(config)?;
        let model_type = keys.get("model_type").ok_or(ModelError::Missing { key: "model_type" })?;
        let Some(family) = FAMILIES.iter().find(|family| *model_type == family.model_type) else {
            let found = model_type.to_string().chars().take(80).collect();
            return Err(ModelError::UnknownModel { found, known: listed(FAMILIES.iter()) });
        };
        let does = |family: &&Family| family.classes.iter().find(|(does, _)| *does == task);
        let Some((_, class)) = does(&family) else {
            let needed = listed(FAMILIES.iter().filter(|family| does(family).is_some()));
            return Err(ModelError::WrongTask { model_type: family.model_type, task, needed });
        };
        if task != LANGUAGE && !LABELS.contains(&labels) {
            return Err(ModelError::Labels(labels));
        }
        let Family { model_type, prefix, tokenizer, renamed, .. } = *family;
        let identity = Identity { model_type, class, prefix, tokenizer, renamed };
        let blueprint = (family.read)(&keys, identity, labels)?;
        blueprint.check_size()?;
        let unknown = if task == LANGUAGE { no_effect::unknown(&keys)? } else { Vec::new() };
        Ok(ConfigRead { blueprint, looked_for: keys.asked(), unknown })
    }
}

/// The `model_type` of every family that can do a task; of every one without a task.
#[cfg(test)]
pub(super) fn model_types(task: Option<Task>) -> impl Iterator<Item = &'static str> {
    let does =
        move |family: &&Family| task.is_none_or(|task| family.classes.iter().any(|(does, _)| *does == task));
    FAMILIES.iter().filter(does).map(|family| family.model_type)
}

/// Their types, as messages list them.
fn listed<'a>(families: impl Iterator<Item = &'a Family>) -> String {
    families.map(|family| family.model_type).collect::<Vec<_>>().join(", ")
}
