//! The tensors of an objective: targets, loss, predictions.

use tch::{Device, Kind, Reduction, Tensor};

use super::gradient::Sink;
use super::network::Transformer;
use super::parts::Judged;
use super::{bus, host};
use crate::objective::{Objective, TokenSums};
use crate::trainer::{Batch, Sums, TrainError};

/// The loss of what a head gave.
pub(super) enum Loss {
    /// A scalar, f32, at the end of a graph.
    Scalar(Tensor),
    /// Sums, and the gradient of what the head gave.
    Tokens(Judged),
}

impl Loss {
    /// The numbers that [`Objective::sums`] reads, f64, `[numbers]`, where the loss is.
    pub(super) fn numbers(&self) -> Result<Tensor, TrainError> {
        let numbers = match self {
            Loss::Scalar(loss) => loss.f_detach()?.f_to_kind(Kind::Double)?,
            Loss::Tokens(Judged { sums, .. }) => sums.shallow_clone(),
        };
        Ok(numbers.f_reshape([-1])?)
    }
}

impl Objective {
    /// The loss, summed over what the divisor counts. With `gradient`, a language model's head adds to it what no
    /// graph gives.
    pub(super) fn loss(
        self,
        network: &Transformer,
        output: &Tensor,
        batch: &Batch,
        gradient: Option<&mut dyn Sink>,
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
            Loss::Tokens(Judged { nll: Some(nll), .. }) => host::elements(&nll, <[f32]>::to_vec),
            Loss::Tokens(_) | Loss::Scalar(_) => {
                Err(TrainError::Torch("a classifier predicts no tokens".into()))
            }
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
        let loss = self.loss(network, &output, batch, None)?;
        let numbers = loss.numbers()?;
        match loss {
            Loss::Tokens(_) => Ok(Sums { finite: true, ..self.sums(batch, &bus::read(&numbers)?) }),
            Loss::Scalar(_) => {
                let predicted = output.f_argmax(-1, false)?.f_to_kind(Kind::Double)?;
                let numbers = bus::read(&Tensor::f_cat(&[numbers, predicted], 0)?)?;
                let predicted: Vec<i64> = numbers[1..].iter().map(|&label| label as i64).collect();
                Ok(self.evaluated(batch, numbers[0], &predicted, output.size()[1] as usize))
            }
        }
    }

    /// The sums of a batch from its loss's numbers, finite as far as the loss is.
    pub(super) fn sums(self, batch: &Batch, numbers: &[f64]) -> Sums {
        match self {
            Objective::Classification { .. } => {
                let loss = numbers.iter().sum::<f64>();
                self.trained(batch, loss, loss.is_finite())
            }
            Objective::CausalLm { .. } => {
                let mut sums = TokenSums::default();
                for &[loss, nll, entropy, right] in numbers.as_chunks().0 {
                    sums.loss += loss;
                    sums.nll += nll;
                    sums.entropy += entropy;
                    sums.right += right as u64;
                }
                self.predicted(batch, sums, sums.loss.is_finite())
            }
        }
    }
}

/// Logits `[rows, labels]` f32: `(1 − ε) · nll + ε · mean over labels of −log p` with ε the smoothing, as torch's
/// `cross_entropy(label_smoothing=ε)` and transformers' `LabelSmoother` define it.
fn classified(logits: &Tensor, batch: &Batch, smoothing: f64) -> Result<Tensor, TrainError> {
    /// No class has this id: every row counts.
    const NO_LABEL: i64 = -100;
    let targets = bus::input(batch.labels(), logits.device())?;
    let logits = logits.f_to_kind(Kind::Float)?;
    Ok(logits.f_cross_entropy_loss::<&Tensor>(&targets, None, Reduction::Sum, NO_LABEL, smoothing)?)
}

/// The tokens that are predicted, `[positions]` i64.
pub(super) fn next_tokens(batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
    let Batch::Text { input_ids, .. } = batch else {
        return Err(TrainError::Torch("images have no tokens to predict".into()));
    };
    let targets: Vec<i64> = batch.predicted().map(|token| input_ids[token]).collect();
    bus::input(&targets, device)
}
