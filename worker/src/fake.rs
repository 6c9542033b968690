//! A trainer without a network, for tests of everything around it: its gradients depend on what is computed from what,
//! never on who computes it, and they are awkward to add in another order.

use headstart::checkpoint::Values;
use headstart::message::NumericClass;
use headstart::optimizer::Piece;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::objective::{Objective, TokenSums};
use crate::trainer::{Batch, Draw, Line, Progress, Sums, Targets, TrainError, Trainer, TrainerJob};

/// A token of a text with a label that makes a gradient non-finite at its first element, after its other parts were final.
pub const POISON: i64 = 63;

/// Pulls each weight towards a number that the row, the draw and the element decide.
#[derive(Debug)]
pub struct FakeTrainer {
    weights: Vec<f32>,
    labels: usize,
    objective: Objective,
    /// A shard's gradient until it is finished; `None`: it is added up where the caller wants it.
    elsewhere: Option<Vec<f32>>,
    /// Values of the first parameter that a probe compares with.
    zero_line: Option<Vec<f32>>,
}

/// Features of a row, at most.
const FEATURES: usize = 8;

/// Makes a fake trainer with a run's first values.
pub fn make_trainer(job: TrainerJob) -> Result<Box<dyn Trainer>, TrainError> {
    let mut weights = vec![0.0; job.network.trainable.len()];
    for slot in job.network.trainable.slots() {
        weights[slot.range.clone()].copy_from_slice(&job.values[slot.parameter].clone().into_f32());
    }
    Ok(Box::new(FakeTrainer::new(weights, job.network.blueprint.labels(), job.objective)))
}

impl FakeTrainer {
    /// A trainer of these weights for this many labels.
    pub fn new(weights: Vec<f32>, labels: usize, objective: Objective) -> FakeTrainer {
        FakeTrainer { weights, labels, objective, elsewhere: None, zero_line: None }
    }

    /// The same, which keeps a shard's gradient to itself until the shard is finished, as a trainer on a device does.
    pub fn elsewhere(self) -> FakeTrainer {
        FakeTrainer { elsewhere: Some(vec![0.0; self.weights.len()]), ..self }
    }

    /// A number from −1 to 1 for each row of a batch.
    fn rows(batch: &Batch, seed: u64) -> Vec<f32> {
        let rows = batch.rows();
        let hash = |bytes: &[u8]| (xxh3_64_with_seed(bytes, seed) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match batch {
            Batch::Text { input_ids, lengths, .. } => {
                let mut bytes = input_ids.iter().flat_map(|id| id.to_le_bytes());
                let row = |&length: &usize| bytes.by_ref().take(8 * length).collect::<Vec<u8>>();
                lengths.iter().map(row).map(|bytes| hash(&bytes)).collect()
            }
            Batch::Image { pixels, .. } => pixels
                .chunks(pixels.len() / rows)
                .map(|row| hash(&row.iter().flat_map(|pixel| pixel.to_le_bytes()).collect::<Vec<u8>>()))
                .collect(),
        }
    }

    fn loss(&self, targets: &[f32]) -> f64 {
        let first = f64::from(self.weights.first().copied().unwrap_or_default());
        targets.iter().map(|&target| (first - f64::from(target)) * (first - f64::from(target))).sum()
    }
}

impl Trainer for FakeTrainer {
    fn numeric_class(&self) -> NumericClass {
        NumericClass {
            headstart: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch: "fake".to_owned(),
            device: "cpu".to_owned(),
            instructions: "any".to_owned(),
            threads: 1,
            precision: "f32".to_owned(),
        }
    }

    fn canary(&mut self) -> Result<u128, TrainError> {
        Ok(1)
    }

    fn trainable_len(&self) -> usize {
        self.weights.len()
    }

    fn set_trainable(&mut self, offset: usize, values: &[f32]) -> Result<(), TrainError> {
        self.weights[offset..offset + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn trainable_mut(&mut self) -> Result<Vec<Piece<'_>>, TrainError> {
        // Two of them, the last first: nobody may expect another order.
        let third = self.weights.len() / 3;
        let (first, last) = self.weights.split_at_mut(third);
        Ok(vec![(first.len(), last), (0, first)])
    }

    fn gradient(
        &mut self,
        draw: Draw,
        batch: &Batch,
        gradient: &mut [f32],
        progress: &mut Progress<'_>,
    ) -> Result<Sums, TrainError> {
        if let Some(mut sum) = self.elsewhere.take() {
            let sums = self.gradient(draw, batch, &mut sum, &mut |_, _, _| {});
            self.elsewhere = Some(sum);
            return sums;
        }
        let Draw { seed, step, shard, micro_batch } = draw;
        let targets =
            FakeTrainer::rows(batch, seed ^ (step << 32) ^ u64::from(shard << 8) ^ u64::from(micro_batch));
        if draw.is_first() {
            gradient.fill(0.0);
        }
        for (element, (weight, gradient)) in self.weights.iter().zip(gradient.iter_mut()).enumerate() {
            for target in &targets {
                // Magnitudes far apart, so that a sum in another order has other bits.
                let scale = [1.0, 1e-3, 1e3, 1e-6][element % 4];
                *gradient += (weight - target / (1.0 + (element % 977) as f32)) * scale;
            }
        }
        let loss = self.loss(&targets);
        let finite = loss.is_finite() && headstart::tree::all_finite(gradient);
        let sums = match self.objective {
            Objective::Classification { .. } => self.objective.trained(batch, loss, finite),
            Objective::CausalLm { .. } => self.objective.predicted(batch, tokens(loss), finite),
        };
        for third in [2, 1] {
            progress(&sums, gradient.len() * third / 3, gradient);
        }
        if let Batch::Text { input_ids, targets: Targets::Labels(_), .. } = batch
            && input_ids.contains(&POISON)
        {
            gradient[0] = f32::NAN;
            return Ok(Sums { finite: false, ..sums });
        }
        Ok(sums)
    }

    fn finish_shard(&mut self, gradient: &mut [f32]) -> Result<(), TrainError> {
        self.elsewhere.iter().for_each(|sum| gradient.copy_from_slice(sum));
        Ok(())
    }

    fn set_zero_line(&mut self, values: Vec<Values>) -> Result<(), TrainError> {
        self.zero_line = values.first().map(|values| values.clone().into_f32());
        Ok(())
    }

    fn has_zero_line(&self) -> bool {
        self.zero_line.is_some()
    }

    fn probe(&self, row: &Batch, line: Line) -> Result<Vec<f32>, TrainError> {
        let weights = match line {
            Line::First => &self.weights,
            Line::Zero => self.zero_line.as_ref().ok_or(TrainError::Torch("no zero line".into()))?,
        };
        if let Objective::CausalLm { .. } = self.objective {
            return self.nll(row);
        }
        let known = FakeTrainer::rows(row, 0)[0];
        Ok(weights.iter().take(FEATURES).map(|weight| known + weight).collect())
    }

    fn nll(&self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        let first = self.weights.first().copied().unwrap_or_default().abs();
        Ok(batch.predicted().map(|token| first + token as f32).collect())
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<Sums, TrainError> {
        let targets = FakeTrainer::rows(batch, 0);
        if let Objective::CausalLm { .. } = self.objective {
            return Ok(self.objective.predicted(batch, tokens(self.loss(&targets)), true));
        }
        let guess = |(&target, &actual): (&f32, &i64)| if self.weights[0] > target { actual } else { 0 };
        let predicted: Vec<i64> = targets.iter().zip(batch.labels()).map(guess).collect();
        Ok(self.objective.evaluated(batch, self.loss(&targets), &predicted, self.labels))
    }
}

/// A loss as a language model reports it: no token is the most likely one.
fn tokens(loss: f64) -> TokenSums {
    TokenSums { loss, nll: loss, entropy: 0.0, right: 0 }
}
