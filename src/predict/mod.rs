//! What `headstart predict` hands a worker: a model, as its files describe it, and the rows that it is asked about.
//!
//! The command line calls [`prepare`], which reads headers and scans the data once, so that what is wrong with them is known
//! before libtorch is loaded. A worker is given [`Work`] on its standard input, and opens the same network.

mod error;
mod model;
mod work;

pub use error::PredictError;
pub use work::Work;

use crate::adapter;
use crate::chat::{ChatSettings, ExcessLength};
use crate::data::{self, DataRequest, RowIndex};
use crate::job;
use crate::network::Network;
use crate::run_file::{self, Dataset, Lora, Precision, RunSpec, Task};
use crate::store::Location;
use model::{Described, RunRecord};

/// What a person asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// URL of a checkpoint directory; `None`: the base of the adapter.
    pub model: Option<String>,
    /// URL of an adapter's directory.
    pub adapter: Option<String>,
    /// URL of a file, a pattern, or a directory of images.
    pub data: String,
    /// Column of texts; `None`: `text`.
    pub text_column: Option<String>,
    /// Column of second texts, where rows are pairs.
    pub text_pair_column: Option<String>,
    /// Column of images in Parquet files; `None`: `image`.
    pub image_column: Option<String>,
    /// Longest token sequence; `None`: the model's own limit.
    pub sequence_len: Option<u32>,
    /// Rows of a forward pass.
    pub batch_size: u32,
    /// CPU threads.
    pub threads: u32,
}

/// A request whose files were found and fit each other.
#[derive(Debug)]
pub struct Prepared {
    pub work: Work,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Opens model and adapter, which must have every tensor between them, and scans the data. Reads headers, not weights; of a
/// tied head that is stored twice, both copies.
pub async fn prepare(request: &Request) -> Result<Prepared, PredictError> {
    let spec = run_file::parse("predict", ANY_RUN, &[]).expect("a run of the keys that it needs");
    let stores = spec.cluster.stores();
    let found = model::describe(&stores, request).await?;
    check_options(request, found.task)?;
    let spec = specify(spec, request, &found);
    let network = Network::open_as_written(&stores, &spec, &found.labels).await?;
    network.check_tied().await?;
    if let Some(parameter) = network.first_drawn() {
        let (model, parameter) = (spec.base_model, parameter.to_owned());
        return Err(PredictError::Incomplete { model, parameter });
    }
    let mut warnings = network.warnings.clone();
    if let Some(adapted) = &network.adapter {
        // What other programs make of the adapter matters to those who write one.
        let consumers = adapter::consumer_warnings(&adapted.config, spec.task);
        warnings.retain(|warning| !consumers.contains(warning));
    }
    if let Some(assumed) = network.assumed_image_processor().await? {
        let url = network.directory();
        warnings.push(format!("{url} has no preprocessor_config.json: images are {assumed}"));
    }
    // Rows pass by and are not kept, so that packed data needs no room.
    let data_cache = u64::MAX;
    let request =
        DataRequest { datasets: &spec.datasets, task: spec.task, labels: None, data_cache, kept: None };
    let indexed = data::index(&stores, request).await?;
    warnings.extend(indexed.notes.iter().filter(|note| note.is_warning()).map(ToString::to_string));
    let (labels, index) = (found.labels, indexed.index);
    Ok(Prepared { work: Work { spec, labels, index, golden: Vec::new() }, warnings })
}

/// The same for tokens whose log probabilities are asked for. `directory`: a model's, or an adapter's. `base`: the adapter's, in
/// place of the one that it names.
pub async fn prepare_golden(
    directory: &Location,
    base: Option<String>,
    threads: u32,
    golden: Vec<Vec<u32>>,
) -> Result<Work, PredictError> {
    let url = Some(directory.url().to_owned());
    let is_adapter = directory.join("adapter_config.json")?.exists().await?;
    let (model, adapter) = match (is_adapter, base) {
        (true, base) => (base, url),
        (false, None) => (url, None),
        (false, Some(_)) => return Err(PredictError::NotAdapter { directory: directory.url().to_owned() }),
    };
    let request = Request {
        model,
        adapter,
        data: String::new(),
        text_column: None,
        text_pair_column: None,
        image_column: None,
        sequence_len: None,
        batch_size: 1,
        threads,
    };
    let spec = run_file::parse("golden", ANY_RUN, &[]).expect("a run of the keys that it needs");
    let stores = spec.cluster.stores();
    let found = model::describe(&stores, &request).await?;
    let mut spec = specify(spec, &request, &found);
    if found.record.as_ref().is_some_and(|record| record.bf16) {
        spec.precision = Precision::Bf16;
    }
    let network = Network::open_without_files(&stores, &spec, &found.labels).await?;
    let vocab = network.blueprint.text().map_or(0, |text| text.tokens.rows);
    if let Some(&token) = golden.iter().flatten().find(|&&token| u64::from(token) >= vocab) {
        return Err(PredictError::Token { token, vocab });
    }
    Ok(Work { spec, labels: found.labels, index: RowIndex::default(), golden })
}

/// Refuses options that the model has no use for.
fn check_options(request: &Request, task: Task) -> Result<(), PredictError> {
    let Request { text_column, text_pair_column, image_column, sequence_len, .. } = request;
    let (images, language) = (task == Task::ImageClassification, task == Task::CausalLm);
    let useless = [
        ("--text-column", text_column.is_some() && images),
        ("--text-pair-column", text_pair_column.is_some() && (images || language)),
        ("--image-column", image_column.is_some() && !images),
        ("--sequence-len", sequence_len.is_some() && images),
    ];
    match useless.into_iter().find(|(_, useless)| *useless) {
        Some((option, _)) => Err(PredictError::NoEffect { option, task: task.name() }),
        None => Ok(()),
    }
}

/// The keys that every run has.
const ANY_RUN: &str = "{base_model: none, task: causal-lm, datasets: [{path: none}], output_dir: none}";

/// The run that a worker would open the network for.
fn specify(any: RunSpec, request: &Request, found: &Described) -> RunSpec {
    let Request {
        data, text_column, text_pair_column, image_column, sequence_len, batch_size, threads, ..
    } = request.clone();
    let RunRecord { chat, model_overrides, columns, .. } = found.record.clone().unwrap_or_default();
    let chat = match found.task {
        // A row that is too long is cut, as a classifier's is: one line a row.
        Task::CausalLm => ChatSettings {
            train_on_inputs: true,
            add_eos: false,
            excess_length_strategy: ExcessLength::Truncate,
            chat_template_date: Some(chat.chat_template_date.clone().unwrap_or_else(job::today)),
            ..chat
        },
        Task::SequenceClassification | Task::ImageClassification => ChatSettings::default(),
    };
    // Who names the column of texts describes the rows anew.
    let columns = Some(columns).filter(|_| text_column.is_none()).unwrap_or_default();
    let dataset = Dataset {
        path: data,
        text_column: text_column.or(columns.text_column).unwrap_or_else(|| "text".to_owned()),
        text_pair_column: text_pair_column.or(columns.text_pair_column),
        image_column: image_column.or(columns.image_column).unwrap_or_else(|| "image".to_owned()),
        label_column: None,
        rows: columns.rows,
    };
    let mut spec = RunSpec {
        base_model: found.model.clone(),
        task: found.task,
        datasets: vec![dataset],
        sequence_len,
        chat,
        threads_per_worker: threads,
        ..any
    };
    spec.batch.per_device_train_batch_size = batch_size;
    if let Some(directory) = &request.adapter {
        // A whole model's configuration has them already.
        spec.model_overrides = model_overrides;
        spec.adapter = Some(Lora { lora_model_dir: Some(directory.clone()), ..Lora::default() });
    }
    spec
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
