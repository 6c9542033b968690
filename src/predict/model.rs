//! What a model is for, by its files: its task, and the names of its classes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{PredictError, Request};
use crate::chat::{ChatSettings, RowFormat, TemplateChoice};
use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::message::NumericClass;
use crate::network;
use crate::run_file::Task;
use crate::store::{Location, Stores};

/// Bytes of the largest `run.json`.
const LARGEST_RECORD: u64 = 16 << 20;
/// Modules whose weight has a row for each class, by the last part of their names.
const OUTPUTS: [&str; 3] = ["classifier", "score", "out_proj"];

/// A model to predict with.
pub(super) struct Described {
    /// URL of the checkpoint.
    pub(super) model: String,
    pub(super) task: Task,
    /// The names of the classes, by class id; empty for language models.
    pub(super) labels: Vec<String>,
    /// The run that made it, if its directory has the record.
    pub(super) record: Option<RunRecord>,
}

/// What `run.json` says about a model beside its own files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunRecord {
    pub(super) labels: Vec<String>,
    pub(super) chat: ChatSettings,
    pub(super) model_overrides: BTreeMap<String, Value>,
    /// What the columns of its first dataset mean.
    pub(super) columns: Columns,
    /// Whether its workers computed in bfloat16.
    pub(super) bf16: bool,
}

/// Which columns of a dataset hold what.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Columns {
    pub(super) text_column: Option<String>,
    pub(super) text_pair_column: Option<String>,
    pub(super) image_column: Option<String>,
    #[serde(flatten)]
    pub(super) rows: RowFormat,
}

#[derive(Deserialize)]
struct RunJson {
    labels: Vec<String>,
    spec: RunKeys,
    #[serde(default)]
    numeric_class: Option<NumericClass>,
}

#[derive(Deserialize)]
struct RunKeys {
    #[serde(flatten)]
    chat: ChatSettings,
    #[serde(default)]
    model_overrides: BTreeMap<String, Value>,
    #[serde(default)]
    datasets: Vec<Columns>,
}

/// Reads the configurations of model and adapter.
pub(super) async fn describe(stores: &Stores, request: &Request) -> Result<Described, PredictError> {
    let adapter = match &request.adapter {
        Some(url) => Some(Checkpoint::adapter(&stores.locate(url)?).await?),
        None => None,
    };
    let model = match (&request.model, &adapter) {
        (Some(model), _) => model.clone(),
        (None, Some(adapter)) => base_of(adapter)?,
        (None, None) => return Err(PredictError::NoModel),
    };
    let config = match (config(stores, &model).await, &adapter) {
        (Err(error), Some(adapter)) if request.model.is_none() => {
            let (adapter, base, error) = (adapter.directory.to_string(), model, Box::new(error));
            return Err(PredictError::Base { adapter, base, error });
        }
        (config, _) => config?,
    };
    let directory = match &adapter {
        Some(adapter) => adapter.directory.clone(),
        None => stores.locate(&model)?,
    };
    let record = record(&directory).await?;
    let task = task(&model, &config, adapter.as_ref())?;
    let labels = match task {
        Task::CausalLm => Vec::new(),
        Task::SequenceClassification | Task::ImageClassification => {
            let recorded = record.as_ref().filter(|_| adapter.is_some()).map(|record| record.labels.clone());
            let labels = recorded.unwrap_or_else(|| class_names(&config, adapter.as_ref()));
            check_classes(&model, &config, &labels)?;
            labels
        }
    };
    Ok(Described { model, task, labels, record })
}

/// The base that an adapter names.
fn base_of(adapter: &Checkpoint) -> Result<String, PredictError> {
    let base = adapter.config.get("base_model_name_or_path").and_then(Value::as_str);
    let base = base.filter(|base| !base.is_empty());
    base.map(str::to_owned).ok_or_else(|| PredictError::NoBase { adapter: adapter.directory.to_string() })
}

/// `config.json` of a model.
async fn config(stores: &Stores, model: &str) -> Result<Value, PredictError> {
    match Checkpoint::config_at(stores, model).await {
        Ok(checkpoint) => Ok(checkpoint.config),
        Err(error @ CheckpointError::Missing { .. }) => {
            let adapter = stores.locate(model)?.join("adapter_config.json")?;
            Err(match adapter.exists().await? {
                true => PredictError::IsAdapter { model: model.to_owned() },
                false => error.into(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// The record of the run that wrote a directory; `None` where no run did.
async fn record(directory: &Location) -> Result<Option<RunRecord>, PredictError> {
    let file = directory.join("run.json")?;
    let Some(run) = checkpoint::json::<Value>(&file, LARGEST_RECORD).await? else { return Ok(None) };
    if run.get("spec").is_none() {
        // Another program's.
        return Ok(None);
    }
    let failed =
        |error: serde_json::Error| CheckpointError::Json { url: file.to_string(), reason: error.to_string() };
    let RunJson { labels, spec: RunKeys { chat, model_overrides, datasets }, numeric_class } =
        serde_json::from_value(run).map_err(failed)?;
    // The template lies beside the record: the run file's may have changed since.
    let chat = ChatSettings {
        chat_template: TemplateChoice::TokenizerDefault,
        chat_template_jinja: None,
        chat_template_path: None,
        ..chat
    };
    let columns = datasets.into_iter().next().unwrap_or_default();
    let bf16 = numeric_class.is_some_and(|class| class.precision == "bf16");
    Ok(Some(RunRecord { labels, chat, model_overrides, columns, bf16 }))
}

/// What the adapter is for, if it says so, else what the model is for.
fn task(model: &str, config: &Value, adapter: Option<&Checkpoint>) -> Result<Task, PredictError> {
    match adapter.and_then(|adapter| adapter.config.get("task_type")?.as_str()) {
        Some("CAUSAL_LM") => return Ok(Task::CausalLm),
        Some("SEQ_CLS") => return Ok(Task::SequenceClassification),
        _ => {}
    }
    let known = [
        ("ForSequenceClassification", Task::SequenceClassification),
        ("ForImageClassification", Task::ImageClassification),
        ("ForCausalLM", Task::CausalLm),
        ("LMHeadModel", Task::CausalLm),
    ];
    let architectures = config.get("architectures");
    let class = architectures.and_then(|classes| classes.get(0)?.as_str()).unwrap_or_default();
    let found = known.into_iter().find(|(ending, _)| class.ends_with(ending));
    found.map(|(_, task)| task).ok_or_else(|| {
        let found = architectures.map_or_else(|| "missing".to_owned(), Value::to_string);
        let found = found.chars().take(200).collect();
        PredictError::Architecture { model: model.to_owned(), found }
    })
}

/// The model's classes, unless the adapter's head is for another number of them.
fn class_names(config: &Value, adapter: Option<&Checkpoint>) -> Vec<String> {
    let names = network::class_names(config);
    let rows = adapter.and_then(|adapter| {
        let is_output = |name: &str| {
            name.strip_suffix(".weight")
                .and_then(|module| module.rsplit('.').next())
                .is_some_and(|last| OUTPUTS.contains(&last))
        };
        let (_, entry) =
            adapter.tensors.iter().find(|(name, entry)| entry.shape.len() == 2 && is_output(name))?;
        entry.shape.first().copied()
    });
    match rows {
        Some(rows) if rows != names.len() as u64 => (0..rows).map(|id| format!("LABEL_{id}")).collect(),
        _ => names,
    }
}

fn check_classes(model: &str, config: &Value, labels: &[String]) -> Result<(), PredictError> {
    let refuse = |reason: String| Err(PredictError::NoClasses { model: model.to_owned(), reason });
    if let Some(problem @ ("regression" | "multi_label_classification")) =
        config.get("problem_type").and_then(Value::as_str)
    {
        return refuse(format!("problem_type is {problem}"));
    }
    let mut met = BTreeSet::new();
    match labels.iter().find(|label| !met.insert(*label)) {
        Some(label) => refuse(format!("two classes are named {label:?}")),
        None if labels.len() < 2 => refuse(format!("it has {} label", labels.len())),
        None => Ok(()),
    }
}
