//! How texts are prepared for a network: its tokenizer, and how long sequences get.

use bytes::Bytes;

use super::{LARGEST_JSON, Network, NetworkError, SHORTEST};
use crate::chat::ExcessLength;
use crate::checkpoint::CheckpointError;
use crate::hash;
use crate::model::blueprint::Head;
use crate::model::tokenizer::{Token, TokenizerFiles, TokenizerSpec};
use crate::store::{StoreError, stand_in};

impl Network {
    /// How to build the tokenizer, and the hash of the files and of what follows from them. The network must be one of texts.
    pub async fn tokenizer(&self) -> Result<(TokenizerSpec, u128), NetworkError> {
        let mut files = TokenizerFiles::default();
        self.read_files(&mut files, &TokenizerFiles::ALWAYS).await?;
        if !files.has(TokenizerFiles::ALWAYS[0]) {
            self.read_files(&mut files, &TokenizerFiles::WITHOUT_JSON).await?;
            for name in TokenizerFiles::SENTENCEPIECE {
                if self.files.join(name)?.exists().await? {
                    files.insert(name, Bytes::new());
                }
            }
        }
        let registered = self.blueprint.identity.tokenizer;
        let spec = TokenizerSpec::resolve(&files, &self.checkpoint.config, registered);
        let url = self.files.url().to_owned();
        let spec = spec.map_err(|error| NetworkError::Tokenizer { url, error })?;
        // config.json too can choose the class, so that the files alone do not decide.
        let hash = hash::of_segments(&[files.hash(), spec.hash()]);
        Ok((spec, hash))
    }

    async fn read_files(
        &self,
        files: &mut TokenizerFiles,
        names: &[&'static str],
    ) -> Result<(), NetworkError> {
        for name in names {
            let location = self.files.join(name)?;
            match location.read(LARGEST_JSON).await {
                Ok(bytes) => {
                    let url = location.to_string();
                    if let Some(found) = stand_in(&bytes) {
                        return Err(CheckpointError::StandIn { url, found }.into());
                    }
                    if bytes.is_empty() && name.ends_with(".json") {
                        return Err(CheckpointError::Json { url, reason: "the file is empty".into() }.into());
                    }
                    files.insert(name, bytes);
                }
                Err(StoreError::NotFound { .. }) => {}
                Err(StoreError::TooLarge { size, limit, .. }) => {
                    let reason = format!("{size} bytes, more than the {limit} allowed");
                    return Err(CheckpointError::Json { url: location.to_string(), reason }.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Every id that texts can be expected to contain has one of `vocab` embeddings, and sequences have a length that the
    /// network computes.
    pub(super) async fn check_texts(
        &mut self,
        vocab: u64,
        asked: Option<u32>,
        pairs: bool,
        excess: ExcessLength,
    ) -> Result<(), NetworkError> {
        let url = self.files.url().to_owned();
        let most = self.blueprint.longest().unwrap_or(u64::from(u32::MAX));
        if let Some(asked) = asked.map(u64::from).filter(|&asked| asked > most) {
            return Err(NetworkError::TooLong { url, asked, most });
        }
        let (tokenizer, _) = self.tokenizer().await?;
        self.vocabulary = tokenizer.vocabulary;
        let language = matches!(self.blueprint.head, Head::Language(_));
        let beyond = if language { tokenizer.beyond_language(vocab) } else { tokenizer.beyond(vocab) };
        if let Some(Token { text, number }) = beyond.cloned() {
            return Err(NetworkError::Token { url, token: text, number, vocab });
        }
        let types = self.blueprint.text().and_then(|text| text.token_types.as_ref());
        if let Some(types) = types.filter(|types| pairs && tokenizer.type_ids && types.rows < 2) {
            return Err(NetworkError::TokenTypes { url, types: types.rows });
        }
        self.warnings.extend(tokenizer.warnings);
        // One below 1 is no limit that anything could be cut to; it is refused as too short.
        let own = tokenizer.max_length.map(|limit| u64::try_from(limit).unwrap_or_default());
        let length = match (asked, own) {
            (Some(asked), _) => u64::from(asked),
            (None, Some(own)) if own < most => {
                let longer = if language { long_rows(excess) } else { "sequences are cut to" };
                self.warnings.push(format!(
                    "{longer} {own} tokens, the tokenizer's model_max_length; sequence_len overrides it"
                ));
                own
            }
            (None, _) => most,
        };
        if length < SHORTEST {
            return Err(NetworkError::TooShort(length));
        }
        self.sequence_len = u32::try_from(length).unwrap_or(u32::MAX);
        Ok(())
    }
}

/// How a message about a language model's rows that are too long begins.
fn long_rows(excess: ExcessLength) -> &'static str {
    match excess {
        ExcessLength::Drop => "rows are dropped that are longer than",
        ExcessLength::Truncate => "rows are cut to",
        ExcessLength::Raise => "rows are refused that are longer than",
    }
}
