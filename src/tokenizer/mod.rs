//! Texts and pairs of texts become token ids, as transformers would make them.

use std::collections::BTreeMap;

use crate::model::tokenizer::{AddedToken, Side, TokenizerError, TokenizerSpec};
use serde::Deserialize;
use tokenizers::{
    Encoding, Model, NormalizedString, Normalizer, OffsetType, PostProcessor, PostProcessorWrapper,
    PreTokenizer, Tokenizer, TruncationDirection, TruncationParams, truncate_encodings,
};

/// A checkpoint's tokenizer.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    type_ids: bool,
    cut: TruncationParams,
}

/// Token ids with their types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Ids, special tokens included.
    pub ids: Vec<u32>,
    /// As many types; all 0 where the tokenizer gives the network none.
    pub type_ids: Vec<u32>,
}

/// A text's tokens and where each stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Ids, without special tokens around them.
    pub ids: Vec<u32>,
    /// For each token, the bytes of the text that it covers, white space included: `(start, end)`.
    pub bytes: Vec<(usize, usize)>,
}

impl TextTokenizer {
    /// Builds the tokenizer. Sequences are cut to `limit` tokens.
    pub fn new(spec: &TokenizerSpec, limit: u32) -> Result<TextTokenizer, TokenizerError> {
        let refuse = |reason: String| TokenizerError { file: "tokenizer.json", reason };
        let failed = |error: tokenizers::Error| refuse(error.to_string());
        let mut tokenizer = Tokenizer::from_bytes(&spec.json).map_err(failed)?;
        for tokens in &spec.added {
            tokenizer.add_tokens(tokens.iter().map(added)).map_err(failed)?;
        }
        for token in &spec.ids {
            let found = tokenizer.token_to_id(&token.text).map(u64::from);
            if found != Some(token.number) {
                let (text, number) = (&token.text, token.number);
                return Err(refuse(format!(
                    "token {text:?} has number {found:?} where {number} was expected"
                )));
            }
        }
        if let Some([one, other]) = alike(&tokenizer).map_err(failed)? {
            return Err(refuse(format!(
                "added tokens {one:?} and {other:?} are the same when normalised, so that either may be found; remove one"
            )));
        }
        tokenizer.set_encode_special_tokens(spec.split_special_tokens);
        let processor = PostProcessorWrapper::deserialize(&spec.post_processor);
        tokenizer.with_post_processor(Some(
            processor.map_err(|error| refuse(format!("post_processor: {error}")))?,
        ));
        // Rows are not padded, and are cut as the run says: what the file says of both is not used.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        let limit = limit as usize;
        let around = special_tokens(&tokenizer, false);
        if around > limit {
            return Err(refuse(format!(
                "{around} special tokens enclose a text, more than sequences of {limit} hold"
            )));
        }
        let direction = match spec.truncation {
            Side::Left => TruncationDirection::Left,
            Side::Right => TruncationDirection::Right,
        };
        let cut = TruncationParams { max_length: limit, direction, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(cut.clone())).map_err(failed)?;
        Ok(TextTokenizer { tokenizer, type_ids: spec.type_ids, cut })
    }

    /// A text, or a text and its pair, with special tokens; where they are too long, the longer one is cut first. Errors
    /// are reasons.
    pub fn encode(&self, text: &str, pair: Option<&str>) -> Result<Encoded, String> {
        let encoding = match pair {
            Some(pair) => self.encode_pair(text, pair)?,
            None => self.tokenizer.encode_fast(text, true).map_err(|error| error.to_string())?,
        };
        let type_ids = match self.type_ids {
            true => encoding.get_type_ids().to_vec(),
            false => vec![0; encoding.len()],
        };
        Ok(Encoded { ids: encoding.get_ids().to_vec(), type_ids })
    }

    /// The library stops to tokenise each text where it alone fills the sequence, and then cannot tell which of the two is
    /// the longer one. So both are tokenised to their ends here.
    fn encode_pair(&self, text: &str, pair: &str) -> Result<Encoding, String> {
        let (limit, around) = (self.cut.max_length, special_tokens(&self.tokenizer, true));
        let Some(room) = limit.checked_sub(around) else {
            return Err(format!(
                "{around} special tokens enclose a pair, more than sequences of {limit} hold"
            ));
        };
        let cut = TruncationParams { max_length: room, ..self.cut.clone() };
        let failed = |error: tokenizers::Error| error.to_string();
        let tokens = |text, type_id| self.whole(text, type_id, OffsetType::None).map_err(failed);
        let both = (tokens(text, 0)?, tokens(pair, 1)?);
        let (mut first, mut second) = truncate_encodings(both.0, Some(both.1), &cut).map_err(failed)?;
        for encoding in [Some(&mut first), second.as_mut()].into_iter().flatten() {
            encoding.take_overflowing();
        }
        let processor = self.tokenizer.get_post_processor().expect("it was set");
        processor.process(first, second, true).map_err(failed)
    }

    /// A text's tokens, all of them, without special ones.
    fn whole(&self, text: &str, type_id: u32, offsets: OffsetType) -> tokenizers::Result<Encoding> {
        let (tokenizer, model) = (&self.tokenizer, self.tokenizer.get_model());
        let mut parts =
            tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut parts)?;
        }
        model.tokenize_in_pretokenized(&mut parts, None)?;
        parts.into_encoding(None, type_id, offsets)
    }

    /// All tokens of a text with their places: not cut, and without special tokens around them. Those that stand in the
    /// text are found. The post-processor has no part in this, so that the places keep their white space. Errors are
    /// reasons.
    pub fn locate(&self, text: &str) -> Result<Located, String> {
        let encoding = self.whole(text, 0, OffsetType::Byte).map_err(|error| error.to_string())?;
        Ok(Located { ids: encoding.get_ids().to_vec(), bytes: encoding.get_offsets().to_vec() })
    }

    /// The special tokens that the tokenizer puts before and after a text: `[before, after]`. Errors are reasons.
    pub fn around(&self) -> Result<[Vec<u32>; 2], String> {
        // One letter is never empty, and no special token is part of it.
        let inner = self.whole("a", 0, OffsetType::None).map_err(|error| error.to_string())?;
        let processor = self.tokenizer.get_post_processor().expect("it was set");
        let all = processor.process(inner.clone(), None, true).map_err(|error| error.to_string())?;
        let special = all.get_special_tokens_mask();
        let before = special.iter().take_while(|&&special| special == 1).count();
        let inner = inner.len().max(1);
        let after = all.get_ids().get(before + inner..).unwrap_or_default();
        Ok([all.get_ids()[..before].to_vec(), after.to_vec()])
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The text of a token, as the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Whether the token is a special one, which is not part of a text.
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.tokenizer.id_to_token(id);
        token.is_some_and(|token| self.tokenizer.get_added_vocabulary().is_special_token(&token))
    }

    /// What a sequence of tokens says. Tokens that are parts of a character give U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap_or_default()
    }

    /// The same without special tokens.
    pub fn text(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true).unwrap_or_default()
    }

    /// The texts of the added tokens that are special, in the order of their ids.
    pub fn special(&self) -> Vec<String> {
        let mut tokens: Vec<_> = self.tokenizer.get_added_tokens_decoder().into_iter().collect();
        tokens.retain(|(_, token)| token.special);
        tokens.sort_by_key(|(id, _)| *id);
        tokens.into_iter().map(|(_, token)| token.content).collect()
    }
}

/// Two added tokens that a normalised text cannot tell apart. The library would choose by chance, and workers would differ.
fn alike(tokenizer: &Tokenizer) -> tokenizers::Result<Option<[String; 2]>> {
    let Some(normalizer) = tokenizer.get_normalizer() else { return Ok(None) };
    let mut seen = BTreeMap::new();
    let mut tokens: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    tokens.sort_by_key(|(id, _)| *id);
    for (_, token) in tokens.into_iter().filter(|(_, token)| token.normalized) {
        let mut text = NormalizedString::from(token.content.as_str());
        normalizer.normalize(&mut text)?;
        if let Some(before) = seen.insert(text.get().to_owned(), token.content.clone()) {
            return Ok(Some([before, token.content]));
        }
    }
    Ok(None)
}

fn special_tokens(tokenizer: &Tokenizer, pair: bool) -> usize {
    tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(pair))
}

fn added(token: &AddedToken) -> tokenizers::AddedToken {
    tokenizers::AddedToken::from(token.content.clone(), token.special)
        .single_word(token.single_word)
        .lstrip(token.lstrip)
        .rstrip(token.rstrip)
        .normalized(token.normalized())
}

#[cfg(test)]
mod tests;
