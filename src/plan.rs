//! Which sample belongs to which step and shard: a pure function of seed, epoch and step, never of who computes it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod order;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::data::{Blocks, RowIndex};
use crate::id::Step;
use crate::message::{Pass, Work};
use crate::run_file::{InitFrom, Probe, RunSpec, Shuffle, Task};
use crate::tree::Tree;

use order::InBlocks;
pub use order::Permutation;

/// Steps, epochs and shards of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    shuffle: Shuffle,
    blocks: Option<InBlocks>,
    rows: u64,
    eval_rows: u64,
    batch: u64,
    shards: u32,
    eval_shard: u64,
    seed: u64,
    steps: u64,
    golden: bool,
    /// The rows of [`Pass::Probe`], ascending. Empty where blocks are shuffled and not known yet.
    probed: Vec<u64>,
}

/// Most rows of [`Pass::Golden`].
const GOLDEN: u64 = 8;
/// Most rows of a probe whose size the run decides.
const PROBED: u64 = 2_000;
/// A probe may cost this part of a run, as the reciprocal of the share, 2 %. A row costs a trained one three passes, forward and
/// twice as much backward, and a probed one two: of the first weights, and of those they are compared with.
const PROBE_SHARE: u64 = 50;
const PASSES: [u64; 2] = [3, 2];
/// The permutation of rows whose first ones are probed: no epoch of a run has this number.
const PROBE_EPOCH: u64 = u64::MAX;

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// More shards than samples: some would be empty in every step.
    #[error("shards_per_step is {shards}, but a step has only {batch} samples (global_batch_size)")]
    TooManyShards {
        /// Shards of a step.
        shards: u32,
        /// Samples of a step.
        batch: u64,
    },
    /// A size that a run file cannot have, so that it did not come from one.
    #[error("{0} is 0")]
    Zero(&'static str),
    /// Parameters that the run never trains.
    #[error(
        "unfreeze: the run has {steps} steps, so parameters that train from step {step} on never do: lower the step, or name \
         them under freeze"
    )]
    NeverTrains {
        /// The first step that would train them, from 1.
        step: u64,
        /// Steps of the run.
        steps: u64,
    },
    /// The run would not train at all.
    #[error("the run has no step: {0}")]
    NoSteps(&'static str),
    /// The evaluation data has more shards than a tree can name.
    #[error("{rows} evaluation rows in shards of {shard}: raise per_device_eval_batch_size")]
    TooManyEvalShards {
        /// Rows of evaluation data.
        rows: u64,
        /// Rows of a shard.
        shard: u64,
    },
}

impl Plan {
    /// Plans a run over `rows` training rows and `eval_rows` evaluation rows.
    pub fn new(spec: &RunSpec, rows: u64, eval_rows: u64) -> Result<Plan, PlanError> {
        for (key, size) in [
            ("global_batch_size", spec.batch.global_batch_size),
            ("shards_per_step", spec.batch.shards_per_step),
            ("per_device_train_batch_size", spec.batch.per_device_train_batch_size),
        ] {
            if size == 0 {
                return Err(PlanError::Zero(key));
            }
        }
        let batch = u64::from(spec.batch.global_batch_size);
        if u64::from(spec.batch.shards_per_step) > batch {
            return Err(PlanError::TooManyShards { shards: spec.batch.shards_per_step, batch });
        }
        if rows == 0 {
            return Err(PlanError::NoSteps("there are no training rows"));
        }
        let per_epoch = rows.div_ceil(batch);
        let steps =
            spec.max_steps.unwrap_or_else(|| (spec.num_train_epochs * per_epoch as f64).ceil() as u64);
        if steps == 0 {
            return Err(PlanError::NoSteps("max_steps or num_train_epochs is 0"));
        }
        let step = spec.transfer.unfreeze.iter().map(|entry| entry.step).max().unwrap_or_default();
        if step > steps {
            return Err(PlanError::NeverTrains { step, steps });
        }
        let eval_shard = u64::from(spec.batch.per_device_eval_batch_size.max(1));
        if eval_rows.div_ceil(eval_shard) > u64::from(u32::MAX / 2) {
            return Err(PlanError::TooManyEvalShards { rows: eval_rows, shard: eval_shard });
        }
        let asked = match (spec.probe, spec.init) {
            (Probe::Off, _) | (Probe::Share, InitFrom::Random) => 0,
            (Probe::Share, InitFrom::Pretrained) => {
                let [trained, probed] = PASSES;
                (steps.saturating_mul(batch).saturating_mul(trained) / (PROBE_SHARE * probed)).min(PROBED)
            }
            (Probe::Rows(rows), _) => u64::from(rows),
        };
        let plan = Plan {
            shuffle: spec.shuffle.unwrap_or(Shuffle::Global),
            blocks: None,
            rows,
            eval_rows,
            batch,
            shards: spec.batch.shards_per_step,
            eval_shard,
            seed: spec.seed,
            steps,
            golden: spec.task == Task::CausalLm,
            probed: vec![0; asked.min(rows) as usize],
        };
        Ok(if plan.shuffle == Shuffle::Global { plan.with_probed_rows() } else { plan })
    }

    /// The plan over these training rows, whose blocks it needs where blocks are shuffled.
    pub fn over(mut self, train: &RowIndex) -> Plan {
        if self.shuffle == Shuffle::Blocks {
            self.blocks = Some(InBlocks::new(Blocks::of(train)));
            return self.with_probed_rows();
        }
        self
    }

    /// Chooses the rows of the probe. Of blocks, those that training reads first.
    fn with_probed_rows(mut self) -> Plan {
        let count = self.probed.len() as u64;
        self.probed = match &self.blocks {
            Some(in_blocks) => {
                let order = in_blocks.epoch(self.seed, 0);
                (0..count).map(|position| order.at(&in_blocks.blocks, position)).collect()
            }
            None => {
                let permutation = Permutation::new(self.rows, self.seed, PROBE_EPOCH);
                (0..count).map(|position| permutation.at(position)).collect()
            }
        };
        self.probed.sort_unstable();
        self
    }

    /// The blocks of training rows, where blocks are shuffled.
    pub fn blocks(&self) -> Option<&Blocks> {
        self.blocks.as_ref().map(|in_blocks| &in_blocks.blocks)
    }

    /// Number of steps of the run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Steps of one pass over the training rows; the last of them may be ragged.
    pub fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.batch)
    }

    /// Passes over the data completed after `updates` updates.
    pub fn epoch_after(&self, updates: u64) -> f64 {
        updates as f64 / self.steps_per_epoch() as f64
    }

    /// Number of evaluation rows.
    pub fn eval_rows(&self) -> u64 {
        self.eval_rows
    }

    /// Number of samples of a step: the global batch, fewer in an epoch's last step.
    pub fn samples(&self, step: Step) -> u64 {
        let first = (step.0 % self.steps_per_epoch()) * self.batch;
        self.batch.min(self.rows - first)
    }

    /// The canonical tree over the shards that have samples.
    pub fn tree(&self, pass: Pass, step: Step) -> Tree {
        match pass {
            Pass::Train => {
                let last = self.samples(step) - 1;
                Tree::new((last * u64::from(self.shards) / self.batch) as u32 + 1)
            }
            Pass::Eval => Tree::new(self.eval_rows.div_ceil(self.eval_shard).max(1) as u32),
            Pass::Golden => Tree::new(self.golden().count().max(1) as u32),
            Pass::Probe => Tree::new((2 * self.probed.len()).max(1) as u32),
        }
    }

    /// Row numbers of one shard, in the order they are computed. Empty for shards without samples.
    pub fn rows(&self, pass: Pass, step: Step, shard: u32) -> Vec<u64> {
        match pass {
            Pass::Train => self.train_rows(step, self.positions(step, shard)),
            Pass::Golden => self.golden().skip(shard as usize).take(1).collect(),
            Pass::Probe => {
                let place = shard as usize % self.probed.len().max(1);
                self.probed.get(place).copied().into_iter().collect()
            }
            Pass::Eval => {
                let first = u64::from(shard) * self.eval_shard;
                (first..(first + self.eval_shard).min(self.eval_rows)).collect()
            }
        }
    }

    /// The rows of [`Pass::Golden`]: of a language model, the first evaluation rows or, without any, the last training rows.
    pub fn golden(&self) -> Range<u64> {
        match (self.golden, self.eval_rows) {
            (false, _) => 0..0,
            (true, 0) => self.rows.saturating_sub(GOLDEN)..self.rows,
            (true, rows) => 0..rows.min(GOLDEN),
        }
    }

    /// The rows of [`Pass::Probe`], ascending. Each has two shards: `probed.len()` shards, one a row, of the first weights, then as
    /// many of those that they are compared with.
    pub fn probed(&self) -> &[u64] {
        &self.probed
    }

    /// Row numbers of a whole node, shard after shard.
    pub fn rows_of(&self, work: &Work) -> Vec<u64> {
        work.node.range().flat_map(|shard| self.rows(work.pass, work.step, shard)).collect()
    }

    /// Positions within the step's batch: sample `p` of `B` belongs to shard `floor(p·V/B)`.
    fn positions(&self, step: Step, shard: u32) -> Range<u64> {
        let shards = u64::from(self.shards);
        let bound = |shard: u64| (shard * self.batch).div_ceil(shards).min(self.samples(step));
        bound(u64::from(shard))..bound(u64::from(shard) + 1)
    }

    fn train_rows(&self, step: Step, positions: Range<u64>) -> Vec<u64> {
        let (epoch, in_epoch) = (step.0 / self.steps_per_epoch(), step.0 % self.steps_per_epoch());
        let positions = positions.map(|position| in_epoch * self.batch + position);
        match (self.shuffle, &self.blocks) {
            (Shuffle::Global, _) => {
                let permutation = Permutation::new(self.rows, self.seed, epoch);
                positions.map(|position| permutation.at(position)).collect()
            }
            (Shuffle::Blocks, Some(in_blocks)) => {
                let order = in_blocks.epoch(self.seed, epoch);
                positions.map(|position| order.at(&in_blocks.blocks, position)).collect()
            }
            (Shuffle::Blocks, None) => {
                panic!("a plan that shuffles blocks is asked for rows after Plan::over")
            }
        }
    }
}
