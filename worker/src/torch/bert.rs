//! BERT for sequence classification: Devlin et al., 2018, as transformers' `BertForSequenceClassification` computes it.

use std::ops::Range;

use headstart::model::{Activation, BertConfig};
use tch::{Device, Tensor};

use super::blocks::{Blocks, Lookup};
use super::dropout::{DropoutRng, dropout};
use super::layers::{Attention, Linear, Norm, activate};
use super::parameters::Parameters;
use crate::trainer::{Batch, TrainError};

/// The network over its parameters.
pub(super) struct Bert {
    words: EmbeddingTable,
    positions: EmbeddingTable,
    token_types: EmbeddingTable,
    pad_token: Option<u64>,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    pooler: Linear,
    classifier: Linear,
    hidden_dropout: f64,
    classifier_dropout: f64,
}

/// An embedding table, `[entries, hidden]`.
struct EmbeddingTable {
    weight: Tensor,
    place: Option<Range<usize>>,
}

struct Layer {
    attention: Attention,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: Norm,
    dropout: f64,
}

impl Bert {
    pub(super) fn new(config: &BertConfig, parameters: &Parameters) -> Bert {
        let table = |name: &str| {
            let name = format!("bert.embeddings.{name}_embeddings.weight");
            EmbeddingTable { weight: parameters.tensor(&name).detach(), place: parameters.place(&name) }
        };
        Bert {
            words: table("word"),
            positions: table("position"),
            token_types: table("token_type"),
            pad_token: config.pad_token,
            embedding_norm: Norm::new(parameters, "bert.embeddings.LayerNorm", config.norm_epsilon),
            layers: (0..config.layers).map(|layer| Layer::new(config, parameters, layer)).collect(),
            pooler: Linear::new(parameters, "bert.pooler.dense", true),
            classifier: Linear::new(parameters, "classifier", true),
            hidden_dropout: config.hidden_dropout,
            classifier_dropout: config.classifier_dropout,
        }
    }
}

impl Layer {
    fn new(config: &BertConfig, parameters: &Parameters, layer: u32) -> Layer {
        let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        let linear = |part: &str| Linear::new(parameters, &name(part), true);
        let norm = |part: &str| Norm::new(parameters, &name(part), config.norm_epsilon);
        let (heads, dropout) = (config.heads, config.attention_dropout);
        Layer {
            attention: Attention::new(parameters, &name("attention.self"), heads, dropout, true),
            attention_output: linear("attention.output.dense"),
            attention_norm: norm("attention.output.LayerNorm"),
            intermediate: linear("intermediate.dense"),
            activation: config.activation,
            output: linear("output.dense"),
            output_norm: norm("output.LayerNorm"),
            dropout: config.hidden_dropout,
        }
    }

    fn forward(
        &self,
        hidden: &Tensor,
        mask: Option<&Tensor>,
        draws: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let context = self.attention.forward(hidden, mask, draws)?;
        let attended = dropout(&self.attention_output.forward(&context)?, self.dropout, draws)?;
        let attended = self.attention_norm.forward(&attended.f_add(hidden)?)?;
        let inner = activate(&self.intermediate.forward(&attended)?, self.activation)?;
        let output = dropout(&self.output.forward(&inner)?, self.dropout, draws)?;
        self.output_norm.forward(&output.f_add(&attended)?)
    }
}

impl Blocks for Bert {
    fn input(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        let Batch::Text { input_ids, token_type_ids, tokens, .. } = batch else {
            return Err(TrainError::Torch("BERT computes texts, not images".into()));
        };
        let _guard = tch::no_grad_guard();
        let (tokens, hidden) = (*tokens as i64, self.words.weight.size()[1]);
        let look_up = |table: &EmbeddingTable, entries: &[i64]| -> Result<Tensor, TrainError> {
            let entries = Tensor::f_from_slice(entries)?.f_to_device(device)?;
            Ok(table.weight.f_index_select(0, &entries)?.f_view([-1, tokens, hidden])?)
        };
        let sum = look_up(&self.words, input_ids)?.f_add(&look_up(&self.token_types, token_type_ids)?)?;
        Ok(sum.f_add(&self.positions.weight.f_narrow(0, 0, tokens)?)?)
    }

    fn embed(&self, input: &Tensor, draws: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        dropout(&self.embedding_norm.forward(input)?, self.hidden_dropout, draws)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        mask: Option<&Tensor>,
        draws: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        self.layers[layer].forward(hidden, mask, draws)
    }

    fn head(&self, hidden: &Tensor, draws: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        let first = hidden.f_select(1, 0)?; // [rows, hidden]: the vector of [CLS]
        let pooled = self.pooler.forward(&first)?.f_tanh()?;
        self.classifier.forward(&dropout(&pooled, self.classifier_dropout, draws)?)
    }

    fn lookups<'a>(&self, batch: &'a Batch) -> Vec<Lookup<'a>> {
        let Batch::Text { input_ids, token_type_ids, tokens, .. } = batch else { return Vec::new() };
        let mut lookups = Vec::new();
        let mut add = |table: &EmbeddingTable, rows: Box<dyn Iterator<Item = Option<usize>> + 'a>| {
            lookups.extend(table.place.clone().map(|place| Lookup { place, rows }));
        };
        // The padding token's vector stays as it is, as torch's padding_idx has it.
        let pad = self.pad_token.map(|token| token as i64);
        add(&self.words, Box::new(input_ids.iter().map(move |&id| (Some(id) != pad).then_some(id as usize))));
        add(&self.positions, Box::new((0..input_ids.len()).map(move |token| Some(token % tokens))));
        add(&self.token_types, Box::new(token_type_ids.iter().map(|&id| Some(id as usize))));
        lookups
    }
}
