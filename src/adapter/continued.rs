//! An adapter to continue from: its configuration and tensors, and whether they are those of the run's network.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Adapted, AdapterConfig, AdapterError, modules};
use crate::checkpoint::{Checkpoint, CheckpointError, Resolution, json};
use crate::model::{Blueprint, Parameter};
use crate::run_file::{ALL_LINEAR, Lora};
use crate::store::Stores;

/// Classifiers that PEFT adds to `modules_to_save` of each adapter for classification.
const USUAL_HEADS: [&str; 2] = ["classifier", "score"];

/// An adapter in a directory.
#[derive(Clone, Debug)]
pub struct Continued {
    pub config: AdapterConfig,
    checkpoint: Checkpoint,
    /// The labels of its head, in order, where a run of this program wrote it.
    labels: Option<Vec<String>>,
}

/// What is read of the `run.json` beside an adapter.
#[derive(Deserialize)]
struct Run {
    /// Absent in files of other programs.
    labels: Option<Vec<String>>,
}

/// Bytes of the largest `run.json` read.
const LARGEST_RUN: u64 = 64 << 20;

impl Continued {
    /// Reads `adapter_config.json` and the header of `adapter_model.safetensors`. Keys of the run file must not
    /// contradict them, but for the dropout, which may change.
    pub async fn open(stores: &Stores, directory: &str, lora: &Lora) -> Result<Continued, AdapterError> {
        let directory = stores.locate(directory).map_err(CheckpointError::from)?;
        let checkpoint = Checkpoint::adapter(&directory).await?;
        let mut config = AdapterConfig::from_json(directory.url(), &checkpoint.config)?;
        if let Some(dropout) = lora.lora_dropout {
            config.dropout = dropout;
        }
        agrees(lora, &config, directory.url())?;
        let run: Option<Run> =
            json(&directory.join("run.json").map_err(CheckpointError::from)?, LARGEST_RUN).await?;
        Ok(Continued { config, checkpoint, labels: run.and_then(|run| run.labels) })
    }

    /// The network with this adapter.
    pub fn adapt(&self, blueprint: &Blueprint) -> Result<Adapted, AdapterError> {
        let modules = modules::of_table(&blueprint.identity, &blueprint.parameters());
        let mut config = self.config.clone();
        // PEFT lists the usual names of classifiers, whether or not the network has them.
        config.modules_to_save.retain(|name| {
            !USUAL_HEADS.contains(&name.as_str())
                || modules.iter().any(|module| module.ends_with(name.as_str()))
        });
        let adapted = blueprint.with_adapter(&config).map_err(|error| self.of_another(error))?;
        match adapted.config.tied && !self.config.tied {
            true => Err(self.of_another(
                "it holds an embedding apart from the output head, and the network has one tensor for both",
            )),
            false => Ok(adapted),
        }
    }

    /// Refuses a head for other labels, or for the same in another order.
    pub fn check_labels(&self, labels: &[String]) -> Result<(), AdapterError> {
        match &self.labels {
            Some(own) if own != labels => Err(self.of_another(format!(
                "its head is for the labels {}, and the run's are {}: set `labels` to the former",
                own.join(", "),
                labels.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    /// The files.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn of_another(&self, reason: impl ToString) -> AdapterError {
        AdapterError::OfAnother { url: self.checkpoint.directory.to_string(), reason: reason.to_string() }
    }

    /// Where the values of all that trains come from, for the table of the adapted network. Both must have the same
    /// tensors, in the same shapes.
    pub fn resolve(&self, adapted: &Adapted, table: &[Parameter]) -> Result<Resolution, AdapterError> {
        let mut sources = vec![None; table.len()];
        let mut used = BTreeSet::new();
        for (source, parameter) in sources.iter_mut().zip(table).filter(|(_, one)| adapted.trains(one)) {
            let (key, older) = (adapted.peft_name(&parameter.name), adapted.older_name(&parameter.name));
            let tensors = &self.checkpoint.tensors;
            let Some((key, entry)) = tensors.get_key_value(&key).or_else(|| tensors.get_key_value(&older))
            else {
                return Err(self.of_another(format!("it has no tensor {key:?}")));
            };
            if entry.shape != parameter.shape {
                let shapes = format!("{:?}, the network's is {:?}", entry.shape, parameter.shape);
                return Err(self.of_another(format!("the shape of {key:?} is {shapes}")));
            }
            used.insert(key.clone());
            *source = Some(key.clone());
        }
        // The copy that PEFT keeps of a tied embedding.
        let copy = |key: &String| adapted.config.tied && *key == adapted.peft_name("lm_head.weight");
        if let Some(key) = self.checkpoint.tensors.keys().find(|key| !used.contains(*key) && !copy(key)) {
            return Err(
                self.of_another(format!("it has a tensor {key:?}, which the network has no place for"))
            );
        }
        Ok(Resolution { sources, rows: BTreeMap::new(), ..Resolution::default() })
    }
}

/// Refuses keys of the run file that say otherwise.
fn agrees(lora: &Lora, found: &AdapterConfig, url: &str) -> Result<(), AdapterError> {
    let Lora {
        lora_r,
        lora_alpha,
        use_rslora,
        lora_target_modules,
        lora_modules_to_save,
        layers_to_transform,
        ..
    } = lora;
    let targets = lora_target_modules.as_ref().filter(|names| !names.iter().any(|name| name == ALL_LINEAR));
    let pairs = [
        ("lora_r", text(lora_r), text(&Some(found.rank))),
        ("lora_alpha", text(lora_alpha), text(&Some(found.alpha))),
        ("use_rslora", text(use_rslora), text(&Some(found.rslora))),
        ("lora_target_modules", list(targets), list(Some(&found.target_modules))),
        ("lora_modules_to_save", list(lora_modules_to_save.as_ref()), list(Some(&found.modules_to_save))),
        ("layers_to_transform", layers(layers_to_transform), layers(&found.layers)),
    ];
    for (key, given, found) in pairs {
        let found = found.unwrap_or_else(|| "all".to_owned());
        if let Some(given) = given.filter(|given| *given != found) {
            return Err(AdapterError::Disagrees { key, given, url: url.to_owned(), found });
        }
    }
    Ok(())
}

fn text<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn list(names: Option<&Vec<String>>) -> Option<String> {
    names.map(|names| format!("[{}]", names.join(", ")))
}

fn layers(numbers: &Option<Vec<u32>>) -> Option<String> {
    numbers.as_ref().map(|numbers| format!("{numbers:?}"))
}
