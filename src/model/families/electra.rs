//! ELECTRA (Clark et al., 2020), as transformers' `ElectraForSequenceClassification` defines it.

use super::encoder::{Encoder, pad_token, refuse_decoders};
use crate::model::blueprint::{Blueprint, Classifier, Embedding, Head, Identity, Input, Linear};
use crate::model::keys::Keys;
use crate::model::{Activation, ModelError};

pub(super) fn read(keys: &Keys<'_>, identity: Identity, labels: usize) -> Result<Blueprint, ModelError> {
    refuse_decoders(keys)?;
    let encoder = Encoder::read(keys, 0.1)?;
    let (prefix, hidden) = (identity.prefix, encoder.hidden);
    let width = keys.size_or("embedding_size", 128)?;
    let (text, embedding) = encoder.bert_tables(keys, prefix, width, pad_token(keys, 0)?)?;
    let projection = || Linear::new(format!("{prefix}.embeddings_project"), width, hidden);
    let dropout = keys.dropout_or("classifier_dropout", encoder.hidden_dropout)?;
    Ok(Blueprint {
        identity,
        hidden,
        initializer_range: encoder.initializer_range,
        input: Input::Text(text),
        embedding: Embedding { projection: (width != hidden).then(projection), ..embedding },
        layers: encoder.bert_layers(prefix),
        final_norm: None,
        head: Head::Classifier(Classifier {
            dropout_before: dropout,
            dense: Some((encoder.linear("classifier.dense".into()), Activation::Gelu)),
            dropout,
            output: Linear::new("classifier.out_proj", hidden, labels as u64),
        }),
    })
}
