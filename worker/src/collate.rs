//! Rows become batches: texts are tokenised and padded to the longest of their batch, images become pixels.

use headstart::hash;
use headstart::model::ImageProcessor;
use headstart::model::blueprint::Input;
use headstart::network::{Network, NetworkError};
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use crate::image::{self, ImageError};
use crate::trainer::Batch;

/// Makes batches for one network.
pub struct Collator {
    kind: Kind,
    /// Of what decides how rows become numbers.
    hash: u128,
}

enum Kind {
    Text { tokenizer: Box<Tokenizer>, vocab: u64, token_types: Option<u64>, sequence_len: u32 },
    Image(ImageProcessor),
}

/// One row's content.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// A text.
    Text(&'a str),
    /// An image file.
    Image(&'a [u8]),
}

/// Why rows cannot be made a batch.
#[derive(Debug, thiserror::Error)]
pub enum CollateError {
    /// A file beside the weights cannot be read.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// `tokenizer.json` cannot be used.
    #[error("{url}/tokenizer.json: {reason}")]
    Tokenizer {
        /// The checkpoint's directory.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A text could not be tokenised.
    #[error("row {row}: {reason}")]
    Text {
        /// Its number.
        row: u64,
        /// What is wrong.
        reason: String,
    },
    /// An image could not be decoded.
    #[error("row {row}: {error}")]
    Image {
        /// Its number.
        row: u64,
        /// What is wrong.
        error: ImageError,
    },
    /// A row of another kind than the network computes.
    #[error("row {0} is not of the kind that the network computes")]
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
    /// Reads the tokenizer or the image settings of a network. Sequences are cut to `sequence_len`, or to the network's
    /// own limit.
    pub async fn for_network(network: &Network, sequence_len: Option<u32>) -> Result<Collator, CollateError> {
        let (kind, hash) = match &network.blueprint.input {
            Input::Text(text) => {
                let limit = network.blueprint.longest().and_then(|limit| u32::try_from(limit).ok());
                let limit = limit.unwrap_or(u32::MAX);
                let sequence_len = sequence_len.unwrap_or(limit).min(limit);
                let url = network.directory().url();
                let json = network.tokenizer().await?;
                let tokenizer = Box::new(tokenizer(url, &json, sequence_len)?);
                let kind = Kind::Text {
                    tokenizer,
                    vocab: text.tokens.rows,
                    token_types: text.token_types.as_ref().map(|table| table.rows),
                    sequence_len,
                };
                (kind, hash::of_bytes(&json))
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

    /// Hash (XXH3-128) of the tokenizer's file, or of what the image processor does.
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
                Ok(pad(&encode(tokenizer, (*vocab, *token_types), samples, labels, numbers)?))
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
                    texts.sort_by_key(|text| text.tokens.len());
                }
                Ok(texts.chunks(size).map(pad).collect())
            }
            Kind::Image(processor) => {
                let rows = samples.chunks(size).zip(labels.chunks(size)).zip(numbers.chunks(size));
                rows.map(|((samples, labels), numbers)| images(processor, samples, labels, numbers)).collect()
            }
        }
    }
}

fn tokenizer(url: &str, json: &[u8], sequence_len: u32) -> Result<Tokenizer, CollateError> {
    let failed =
        |error: tokenizers::Error| CollateError::Tokenizer { url: url.to_owned(), reason: error.to_string() };
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(failed)?;
    // What the file itself says of padding and cutting is for somebody else's batches.
    tokenizer.with_padding(None);
    let cut = TruncationParams { max_length: sequence_len as usize, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(failed)?;
    Ok(tokenizer)
}

/// A text as the network reads it.
struct Text {
    tokens: Encoding,
    label: i64,
}

fn encode(
    tokenizer: &Tokenizer,
    (vocab, token_types): (u64, Option<u64>),
    samples: &[Sample<'_>],
    labels: &[i64],
    numbers: &[u64],
) -> Result<Vec<Text>, CollateError> {
    let mut texts = Vec::with_capacity(samples.len());
    for ((sample, &label), &row) in samples.iter().zip(labels).zip(numbers) {
        let Sample::Text(text) = *sample else { return Err(CollateError::OtherKind(row)) };
        let refuse = |reason: String| CollateError::Text { row, reason };
        let tokens = tokenizer.encode_fast(text, true).map_err(|error| refuse(error.to_string()))?;
        if let Some(id) = tokens.get_ids().iter().find(|&&id| u64::from(id) >= vocab) {
            return Err(refuse(format!("token {id} is beyond the network's vocab_size {vocab}")));
        }
        if let Some(most) = token_types
            && let Some(kind) = tokens.get_type_ids().iter().find(|&&kind| u64::from(kind) >= most)
        {
            return Err(refuse(format!("token type {kind} is beyond the network's type_vocab_size {most}")));
        }
        if tokens.is_empty() {
            return Err(refuse("the text has no token".into()));
        }
        texts.push(Text { tokens, label });
    }
    Ok(texts)
}

/// Pads to the longest, by token 0 and type 0, which the mask hides.
fn pad(texts: &[Text]) -> Batch {
    let tokens = texts.iter().map(|text| text.tokens.len()).max().unwrap_or_default();
    let padded = |values: &dyn Fn(&Encoding) -> Vec<u32>| -> Vec<i64> {
        let row = |text: &Text| {
            let mut values: Vec<i64> = values(&text.tokens).into_iter().map(i64::from).collect();
            values.resize(tokens, 0);
            values
        };
        texts.iter().flat_map(row).collect()
    };
    Batch::Text {
        input_ids: padded(&|encoding| encoding.get_ids().to_vec()),
        attention_mask: padded(&|encoding| vec![1; encoding.len()]),
        token_type_ids: padded(&|encoding| encoding.get_type_ids().to_vec()),
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
    use super::*;

    /// Texts of the letters a to e, a token each.
    fn letters() -> Collator {
        let json = br#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "unk_token": "?"}}"#;
        let tokenizer = Box::new(tokenizer("letters", json, 8).expect("it is a tokenizer"));
        Collator { kind: Kind::Text { tokenizer, vocab: 6, token_types: Some(1), sequence_len: 8 }, hash: 0 }
    }

    fn batches(texts: &[&str], size: usize) -> Vec<Batch> {
        let samples: Vec<Sample<'_>> = texts.iter().map(|text| Sample::Text(text)).collect();
        let numbers: Vec<u64> = (0..texts.len() as u64).collect();
        let labels: Vec<i64> = (0..texts.len() as i64).collect();
        letters().batches(&samples, &labels, &numbers, size).expect("the texts are good")
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
}
