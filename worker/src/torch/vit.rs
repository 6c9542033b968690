//! Vision transformer: Dosovitskiy et al., 2020, as transformers' `ViTForImageClassification` computes it.

use headstart::model::{Activation, ViTConfig};
use tch::{Device, Tensor};

use super::blocks::{Blocks, Lookup};
use super::dropout::{DropoutRng, dropout};
use super::layers::{Attention, Linear, Norm, activate};
use super::parameters::Parameters;
use crate::trainer::{Batch, TrainError};

/// The network over its parameters.
pub(super) struct ViT {
    /// `[1, 1, hidden]`
    class_token: Tensor,
    /// `[1, 1 + patches, hidden]`
    positions: Tensor,
    /// `[hidden, channels, patch height, patch width]`
    projection: Tensor,
    /// `[hidden]`
    projection_bias: Tensor,
    patch: [i64; 2],
    layers: Vec<Layer>,
    norm: Norm,
    classifier: Linear,
    dropout: f64,
}

struct Layer {
    norm_before: Norm,
    attention: Attention,
    attention_output: Linear,
    norm_after: Norm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    dropout: f64,
}

impl ViT {
    pub(super) fn new(config: &ViTConfig, parameters: &Parameters) -> ViT {
        let tensor = |part: &str| parameters.tensor(&format!("vit.embeddings.{part}"));
        ViT {
            class_token: tensor("cls_token"),
            positions: tensor("position_embeddings"),
            projection: tensor("patch_embeddings.projection.weight"),
            projection_bias: tensor("patch_embeddings.projection.bias"),
            patch: config.patch.map(|side| side as i64),
            layers: (0..config.layers).map(|layer| Layer::new(config, parameters, layer)).collect(),
            norm: Norm::new(parameters, "vit.layernorm", config.norm_epsilon),
            classifier: Linear::new(parameters, "classifier", true),
            dropout: config.hidden_dropout,
        }
    }
}

impl Layer {
    fn new(config: &ViTConfig, parameters: &Parameters, layer: u32) -> Layer {
        let name = |part: &str| format!("vit.encoder.layer.{layer}.{part}");
        let linear = |part: &str| Linear::new(parameters, &name(part), true);
        let norm = |part: &str| Norm::new(parameters, &name(part), config.norm_epsilon);
        let (heads, dropout, bias) = (config.heads, config.attention_dropout, config.qkv_bias);
        Layer {
            norm_before: norm("layernorm_before"),
            attention: Attention::new(parameters, &name("attention.attention"), heads, dropout, bias),
            attention_output: linear("attention.output.dense"),
            norm_after: norm("layernorm_after"),
            intermediate: linear("intermediate.dense"),
            activation: config.activation,
            output: linear("output.dense"),
            dropout: config.hidden_dropout,
        }
    }

    fn forward(&self, hidden: &Tensor, draws: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        let context = self.attention.forward(&self.norm_before.forward(hidden)?, None, draws)?;
        let attended = dropout(&self.attention_output.forward(&context)?, self.dropout, draws)?;
        let hidden = attended.f_add(hidden)?;
        let inner = self.intermediate.forward(&self.norm_after.forward(&hidden)?)?;
        let inner = activate(&inner, self.activation)?;
        let output = dropout(&self.output.forward(&inner)?, self.dropout, draws)?;
        Ok(output.f_add(&hidden)?)
    }
}

impl Blocks for ViT {
    fn input(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        let Batch::Image { pixels, shape: [channels, height, width], .. } = batch else {
            return Err(TrainError::Torch("ViT computes images, not texts".into()));
        };
        let shape = [-1, *channels as i64, *height as i64, *width as i64];
        Ok(Tensor::f_from_slice(pixels)?.f_view(shape)?.f_to_device(device)?)
    }

    fn embed(&self, input: &Tensor, draws: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        let (bias, none) = (Some(&self.projection_bias), [0, 0]);
        let patches = input.f_conv2d(&self.projection, bias, self.patch, none, [1, 1], 1)?;
        // [rows, hidden, down, across] → [rows, patches, hidden]
        let patches = patches.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let (rows, _, hidden) = patches.size3()?;
        let class_token = self.class_token.f_expand([rows, 1, hidden], false)?;
        let tokens = Tensor::f_cat(&[class_token, patches], 1)?.f_add(&self.positions)?;
        dropout(&tokens, self.dropout, draws)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        _: Option<&Tensor>,
        draws: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        self.layers[layer].forward(hidden, draws)
    }

    fn head(&self, hidden: &Tensor, _: Option<&DropoutRng>) -> Result<Tensor, TrainError> {
        // The class token's vector; normalising only it gives the bits of normalising all.
        self.classifier.forward(&self.norm.forward(&hidden.f_select(1, 0)?)?)
    }

    fn lookups<'a>(&self, _: &'a Batch) -> Vec<Lookup<'a>> {
        Vec::new()
    }
}
