//! What computing one micro-batch takes, from the parts of the network.

use headstart::model::Block;
use headstart::model::blueprint::{Blueprint, Head, LOGITS_CHUNK};

use super::layer::{self, Floats};
use super::{ALLOCATED, F32, Weights};
use crate::cli::plan::rows::MicroBatch;

/// Rows of a vocabulary's weight that are widened, or whose gradient is made, at once.
const VOCABULARY_BLOCK: u64 = 8192;
/// Vectors of a predicted token: chosen, normalised, and the gradient.
const PREDICTED_VECTORS: u64 = 3;

/// What the memory of a micro-batch is made of.
#[derive(Clone, Debug)]
pub(super) struct StepCost {
    /// Kept for the backward pass, by all blocks.
    kept: Floats,
    /// What a block's backward pass adds to that, at most: with checkpointing, all that the layer keeps too.
    backward: Floats,
    /// The same without a graph, in an evaluation.
    forward: Floats,
    /// Bytes of the gradients of one block's parameters.
    gradients: f64,
    /// Bytes of the largest matrix that is widened where it is used.
    widened: f64,
    head: Option<LanguageCost>,
}

/// What scores of a vocabulary are made with.
#[derive(Clone, Copy, Debug)]
struct LanguageCost {
    hidden: u64,
    vocabulary: u64,
    /// Bytes of a block of its weight, widened, and of that block's gradient: as far as they exist.
    block: f64,
    of_block: f64,
}

impl StepCost {
    /// Of a network with these weights.
    pub(super) fn new(blueprint: &Blueprint, weights: &Weights<'_>, checkpointing: bool) -> StepCost {
        let hidden = blueprint.hidden;
        let first = weights.first_kept();
        let layers: Vec<(Floats, Floats)> = (0..)
            .zip(&blueprint.layers)
            .filter(|(number, _)| first.is_some_and(|first| first <= Block::Layer(*number)))
            .map(|(_, part)| (layer::kept(part, hidden, weights), layer::backward(part, hidden)))
            .collect();
        let input = Floats { of_token: hidden, of_pair: 0 };
        let largest = |floats: &mut dyn Iterator<Item = Floats>| {
            floats.max_by_key(|floats| (floats.of_pair, floats.of_token)).unwrap_or_default()
        };
        let (of_layers, backward) = match checkpointing {
            true => {
                let inputs = Floats { of_token: hidden * layers.len() as u64, of_pair: 0 };
                (inputs, largest(&mut layers.iter().map(|(kept, backward)| *kept + *backward)))
            }
            false => {
                let kept = layers.iter().map(|(kept, _)| *kept).fold(Floats::default(), std::ops::Add::add);
                (kept, largest(&mut layers.iter().map(|(_, backward)| *backward)))
            }
        };
        StepCost {
            // The last layer's output is what the head begins with.
            kept: of_layers + input + embedding(blueprint, first == Some(Block::Embed)),
            backward,
            forward: input + largest(&mut blueprint.layers.iter().map(|part| layer::forward(part, hidden))),
            gradients: weights.largest_gradients(),
            widened: weights.widened(),
            head: match &blueprint.head {
                Head::Classifier(_) => None,
                Head::Language(language) => {
                    Some(LanguageCost::new(&language.output.weight(), blueprint, weights))
                }
            },
        }
    }

    /// Bytes that exist at once while the gradient of `batch` is computed.
    pub(super) fn training(&self, batch: MicroBatch) -> f64 {
        let backward = bytes(self.backward, batch) + self.gradients + self.widened;
        bytes(self.kept, batch) + backward.max(self.scores(batch, true))
    }

    /// The same for an evaluation.
    pub(super) fn evaluation(&self, batch: MicroBatch) -> f64 {
        (bytes(self.forward, batch) + self.widened).max(self.scores(batch, false))
    }

    /// Bytes of the scores of tokens: of a chunk of the vectors at a time, logits and what becomes of them.
    fn scores(&self, batch: MicroBatch, training: bool) -> f64 {
        let Some(LanguageCost { hidden, vocabulary, block, of_block }) = self.head else { return 0.0 };
        let chunk = batch.predicted.min(LOGITS_CHUNK as u64);
        let vectors = F32 * (PREDICTED_VECTORS * hidden * batch.predicted) as f64;
        let gradient = if training { of_block } else { 0.0 };
        vectors + 2.0 * F32 * (chunk * vocabulary) as f64 + block + gradient
    }
}

impl LanguageCost {
    fn new(weight: &str, blueprint: &Blueprint, weights: &Weights<'_>) -> LanguageCost {
        let hidden = blueprint.hidden;
        let vocabulary = weights.elements(weight) / hidden.max(1);
        let block = F32 * (VOCABULARY_BLOCK.min(vocabulary) * hidden) as f64;
        LanguageCost {
            hidden,
            vocabulary,
            block: if weights.is_narrow(weight) { block } else { 0.0 },
            of_block: if weights.trains(weight) { block } else { 0.0 },
        }
    }
}

/// Kept of what comes before the first layer: where tables train, their sums and what dropout adds.
fn embedding(blueprint: &Blueprint, kept: bool) -> Floats {
    let part = &blueprint.embedding;
    let vectors = u64::from(part.norm.is_some()) + u64::from(part.dropout > 0.0);
    Floats { of_token: if kept { blueprint.hidden * vectors } else { 0 }, of_pair: 0 }
}

fn bytes(floats: Floats, batch: MicroBatch) -> f64 {
    let of_tokens = ALLOCATED * floats.of_token as f64 * batch.tokens as f64;
    F32 * (of_tokens + floats.of_pair as f64 * batch.pairs as f64)
}
