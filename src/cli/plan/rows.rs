//! What a run computes, in tokens: of each row, of each micro-batch, of all steps.

use std::borrow::Cow;

use headstart::data::RowIndex;
use headstart::id::Step;
use headstart::job::Job;
use headstart::message::Pass;
use headstart::run_file::{Dataset, Task};

/// Bytes of a text that make a token, estimated from English.
const BYTES_OF_TOKEN: u64 = 5;
/// Bytes of a row besides text and column names: quotes, colons, braces, a short label.
const PUNCTUATION: u64 = 18;
/// Bytes that a second text adds to these: its quotes, a colon, a comma.
const PAIR_PUNCTUATION: u64 = 6;
/// Tokens around a text; one more separates two.
const SPECIAL_TOKENS: u64 = 2;
/// Rows of a run that are looked up one by one; the later ones of a longer run are taken to be like them.
const LOOKED_UP_ROWS: u64 = 1_000_000;

/// Rows that are computed together, laid end to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MicroBatch {
    /// Their tokens.
    pub(super) tokens: u64,
    /// Pairs of tokens of the same row.
    pub(super) pairs: u64,
    /// Tokens that are predicted; none for classifiers.
    pub(super) predicted: u64,
}

/// The tokens of the rows of a job.
#[derive(Clone, Debug)]
pub(super) struct RowLengths<'a> {
    job: &'a Job,
    train: Lengths<'a>,
    eval: Lengths<'a>,
}

/// Tokens of the rows of one pass.
#[derive(Clone, Debug)]
enum Lengths<'a> {
    /// Of each row, and those of them that are predicted: counted, when planning tokenised the rows.
    Counted { tokens: &'a [u32], predicted: &'a [u32] },
    /// Of each row, estimated from its bytes.
    Estimated(Vec<u32>),
    /// Patches of an image.
    Same(u32),
}

impl MicroBatch {
    /// Of rows with these tokens and predicted tokens.
    pub(super) fn of(rows: impl IntoIterator<Item = (u32, u32)>) -> MicroBatch {
        rows.into_iter().fold(MicroBatch::default(), |sum, (tokens, predicted)| MicroBatch {
            tokens: sum.tokens + u64::from(tokens),
            pairs: sum.pairs + u64::from(tokens).pow(2),
            predicted: sum.predicted + u64::from(predicted),
        })
    }
}

impl<'a> RowLengths<'a> {
    /// Those of a job.
    pub(super) fn of(job: &'a Job) -> RowLengths<'a> {
        RowLengths { job, train: Lengths::of(job, &job.train), eval: Lengths::of(job, &job.eval) }
    }

    /// Whether tokens were counted, not estimated.
    pub(super) fn are_counted(&self) -> bool {
        matches!(self.train, Lengths::Counted { .. })
    }

    /// Tokens of `samples` rows of training, those of the run's steps; `None` for images.
    pub(super) fn total(&self, samples: u64) -> Option<u64> {
        let mean = match &self.train {
            Lengths::Same(_) => return None,
            lengths if samples >= self.job.train.len() => mean(lengths.all().iter().copied()),
            _ => self.mean_of_steps(self.looked_up()),
        };
        Some((mean * samples as f64).round() as u64)
    }

    /// Tokens of a row of the first `steps` ÷ tokens of a row of the whole run, `samples` rows: the speed in rows changes so, if
    /// that in tokens does not. 1 for images.
    pub(super) fn share_of_tokens(&self, steps: u64, samples: u64) -> f64 {
        let steps = steps.min(self.job.plan.steps());
        match self.total(samples) {
            Some(total) if total > 0 => self.mean_of_steps(steps) * samples as f64 / total as f64,
            _ => 1.0,
        }
    }

    /// Tokens of the longest row, in training or evaluation; `None` for images.
    pub(super) fn longest(&self) -> Option<u64> {
        let of = |lengths: &Lengths<'_>| lengths.all().iter().copied().max();
        of(&self.train).max(of(&self.eval)).map(u64::from)
    }

    /// Mean tokens of the rows of the first steps.
    pub(super) fn mean_of_steps(&self, steps: u64) -> f64 {
        let (plan, shards) = (&self.job.plan, self.job.spec.batch.shards_per_step);
        let shards = (0..steps).flat_map(|step| (0..shards).map(move |shard| (Step(step), shard)));
        let rows = shards.flat_map(|(step, shard)| plan.rows(Pass::Train, step, shard));
        mean(rows.map(|row| self.train.at(row).0))
    }

    /// The micro-batches of training with most tokens, most pairs of them, and most predicted ones.
    pub(super) fn largest_micro_batches(&self) -> [MicroBatch; 3] {
        let shards = self.job.spec.batch.shards_per_step;
        let size = self.job.spec.batch.per_device_train_batch_size.max(1) as usize;
        let shards = (0..self.looked_up()).flat_map(|step| (0..shards).map(move |shard| (Step(step), shard)));
        largest(shards.flat_map(|(step, shard)| {
            let mut rows = self.rows(Pass::Train, step, shard, &self.train);
            rows.sort_unstable();
            rows.chunks(size).map(|rows| MicroBatch::of(rows.iter().copied())).collect::<Vec<_>>()
        }))
    }

    /// The same of an evaluation, whose shards are one batch each.
    pub(super) fn largest_evaluations(&self) -> [MicroBatch; 3] {
        let shard = u64::from(self.job.spec.batch.per_device_eval_batch_size.max(1));
        let shards = self.job.eval.len().min(LOOKED_UP_ROWS).div_ceil(shard) as u32;
        largest((0..shards).map(|shard| MicroBatch::of(self.rows(Pass::Eval, Step(0), shard, &self.eval))))
    }

    fn rows(&self, pass: Pass, step: Step, shard: u32, of: &Lengths<'_>) -> Vec<(u32, u32)> {
        self.job.plan.rows(pass, step, shard).into_iter().map(|row| of.at(row)).collect()
    }

    /// Steps whose rows are looked up.
    fn looked_up(&self) -> u64 {
        let most = LOOKED_UP_ROWS / u64::from(self.job.spec.batch.global_batch_size.max(1));
        self.job.plan.steps().min(most.max(1))
    }
}

impl<'a> Lengths<'a> {
    fn of(job: &Job, index: &'a RowIndex) -> Lengths<'a> {
        match job.spec.task {
            Task::CausalLm => Lengths::Counted { tokens: index.tokens(), predicted: index.trained() },
            Task::SequenceClassification => Lengths::Estimated(estimated(job, index)),
            Task::ImageClassification => {
                let tokens = job.network.blueprint.image().map_or(0, |image| image.tokens());
                Lengths::Same(u32::try_from(tokens).unwrap_or(u32::MAX))
            }
        }
    }

    /// Tokens of a row, and those that are predicted.
    fn at(&self, row: u64) -> (u32, u32) {
        match self {
            Lengths::Counted { tokens, predicted } => (tokens[row as usize], predicted[row as usize]),
            Lengths::Estimated(tokens) => (tokens[row as usize], 0),
            Lengths::Same(tokens) => (*tokens, 0),
        }
    }

    /// Of every row; empty for images.
    fn all(&self) -> Cow<'_, [u32]> {
        match self {
            Lengths::Counted { tokens, .. } => Cow::Borrowed(tokens),
            Lengths::Estimated(tokens) => Cow::Borrowed(tokens),
            Lengths::Same(_) => Cow::Borrowed(&[]),
        }
    }
}

/// Tokens of each row, from its bytes.
fn estimated(job: &Job, index: &RowIndex) -> Vec<u32> {
    let limit = u64::from(job.network.sequence_len).max(3);
    let around = job.spec.datasets.first().map_or(0, around);
    let pairs = job.spec.datasets.iter().any(|data| data.text_pair_column.is_some());
    let special = SPECIAL_TOKENS + u64::from(pairs);
    let tokens = |&length: &u32| {
        let text = u64::from(length).saturating_sub(around);
        (text / BYTES_OF_TOKEN + special).min(limit) as u32
    };
    index.lengths().iter().map(tokens).collect()
}

/// Bytes of a row besides its texts.
fn around(data: &Dataset) -> u64 {
    let pair = data.text_pair_column.as_ref().map_or(0, |column| column.len() as u64 + PAIR_PUNCTUATION);
    (data.text_column.len() + data.label_column.as_ref().map_or(0, String::len)) as u64 + pair + PUNCTUATION
}

fn largest(batches: impl Iterator<Item = MicroBatch>) -> [MicroBatch; 3] {
    let more = |kept: MicroBatch, batch: MicroBatch, measure: fn(&MicroBatch) -> u64| {
        if measure(&batch) > measure(&kept) { batch } else { kept }
    };
    batches.fold([MicroBatch::default(); 3], |[tokens, pairs, predicted], batch| {
        [
            more(tokens, batch, |batch| batch.tokens),
            more(pairs, batch, |batch| batch.pairs),
            more(predicted, batch, |batch| batch.predicted),
        ]
    })
}

fn mean(tokens: impl Iterator<Item = u32>) -> f64 {
    let (mut count, mut sum) = (0u64, 0u64);
    for tokens in tokens {
        count += 1;
        sum += u64::from(tokens);
    }
    sum as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_micro_batches_are_chosen_by_each_measure() {
        let long = MicroBatch::of([(100, 1)]);
        let many = MicroBatch::of([(40, 2); 4]);
        let taught = MicroBatch::of([(20, 19), (10, 9)]);
        assert_eq!((long.pairs, many.pairs, many.tokens, taught.predicted), (10_000, 6_400, 160, 28));
        assert_eq!(largest([long, taught, many].into_iter()), [many, long, taught]);
        assert_eq!(largest(std::iter::empty()), [MicroBatch::default(); 3]);
        assert!((mean([1, 2, 6].into_iter()) - 3.0).abs() < 1e-12);
    }
}
