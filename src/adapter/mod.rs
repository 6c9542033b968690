//! Low-rank adapters (LoRA): which linear modules of a network they adapt, what else trains, and PEFT's files of them.
//!
//! The definitions are PEFT's: `lora_target_modules` are whole last components of a module's name, `lora_modules_to_save`
//! any end of it. Two differ. Only linear modules of the layers are adapted. A classifier's head is trained whole and saved,
//! with all of its linear modules, because a checkpoint may lack any of them.

mod config;
mod continued;
mod error;
mod modules;
mod peft;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use config::AdapterConfig;
pub use continued::Continued;
pub use error::AdapterError;
pub use peft::{Written, consumer_warnings};

use crate::model::blueprint::{Adapter, Head, Layer, Linear};
use crate::model::{Blueprint, Parameter};
use crate::run_file::ALL_LINEAR;

/// A network with an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// The network, whose adapted linear modules say so.
    pub blueprint: Blueprint,
    /// Parameters of the network itself that train whole.
    pub saved: BTreeSet<String>,
    /// The adapter with the names that PEFT is to read: they mean exactly what is adapted.
    pub config: AdapterConfig,
}

impl Blueprint {
    /// The network with an adapter that begins fresh: the classifier's head trains whole beside it.
    pub fn with_fresh_adapter(&self, config: &AdapterConfig) -> Result<Adapted, AdapterError> {
        let mut config = config.clone();
        if let Head::Classifier(_) = &self.head {
            let head = self.head_linears();
            config.modules_to_save.extend(head.iter().map(|linear| self.outermost(&linear.name).to_owned()));
        }
        self.with_adapter(&config)
    }

    /// The network with an adapter of its layers' linear modules. Names that mean nothing are refused.
    pub fn with_adapter(&self, config: &AdapterConfig) -> Result<Adapted, AdapterError> {
        if let Some(&layer) =
            config.layers.iter().flatten().find(|&&layer| layer as usize >= self.layers.len())
        {
            return Err(AdapterError::NoSuchLayer { layer, depth: self.layers.len() });
        }
        let mut blueprint = self.clone();
        let mut adapted = BTreeSet::new();
        let adapter = Adapter { rank: config.rank, scale: config.scale(), dropout: config.dropout };
        for (number, layer) in blueprint.layers.iter_mut().enumerate() {
            if config.adapts_layer(number) {
                for linear in linears_mut(layer) {
                    let name = modules::in_memory(&self.identity, &linear.name);
                    if config.targets(&name) || config.targets(&linear.name) {
                        linear.adapter = Some(adapter);
                        adapted.insert(name);
                    }
                }
            }
        }
        self.check_targets(config, &blueprint)?;
        if !blueprint.fits() {
            return Err(AdapterError::TooLarge { rank: config.rank });
        }
        let modules = modules::of_table(&self.identity, &self.parameters());
        let (to_save, tied) = self.modules_to_save(config, &modules)?;
        let saved_modules: BTreeSet<&String> = modules
            .iter()
            .filter(|module| to_save.iter().any(|name| module.ends_with(name.as_str())))
            .collect();
        let within = |name: &str| {
            saved_modules
                .iter()
                .any(|module| name.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        if let Some(module) = adapted.iter().find(|name| within(name) || saved_modules.contains(name)) {
            return Err(AdapterError::Both { module: module.clone() });
        }
        let table = self.parameters();
        let is_saved = |parameter: &&Parameter| within(&modules::in_memory(&self.identity, &parameter.name));
        let saved = table.iter().filter(is_saved).map(|parameter| parameter.name.clone()).collect();
        // PEFT looks for names within the chosen layers only, where layers are chosen.
        let others: BTreeSet<String> = modules
            .iter()
            .filter(|module| {
                !adapted.contains(*module) && (config.layers.is_none() || self.in_layers(config, module))
            })
            .cloned()
            .collect();
        let target_modules = modules::shortest_suffixes(&adapted, &others);
        let config = AdapterConfig { target_modules, modules_to_save: to_save, tied, ..config.clone() };
        Ok(Adapted { blueprint, saved, config })
    }

    /// Whether each name means something.
    fn check_targets(&self, config: &AdapterConfig, adapted: &Blueprint) -> Result<(), AdapterError> {
        let adapted: Vec<String> = adapted
            .layers
            .iter()
            .flat_map(linears)
            .filter(|linear| linear.adapter.is_some())
            .flat_map(|linear| [linear.name.clone(), modules::in_memory(&self.identity, &linear.name)])
            .collect();
        let meant = |name: &&String| {
            *name == ALL_LINEAR || adapted.iter().any(|module| modules::is_suffix(module, name))
        };
        let Some(name) = config.target_modules.iter().find(|name| !meant(name)).cloned() else {
            return Ok(());
        };
        if self.head_linears().iter().any(|linear| modules::is_suffix(&linear.name, &name))
            || name == "lm_head"
        {
            return Err(AdapterError::Head { name });
        }
        let layers = self.layers.iter().enumerate().filter(|(number, _)| config.adapts_layer(*number));
        let known: Vec<String> = layers
            .flat_map(|(number, layer)| linears(layer).into_iter().map(move |linear| (number, linear)))
            .map(|(number, linear)| (number, modules::in_memory(&self.identity, &linear.name)))
            .map(|(number, name)| modules::within_layer(&name, number).to_owned())
            .collect();
        let known = modules::listed(known.iter().map(String::as_str));
        Err(AdapterError::Unknown { key: "lora_target_modules", name, done: "adapted", known })
    }

    /// The ends of names of modules that train whole, and whether the tied embedding is one of them.
    fn modules_to_save(
        &self,
        config: &AdapterConfig,
        modules: &BTreeSet<String>,
    ) -> Result<(Vec<String>, bool), AdapterError> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut tied = false;
        let table = match &self.head {
            Head::Language(language) if language.tied => Some(&language.output.name),
            _ => None,
        };
        for name in &config.modules_to_save {
            let shared = table.filter(|table| table.ends_with(name.as_str()) || name == "lm_head");
            if let Some(table) = shared {
                // One tensor: it trains as both.
                tied = true;
                names.insert(table.rsplit('.').next().unwrap_or(table).to_owned());
            } else if modules.iter().any(|module| module.ends_with(name.as_str())) {
                names.insert(name.clone());
            } else {
                let last = |module: &'_ String| module.rsplit('.').next().unwrap_or_default().to_owned();
                let known: Vec<String> = modules.iter().map(last).collect();
                let words = known.iter().map(String::as_str).filter(|word| word.parse::<u32>().is_err());
                let (key, known) = ("lora_modules_to_save", modules::listed(words));
                return Err(AdapterError::Unknown { key, name: name.clone(), done: "saved", known });
            }
        }
        Ok((names.into_iter().collect(), tied))
    }

    /// The module right below the network's own prefix that holds a module of the head, or is it.
    fn outermost<'a>(&self, module: &'a str) -> &'a str {
        let prefix = format!("{}.", self.identity.prefix.trim_end_matches('.'));
        let bare = module.strip_prefix(&prefix).unwrap_or(module);
        bare.split('.').next().unwrap_or(bare)
    }

    fn head_linears(&self) -> Vec<&Linear> {
        match &self.head {
            Head::Classifier(classifier) => {
                classifier.dense.iter().map(|(dense, _)| dense).chain([&classifier.output]).collect()
            }
            Head::Language(language) => {
                Some(&language.output).filter(|_| !language.tied).into_iter().collect()
            }
        }
    }

    /// Whether a module is in one of the layers that are adapted.
    fn in_layers(&self, config: &AdapterConfig, module: &str) -> bool {
        let layers = self.layers.iter().enumerate().filter(|(number, _)| config.adapts_layer(*number));
        layers.into_iter().any(|(number, layer)| {
            let query = modules::in_memory(&self.identity, &layer.attention.query.name);
            let start = &query[..query.len() - modules::within_layer(&query, number).len()];
            module.starts_with(start)
        })
    }
}

/// The linear modules of a layer.
fn linears(layer: &Layer) -> Vec<&Linear> {
    let Layer { attention, mlp, .. } = layer;
    let attention = [&attention.query, &attention.key, &attention.value, &attention.output];
    attention.into_iter().chain(&mlp.gate).chain([&mlp.inner, &mlp.outer]).collect()
}

fn linears_mut(layer: &mut Layer) -> Vec<&mut Linear> {
    let Layer { attention, mlp, .. } = layer;
    let attention = [&mut attention.query, &mut attention.key, &mut attention.value, &mut attention.output];
    attention.into_iter().chain(&mut mlp.gate).chain([&mut mlp.inner, &mut mlp.outer]).collect()
}
