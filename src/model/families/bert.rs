//! BERT (Devlin et al., 2018), as transformers' `BertForSequenceClassification` defines it.

use super::encoder::{Encoder, pad_token, refuse_decoders};
use crate::model::blueprint::{Blueprint, Classifier, Head, Identity, Input, Linear};
use crate::model::keys::Keys;
use crate::model::{Activation, ModelError};

pub(super) fn read(keys: &Keys<'_>, identity: Identity, labels: usize) -> Result<Blueprint, ModelError> {
    refuse_decoders(keys)?;
    let encoder = Encoder::read(keys, 0.1)?;
    let (prefix, hidden) = (identity.prefix, encoder.hidden);
    let (text, embedding) = encoder.bert_tables(keys, prefix, hidden, pad_token(keys, 0)?)?;
    Ok(Blueprint {
        identity,
        hidden,
        initializer_range: encoder.initializer_range,
        input: Input::Text(text),
        embedding,
        layers: encoder.bert_layers(prefix),
        final_norm: None,
        head: Head::Classifier(Classifier {
            dropout_before: 0.0,
            dense: Some((encoder.linear(format!("{prefix}.pooler.dense")), Activation::Tanh)),
            dropout: keys.dropout_or("classifier_dropout", encoder.hidden_dropout)?,
            output: Linear::new("classifier", hidden, labels as u64),
        }),
    })
}
