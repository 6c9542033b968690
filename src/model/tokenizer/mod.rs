//! The tokenizer files beside a checkpoint, as transformers' `AutoTokenizer` (version 5) understands them. Nothing is
//! tokenised here; [`crate::tokenizer`] does that.
//!
//! transformers first decides on a class (`class`). A class with a constructor of its own takes vocabulary, merges and
//! post-processor from `tokenizer.json` and builds the rest from the switches of `tokenizer_config.json` (`build`); for
//! every other class `tokenizer.json` decides. Then the special and added tokens that the files name are added, in an
//! order that decides their ids (`added`).

mod added;
mod build;
mod class;
mod files;
mod settings;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use added::AddedToken;
pub use class::Registered;
pub use files::TokenizerFiles;
pub use settings::Side;
pub use vocabulary::Token;

use crate::hash;
use added::Ids;
use build::Recipe;
use serde_json::Value;
use settings::Settings;
use vocabulary::Vocabulary;

/// A file that does not make a tokenizer, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct TokenizerError {
    /// The file's name.
    pub file: &'static str,
    /// What is wrong, with the key.
    pub reason: String,
}

impl TokenizerError {
    fn new(file: &'static str, reason: impl Into<String>) -> TokenizerError {
        TokenizerError { file, reason: reason.into() }
    }
}

/// How to build a checkpoint's tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerSpec {
    /// A `tokenizer.json` whose normalizer, pre-tokenizer and model are those that transformers would use; its other parts
    /// mean nothing.
    pub json: Vec<u8>,
    /// What encloses texts in special tokens, as a `tokenizer.json` holds it.
    pub post_processor: Value,
    /// Tokens to add to it, call by call.
    pub added: Vec<Vec<AddedToken>>,
    /// The ids that added tokens then have, by text.
    pub ids: Vec<Token>,
    /// Number of tokens of its vocabulary, without those.
    pub vocabulary: u64,
    /// Special tokens in a text are taken apart like any other words.
    pub split_special_tokens: bool,
    /// Whether it gives the network token types.
    pub type_ids: bool,
    /// `model_max_length`, where it is a limit.
    pub max_length: Option<i64>,
    /// Where padding goes.
    pub padding: Side,
    /// Where texts are cut.
    pub truncation: Side,
    /// The id of the padding token, if it has one.
    pub pad_id: Option<u64>,
    /// The special tokens by key, such as `("eos_token", "</s>")`: what chat templates are given.
    pub special: Vec<(String, String)>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Tokens that texts can be expected to contain, with the highest ids of their kinds.
    expected: Vec<Token>,
    /// The tokens that begin and end what a language model reads, whether or not a text is wrapped in them.
    ends: Vec<Token>,
}

impl TokenizerSpec {
    /// Hash (XXH3-128) of all that decides which ids a text becomes.
    pub fn hash(&self) -> u128 {
        let rest = (
            (&self.post_processor, &self.added, &self.ids, self.split_special_tokens),
            (self.type_ids, self.max_length, self.padding, self.truncation, self.pad_id),
        );
        hash::of_segments(&[hash::of_bytes(&self.json), hash::of_bytes(format!("{rest:?}").as_bytes())])
    }

    /// Reads the files as transformers does for a network with this `config.json`, whose model_type is `registered` with a
    /// tokenizer class.
    pub fn resolve(
        files: &TokenizerFiles,
        config: &Value,
        registered: Registered,
    ) -> Result<TokenizerSpec, TokenizerError> {
        let stored = files.stored()?;
        let choice = class::choose(files, config, registered)?;
        let row = choice.row;
        let settings = Settings::read(files, stored.as_ref(), row)?;
        let recipe = Recipe::new(row, files, stored.as_ref(), &settings)?;
        let tokens = Vocabulary::read(recipe.vocabulary(), settings.texts())?;
        let vocabulary = tokens.len;
        let mut ids = Ids::new(tokens);
        let numbered = match &stored {
            Some(stored) if row.build.is_stored() => stored.added()?,
            _ => Vec::new(),
        };
        ids.add(numbered.iter().map(|(_, token)| token));
        let mut added = vec![settings.tokens_to_add(&ids)];
        ids.add(&added[0]);
        if let Some(again) = row.build.added_again(&settings) {
            ids.add(&again);
            added.push(again);
        }
        let post_processor = recipe.post_processor(&ids)?;
        let expected = expected(&ids, &settings, &post_processor, &numbered)?;
        let ends = ["bos_token", "eos_token"].into_iter().filter_map(|key| {
            let text = settings.text(key)?;
            Some(Token { text: text.to_owned(), number: ids.get(text)? })
        });
        Ok(TokenizerSpec {
            json: recipe.json()?,
            post_processor,
            added,
            ids: ids.added(),
            vocabulary,
            split_special_tokens: settings.flag("split_special_tokens", false)?,
            type_ids: settings.gives("token_type_ids", row.type_ids)?,
            max_length: settings.max_length()?,
            padding: settings.padding(stored.as_ref(), row.padding)?,
            truncation: settings.truncation(stored.as_ref())?,
            pad_id: settings.text("pad_token").and_then(|text| ids.get(text)),
            special: settings.named(),
            warnings: choice.warnings,
            expected,
            ends: ends.collect(),
        })
    }

    /// A token that texts can be expected to contain, with an id for which a network of `vocab` embeddings has none.
    ///
    /// Named special tokens that no text is wrapped in do not count: many checkpoints name more than their networks know,
    /// such as a padding token without an embedding, which the attention mask hides.
    pub fn beyond(&self, vocab: u64) -> Option<&Token> {
        highest(self.expected.iter(), vocab)
    }

    /// The same for a language model: texts end with its last token, and templates write its first one.
    pub fn beyond_language(&self, vocab: u64) -> Option<&Token> {
        highest(self.expected.iter().chain(&self.ends), vocab)
    }
}

/// The token with the highest id of those that `vocab` embeddings do not cover.
fn highest<'a>(tokens: impl Iterator<Item = &'a Token>, vocab: u64) -> Option<&'a Token> {
    tokens.filter(|token| token.number >= vocab).max_by_key(|token| token.number)
}

fn expected(
    ids: &Ids,
    settings: &Settings,
    post_processor: &Value,
    numbered: &[(u32, AddedToken)],
) -> Result<Vec<Token>, TokenizerError> {
    let mut expected = build::tokens_of(post_processor)?;
    expected.extend(ids.highest());
    let used = |token: &Token| !settings.names(&token.text);
    expected.extend(ids.added().into_iter().filter(used));
    // A number that the tokenizer itself ignores still says that the file was made for a larger network.
    let numbered = numbered.iter();
    let numbered =
        numbered.map(|(number, token)| Token { text: token.content.clone(), number: u64::from(*number) });
    expected.extend(numbered.filter(used));
    Ok(expected)
}
