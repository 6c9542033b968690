//! The tensors of an objective: targets, loss, predictions.

use tch::{Device, Kind, Reduction, Tensor};

use super::network::Transformer;
use super::parts::Judged;
use crate::objective::Objective;
use crate::trainer::{Batch, Sums, TrainError};

/// The loss of what a head gave.
pub(super) enum Loss {
    /// A scalar, f32, at the end of a graph.
    Scalar(Tensor),
    /// Sums, and the gradient of what the head gave.
    Tokens(Judged),
}

impl Objective {
    /// The loss, summed over what the divisor counts. With `gradient`, the trainable vector's, a language model's head adds to
    /// it what no graph gives.
    pub(super) fn loss(
        self,
        network: &Transformer,
        output: &Tensor,
        batch: &Batch,
        gradient: Option<&mut [f32]>,
    ) -> Result<Loss, TrainError> {
        let device = output.device();
        match self {
            Objective::Classification { smoothing } => {
                Ok(Loss::Scalar(classified(output, batch, smoothing)?))
            }
            Objective::CausalLm { smoothing } => {
                let Some(vocabulary) = network.vocabulary() else {
                    return Err(TrainError::Torch("this network predicts no tokens".into()));
                };
                let targets = next_tokens(batch, device)?;
                Ok(Loss::Tokens(vocabulary.judge(output, &targets, smoothing, gradient)?))
            }
        }
    }

    /// Negative log likelihoods, in nats, of the tokens that a batch predicts, in their order.
    pub(super) fn nll(
        self,
        network: &Transformer,
        batch: &Batch,
        device: Device,
    ) -> Result<Vec<f32>, TrainError> {
        let output = network.evaluate(batch, device)?;
        match self.loss(network, &output, batch, None)? {
            Loss::Tokens(Judged { nll, .. }) => Ok(nll),
            Loss::Scalar(_) => Err(TrainError::Torch("a classifier predicts no tokens".into())),
        }
    }

    /// Loss and counts of an evaluation batch. The loss is smoothed as in training: transformers' Trainer does so.
    pub(super) fn evaluate(
        self,
        network: &Transformer,
        batch: &Batch,
        device: Device,
    ) -> Result<Sums, TrainError> {
        let output = network.evaluate(batch, device)?;
        match self.loss(network, &output, batch, None)? {
            Loss::Tokens(Judged { sums, .. }) => Ok(self.predicted(batch, sums, true)),
            Loss::Scalar(loss) => {
                let predicted = output.f_argmax(-1, false)?.f_to_device(Device::Cpu)?;
                let (predicted, labels): (Vec<i64>, _) = (Vec::try_from(predicted)?, output.size()[1]);
                Ok(self.evaluated(batch, loss.f_double_value(&[])?, &predicted, labels as usize))
            }
        }
    }
}

/// Logits `[rows, labels]` f32: `(1 − ε) · nll + ε · mean over labels of −log p` with ε the smoothing, as torch's
/// `cross_entropy(label_smoothing=ε)` and transformers' `LabelSmoother` define it.
fn classified(logits: &Tensor, batch: &Batch, smoothing: f64) -> Result<Tensor, TrainError> {
    /// No class has this id: every row counts.
    const NO_LABEL: i64 = -100;
    let targets = Tensor::f_from_slice(batch.labels())?.f_to_device(logits.device())?;
    let logits = logits.f_to_kind(Kind::Float)?;
    Ok(logits.f_cross_entropy_loss::<&Tensor>(&targets, None, Reduction::Sum, NO_LABEL, smoothing)?)
}

/// The tokens that are predicted, `[positions]` i64.
pub(super) fn next_tokens(batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
    let Batch::Text { input_ids, .. } = batch else {
        return Err(TrainError::Torch("images have no tokens to predict".into()));
    };
    let targets: Vec<i64> = batch.predicted().map(|token| input_ids[token]).collect();
    Ok(Tensor::f_from_slice(&targets)?.f_to_device(device)?)
}
