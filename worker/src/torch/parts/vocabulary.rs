//! Scores of every token of a vocabulary, their loss and its gradient, without ever holding all of them.
//!
//! Logits exist for a chunk of positions at a time. The gradient of softmax and cross-entropy is taken in closed form,
//! `softmax − target`, so that no graph is built, and a frozen head has no gradient of its own. The weight is widened a block of
//! rows at a time, whatever its number format: the same products in the same order, so storage does not change bits.

use std::ops::Range;

use headstart::model::blueprint::{LOGITS_CHUNK, LanguageHead};
use tch::{Kind, Tensor};

use super::super::gradient::Sink;
use super::super::parameters::Parameters;
use crate::trainer::TrainError;

/// Tokens of the vocabulary whose weights are widened at once.
const BLOCK: i64 = 8192;
/// Positions whose logits exist a second time at once.
const PIECE: i64 = 32;

pub(in super::super) struct Vocabulary {
    /// `[vocabulary, hidden]`, outside of any graph; as the checkpoint stores it where it does not train.
    weight: Tensor,
    place: Option<Range<usize>>,
}

/// What predicted tokens cost.
pub(in super::super) struct Judged {
    /// Of each chunk of positions the sums of loss, negative log likelihood, entropy and right guesses, `[chunks, 4]` f64.
    pub(in super::super) sums: Tensor,
    /// Of each position, the negative log likelihood in nats, `[positions]` f32; none in training.
    pub(in super::super) nll: Option<Tensor>,
    /// Gradient of the summed loss with respect to the vectors, `[positions, hidden]` f32; none in evaluation.
    pub(in super::super) of_hidden: Option<Tensor>,
}

impl Vocabulary {
    pub(super) fn new(part: &LanguageHead, parameters: &Parameters) -> Vocabulary {
        let name = part.output.weight();
        Vocabulary { weight: parameters.tensor(&name).detach(), place: parameters.place(&name) }
    }

    /// The weight's place in the trainable vector.
    pub(in super::super) fn place(&self) -> Option<Range<usize>> {
        self.place.clone()
    }

    /// Scores of the vectors `[positions, hidden]` f32 for the tokens that follow, `[positions]` i64: of each target a share
    /// `smoothing` is spread over the vocabulary, as transformers' `LabelSmoother` does. With `gradient`, gradients are taken, and
    /// the weight's is added there, where it trains.
    pub(in super::super) fn judge(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        smoothing: f64,
        mut gradient: Option<&mut dyn Sink>,
    ) -> Result<Judged, TrainError> {
        let _guard = tch::no_grad_guard();
        let hidden = hidden.f_detach()?.f_to_kind(Kind::Float)?;
        let positions = hidden.size()[0];
        let (mut sums, mut nll) = (Vec::new(), Vec::new());
        let of_hidden = gradient.is_some().then(|| hidden.f_zeros_like()).transpose()?;
        let chunk = LOGITS_CHUNK as i64;
        // One for all chunks: the allocator keeps what many that come and go leave behind.
        let scratch = hidden
            .f_new_empty([PIECE.min(positions), self.weight.size()[0]], (Kind::Float, hidden.device()))?;
        for at in (0..positions).step_by(LOGITS_CHUNK) {
            let len = chunk.min(positions - at);
            let (vectors, targets) = (hidden.f_narrow(0, at, len)?, targets.f_narrow(0, at, len)?);
            let targets = targets.f_unsqueeze(1)?;
            let scores = Scores::new(self.logits(&vectors)?, &targets, smoothing, &scratch)?;
            sums.push(scores.sums()?);
            let (Some(of_hidden), Some(gradient)) = (&of_hidden, &mut gradient) else {
                nll.push(scores.nll.f_squeeze_dim(1)?);
                continue;
            };
            let of_logits = scores.into_gradient(&targets, smoothing)?;
            self.add_of_hidden(&of_logits, &mut of_hidden.f_narrow(0, at, len)?)?;
            if let Some(place) = &self.place {
                add_of_weight(&of_logits, &vectors, place.start, &mut **gradient)?;
            }
        }
        let empty = |shape: &[i64], kind| Tensor::f_zeros(shape, (kind, hidden.device()));
        let sums = if sums.is_empty() { empty(&[0, 4], Kind::Double)? } else { Tensor::f_stack(&sums, 0)? };
        let nll = match (&of_hidden, nll.is_empty()) {
            (Some(_), _) => None,
            (None, true) => Some(empty(&[0], Kind::Float)?),
            (None, false) => Some(Tensor::f_cat(&nll, 0)?),
        };
        Ok(Judged { sums, nll, of_hidden })
    }

    /// Rows of the weight, widened, and their number.
    fn blocks(&self) -> impl Iterator<Item = Result<(i64, Tensor), TrainError>> + '_ {
        let rows = self.weight.size()[0];
        (0..rows).step_by(BLOCK as usize).map(move |first| {
            let block = self.weight.f_narrow(0, first, BLOCK.min(rows - first))?;
            Ok((first, block.f_to_kind(Kind::Float)?))
        })
    }

    /// `[positions, vocabulary]` f32
    fn logits(&self, vectors: &Tensor) -> Result<Tensor, TrainError> {
        let shape = [vectors.size()[0], self.weight.size()[0]];
        let logits = vectors.f_new_empty(shape, (Kind::Float, vectors.device()))?;
        for block in self.blocks() {
            let (first, block) = block?;
            let columns = logits.f_narrow(1, first, block.size()[0])?;
            let _ = vectors.f_mm_out(&columns, &block.f_tr()?)?;
        }
        Ok(logits)
    }

    fn add_of_hidden(&self, of_logits: &Tensor, of_hidden: &mut Tensor) -> Result<(), TrainError> {
        for block in self.blocks() {
            let (first, block) = block?;
            let columns = of_logits.f_narrow(1, first, block.size()[0])?;
            let _ = of_hidden.f_addmm_(&columns, &block)?;
        }
        Ok(())
    }
}

/// Adds the gradient of the weight, whose place begins at an element of the trainable vector, a block of rows at a time.
fn add_of_weight(
    of_logits: &Tensor,
    vectors: &Tensor,
    start: usize,
    gradient: &mut dyn Sink,
) -> Result<(), TrainError> {
    let (rows, width) = (of_logits.size()[1], vectors.size()[1] as usize);
    for first in (0..rows).step_by(BLOCK as usize) {
        let columns = of_logits.f_narrow(1, first, BLOCK.min(rows - first))?;
        let of_block = columns.f_tr()?.f_mm(vectors)?;
        let at = start + first as usize * width;
        gradient.add(at..at + of_block.numel(), &of_block)?;
    }
    Ok(())
}

/// What follows from the logits of a chunk, in their place: no second tensor of their size exists.
struct Scores {
    /// `exp(logits − maximum)`, `[positions, vocabulary]`.
    exponentials: Tensor,
    /// Their sums, `[positions, 1]`; as are the following.
    normaliser: Tensor,
    loss: Tensor,
    nll: Tensor,
    entropy: Tensor,
    right: Tensor,
}

impl Scores {
    fn new(
        mut logits: Tensor,
        targets: &Tensor,
        smoothing: f64,
        scratch: &Tensor,
    ) -> Result<Scores, TrainError> {
        let right = logits.f_argmax(1, true)?.f_eq_tensor(targets)?;
        let _ = logits.f_sub_(&logits.f_amax(&[1i64][..], true)?)?;
        let target = logits.f_gather(1, targets, false)?;
        let spread = match smoothing {
            0.0 => None,
            _ => Some(logits.f_mean_dim(&[1i64][..], true, Kind::Float)?),
        };
        let (normaliser, weighted) = exponentiate(&logits, scratch)?;
        let logarithm = normaliser.f_log()?;
        let nll = logarithm.f_sub(&target)?;
        let loss = match spread {
            None => nll.shallow_clone(),
            Some(mean) => {
                let spread = logarithm.f_sub(&mean)?.f_mul_scalar(smoothing)?;
                nll.f_mul_scalar(1.0 - smoothing)?.f_add(&spread)?
            }
        };
        let entropy = logarithm.f_sub(&weighted.f_div(&normaliser)?)?;
        Ok(Scores { exponentials: logits, normaliser, loss, nll, entropy, right })
    }

    /// The sums over the chunk's positions, in 64 bits: see [`Judged::sums`].
    fn sums(&self) -> Result<Tensor, TrainError> {
        let Scores { loss, nll, entropy, right, .. } = self;
        let sum = |values: &Tensor| values.f_sum(Kind::Double);
        Ok(Tensor::f_stack(&[sum(loss)?, sum(nll)?, sum(entropy)?, sum(right)?], 0)?)
    }

    /// The gradient of the summed loss with respect to the logits: `softmax − target`.
    fn into_gradient(self, targets: &Tensor, smoothing: f64) -> Result<Tensor, TrainError> {
        let Scores { mut exponentials, normaliser, .. } = self;
        let vocabulary = exponentials.size()[1] as f64;
        let _ = exponentials.f_div_(&normaliser)?;
        if smoothing != 0.0 {
            let _ = exponentials.f_sub_scalar_(smoothing / vocabulary)?;
        }
        let share = normaliser.f_full_like(smoothing - 1.0)?;
        Ok(exponentials.f_scatter_add_(1, targets, &share)?)
    }
}

/// Replaces scores `[positions, vocabulary]` by their exponentials. Returns, of each position, the sum of these and the sum of
/// the scores weighted by these, `[positions, 1]`. `scratch`: room for [`PIECE`] positions.
fn exponentiate(scores: &Tensor, scratch: &Tensor) -> Result<(Tensor, Tensor), TrainError> {
    let positions = scores.size()[0];
    let (mut sums, mut weighted) = (Vec::new(), Vec::new());
    for first in (0..positions).step_by(PIECE as usize) {
        let len = PIECE.min(positions - first);
        let mut piece = scores.f_narrow(0, first, len)?;
        let exponentials = piece.f_exp_out(&scratch.f_narrow(0, 0, len)?)?;
        sums.push(exponentials.f_sum_dim_intlist(&[1i64][..], true, Kind::Float)?);
        let _ = piece.f_mul_(&exponentials)?;
        weighted.push(piece.f_sum_dim_intlist(&[1i64][..], true, Kind::Float)?);
        piece.f_copy_(&exponentials)?;
    }
    Ok((Tensor::f_cat(&sums, 0)?, Tensor::f_cat(&weighted, 0)?))
}
