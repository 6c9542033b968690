//! A network as a run wrote it: an adapter's directory may hold the tokenizer and the chat template that it was trained with.

use serde_json::Value;

use super::rows::TEMPLATE;
use super::{LARGEST_JSON, Network, NetworkError};
use crate::checkpoint;
use crate::model::tokenizer::TokenizerFiles;
use crate::run_file::RunSpec;
use crate::store::{Location, Stores};

/// Each of these files alone has the words of a tokenizer.
const WORDS: [&str; 3] =
    [TokenizerFiles::ALWAYS[0], TokenizerFiles::WITHOUT_JSON[0], TokenizerFiles::WITHOUT_JSON[1]];

impl Network {
    /// As [`Network::open`], but tokenizer and chat template are those in the directory of the adapter that `spec` continues,
    /// each if that directory has it.
    pub async fn open_as_written(
        stores: &Stores,
        spec: &RunSpec,
        labels: &[String],
    ) -> Result<Network, NetworkError> {
        let mut network = Network::open_without_files(stores, spec, labels).await?;
        let adapter = network.continued.as_ref().map(|(checkpoint, _)| checkpoint.directory.clone());
        if let Some(adapter) = adapter {
            if has_words(&adapter).await? {
                network.files = adapter.clone();
            }
            if has_template(&adapter).await? {
                network.template = adapter;
            }
        }
        network.with_files(stores, spec).await
    }
}

async fn has_words(directory: &Location) -> Result<bool, NetworkError> {
    for name in WORDS {
        if directory.join(name)?.exists().await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a template is there, also one that older programs write into the tokenizer's settings.
async fn has_template(directory: &Location) -> Result<bool, NetworkError> {
    if directory.join(TEMPLATE)?.exists().await? {
        return Ok(true);
    }
    let settings = directory.join("tokenizer_config.json")?;
    let settings = checkpoint::json::<Value>(&settings, LARGEST_JSON).await?;
    Ok(settings.is_some_and(|settings| settings.get("chat_template").is_some()))
}
