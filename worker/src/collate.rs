//! Rows become batches: texts are tokenised and laid end to end, images become pixels.

use std::sync::Arc;

use headstart::chat::{EncodedRow, RowEncoder};
use headstart::hash;
use headstart::model::ImageProcessor;
use headstart::model::blueprint::Input;
use headstart::model::tokenizer::TokenizerError;
use headstart::network::{Network, NetworkError};
use headstart::tokenizer::{Encoded, TextTokenizer};
use serde_json::{Map, Value};

use crate::image::{self, ImageError};
use crate::trainer::{Batch, Targets};

/// Makes batches for one network.
pub struct Collator {
    kind: Kind,
    /// Of what decides how rows become numbers.
    hash: u128,
}

enum Kind {
    Text { tokenizer: Box<TextTokenizer>, vocab: u64, token_types: Option<u64>, sequence_len: u32 },
    Language { encoder: Arc<RowEncoder>, sequence_len: u32 },
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
    /// A row of a language model's data.
    Json {
        object: &'a Map<String, Value>,
        /// The dataset entry that says what its columns mean.
        entry: usize,
    },
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
    /// The same error about the row of another number.
    pub fn of_row(mut self, number: impl Fn(u64) -> u64) -> CollateError {
        if let CollateError::Text { row, .. }
        | CollateError::Image { row, .. }
        | CollateError::OtherKind(row) = &mut self
        {
            *row = number(*row);
        }
        self
    }

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

/// The text that a language model's row trains.
#[derive(Debug, Default)]
pub struct TrainedText {
    /// Of each token that is predicted, whether it stands for text.
    pub is_text: Vec<bool>,
    /// Bytes of UTF-8.
    pub bytes: u64,
}

impl Collator {
    /// Reads the tokenizer or the image settings of a network.
    pub async fn for_network(network: &Network) -> Result<Collator, CollateError> {
        let sequence_len = network.sequence_len;
        let (kind, hash) = match (&network.rows, &network.blueprint.input) {
            (Some(rows), _) => (Kind::Language { encoder: rows.encoder.clone(), sequence_len }, rows.hash),
            (None, Input::Text(text)) => {
                let (spec, hash) = network.tokenizer().await?;
                let tokenizer = TextTokenizer::new(&spec, sequence_len).map_err(|error| {
                    CollateError::Tokenizer { url: network.files().url().to_owned(), error }
                })?;
                let kind = Kind::Text {
                    tokenizer: Box::new(tokenizer),
                    vocab: text.tokens.rows,
                    token_types: text.token_types.as_ref().map(|table| table.rows),
                    sequence_len,
                };
                (kind, hash)
            }
            (None, Input::Image(_)) => {
                let processor = network.image_processor().await?;
                let processor = processor.expect("a vision network has an image processor");
                let hash = hash::of_bytes(format!("{processor:?}").as_bytes());
                (Kind::Image(processor), hash)
            }
        };
        Ok(Collator { kind, hash })
    }

    /// Hash (XXH3-128) of the tokenizer's files and how rows become tokens, or of what the image processor does.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Longest token sequence; 0 for images.
    pub fn sequence_len(&self) -> u32 {
        match &self.kind {
            Kind::Text { sequence_len, .. } | Kind::Language { sequence_len, .. } => *sequence_len,
            Kind::Image(_) => 0,
        }
    }

    /// Makes batches of `size` samples with these labels; `numbers` are the rows' numbers, for messages.
    ///
    /// Texts are ordered by their length first, so that those of one length, which attention looks at together, meet in a
    /// batch; those of one length keep their order.
    pub fn batches(
        &self,
        samples: &[Sample<'_>],
        labels: &[i64],
        numbers: &[u64],
        size: usize,
    ) -> Result<Vec<Batch>, CollateError> {
        let size = size.max(1);
        match &self.kind {
            Kind::Image(processor) => {
                let rows = samples.chunks(size).zip(labels.chunks(size)).zip(numbers.chunks(size));
                rows.map(|((samples, labels), numbers)| images(processor, samples, labels, numbers)).collect()
            }
            Kind::Text { .. } | Kind::Language { .. } => {
                let mut texts = self.texts(samples, labels, numbers)?;
                texts.sort_by_key(Batch::tokens);
                Ok(texts.chunks(size).filter_map(Batch::join).collect())
            }
        }
    }

    /// A row without a label, as a batch of its own.
    pub fn row(&self, sample: Sample<'_>, row: u64) -> Result<Batch, CollateError> {
        let mut batches = self.batches(&[sample], &[0], &[row], 1)?;
        Ok(batches.pop().expect("a row makes a batch"))
    }

    /// The beginning of a language model's row, at most `most` tokens, all of which but the first are predicted; and the text
    /// that becomes these tokens.
    pub fn whole(&self, sample: &Sample<'_>, row: u64, most: usize) -> Result<(String, Batch), CollateError> {
        let (Kind::Language { encoder, .. }, Sample::Json { object, entry }) = (&self.kind, *sample) else {
            return Err(CollateError::OtherKind(row));
        };
        let encoded = encoder
            .encode(object, entry)
            .map_err(|refusal| CollateError::Text { row, reason: refusal.to_string() })?;
        let (text, ids) = encoder
            .beginning(&encoded, most)
            .map_err(|refusal| CollateError::Text { row, reason: refusal.to_string() })?;
        let batch = Batch::whole_row(&ids);
        Ok((text, batch))
    }

    /// The text that a language model's batch trains; nothing of others.
    pub fn trained_text(&self, batch: &Batch) -> TrainedText {
        let (Kind::Language { encoder, .. }, Batch::Text { input_ids, .. }) = (&self.kind, batch) else {
            return TrainedText::default();
        };
        let ids: Vec<u32> = batch.predicted().map(|token| input_ids[token] as u32).collect();
        TrainedText {
            is_text: ids.iter().map(|&id| encoder.is_text(id)).collect(),
            bytes: encoder.bytes(&ids),
        }
    }

    /// A batch for each row.
    fn texts(
        &self,
        samples: &[Sample<'_>],
        labels: &[i64],
        numbers: &[u64],
    ) -> Result<Vec<Batch>, CollateError> {
        let rows = samples.iter().zip(labels).zip(numbers);
        rows.map(|((sample, &label), &row)| match (&self.kind, *sample) {
            (Kind::Text { tokenizer, vocab, token_types, .. }, Sample::Text { text, pair }) => {
                let Encoded { ids, type_ids } = encode(tokenizer, (*vocab, *token_types), (text, pair))
                    .map_err(|reason| CollateError::Text { row, reason })?;
                Ok(Batch::Text {
                    lengths: vec![ids.len()],
                    input_ids: ids.into_iter().map(i64::from).collect(),
                    token_type_ids: type_ids.into_iter().map(i64::from).collect(),
                    targets: Targets::Labels(vec![label]),
                })
            }
            (Kind::Language { encoder, .. }, Sample::Json { object, entry }) => {
                let EncodedRow { input_ids, trained, .. } = encoder
                    .encode(object, entry)
                    .map_err(|refusal| CollateError::Text { row, reason: refusal.to_string() })?;
                Ok(Batch::tokens_of_row(&input_ids, trained))
            }
            _ => Err(CollateError::OtherKind(row)),
        })
        .collect()
    }
}

/// Tokens of a text or a pair, each of which the network has an embedding for. The error completes "row 3: …".
fn encode(
    tokenizer: &TextTokenizer,
    (vocab, token_types): (u64, Option<u64>),
    (text, pair): (&str, Option<&str>),
) -> Result<Encoded, String> {
    let tokens = tokenizer.encode(text, pair)?;
    if let Some(id) = tokens.ids.iter().find(|&&id| u64::from(id) >= vocab) {
        return Err(format!("token {id} is beyond the network's vocab_size {vocab}"));
    }
    if let Some(most) = token_types
        && let Some(kind) = tokens.type_ids.iter().find(|&&kind| u64::from(kind) >= most)
    {
        return Err(format!("token type {kind} is beyond the network's type_vocab_size {most}"));
    }
    match tokens.ids.is_empty() {
        true => Err("the text has no token".into()),
        false => Ok(tokens),
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

    /// Lengths, tokens and labels of a batch.
    fn parts(batch: &Batch) -> (&[usize], &[i64], &[i64]) {
        match batch {
            Batch::Text { lengths, input_ids, .. } => (lengths, input_ids, batch.labels()),
            Batch::Image { .. } => panic!("texts become texts"),
        }
    }

    #[test]
    fn texts_of_like_length_share_a_micro_batch() {
        let found = batches(&["a b c d", "e", "b a", "d d d", "c"], 2);
        let found: Vec<_> = found.iter().map(parts).collect();
        let expected: [(&[usize], &[i64], &[i64]); 3] =
            [(&[1, 1], &[5, 3], &[1, 4]), (&[2, 3], &[2, 1, 4, 4, 4], &[2, 3]), (&[4], &[1, 2, 3, 4], &[0])];
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_of_one_length_lie_beside_each_other() {
        for size in [3, usize::MAX] {
            let found = batches(&["a b", "c", "d"], size);
            let expected = [(&[1, 1, 2][..], &[3, 4, 1, 2][..], &[1, 2, 0][..])];
            assert_eq!(found.iter().map(parts).collect::<Vec<_>>(), expected);
        }
        assert!(batches(&[], 4).is_empty());
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
        let batches = collator.batches(&samples, &[0, 1, 0], &[0, 1, 2], 3).expect("the texts are good");
        let [Batch::Text { input_ids, token_type_ids, lengths, .. }] = &batches[..] else {
            panic!("texts become one batch of texts")
        };
        assert_eq!(lengths[..], [1, 3, 8]);
        assert_eq!(input_ids[..], [3, 1, 2, 3, 1, 1, 1, 1, 1, 1, 2, 2]);
        assert_eq!(token_type_ids[..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
