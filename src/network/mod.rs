//! A network ready to be trained: blueprint, parameters, layout of the trainable vector, and where values come from.
//!
//! Coordinator and worker build it from the same run file and labels, and compare the hash of its parameters.

mod as_written;
mod error;
mod labels;
mod overrides;
mod rows;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod texts;
mod values;
mod write;

use serde_json::{Map, Value};

pub use error::NetworkError;
use labels::HeadLabels;
pub use rows::Rows;

use crate::adapter::{self, Adapted, AdapterConfig, Continued};
use crate::chat::ExcessLength;
use crate::checkpoint::{self, Checkpoint, Resolution};
use crate::model::{self, Blueprint, ConfigRead, ImageProcessor, Parameter};
use crate::run_file::{InitFrom, RunSpec, Task};
use crate::store::{Location, Stores};
use crate::trainable::Trainable;

/// A network and its checkpoint.
#[derive(Clone, Debug)]
pub struct Network {
    /// What it is made of.
    pub blueprint: Blueprint,
    /// All parameters, in the order of the walk.
    pub table: Vec<Parameter>,
    /// Those that train.
    pub trainable: Trainable,
    /// Hash of the table.
    pub parameters: String,
    /// Where values come from.
    pub resolution: Resolution,
    /// How values that no checkpoint has are drawn.
    pub seed: u64,
    /// `config.json` with the run's overrides and labels.
    pub config: Value,
    /// Maximum tokens of a sequence; 0 for images, and if it was not determined.
    pub sequence_len: u32,
    /// Tokens that the tokenizer knows; 0 for images, and if it was not determined.
    pub vocabulary: u64,
    /// What the user should know of the files beside the weights.
    pub warnings: Vec<String>,
    /// The adapter that trains; `None`: the network itself does.
    pub adapter: Option<Adapted>,
    /// Language models: how rows become tokens; `None` if it was not determined.
    pub rows: Option<Rows>,
    /// Where the tokenizer's files lie.
    files: Location,
    /// Where `chat_template.jinja` is looked for.
    template: Location,
    checkpoint: Checkpoint,
    /// The adapter that is continued, and which of its tensors become which parameters.
    continued: Option<(Checkpoint, Resolution)>,
}

/// Tokens of the shortest sequence: one between the two special ones.
const SHORTEST: u64 = 3;
/// Bytes of the largest file that says how data is prepared.
const LARGEST_JSON: u64 = 64 << 20;

impl Network {
    /// Opens the run's checkpoint and lays the network out for these labels. Reads headers, not weights.
    pub async fn open(stores: &Stores, spec: &RunSpec, labels: &[String]) -> Result<Network, NetworkError> {
        Network::open_without_files(stores, spec, labels).await?.with_files(stores, spec).await
    }

    /// Reads how texts or images are prepared for the network, and checks that they fit it.
    async fn with_files(self, stores: &Stores, spec: &RunSpec) -> Result<Network, NetworkError> {
        let mut network = self;
        let pairs =
            spec.datasets.iter().chain(&spec.eval_datasets).any(|data| data.text_pair_column.is_some());
        network.check_files(spec.sequence_len, pairs, spec.chat.excess_length_strategy).await?;
        if let (Task::CausalLm, Some(text)) = (spec.task, network.blueprint.text()) {
            let rows = network.rows(stores, spec, text.tokens.rows).await?;
            if rows.template.is_some() {
                let key = if spec.chat.chat_template_path.is_some() {
                    "chat_template_path"
                } else {
                    "chat_template_jinja"
                };
                network.warnings.push(format!(
                    "{key} replaces the checkpoint's chat template, also in what the run writes"
                ));
            }
            network.rows = Some(rows);
        }
        Ok(network)
    }

    /// As [`Network::open`], but takes no interest in how texts or images are prepared for the network.
    pub async fn open_without_files(
        stores: &Stores,
        spec: &RunSpec,
        labels: &[String],
    ) -> Result<Network, NetworkError> {
        let checkpoint = Checkpoint::of_run(stores, spec).await?;
        let mut config = checkpoint.config.clone();
        let rows = HeadLabels::of(&config).rows(labels);
        for (key, value) in &spec.model_overrides {
            config[key] = value.clone();
        }
        let url = checkpoint.directory.url();
        let ConfigRead { blueprint, looked_for, unknown } = Blueprint::read(&config, spec.task, labels.len())
            .map_err(|error| NetworkError::Model { url: url.to_owned(), file: "config.json", error })?;
        overrides::check(spec.model_overrides.keys(), &looked_for)?;
        let (adapter, continued) = adapt(stores, spec, &blueprint).await?;
        let blueprint = adapter.as_ref().map_or(blueprint, |adapted| adapted.blueprint.clone());
        let table = blueprint.parameters();
        let resolution = match spec.init {
            InitFrom::Pretrained => {
                let tied = blueprint.tied_table();
                let prefix = blueprint.identity.prefix;
                let resolution =
                    checkpoint.resolve_tied(&table, prefix, spec.init_missing, tied.as_deref())?;
                resolution.with_head_rows(&table, rows)
            }
            InitFrom::Random => Resolution::random(&table),
        };
        match (blueprint.labels() > 0, spec.init) {
            (true, _) => labels::describe(&mut config, blueprint.identity.class, labels),
            (false, InitFrom::Random) => labels::in_f32(&mut config),
            (false, InitFrom::Pretrained) => {}
        }
        let trainable = match &adapter {
            Some(adapted) => Trainable::of(&table, |index| adapted.trains(&table[index])),
            None => Trainable::new(&table, &spec.freeze)?,
        };
        let continued = match (continued, &adapter) {
            (Some(continued), Some(adapted)) => {
                continued.check_labels(labels)?;
                let resolution = continued.resolve(adapted, &table)?;
                Some((continued.checkpoint().clone(), resolution))
            }
            _ => None,
        };
        let pretrained = |index: usize| {
            let continued = continued.as_ref().map(|(_, resolution)| &resolution.sources[index]);
            resolution.sources[index].is_some() || continued.is_some_and(Option::is_some)
        };
        let trainable = trainable.treated(&table, &spec.transfer, pretrained)?;
        let mut warnings: Vec<String> = overrides::unknown(&unknown).into_iter().collect();
        if let Some(adapted) = &adapter {
            warnings.extend(adapter::consumer_warnings(&adapted.config, spec.task));
            if spec.init == InitFrom::Random {
                let random = "init: random: the adapter fits random weights, which only this run makes; with those of base_model \
                              it is of no use";
                warnings.push(random.to_owned());
            }
        }
        Ok(Network {
            trainable,
            parameters: model::hash(&table),
            blueprint,
            table,
            resolution,
            seed: spec.seed,
            config,
            sequence_len: 0,
            vocabulary: 0,
            warnings,
            adapter,
            rows: None,
            files: checkpoint.directory.clone(),
            template: checkpoint.directory.clone(),
            checkpoint,
            continued,
        })
    }

    /// Refuses a checkpoint that stores a tied head with other values than the embedding table's. Reads both where it stores
    /// both, so once a run is enough.
    pub async fn check_tied(&self) -> Result<(), NetworkError> {
        Ok(self.checkpoint.check_tied(&self.resolution).await?)
    }

    pub fn directory(&self) -> &Location {
        &self.checkpoint.directory
    }

    /// The directory of the tokenizer's files.
    pub fn files(&self) -> &Location {
        &self.files
    }

    /// How images become pixels.
    pub async fn image_processor(&self) -> Result<Option<ImageProcessor>, NetworkError> {
        let Some(image) = self.blueprint.image() else { return Ok(None) };
        let assumed = ("config.json", Value::Object(Map::new()));
        let (file, settings) = self.image_settings().await?.unwrap_or(assumed);
        let url = self.directory().url().to_owned();
        let processor = ImageProcessor::from_json(&settings, image);
        processor.map(Some).map_err(|error| NetworkError::Model { url, file, error })
    }

    /// How images become pixels, if that is assumed, because no file beside the weights says it.
    pub async fn assumed_image_processor(&self) -> Result<Option<ImageProcessor>, NetworkError> {
        match self.image_processor().await? {
            Some(processor) if self.image_settings().await?.is_none() => Ok(Some(processor)),
            _ => Ok(None),
        }
    }

    /// The settings of the image processor, and the file that has them: the first one that transformers looks into.
    async fn image_settings(&self) -> Result<Option<(&'static str, Value)>, NetworkError> {
        let file = "processor_config.json";
        let parts = checkpoint::json(&self.directory().join(file)?, LARGEST_JSON).await?;
        if let Some(Value::Object(mut parts)) = parts
            && let Some(settings) = parts.remove("image_processor")
        {
            return Ok(Some((file, settings)));
        }
        let file = "preprocessor_config.json";
        let settings = checkpoint::json(&self.directory().join(file)?, LARGEST_JSON).await?;
        Ok(settings.map(|settings| (file, settings)))
    }

    async fn check_files(
        &mut self,
        asked: Option<u32>,
        pairs: bool,
        excess: ExcessLength,
    ) -> Result<(), NetworkError> {
        match self.blueprint.text().map(|text| text.tokens.rows) {
            Some(vocab) => self.check_texts(vocab, asked, pairs, excess).await,
            None => self.image_processor().await.map(drop),
        }
    }
}

/// The adapter that a run trains, of this network; and the one that it continues.
async fn adapt(
    stores: &Stores,
    spec: &RunSpec,
    blueprint: &Blueprint,
) -> Result<(Option<Adapted>, Option<Continued>), NetworkError> {
    let Some(lora) = &spec.adapter else { return Ok((None, None)) };
    let Some(directory) = &lora.lora_model_dir else {
        return Ok((Some(blueprint.with_fresh_adapter(&AdapterConfig::fresh(lora))?), None));
    };
    let continued = Continued::open(stores, directory, lora).await?;
    let adapted = continued.adapt(blueprint)?;
    Ok((Some(adapted), Some(continued)))
}

/// The names of a checkpoint's classes by class id, as `config.json` has them: `LABEL_0` and so on where it has none.
pub fn class_names(config: &Value) -> Vec<String> {
    HeadLabels::of(config).into_class_names()
}

/// Orders labels as the checkpoint's head does, if it knows the same ones. Returns each label's new class id, in the order
/// before; `None` if nothing changed.
pub async fn checkpoint_order(
    stores: &Stores,
    spec: &RunSpec,
    labels: &mut Vec<String>,
) -> Result<Option<Vec<u32>>, NetworkError> {
    if spec.init == InitFrom::Random {
        return Ok(None);
    }
    let checkpoint = Checkpoint::config_of_run(stores, spec).await?;
    let Some(rows) = HeadLabels::of(&checkpoint.config).rows(labels).filter(|rows| !rows.is_sorted()) else {
        return Ok(None);
    };
    let mut ordered: Vec<(usize, String)> = rows.iter().copied().zip(std::mem::take(labels)).collect();
    ordered.sort();
    *labels = ordered.into_iter().map(|(_, label)| label).collect();
    Ok(Some(rows.into_iter().map(|row| row as u32).collect()))
}

/// What the labels of all data may be, when `some` are those of a sample of it: the checkpoint's if it knows them, else
/// these, and one more where a classifier needs two.
pub async fn likely_labels(
    stores: &Stores,
    spec: &RunSpec,
    some: &[String],
) -> Result<Vec<String>, NetworkError> {
    if spec.init == InitFrom::Pretrained {
        let checkpoint = Checkpoint::config_of_run(stores, spec).await?;
        let head = HeadLabels::of(&checkpoint.config);
        if head.know(some) {
            return Ok(head.names);
        }
    }
    let unseen = (some.len()..2).map(|number| format!("(unseen {number})"));
    Ok(some.iter().cloned().chain(unseen).collect())
}
