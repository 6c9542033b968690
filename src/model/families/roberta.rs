//! RoBERTa (Liu et al., 2019) and XLM-RoBERTa (Conneau et al., 2019), as transformers' `RobertaForSequenceClassification`
//! defines them.

use serde_json::Value;

use super::encoder::{Encoder, pad_token, refuse_decoders};
use crate::model::blueprint::{Blueprint, Classifier, Head, Identity, Input, Linear};
use crate::model::keys::{Keys, wrong};
use crate::model::{Activation, ModelError};

pub(super) fn read(keys: &Keys<'_>, identity: Identity, labels: usize) -> Result<Blueprint, ModelError> {
    refuse_decoders(keys)?;
    let encoder = Encoder::read(keys, 0.1)?;
    let (prefix, hidden) = (identity.prefix, encoder.hidden);
    let Some(padding) = pad_token(keys, 1)? else {
        return Err(wrong("pad_token_id", "a token: positions are counted from it", &Value::Null));
    };
    let (mut text, embedding) = encoder.bert_tables(keys, prefix, hidden, Some(padding))?;
    if let Some(positions) = &mut text.positions {
        positions.table.padding = Some(padding);
        positions.first = padding + 1;
        if positions.table.rows <= positions.first {
            let expected = format!("more than {}, pad_token_id + 1", positions.first);
            return Err(wrong("max_position_embeddings", expected, &positions.table.rows.into()));
        }
    }
    let dropout = keys.dropout_or("classifier_dropout", encoder.hidden_dropout)?;
    Ok(Blueprint {
        identity,
        hidden,
        initializer_range: encoder.initializer_range,
        input: Input::Text(text),
        embedding,
        layers: encoder.bert_layers(prefix),
        final_norm: None,
        head: Head::Classifier(Classifier {
            dropout_before: dropout,
            dense: Some((encoder.linear("classifier.dense".into()), Activation::Tanh)),
            dropout,
            output: Linear::new("classifier.out_proj", hidden, labels as u64),
        }),
    })
}
