//! Which of the checkpoint's tensors becomes which parameter of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::header::Dtype;
use super::{Checkpoint, CheckpointError};
use crate::model::{Parameter, Part};

/// How the names of tensors end that older programs stored although they follow from the configuration.
const FREQUENCIES: &str = ".rotary_emb.inv_freq";

/// Where each parameter's values come from, and what did not fit; what transformers reports on loading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// Per parameter of the table: the checkpoint's tensor, or `None` for fresh values.
    pub sources: Vec<Option<String>>,
    /// Per parameter of the table: the checkpoint's rows that become its own, in order; `None` for all, as they are.
    pub rows: BTreeMap<usize, Vec<usize>>,
    /// Parameters that begin fresh, for whatever reason, sorted.
    pub newly_initialised: Vec<String>,
    /// Those of the head that do because their shape differs, sorted.
    pub mismatched: Vec<Mismatch>,
    /// Those of the head that do although they would fit, because the checkpoint's labels are other ones, sorted.
    pub other_labels: Vec<String>,
    /// Tensors of the checkpoint that the model does not have, sorted.
    pub unused: Vec<String>,
    /// The checkpoint's tensors of an embedding table and of the head that shares it, where it stores both.
    pub stored_twice: Option<[String; 2]>,
    /// Number of matrices of an adapter, which no checkpoint has.
    pub adapter: usize,
}

/// A parameter of the head whose shape is not the checkpoint's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mismatch {
    /// The model's parameter.
    pub name: String,
    /// The checkpoint's shape.
    pub found: Vec<u64>,
    /// The model's shape.
    pub expected: Vec<u64>,
}

impl Resolution {
    /// Every parameter begins fresh.
    pub fn random(table: &[Parameter]) -> Resolution {
        let own = table.iter().filter(|parameter| parameter.part != Part::Adapter);
        let mut newly_initialised: Vec<String> = own.map(|parameter| parameter.name.clone()).collect();
        newly_initialised.sort();
        let adapter = table.len() - newly_initialised.len();
        Resolution { sources: vec![None; table.len()], newly_initialised, adapter, ..Resolution::default() }
    }

    /// Whether checkpoint and model have the same tensors.
    pub fn is_exact(&self) -> bool {
        self.newly_initialised.is_empty() && self.unused.is_empty()
    }

    /// Number of parameters loaded.
    pub fn loaded(&self) -> usize {
        self.sources.iter().flatten().count()
    }

    /// Says which rows of the checkpoint's classifier know the run's labels. `None`: it is of other labels and begins
    /// fresh, for it is no start even where the shapes agree.
    pub fn with_head_rows(mut self, table: &[Parameter], rows: Option<Vec<usize>>) -> Resolution {
        let classifier = |parameter: &Parameter| parameter.part == Part::Classifier;
        if let Some(rows) = rows {
            if !rows.is_sorted() {
                let moved = (0..).zip(table).filter(|(_, parameter)| classifier(parameter));
                self.rows = moved.map(|(index, _)| (index, rows.clone())).collect();
            }
            return self;
        }
        for (source, parameter) in self.sources.iter_mut().zip(table) {
            if classifier(parameter) && source.take().is_some() {
                self.other_labels.push(parameter.name.clone());
            }
        }
        self.other_labels.sort();
        self.newly_initialised.extend_from_slice(&self.other_labels);
        self.newly_initialised.sort();
        self
    }

    /// Parameters that the checkpoint lacks.
    fn missing(&self) -> Vec<&str> {
        let mismatched = self.mismatched.iter().map(|mismatch| &mismatch.name);
        let there: BTreeSet<&String> = mismatched.chain(&self.other_labels).collect();
        self.newly_initialised.iter().filter(|name| !there.contains(name)).map(String::as_str).collect()
    }
}

impl Checkpoint {
    /// Matches each parameter by name, with or without the base network's prefix, and under legacy names
    /// (`LayerNorm.gamma`, `LayerNorm.beta`).
    ///
    /// A tensor of the body that is missing among others that are there is an error, unless `init_missing`: transformers
    /// would draw it at random and train on.
    pub fn resolve(
        &self,
        table: &[Parameter],
        prefix: &str,
        init_missing: bool,
    ) -> Result<Resolution, CheckpointError> {
        self.resolve_tied(table, prefix, init_missing, None)
    }

    /// The same for a network whose head shares the parameter `tied`: the checkpoint may store it under the head's name too,
    /// or under that one alone. Of two stored, [`Checkpoint::check_tied`] compares the values.
    pub fn resolve_tied(
        &self,
        table: &[Parameter],
        prefix: &str,
        init_missing: bool,
        tied: Option<&str>,
    ) -> Result<Resolution, CheckpointError> {
        let mut by_name = modern_names(self.tensors.keys());
        let prefix = format!("{}.", prefix.trim_end_matches('.'));
        let mut used = BTreeSet::new();
        let mut resolution = Resolution::default();
        if let Some(tied) = tied
            && let Some(head) = self.head_tensor(&by_name, &prefix)
        {
            used.insert(head);
            match find(&by_name, tied, &prefix) {
                Some(table) => resolution.stored_twice = Some(self.same_shape([table, head])?),
                None => drop(by_name.insert(tied.to_owned(), head)),
            }
        }
        let mut missing = Vec::new();
        for parameter in table {
            if parameter.part == Part::Adapter {
                resolution.sources.push(None);
                resolution.adapter += 1;
                continue;
            }
            let Some(tensor) = find(&by_name, &parameter.name, &prefix) else {
                self.check_absent(&[&parameter.name, &other_name(&parameter.name, &prefix)])?;
                if parameter.part == Part::Body {
                    missing.push(parameter.name.clone());
                }
                resolution.newly_initialised.push(parameter.name.clone());
                resolution.sources.push(None);
                continue;
            };
            used.insert(tensor);
            let fits = self.fits(tensor, parameter, &mut resolution.mismatched)?;
            resolution.sources.push(fits.then(|| tensor.clone()));
        }
        let mismatched = resolution.mismatched.iter().map(|mismatch| mismatch.name.clone());
        resolution.newly_initialised.extend(mismatched);
        resolution.newly_initialised.sort();
        resolution.mismatched.sort();
        let unused = self.tensors.keys().filter(|name| !used.contains(name) && !name.ends_with(FREQUENCIES));
        resolution.unused = unused.cloned().collect();
        if resolution.loaded() == 0 {
            let (url, tensors) = (self.directory.to_string(), self.tensors.len());
            return Err(CheckpointError::NothingFits { url, tensors });
        }
        match missing.first() {
            Some(name) if !init_missing => Err(CheckpointError::MissingTensors {
                url: self.directory.to_string(),
                first: name.clone(),
                more: missing.len() - 1,
                loaded: resolution.loaded(),
            }),
            _ => Ok(resolution),
        }
    }

    /// Whether the index places a tensor of one of these names in a shard that does not hold it.
    fn check_absent(&self, names: &[&str]) -> Result<(), CheckpointError> {
        match names.iter().find_map(|name| self.absent.get_key_value(*name)) {
            Some((tensor, shard)) => Err(CheckpointError::Misplaced {
                index: format!("{}/model.safetensors.index.json", self.directory),
                tensor: tensor.clone(),
                shard: shard.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether the tensor can be loaded; heads of another shape are listed instead.
    fn fits(
        &self,
        tensor: &String,
        parameter: &Parameter,
        mismatched: &mut Vec<Mismatch>,
    ) -> Result<bool, CheckpointError> {
        let entry = &self.tensors[tensor];
        if entry.shape != parameter.shape {
            let (found, expected) = (entry.shape.clone(), parameter.shape.clone());
            if parameter.part == Part::Classifier {
                mismatched.push(Mismatch { name: parameter.name.clone(), found, expected });
                return Ok(false);
            }
            return Err(CheckpointError::Shape { tensor: tensor.clone(), found, expected });
        }
        if ![Dtype::F32, Dtype::F16, Dtype::BF16].contains(&entry.dtype) {
            return Err(CheckpointError::Dtype { tensor: tensor.clone(), dtype: entry.dtype.name() });
        }
        Ok(true)
    }
}

/// The tensor that has a parameter's name, with or without the base network's prefix.
fn find<'a>(by_name: &BTreeMap<String, &'a String>, name: &str, prefix: &str) -> Option<&'a String> {
    by_name.get(name).or_else(|| by_name.get(&other_name(name, prefix))).copied()
}

/// The name without the base network's prefix; with it, if it has none.
fn other_name(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix) {
        Some(bare) => bare.to_owned(),
        None => format!("{prefix}{name}"),
    }
}

/// The tensors under today's names. A tensor that already has the modern name keeps it.
fn modern_names<'a>(names: impl Iterator<Item = &'a String> + Clone) -> BTreeMap<String, &'a String> {
    let renamed = names.clone().filter_map(|name| {
        let modern = match name.strip_suffix("LayerNorm.gamma") {
            Some(start) => format!("{start}LayerNorm.weight"),
            None => format!("{}LayerNorm.bias", name.strip_suffix("LayerNorm.beta")?),
        };
        Some((modern, name))
    });
    let mut modern: BTreeMap<String, &String> = renamed.collect();
    modern.extend(names.map(|name| (name.clone(), name)));
    modern
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loaded {} of {} parameters from the checkpoint",
            self.loaded(),
            self.sources.len() - self.adapter
        )?;
        names(f, "newly initialised (not in the checkpoint)", &self.missing())?;
        let of_labels: Vec<&str> = self.other_labels.iter().map(String::as_str).collect();
        names(f, "newly initialised (the checkpoint's head is for other labels)", &of_labels)?;
        if !self.mismatched.is_empty() {
            write!(f, "\nnewly initialised (another shape in the checkpoint):")?;
            for Mismatch { name, found, expected } in &self.mismatched {
                write!(f, "\n  {name}: checkpoint {found:?}, model {expected:?}")?;
            }
        }
        let unused: Vec<&str> = self.unused.iter().map(String::as_str).collect();
        names(f, "unused (not in the model)", &unused)
    }
}

/// A heading and the first names below it.
fn names(f: &mut fmt::Formatter<'_>, heading: &str, names: &[&str]) -> fmt::Result {
    const FIRST: usize = 12;
    if names.is_empty() {
        return Ok(());
    }
    write!(f, "\n{heading}:")?;
    for name in names.iter().take(FIRST) {
        write!(f, "\n  {name}")?;
    }
    if names.len() > FIRST {
        write!(f, "\n  and {} more", names.len() - FIRST)?;
    }
    Ok(())
}
