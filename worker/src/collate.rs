//! Rows become batches: texts are tokenised and padded to the longest of their batch, images become pixels.

use headstart::hash;
use headstart::model::ImageProcessor;
use headstart::model::blueprint::Input;
use headstart::model::tokenizer::{Side, TokenizerError};
use headstart::network::{Network, NetworkError};
use headstart::tokenizer::{Encoded, Padding, TextTokenizer};

use crate::image::{self, ImageError};
use crate::trainer::Batch;

/// Makes batches for one network.
pub struct Collator {
    kind: Kind,
    /// Of what decides how rows become numbers.
    hash: u128,
}

enum Kind {
    Text { tokenizer: Box<TextTokenizer>, vocab: u64, token_types: Option<u64>, sequence_len: u32 },
    Image(ImageProcessor),
}

/// One row's content.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// A text, or a pair of texts.
    Text {
        text: &'a str,
        /// The second text of a pair.
        pair: Option<&'a str>,
    },
    /// An image file.
    Image(&'a [u8]),
}

/// Why rows cannot be made a batch.
#[derive(Debug, thiserror::Error)]
pub enum CollateError {
    /// A file beside the weights cannot be read.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The tokenizer cannot be built.
    #[error("{url}/{error}")]
    Tokenizer { url: String, error: TokenizerError },
    /// A text could not be tokenised.
    #[error("row {row}: {reason}")]
    Text {
        /// Its number.
        row: u64,
        reason: String,
    },
    /// An image could not be decoded.
    #[error("row {row}: {error}")]
    Image {
        /// Its number.
        row: u64,
        error: ImageError,
    },
    /// A row of another kind than the network computes.
    #[error("row {0} is not of the kind (text or image) that the network takes")]
    OtherKind(u64),
}

impl CollateError {
    /// The row it is about, if it is about one.
    pub fn row(&self) -> Option<u64> {
        match self {
            CollateError::Text { row, .. }
            | CollateError::Image { row, .. }
            | CollateError::OtherKind(row) => Some(*row),
            CollateError::Network(_) | CollateError::Tokenizer { .. } => None,
        }
    }
}

impl Collator {
    /// Reads the tokenizer or the image settings of a network.
    pub async fn for_network(network: &Network) -> Result<Collator, CollateError> {
        let (kind, hash) = match &network.blueprint.input {
            Input::Text(text) => {
                let (spec, hash) = network.tokenizer().await?;
                let sequence_len = network.sequence_len;
                let tokenizer = TextTokenizer::new(&spec, sequence_len).map_err(|error| {
                    CollateError::Tokenizer { url: network.directory().url().to_owned(), error }
                })?;
                let kind = Kind::Text {
                    tokenizer: Box::new(tokenizer),
                    vocab: text.tokens.rows,
                    token_types: text.token_types.as_ref().map(|table| table.rows),
                    sequence_len,
                };
                (kind, hash)
            }
            Input::Image(_) => {
                let processor = network.image_processor().await?;
                let processor = processor.expect("a vision network has an image processor");
                let hash = hash::of_bytes(format!("{processor:?}").as_bytes());
                (Kind::Image(processor), hash)
            }
        };
        Ok(Collator { kind, hash })
    }

    /// Hash (XXH3-128) of the tokenizer's files, or of what the image processor does.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Longest token sequence; 0 for images.
    pub fn sequence_len(&self) -> u32 {
        match &self.kind {
            Kind::Text { sequence_len, .. } => *sequence_len,
            Kind::Image(_) => 0,
        }
    }

    /// Makes a batch of samples with these labels; `numbers` are the rows' numbers, for messages.
    pub fn collate(
        &self,
        samples: &[Sample<'_>],
        labels: &[i64],
        numbers: &[u64],
    ) -> Result<Batch, CollateError> {
        match &self.kind {
            Kind::Text { tokenizer, vocab, token_types, .. } => {
                let texts = encode(tokenizer, (*vocab, *token_types), samples, labels, numbers)?;
                Ok(pad(&texts, *vocab, tokenizer.padding()))
            }
            Kind::Image(processor) => images(processor, samples, labels, numbers),
        }
    }

    /// As [`Collator::collate`], in batches of `size` samples.
    ///
    /// Texts that take several batches are ordered by their length first, so that a short one is not padded to a long one
    /// of the same shard; those of one length keep their order. The sum over all of them has other rounding for it, but is
    /// a function of the samples and of `size` as before.
    pub fn batches(
        &self,
        samples: &[Sample<'_>],
        labels: &[i64],
        numbers: &[u64],
        size: usize,
    ) -> Result<Vec<Batch>, CollateError> {
        let size = size.max(1);
        match &self.kind {
            Kind::Text { tokenizer, vocab, token_types, .. } => {
                let mut texts = encode(tokenizer, (*vocab, *token_types), samples, labels, numbers)?;
                if texts.len() > size {
                    texts.sort_by_key(|text| text.tokens.ids.len());
                }
                Ok(texts.chunks(size).map(|texts| pad(texts, *vocab, tokenizer.padding())).collect())
            }
            Kind::Image(processor) => {
                let rows = samples.chunks(size).zip(labels.chunks(size)).zip(numbers.chunks(size));
                rows.map(|((samples, labels), numbers)| images(processor, samples, labels, numbers)).collect()
            }
        }
    }
}

/// A text as the network reads it.
struct Text {
    tokens: Encoded,
    label: i64,
}

fn encode(
    tokenizer: &TextTokenizer,
    (vocab, token_types): (u64, Option<u64>),
    samples: &[Sample<'_>],
    labels: &[i64],
    numbers: &[u64],
) -> Result<Vec<Text>, CollateError> {
    let mut texts = Vec::with_capacity(samples.len());
    for ((sample, &label), &row) in samples.iter().zip(labels).zip(numbers) {
        let Sample::Text { text, pair } = *sample else { return Err(CollateError::OtherKind(row)) };
        let refuse = |reason: String| CollateError::Text { row, reason };
        let tokens = tokenizer.encode(text, pair).map_err(refuse)?;
        if let Some(id) = tokens.ids.iter().find(|&&id| u64::from(id) >= vocab) {
            return Err(refuse(format!("token {id} is beyond the network's vocab_size {vocab}")));
        }
        if let Some(most) = token_types
            && let Some(kind) = tokens.type_ids.iter().find(|&&kind| u64::from(kind) >= most)
        {
            return Err(refuse(format!("token type {kind} is beyond the network's type_vocab_size {most}")));
        }
        if tokens.ids.is_empty() {
            return Err(refuse("the text has no token".into()));
        }
        texts.push(Text { tokens, label });
    }
    Ok(texts)
}

/// Pads to the longest, by the tokenizer's padding token and type 0 on its side; the mask hides that. Token 0 stands in for a
/// padding token that the network has no embedding for.
fn pad(texts: &[Text], vocab: u64, padding: Padding) -> Batch {
    let filler = if u64::from(padding.id) < vocab { padding.id.into() } else { 0 };
    let tokens = texts.iter().map(|text| text.tokens.ids.len()).max().unwrap_or_default();
    let padded = |values: &[u32], filler: i64| -> Vec<i64> {
        let missing = std::iter::repeat_n(filler, tokens - values.len());
        let values = values.iter().copied().map(i64::from);
        match padding.side {
            Side::Left => missing.chain(values).collect(),
            Side::Right => values.chain(missing).collect(),
        }
    };
    let rows = texts.iter().map(|text| &text.tokens);
    Batch::Text {
        input_ids: rows.clone().flat_map(|row| padded(&row.ids, filler)).collect(),
        attention_mask: rows.clone().flat_map(|row| padded(&vec![1; row.ids.len()], 0)).collect(),
        token_type_ids: rows.flat_map(|row| padded(&row.type_ids, 0)).collect(),
        tokens,
        labels: texts.iter().map(|text| text.label).collect(),
    }
}

fn images(
    processor: &ImageProcessor,
    samples: &[Sample<'_>],
    labels: &[i64],
    numbers: &[u64],
) -> Result<Batch, CollateError> {
    let [height, width] = processor.size.map(|side| side as usize);
    let shape = [processor.channels, height, width];
    let mut pixels = Vec::with_capacity(samples.len() * shape.iter().product::<usize>());
    for (sample, &row) in samples.iter().zip(numbers) {
        let Sample::Image(file) = *sample else { return Err(CollateError::OtherKind(row)) };
        image::pixels(processor, file, &mut pixels).map_err(|error| CollateError::Image { row, error })?;
    }
    Ok(Batch::Image { pixels, shape, labels: labels.to_vec() })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headstart::model::tokenizer::{Registered, TokenizerFiles, TokenizerSpec};
    use serde_json::Value;

    use super::*;

    /// Texts of the letters a to e, a token each.
    fn letters(settings: &'static str) -> Collator {
        let json = br#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "unk_token": "?"}}"#;
        let mut files = TokenizerFiles::default();
        files.insert("tokenizer.json", Bytes::from_static(json));
        files.insert("tokenizer_config.json", settings.into());
        let spec = TokenizerSpec::resolve(&files, &Value::Null, Registered::NONE).expect("it is a tokenizer");
        let tokenizer = Box::new(TextTokenizer::new(&spec, 8).expect("it is a tokenizer"));
        Collator { kind: Kind::Text { tokenizer, vocab: 6, token_types: Some(1), sequence_len: 8 }, hash: 0 }
    }

    fn batches(texts: &[&str], size: usize) -> Vec<Batch> {
        let samples: Vec<Sample<'_>> = texts.iter().map(|text| Sample::Text { text, pair: None }).collect();
        let numbers: Vec<u64> = (0..texts.len() as u64).collect();
        let labels: Vec<i64> = (0..texts.len() as i64).collect();
        letters("{}").batches(&samples, &labels, &numbers, size).expect("the texts are good")
    }

    /// Length, tokens and labels of a batch.
    fn parts(batch: &Batch) -> (usize, &[i64], &[i64]) {
        match batch {
            Batch::Text { tokens, input_ids, labels, .. } => (*tokens, input_ids, labels),
            Batch::Image { .. } => panic!("texts become texts"),
        }
    }

    #[test]
    fn texts_of_like_length_share_a_micro_batch() {
        let found = batches(&["a b c d", "e", "b a", "d d d", "c"], 2);
        let found: Vec<_> = found.iter().map(parts).collect();
        let expected: [(usize, &[i64], &[i64]); 3] =
            [(1, &[5, 3], &[1, 4]), (3, &[2, 1, 0, 4, 4, 4], &[2, 3]), (4, &[1, 2, 3, 4], &[0])];
        assert_eq!(found, expected);
    }

    #[test]
    fn one_micro_batch_keeps_the_order_of_its_rows() {
        for size in [3, usize::MAX] {
            let found = batches(&["a b", "c", "d"], size);
            assert_eq!(
                found.iter().map(parts).collect::<Vec<_>>(),
                [(2, &[1, 2, 3, 0, 4, 0][..], &[0, 1, 2][..])]
            );
        }
        assert!(batches(&[], 4).is_empty());
    }

    #[test]
    fn padding_is_the_tokenizers_token_on_its_side_and_hidden() {
        let settings = r#"{"padding_side": "left", "pad_token": "e"}"#;
        let samples = [Sample::Text { text: "a b c", pair: None }, Sample::Text { text: "d", pair: None }];
        match letters(settings).collate(&samples, &[0, 1], &[0, 1]).expect("the texts are good") {
            Batch::Text { input_ids, attention_mask, token_type_ids, .. } => {
                assert_eq!(input_ids, [1, 2, 3, 5, 5, 4]);
                assert_eq!(attention_mask, [1, 1, 1, 0, 0, 1]);
                assert_eq!(token_type_ids, [0; 6]);
            }
            Batch::Image { .. } => panic!("texts become texts"),
        }
    }

    #[test]
    fn two_texts_are_one_sequence_with_types_of_their_own() {
        let settings = r#"{"model_input_names": ["input_ids", "token_type_ids"]}"#;
        let Collator { kind: Kind::Text { tokenizer, .. }, .. } = letters(settings) else { panic!("texts") };
        let kind = Kind::Text { tokenizer, vocab: 6, token_types: Some(2), sequence_len: 8 };
        let collator = Collator { kind, hash: 0 };
        let samples = [
            Sample::Text { text: "a b", pair: Some("c") },
            Sample::Text { text: "c", pair: None },
            // Beyond the limit of 8 the longer text is cut first.
            Sample::Text { text: "a a a a a a a a", pair: Some("b b") },
        ];
        let batch = collator.collate(&samples, &[0, 1, 0], &[0, 1, 2]).expect("the texts are good");
        let Batch::Text { input_ids, token_type_ids, attention_mask, tokens, .. } = batch else {
            panic!("texts become texts")
        };
        assert_eq!(tokens, 8);
        assert_eq!(input_ids, [1, 2, 3, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2]);
        assert_eq!(token_type_ids, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(attention_mask, [1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }
}
