//! Vision transformers: ViT (Dosovitskiy et al., 2020) and DeiT (Touvron et al., 2020), as transformers'
//! `ViTForImageClassification` and `DeiTForImageClassification` define them.

use serde_json::Value;

use super::encoder::Encoder;
use crate::model::ModelError;
use crate::model::blueprint::{
    Blueprint, Classifier, Embedding, Head, Identity, ImageInput, Input, Layer, Linear, Residual,
};
use crate::model::keys::{Keys, wrong};

/// Longest side of an image, in pixels.
const LONGEST_SIDE: u64 = 1 << 12;
/// Most channels of an image.
const MOST_CHANNELS: u64 = 1 << 10;

/// Names in checkpoints, and in memory: see `Identity::renamed`.
pub(super) const RENAMED: &[(&str, &str)] = &[
    (".encoder.layer.", ".layers."),
    (".attention.attention.query", ".attention.q_proj"),
    (".attention.attention.key", ".attention.k_proj"),
    (".attention.attention.value", ".attention.v_proj"),
    (".attention.output.dense", ".attention.o_proj"),
    (".intermediate.dense", ".mlp.fc1"),
    (".output.dense", ".mlp.fc2"),
];

pub(super) fn read(keys: &Keys<'_>, identity: Identity, labels: usize) -> Result<Blueprint, ModelError> {
    read_with(keys, identity, labels, &["cls_token"])
}

/// DeiT's token of distillation takes part in attention; the class token alone is classified.
pub(super) fn read_deit(keys: &Keys<'_>, identity: Identity, labels: usize) -> Result<Blueprint, ModelError> {
    read_with(keys, identity, labels, &["cls_token", "distillation_token"])
}

/// `own_tokens`: what the embeddings call the tokens before the patches.
fn read_with(
    keys: &Keys<'_>,
    identity: Identity,
    labels: usize,
    own_tokens: &[&str],
) -> Result<Blueprint, ModelError> {
    let encoder = Encoder::read(keys, 0.0)?;
    let (prefix, hidden) = (identity.prefix, encoder.hidden);
    // The names are those of saved files, which transformers 5 renames in memory.
    let name = |part: &str| format!("{prefix}.embeddings.{part}");
    let (size, patch) = sizes(keys)?;
    let image = ImageInput {
        size,
        patch,
        channels: channels(keys)?,
        own_tokens: own_tokens.iter().copied().map(name).collect(),
        positions: name("position_embeddings"),
        projection: name("patch_embeddings.projection"),
    };
    let qkv_bias = keys.bool_or("qkv_bias", true)?;
    Ok(Blueprint {
        identity,
        hidden,
        initializer_range: encoder.initializer_range,
        input: Input::Image(image),
        embedding: Embedding { scale: 1.0, norm: None, dropout: encoder.hidden_dropout, projection: None },
        layers: (0..encoder.layers).map(|number| layer(&encoder, prefix, number, qkv_bias)).collect(),
        final_norm: Some(encoder.norm(format!("{prefix}.layernorm"))),
        head: Head::Classifier(Classifier {
            dropout_before: 0.0,
            dense: None,
            dropout: 0.0,
            output: Linear::new("classifier", hidden, labels as u64),
        }),
    })
}

/// Height and width of an image, and of a patch.
fn sizes(keys: &Keys<'_>) -> Result<([u64; 2], [u64; 2]), ModelError> {
    let (image, patch) = (keys.pair("image_size")?, keys.pair("patch_size")?);
    if image.iter().any(|&side| side > LONGEST_SIDE) {
        return Err(ModelError::Wrong {
            key: "image_size",
            expected: format!("at most {LONGEST_SIDE}"),
            found: format!("{image:?}"),
        });
    }
    if patch[0] > image[0] || patch[1] > image[1] {
        return Err(ModelError::Patch { patch, image });
    }
    Ok((image, patch))
}

fn channels(keys: &Keys<'_>) -> Result<u64, ModelError> {
    let channels = keys.size_or("num_channels", 3)?;
    match channels > MOST_CHANNELS {
        true => Err(wrong("num_channels", format!("at most {MOST_CHANNELS}"), &Value::from(channels))),
        false => Ok(channels),
    }
}

/// A norm before each sub-layer.
fn layer(encoder: &Encoder, prefix: &str, number: u64, qkv_bias: bool) -> Layer {
    let name = |part: &str| format!("{prefix}.encoder.layer.{number}.{part}");
    let before = |part: &str| Residual {
        before: Some(encoder.norm(name(part))),
        dropout: encoder.hidden_dropout,
        ..Residual::default()
    };
    let mut attention = encoder.attention(
        [
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ]
        .map(name),
    );
    for linear in [&mut attention.query, &mut attention.key, &mut attention.value] {
        linear.bias = qkv_bias;
    }
    Layer {
        attention,
        around_attention: before("layernorm_before"),
        mlp: encoder.mlp(name("intermediate.dense"), name("output.dense")),
        around_mlp: before("layernorm_after"),
    }
}
