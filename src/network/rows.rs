//! How a language model's rows become tokens: the files beside the weights that say it, read once.

use std::sync::Arc;

use super::{LARGEST_JSON, Network, NetworkError};
use crate::chat::{EncoderParts, RowEncoder, RowFormat};
use crate::hash;
use crate::run_file::RunSpec;
use crate::store::{Location, StoreError, Stores};

/// The file beside a checkpoint that holds its template.
pub(super) const TEMPLATE: &str = "chat_template.jinja";

/// Makes tokens of rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Its dataset entries are those of training, then those of evaluation.
    pub encoder: Arc<RowEncoder>,
    /// Hash (XXH3-128) of all that the encoder is made of but for the dataset entries: tokenizer, templates, keys, longest row.
    pub hash: u128,
    /// Hash of each dataset entry, in their order: rows of one become the same tokens whatever the others are.
    pub entries: Vec<u128>,
    /// The template that the run file gives, where it is not the checkpoint's own.
    pub template: Option<String>,
}

impl Network {
    /// Reads what rows are tokenised and rendered with. `sequence_len` must have been determined.
    pub(super) async fn rows(
        &self,
        stores: &Stores,
        spec: &RunSpec,
        vocab: u64,
    ) -> Result<Rows, NetworkError> {
        let (tokenizer, tokenizer_hash) = self.tokenizer().await?;
        let file = async |name: &str| text(&self.files.join(name)?).await;
        let template = match &spec.chat.chat_template_path {
            Some(path) => {
                let location = stores.locate(path)?;
                let absent = || StoreError::NotFound { url: location.url().to_owned() };
                Some(text(&location).await?.ok_or_else(absent)?)
            }
            None => None,
        };
        let entries: Vec<RowFormat> =
            spec.datasets.iter().chain(&spec.eval_datasets).map(|dataset| dataset.row_format()).collect();
        let parts = EncoderParts {
            tokenizer: &tokenizer,
            tokenizer_config: file("tokenizer_config.json").await?,
            chat_template: text(&self.template.join(TEMPLATE)?).await?,
            template,
            generation_config: file("generation_config.json").await?,
            sequence_len: self.sequence_len,
            vocab,
            settings: &spec.chat,
            entries: &entries,
        };
        let mut hashes = vec![tokenizer_hash];
        for text in [&parts.tokenizer_config, &parts.chat_template, &parts.template, &parts.generation_config]
        {
            hashes.push(text.as_ref().map_or(0, |text| hash::of_bytes(text.as_bytes())));
        }
        let of_keys = |keys: serde_json::Result<Vec<u8>>| hash::of_bytes(&keys.expect("keys are JSON"));
        hashes.push(of_keys(serde_json::to_vec(&(self.sequence_len, vocab, &spec.chat))));
        let of_entry = |entry: &RowFormat| of_keys(serde_json::to_vec(&(entry, &entry.text_column)));
        let of_entries = entries.iter().map(of_entry).collect();
        let given = parts.template.clone().or_else(|| spec.chat.chat_template_jinja.clone());
        let template = given.filter(|given| parts.chat_template.as_ref() != Some(given));
        let url = self.files.url().to_owned();
        let encoder =
            RowEncoder::new(parts).map_err(|error| NetworkError::Chat { url, error: Box::new(error) })?;
        let hash = hash::of_segments(&hashes);
        Ok(Rows { encoder: Arc::new(encoder), hash, entries: of_entries, template })
    }
}

/// The text of a file, if there is one.
async fn text(location: &Location) -> Result<Option<String>, NetworkError> {
    match location.read(LARGEST_JSON).await {
        Ok(bytes) => match String::from_utf8(bytes.into()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(NetworkError::NotText { url: location.url().to_owned() }),
        },
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
