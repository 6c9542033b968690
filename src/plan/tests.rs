//! Which rows a step has, whoever asks.

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
        assert_ne!(window[..8].iter().map(|row| row / 4).collect::<std::collections::BTreeSet<_>>().len(), 2);
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
