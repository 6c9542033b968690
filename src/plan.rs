//! Which sample belongs to which step and shard: a pure function of seed, epoch and step, never of who computes it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod order;

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

#[cfg(test)]
mod tests {
    use super::order::WINDOW;
    use super::*;
    use proptest::prelude::*;

    fn plan(rows: u64, batch: u32, shards: u32) -> Plan {
        Plan {
            shuffle: Shuffle::Global,
            blocks: None,
            rows,
            eval_rows: 10,
            batch: batch.into(),
            shards,
            eval_shard: 4,
            seed: 7,
            steps: 100,
            golden: false,
            probed: Vec::new(),
        }
    }

    const MIB: u32 = 1 << 20;

    fn in_blocks(lengths: &[u32]) -> Plan {
        let blocks = Some(InBlocks::new(Blocks::cut(lengths)));
        Plan { shuffle: Shuffle::Blocks, blocks, ..plan(lengths.len() as u64, 8, 4) }
    }

    fn epoch_of(plan: &Plan, epoch: u64) -> Vec<u64> {
        let steps = (0..plan.steps_per_epoch()).map(|step| Step(epoch * plan.steps_per_epoch() + step));
        steps
            .flat_map(|step| (0..plan.shards).flat_map(move |shard| plan.rows(Pass::Train, step, shard)))
            .collect()
    }

    proptest! {
        #[test]
        fn a_permutation_visits_every_row_once(len in 1u64..3000, seed: u64, epoch in 0u64..5) {
            let permutation = Permutation::new(len, seed, epoch);
            let mut seen: Vec<u64> = (0..len).map(|index| permutation.at(index)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }

        /// A position is looked up alone, whatever the number of rows: no two go to one row.
        #[test]
        fn a_permutation_of_any_length_can_be_asked_anywhere(
            len in prop_oneof![1u64..100, 1..1u64 << 40, (u64::MAX - 100)..=u64::MAX],
            seed: u64,
            epoch: u64,
            indexes in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        ) {
            let index = |index: prop::sample::Index| index.index(len as usize) as u64;
            let indexes: std::collections::BTreeSet<u64> = indexes.into_iter().map(index).collect();
            let rows: std::collections::BTreeSet<u64> =
                indexes.iter().rev().map(|&index| Permutation::new(len, seed, epoch).at(index)).collect();
            prop_assert_eq!(rows.len(), indexes.len());
            prop_assert!(rows.iter().all(|&row| row < len));
        }

        #[test]
        fn an_epoch_trains_on_every_row_once(rows in 1u64..500, batch in 1u32..64, shards in 1u32..16) {
            let plan = plan(rows, batch, shards.min(batch));
            for epoch in 0..2 {
                let mut seen = Vec::new();
                for step in 0..plan.steps_per_epoch() {
                    let step = Step(epoch * plan.steps_per_epoch() + step);
                    let tree = plan.tree(Pass::Train, step);
                    for shard in 0..plan.shards {
                        let rows = plan.rows(Pass::Train, step, shard);
                        prop_assert_eq!(rows.is_empty(), shard >= tree.shards(), "empty shards have no leaf");
                        seen.extend(rows);
                    }
                }
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
            }
        }

        #[test]
        fn an_epoch_in_blocks_trains_on_every_row_once(lengths in prop::collection::vec(1..18 * MIB, 1..600)) {
            let plan = in_blocks(&lengths);
            for epoch in [1, 0] {
                let mut seen = epoch_of(&plan, epoch);
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..lengths.len() as u64).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn blocks_are_mixed_with_those_of_their_window_only() {
        // Four rows to a block, and three windows with a ragged last one.
        let lengths = vec![2 * MIB; 4 * 150];
        let plan = in_blocks(&lengths);
        let epochs: Vec<Vec<u64>> = (0..2).map(|epoch| epoch_of(&plan, epoch)).collect();
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(epochs[0], epoch_of(&plan.clone(), 0), "whoever asks, in whatever order");
        let other = Plan { seed: 8, ..in_blocks(&lengths) };
        assert_ne!(epochs[0], epoch_of(&other, 0));
        for window in epochs[0].chunks(4 * WINDOW as usize) {
            let blocks: std::collections::BTreeSet<u64> = window.iter().map(|row| row / 4).collect();
            assert_eq!(blocks.len(), window.len() / 4, "whole blocks");
            assert_ne!(
                window[..8].iter().map(|row| row / 4).collect::<std::collections::BTreeSet<_>>().len(),
                2
            );
        }
    }

    #[test]
    fn a_run_without_sizes_is_refused() {
        // A worker takes the run file from whoever calls itself its coordinator.
        let spec = crate::run_file::parse(
            "run.yaml",
            "{base_model: m, task: sequence-classification, datasets: [a.csv], output_dir: o}",
            &[],
        );
        let good = spec.expect("a run file");
        assert!(Plan::new(&good, 10, 0).is_ok());
        let spoil: [fn(&mut RunSpec); 3] = [
            |spec| spec.batch.global_batch_size = 0,
            |spec| spec.batch.shards_per_step = 0,
            |spec| spec.batch.per_device_train_batch_size = 0,
        ];
        for spoil in spoil {
            let mut spec = good.clone();
            spoil(&mut spec);
            assert!(matches!(Plan::new(&spec, 10, 0), Err(PlanError::Zero(_))));
        }
    }

    #[test]
    fn epochs_and_seeds_order_rows_differently() {
        let order = |seed, epoch| {
            let permutation = Permutation::new(1000, seed, epoch);
            (0..1000).map(move |index| permutation.at(index)).collect::<Vec<_>>()
        };
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let fixed = order(1, 0).iter().enumerate().filter(|&(index, &row)| index as u64 == row).count();
        assert!(fixed < 10, "{fixed} of 1000 rows kept their place");
    }

    #[test]
    fn a_ragged_step_has_its_true_count() {
        let plan = plan(70, 32, 8);
        assert_eq!([0, 1, 2, 3].map(|step| plan.samples(Step(step))), [32, 32, 6, 32]);
        assert_eq!(plan.tree(Pass::Train, Step(2)).shards(), 2, "6 samples in shards of 4");
    }

    #[test]
    fn evaluation_reads_rows_in_order() {
        let plan = plan(70, 32, 8);
        assert_eq!(plan.tree(Pass::Eval, Step(5)).shards(), 3);
        let rows: Vec<u64> = (0..3).flat_map(|shard| plan.rows(Pass::Eval, Step(5), shard)).collect();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }
}
