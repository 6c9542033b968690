//! From the last layer's output to logits, or to the vectors that the vocabulary's scores are made of.

use headstart::model::Activation;
use headstart::model::blueprint::{self, Blueprint};
use tch::Tensor;

use super::super::dropout::{DropoutRng, dropout};
use super::super::parameters::Parameters;
use super::super::rows::Rows;
use super::activation::activate;
use super::linear::Linear;
use super::norm::Norm;
use super::vocabulary::Vocabulary;
use crate::trainer::TrainError;

pub(in super::super) struct Head {
    norm: Option<Norm>,
    kind: Kind,
}

enum Kind {
    Classifier(Classifier),
    Language(Vocabulary),
}

struct Classifier {
    dropout_before: f64,
    dense: Option<(Linear, Activation)>,
    dropout: f64,
    output: Linear,
}

impl Head {
    pub(in super::super) fn new(network: &Blueprint, parameters: &Parameters) -> Head {
        let linear = |part: &blueprint::Linear| Linear::new(part, parameters);
        let kind = match &network.head {
            blueprint::Head::Classifier(part) => Kind::Classifier(Classifier {
                dropout_before: part.dropout_before,
                dense: part.dense.as_ref().map(|(dense, activation)| (linear(dense), *activation)),
                dropout: part.dropout,
                output: linear(&part.output),
            }),
            blueprint::Head::Language(part) => Kind::Language(Vocabulary::new(part, parameters)),
        };
        Head { norm: network.final_norm.as_ref().map(|norm| Norm::new(norm, parameters)), kind }
    }

    /// The scores of tokens, in a language model.
    pub(in super::super) fn vocabulary(&self) -> Option<&Vocabulary> {
        match &self.kind {
            Kind::Classifier(_) => None,
            Kind::Language(vocabulary) => Some(vocabulary),
        }
    }

    /// Vectors after the last norm, where the network has one there.
    pub(in super::super) fn normalised(&self, vectors: Tensor) -> Result<Tensor, TrainError> {
        self.norm.as_ref().map_or(Ok(vectors.shallow_clone()), |norm| norm.forward(&vectors))
    }

    /// `[tokens, hidden]` in. Of a classifier, logits, `[rows, labels]`; of a language model, the vectors of the tokens at
    /// `places`, `[places, hidden]`.
    ///
    /// Vectors are chosen before the norm, which gives the bits of normalising all.
    pub(in super::super) fn forward(
        &self,
        hidden: &Tensor,
        rows: &Rows,
        places: &Tensor,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let chosen = self.normalised(match &self.kind {
            Kind::Classifier(_) => rows.first(hidden)?,
            Kind::Language(_) => hidden.f_index_select(0, places)?,
        })?;
        match &self.kind {
            Kind::Classifier(classifier) => classifier.forward(&chosen, rng),
            Kind::Language(_) => Ok(chosen),
        }
    }
}

impl Classifier {
    fn forward(&self, first: &Tensor, rng: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        let mut first = dropout(first, self.dropout_before, rng)?;
        if let Some((dense, activation)) = &self.dense {
            first = activate(&dense.forward(&first, rng)?, *activation)?;
        }
        self.output.forward(&dropout(&first, self.dropout, rng)?, rng)
    }
}
