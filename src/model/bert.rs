//! BERT for sequence classification, as transformers' `BertForSequenceClassification` defines it.

use serde_json::Value;

use super::keys::{Keys, wrong};
use super::table::{ParameterTable, check_size};
use super::transformer::{Activation, Transformer};
use super::{Block, ModelError, Parameter};

/// Dimensions and constants of a BERT network.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Tokens of the vocabulary.
    pub vocab: u64,
    /// Longest sequence.
    pub positions: u64,
    /// Segment ids.
    pub token_types: u64,
    /// The padding token, whose embedding gets no gradient.
    pub pad_token: Option<u64>,
    /// Elements of a hidden vector.
    pub hidden: u64,
    /// Number of layers.
    pub layers: u32,
    /// Attention heads of a layer.
    pub heads: u64,
    /// Elements of a feed-forward network's inner vector.
    pub intermediate: u64,
    /// The feed-forward network's activation.
    pub activation: Activation,
    /// Dropout after embeddings and after each sub-layer.
    pub hidden_dropout: f64,
    /// Dropout of attention probabilities.
    pub attention_dropout: f64,
    /// Dropout before the classifier.
    pub classifier_dropout: f64,
    /// Epsilon of layer normalisation.
    pub norm_epsilon: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Number of labels.
    pub labels: usize,
}

impl BertConfig {
    /// Reads an HF `config.json`; keys with a default in transformers may be absent, sizes may not.
    pub fn from_json(config: &Value, labels: usize) -> Result<BertConfig, ModelError> {
        let keys = Keys::new(config)?;
        let common = Transformer::from_keys(&keys, 0.1, labels)?;
        for key in ["is_decoder", "add_cross_attention"] {
            if keys.bool_or(key, false)? {
                return Err(wrong(key, "false: only encoders can classify", &Value::Bool(true)));
            }
        }
        if let Some(kind) = keys.get("position_embedding_type").filter(|kind| *kind != "absolute") {
            return Err(wrong("position_embedding_type", "\"absolute\"", kind));
        }
        let vocab = keys.size("vocab_size")?;
        let config = BertConfig {
            vocab,
            positions: keys.size_or("max_position_embeddings", 512)?,
            token_types: keys.size_or("type_vocab_size", 2)?,
            pad_token: pad_token(config, vocab)?,
            hidden: common.hidden,
            layers: common.layers,
            heads: common.heads,
            intermediate: common.intermediate,
            activation: common.activation,
            hidden_dropout: common.hidden_dropout,
            attention_dropout: common.attention_dropout,
            classifier_dropout: keys.dropout_or("classifier_dropout", common.hidden_dropout)?,
            norm_epsilon: common.norm_epsilon,
            initializer_range: common.initializer_range,
            labels,
        };
        let rows = config.vocab + config.positions + config.token_types + config.hidden + labels as u64;
        check_size((rows + 8) * config.hidden, common.layer_elements(), u64::from(config.layers))?;
        Ok(config)
    }

    /// The parameter table, in transformers' order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut table = ParameterTable::new(self.initializer_range);
        let (embed, hidden) = (Block::Embed, self.hidden);
        let name = |part: &str| format!("bert.embeddings.{part}_embeddings.weight");
        table.embedding(embed, name("word"), [self.vocab, hidden], self.pad_token);
        table.embedding(embed, name("position"), [self.positions, hidden], None);
        table.embedding(embed, name("token_type"), [self.token_types, hidden], None);
        table.norm(embed, "bert.embeddings.LayerNorm", hidden);
        for layer in 0..self.layers {
            let (block, name) = (Block::Layer(layer), format!("bert.encoder.layer.{layer}"));
            for part in ["query", "key", "value"] {
                table.linear(block, &format!("{name}.attention.self.{part}"), hidden, hidden, true);
            }
            table.linear(block, &format!("{name}.attention.output.dense"), hidden, hidden, true);
            table.norm(block, &format!("{name}.attention.output.LayerNorm"), hidden);
            table.linear(block, &format!("{name}.intermediate.dense"), hidden, self.intermediate, true);
            table.linear(block, &format!("{name}.output.dense"), self.intermediate, hidden, true);
            table.norm(block, &format!("{name}.output.LayerNorm"), hidden);
        }
        table.linear(Block::Head, "bert.pooler.dense", hidden, hidden, true);
        table.classifier(hidden, self.labels as u64);
        table.finish()
    }
}

/// `pad_token_id`: absent means 0 as in transformers, an explicit `null` means none.
fn pad_token(config: &Value, vocab: u64) -> Result<Option<u64>, ModelError> {
    match config.get("pad_token_id") {
        None => Ok(Some(0)),
        Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().filter(|&token| token < vocab) {
            Some(token) => Ok(Some(token)),
            None => Err(wrong("pad_token_id", format!("a token below vocab_size {vocab}"), value)),
        },
    }
}
