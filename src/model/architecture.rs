//! The networks this program knows, chosen by `model_type`.

use serde_json::Value;

use super::keys::Keys;
use super::{BertConfig, ModelError, Parameter, ViTConfig};
use crate::run_file::Task;

/// A network with its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// BERT with a classification head.
    Bert(BertConfig),
    /// Vision transformer with a classification head.
    ViT(ViTConfig),
}

impl Architecture {
    /// Reads an HF `config.json` (already merged with the run's `model_overrides`) for a task with so many labels.
    pub fn from_config(config: &Value, task: Task, labels: usize) -> Result<Architecture, ModelError> {
        let model_type =
            Keys::new(config)?.get("model_type").ok_or(ModelError::Missing { key: "model_type" })?;
        let architecture = match model_type.as_str() {
            Some("bert") => Architecture::Bert(BertConfig::from_json(config, labels)?),
            Some("vit") => Architecture::ViT(ViTConfig::from_json(config, labels)?),
            _ => {
                return Err(ModelError::UnknownModel(model_type.to_string().chars().take(80).collect()));
            }
        };
        let needed = match task {
            Task::SequenceClassification => "bert",
            Task::ImageClassification => "vit",
        };
        if architecture.prefix() != needed {
            return Err(ModelError::WrongTask { model_type: architecture.prefix(), task, needed });
        }
        Ok(architecture)
    }

    /// The parameter table: names and shapes exactly as transformers saves them.
    pub fn parameters(&self) -> Vec<Parameter> {
        match self {
            Architecture::Bert(config) => config.parameters(),
            Architecture::ViT(config) => config.parameters(),
        }
    }

    /// The base network's prefix in parameter names, which is also its `model_type`.
    pub fn prefix(&self) -> &'static str {
        match self {
            Architecture::Bert(_) => "bert",
            Architecture::ViT(_) => "vit",
        }
    }

    /// The transformers class that opens the saved weights.
    pub fn hf_class(&self) -> &'static str {
        match self {
            Architecture::Bert(_) => "BertForSequenceClassification",
            Architecture::ViT(_) => "ViTForImageClassification",
        }
    }

    /// Number of labels.
    pub fn labels(&self) -> usize {
        match self {
            Architecture::Bert(config) => config.labels,
            Architecture::ViT(config) => config.labels,
        }
    }

    /// Number of transformer layers.
    pub fn layers(&self) -> u32 {
        match self {
            Architecture::Bert(config) => config.layers,
            Architecture::ViT(config) => config.layers,
        }
    }
}
