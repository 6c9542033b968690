//! Vision transformer for image classification, as transformers' `ViTForImageClassification` defines it.

use serde_json::Value;

use super::keys::{Keys, wrong};
use super::table::{ParameterTable, check_size};
use super::transformer::{Activation, Transformer};
use super::{Block, ModelError, Parameter};

/// Longest side of an image, in pixels.
const LONGEST_SIDE: u64 = 1 << 12;
/// Most channels of an image.
const MOST_CHANNELS: u64 = 1 << 10;

/// Dimensions and constants of a vision transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct ViTConfig {
    /// Height and width of an image, in pixels.
    pub image: [u64; 2],
    /// Height and width of a patch, in pixels.
    pub patch: [u64; 2],
    /// Channels of an image.
    pub channels: u64,
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
    /// Whether query, key and value have biases.
    pub qkv_bias: bool,
    /// Dropout after embeddings and after each sub-layer.
    pub hidden_dropout: f64,
    /// Dropout of attention probabilities.
    pub attention_dropout: f64,
    /// Epsilon of layer normalisation.
    pub norm_epsilon: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Number of labels.
    pub labels: usize,
}

impl ViTConfig {
    /// Reads an HF `config.json`; keys with a default in transformers may be absent, sizes may not.
    pub fn from_json(config: &Value, labels: usize) -> Result<ViTConfig, ModelError> {
        let keys = Keys::new(config)?;
        let common = Transformer::from_keys(&keys, 0.0, labels)?;
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
        let channels = keys.size_or("num_channels", 3)?;
        if channels > MOST_CHANNELS {
            return Err(wrong("num_channels", format!("at most {MOST_CHANNELS}"), &Value::from(channels)));
        }
        let config = ViTConfig {
            image,
            patch,
            channels,
            hidden: common.hidden,
            layers: common.layers,
            heads: common.heads,
            intermediate: common.intermediate,
            activation: common.activation,
            qkv_bias: keys.bool_or("qkv_bias", true)?,
            hidden_dropout: common.hidden_dropout,
            attention_dropout: common.attention_dropout,
            norm_epsilon: common.norm_epsilon,
            initializer_range: common.initializer_range,
            labels,
        };
        let rows = config.patches() + channels * patch[0] * patch[1] + labels as u64;
        check_size((rows + 8) * config.hidden, common.layer_elements(), u64::from(config.layers))?;
        Ok(config)
    }

    /// Number of patches of an image; pixels beyond the last whole patch are not seen.
    pub fn patches(&self) -> u64 {
        (self.image[0] / self.patch[0]) * (self.image[1] / self.patch[1])
    }

    /// The parameter table. The names are those of saved files, which transformers 5 renames in memory.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut table = ParameterTable::new(self.initializer_range);
        let (embed, hidden) = (Block::Embed, self.hidden);
        let [height, width] = self.patch;
        table.weight(embed, "vit.embeddings.cls_token".into(), &[1, 1, hidden]);
        table.weight(embed, "vit.embeddings.position_embeddings".into(), &[1, self.patches() + 1, hidden]);
        let projection = "vit.embeddings.patch_embeddings.projection";
        table.weight(embed, format!("{projection}.weight"), &[hidden, self.channels, height, width]);
        table.bias(embed, format!("{projection}.bias"), hidden);
        for layer in 0..self.layers {
            let (block, name) = (Block::Layer(layer), format!("vit.encoder.layer.{layer}"));
            for part in ["query", "key", "value"] {
                let name = format!("{name}.attention.attention.{part}");
                table.linear(block, &name, hidden, hidden, self.qkv_bias);
            }
            table.linear(block, &format!("{name}.attention.output.dense"), hidden, hidden, true);
            table.linear(block, &format!("{name}.intermediate.dense"), hidden, self.intermediate, true);
            table.linear(block, &format!("{name}.output.dense"), self.intermediate, hidden, true);
            table.norm(block, &format!("{name}.layernorm_before"), hidden);
            table.norm(block, &format!("{name}.layernorm_after"), hidden);
        }
        table.norm(Block::Head, "vit.layernorm", hidden);
        table.classifier(hidden, self.labels as u64);
        table.finish()
    }
}
