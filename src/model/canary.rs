//! The canary: a computation that every worker does before it joins, which detects machines whose arithmetic differs.
//!
//! This module defines its size, because planning accounts for the memory that workers need for it.

use super::blueprint::{Blueprint, Head, Input};

/// Two layers show what a layer computes from a layer's output; more would show the same again.
const LAYERS: usize = 2;
/// Entries of the vocabulary: looking a row up has no arithmetic to get wrong.
const VOCAB: u64 = 512;
/// Most tokens (or pixels) of one batch, so that large batches of long texts do not delay a start by minutes.
const LONGEST: u64 = 1 << 14;
/// Most tokens of one row: what attention holds may grow with their square.
const LONGEST_ROW: u64 = 2048;
const DROPOUT: f64 = 0.1;

/// The same network with few layers and dropout on.
pub fn network(blueprint: &Blueprint) -> Blueprint {
    let mut small = blueprint.clone();
    small.layers.truncate(LAYERS);
    if let Input::Text(text) = &mut small.input {
        text.tokens.rows = text.tokens.rows.min(VOCAB);
        text.tokens.padding = text.tokens.padding.filter(|&token| token < VOCAB);
    }
    small.embedding.dropout = DROPOUT;
    for layer in &mut small.layers {
        // Without dropout, attention takes another path, the one that a run without it takes.
        if layer.attention.dropout > 0.0 {
            layer.attention.dropout = DROPOUT;
        }
        layer.around_attention.dropout = DROPOUT;
        layer.around_mlp.dropout = DROPOUT;
    }
    match &mut small.head {
        Head::Classifier(classifier) => classifier.dropout = DROPOUT,
        Head::Language(language) => language.output.to = language.output.to.min(VOCAB),
    }
    small
}

/// Rows of its largest batch, and tokens of each (of images: pixels of all channels), for a run of such micro-batches and
/// sequences of at most `sequence_len` tokens.
pub fn largest_batch(blueprint: &Blueprint, micro_batch: u64, sequence_len: u64) -> [u64; 2] {
    let length = match &blueprint.input {
        Input::Text(_) => sequence_len.clamp(2, LONGEST_ROW),
        Input::Image(image) => image.channels * image.size[0] * image.size[1],
    };
    [micro_batch.clamp(1, (LONGEST / length.max(1)).max(1)), length]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::run_file::Task;
    use serde_json::json;

    #[test]
    fn a_canary_is_small_however_large_the_network_and_its_batches_are() {
        let config = json!({
            "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 24, "num_attention_heads": 12,
            "intermediate_size": 1536, "vocab_size": 30522,
        });
        let bert = Blueprint::from_config(&config, Task::SequenceClassification, 20).unwrap();
        let small = network(&bert);
        assert_eq!(small.depth(), 2);
        assert!(small.parameters().len() < bert.parameters().len() / 8);
        assert_eq!(largest_batch(&bert, 32, 128), [32, 128]);
        assert_eq!(largest_batch(&bert, 1024, 512), [32, 512], "16 Ki tokens at most");
        assert_eq!(largest_batch(&bert, 9, 1 << 20), [8, 2048], "attention may hold the square of a row");
        assert_eq!(largest_batch(&bert, 0, 0), [1, 2], "a row of the two special tokens at least");
    }
}
