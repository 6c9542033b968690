//! The tensors of an objective: targets, loss, predictions.

use tch::{Device, Reduction, Tensor};

use crate::objective::Objective;
use crate::trainer::{Batch, Sums, TrainError};

impl Objective {
    /// What the loss compares logits with. Classification: class ids, `[rows]` i64.
    pub(super) fn targets(self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        match self {
            Objective::Classification { .. } => {
                Ok(Tensor::f_from_slice(batch.labels())?.f_to_device(device)?)
            }
        }
    }

    /// The loss, summed over what the divisor counts: a scalar, f32.
    ///
    /// Classification, logits `[rows, labels]` f32: `(1 − ε) · nll + ε · mean over labels of −log p` with ε the smoothing, as
    /// torch's `cross_entropy(label_smoothing=ε)` and transformers' `LabelSmoother` define it.
    pub(super) fn loss_sum(self, logits: &Tensor, targets: &Tensor) -> Result<Tensor, TrainError> {
        /// No class has this id: every row counts.
        const NO_LABEL: i64 = -100;
        let Objective::Classification { smoothing } = self;
        Ok(logits.f_cross_entropy_loss::<&Tensor>(targets, None, Reduction::Sum, NO_LABEL, smoothing)?)
    }

    /// Loss and counts of the logits of an evaluation batch. The loss is smoothed as in training: transformers' Trainer does so.
    pub(super) fn evaluate(self, logits: &Tensor, batch: &Batch, device: Device) -> Result<Sums, TrainError> {
        let loss = self.loss_sum(logits, &self.targets(batch, device)?)?.f_double_value(&[])?;
        let predicted: Vec<i64> = Vec::try_from(logits.f_argmax(-1, false)?.f_to_device(Device::Cpu)?)?;
        Ok(self.evaluated(batch, loss, &predicted, logits.size()[1] as usize))
    }
}
