//! DistilBERT (Sanh et al., 2019), as transformers' `DistilBertForSequenceClassification` defines it.

use super::encoder::{Encoder, SizeKeys, activation, pad_token};
use crate::model::blueprint::{
    Blueprint, Classifier, Embedding, Head, Identity, Input, Layer, Linear, Norm, Positions, Residual, Table,
    TextInput,
};
use crate::model::keys::Keys;
use crate::model::{Activation, ModelError};

const SIZES: SizeKeys =
    SizeKeys { hidden: "dim", layers: "n_layers", heads: "n_heads", intermediate: "hidden_dim" };

pub(super) fn read(keys: &Keys<'_>, identity: Identity, labels: usize) -> Result<Blueprint, ModelError> {
    let encoder = Encoder {
        activation: activation(keys, "activation")?,
        hidden_dropout: keys.dropout_or("dropout", 0.1)?,
        attention_dropout: keys.dropout_or("attention_dropout", 0.1)?,
        ..Encoder::sizes(keys, &SIZES)?
    };
    let (prefix, hidden) = (identity.prefix, encoder.hidden);
    let table = |part: &str, rows| Table::new(format!("{prefix}.embeddings.{part}_embeddings"), rows, hidden);
    let positions = table("position", keys.size_or("max_position_embeddings", 512)?);
    Ok(Blueprint {
        identity,
        hidden,
        initializer_range: encoder.initializer_range,
        input: Input::Text(TextInput {
            tokens: Table { padding: pad_token(keys, 0)?, ..table("word", keys.size("vocab_size")?) },
            positions: Some(Positions { table: positions, first: 0 }),
            token_types: None,
            longest: None,
        }),
        embedding: Embedding {
            scale: 1.0,
            norm: Some(encoder.norm(format!("{prefix}.embeddings.LayerNorm"))),
            dropout: encoder.hidden_dropout,
            projection: None,
        },
        layers: (0..encoder.layers).map(|number| layer(&encoder, prefix, number)).collect(),
        final_norm: None,
        head: Head::Classifier(Classifier {
            dropout_before: 0.0,
            dense: Some((encoder.linear("pre_classifier".into()), Activation::Relu)),
            dropout: keys.dropout_or("seq_classif_dropout", 0.2)?,
            output: Linear::new("classifier", hidden, labels as u64),
        }),
    })
}

/// As BERT's, but without dropout of the attention's output.
fn layer(encoder: &Encoder, prefix: &str, number: u64) -> Layer {
    let name = |part: &str| format!("{prefix}.transformer.layer.{number}.{part}");
    let after = |norm: Norm, dropout| Residual { sum: Some(norm), dropout, ..Residual::default() };
    Layer {
        attention: encoder.attention(
            ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"].map(name),
        ),
        around_attention: after(encoder.norm(name("sa_layer_norm")), 0.0),
        mlp: encoder.mlp(name("ffn.lin1"), name("ffn.lin2")),
        around_mlp: after(encoder.norm(name("output_layer_norm")), encoder.hidden_dropout),
    }
}
