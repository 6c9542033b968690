//! A node's own tree: shards in order become the node's sum, along the canonical tree.
//!
//! What goes in is a shard's batches; what comes out, after the last shard, is the node's [`Partial`]. A shard is added to the sums
//! that wait for it as soon as it is computed, on the trainer's thread: at most `1 + log2(shards)` gradients exist at a time, and
//! their buffers are reused. A shard is checked here, where its rows are known.
//!
//! Parameters that do not train yet have no gradient: it is zero from the shard's sum on, in every sum and in the step's norm.
//!
//! The backward pass of the last shard makes the gradient final from its end to its beginning. Each segment is added up, rounded
//! and handed on as soon as it is final, while the segments before it are still computed.

use std::ops::Range;

use headstart::id::Segment;
use headstart::message::{GoldenRow, ProbedRow, Totals, Work};
use headstart::rounding::Rounding;
use headstart::trainable::SEGMENT;
use headstart::tree::{self, Node, Tree};

use crate::collate::TrainedText;
use crate::gradient::{Buffers, Gradient};
use crate::outgoing::Outgoing;
use crate::trainer::{Batch, Draw, Line, PIECE, Sums, Targets, TrainError, Trainer};

/// A lease's result.
#[derive(Debug, Default)]
pub struct Partial {
    /// Gradient sum over the node's samples, the flat trainable vector; none for evaluations.
    pub gradient: Option<Gradient>,
    /// Sums beside it.
    pub totals: Totals,
}

/// Why a shard could not be added.
pub(crate) enum Unadded {
    /// It is not finite itself.
    Shard(u32),
    /// A sum that it is part of is not finite.
    Sum,
    Train(TrainError),
}

impl From<TrainError> for Unadded {
    fn from(error: TrainError) -> Self {
        Unadded::Train(error)
    }
}

/// A node's own tree: the part of the canonical tree below it.
pub(crate) struct Subtree {
    work: Work,
    rounding: Rounding,
    /// Elements without a gradient.
    not_yet: Vec<Range<usize>>,
    /// Sums of nodes that wait for the shards after them, from left to right.
    waiting: Vec<(Node, Partial)>,
    buffers: Buffers,
    outgoing: Option<Outgoing>,
}

/// The additions that a shard makes possible: with the sums that wait, from the last one on, each of which gives the sum of a node.
struct Additions {
    shard: Node,
    sums: Vec<Node>,
}

impl Subtree {
    pub(crate) fn new(
        work: Work,
        rounding: Rounding,
        buffers: Buffers,
        outgoing: Option<Outgoing>,
    ) -> Subtree {
        Subtree { work, rounding, not_yet: Vec::new(), waiting: Vec::new(), buffers, outgoing }
    }

    /// The same, for a step that does not train these elements of the trainable vector yet.
    pub(crate) fn without(self, not_yet: Vec<Range<usize>>) -> Subtree {
        Subtree { not_yet, ..self }
    }

    fn additions(&self, shard: u32) -> Additions {
        // A node of the canonical tree splits like a tree of its own size: both halve at the largest power of two.
        let Node { first, shards } = self.work.node;
        let tree = Tree::new(shards);
        let shard = Node { first: shard, shards: 1 };
        let (mut node, mut sums) = (Node { first: shard.first - first, ..shard }, Vec::new());
        for (left, _) in self.waiting.iter().rev() {
            let left = Node { first: left.first - first, ..*left };
            let Some(parent) = tree.parent(node).filter(|parent| parent.left == left) else { break };
            node = parent.node;
            sums.push(Node { first: node.first + first, ..node });
        }
        Additions { shard, sums }
    }

    /// Adds a shard's gradient sum, if it is finite. The check is made here, where the rows are known.
    pub(crate) fn add_gradient(
        &mut self,
        trainer: &mut dyn Trainer,
        draw: Draw,
        batches: &[Batch],
    ) -> Result<(), Unadded> {
        let additions = self.additions(draw.shard);
        let mut gradient = self.buffers.take(trainer.trainable_len())?;
        if batches.is_empty() {
            gradient.values.fill(0.0);
        }
        let is_last = draw.shard + 1 == self.work.node.end();
        let (mut totals, mut finite, mut unfinished) = (Totals::default(), true, gradient.values.len());
        let mut outcome = Ok(());
        for (micro_batch, batch) in (0..).zip(batches) {
            let is_last = is_last && micro_batch as usize + 1 == batches.len();
            let mut progress = |sums: &Sums, from: usize, gradient: &mut [f32]| {
                if is_last && self.outgoing.is_some() && finite && sums.finite && outcome.is_ok() {
                    let totals = || Totals::merge(totals.clone(), totals_of(sums.clone()));
                    outcome = self.finish(&additions, totals, from, &mut unfinished, gradient);
                }
            };
            let draw = Draw { micro_batch, ..draw };
            let sums = trainer.gradient(draw, batch, &mut gradient.values, &mut progress)?;
            finite &= sums.finite;
            totals = Totals::merge(totals, totals_of(sums));
        }
        if !finite {
            return Err(Unadded::Shard(draw.shard));
        }
        outcome?;
        if !batches.is_empty() {
            trainer.finish_shard(&mut gradient.values)?;
        }
        self.finish(&additions, || totals.clone(), 0, &mut unfinished, &mut gradient.values)?;
        self.insert(&additions, Partial { gradient: Some(gradient), totals });
        Ok(())
    }

    /// Adds up the segments that are final from an element on, and hands on those of the node's sum. `unfinished`: the first
    /// element of those that were finished before.
    fn finish(
        &self,
        additions: &Additions,
        totals: impl Fn() -> Totals,
        from: usize,
        unfinished: &mut usize,
        gradient: &mut [f32],
    ) -> Result<(), Unadded> {
        let is_root = additions.sums.last().unwrap_or(&additions.shard) == &self.work.node;
        while *unfinished > 0 {
            let start = (*unfinished - 1) / SEGMENT * SEGMENT;
            if start < from {
                break;
            }
            let segment = &mut gradient[start..*unfinished];
            self.leave_out(start, segment);
            self.add_up(additions, start, segment)?;
            *unfinished = start;
            if let Some(outgoing) = self.outgoing.as_ref().filter(|_| is_root) {
                outgoing.send(
                    || self.totals(additions, totals()),
                    Segment((start / SEGMENT) as u32),
                    segment,
                );
            }
        }
        Ok(())
    }

    /// Sets what does not train yet to zero, in a part of a shard's sum that begins at an element of the trainable vector.
    fn leave_out(&self, start: usize, values: &mut [f32]) {
        let end = start + values.len();
        for range in &self.not_yet {
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                values[from - start..to - start].fill(0.0);
            }
        }
    }

    /// Rounds a part of a shard's sum, adds what waits for it, and rounds each sum.
    fn add_up(&self, additions: &Additions, start: usize, values: &mut [f32]) -> Result<(), Unadded> {
        let Additions { shard, sums } = additions;
        for (number, piece) in values.chunks_mut(PIECE).enumerate() {
            let at = start + number * PIECE;
            let round = |node, piece: &mut [f32]| self.rounding.round(self.work.step, node, at, piece);
            round(*shard, piece).map_err(|_| Unadded::Shard(shard.first))?;
            for (node, (_, left)) in sums.iter().zip(self.waiting.iter().rev()) {
                let left = left.gradient.as_ref().expect("a training pass has gradients");
                tree::add(piece, &left.values[at..at + piece.len()]);
                round(*node, piece).map_err(|_| Unadded::Sum)?;
            }
        }
        Ok(())
    }

    /// The sums beside a node's gradient.
    fn totals(&self, additions: &Additions, totals: Totals) -> Totals {
        let lefts = self.waiting.iter().rev().take(additions.sums.len());
        lefts.fold(totals, |sum, (_, left)| Totals::merge(left.totals.clone(), sum))
    }

    /// Adds a shard's metric sums. An evaluation may report an infinite loss.
    pub(crate) fn add_metrics(
        &mut self,
        trainer: &mut dyn Trainer,
        shard: u32,
        batches: &[Batch],
    ) -> Result<(), Unadded> {
        let mut totals = Totals::default();
        for batch in batches {
            totals = Totals::merge(totals, totals_of(trainer.evaluate(batch)?));
        }
        self.insert(&self.additions(shard), Partial { gradient: None, totals });
        Ok(())
    }

    /// Adds a row's log probabilities.
    pub(crate) fn add_golden(
        &mut self,
        trainer: &mut dyn Trainer,
        shard: u32,
        batches: &[Batch],
        prompt: String,
    ) -> Result<(), Unadded> {
        let [batch @ Batch::Text { input_ids, .. }] = batches else {
            return Err(TrainError::Torch("one text was expected".into()).into());
        };
        let logprobs: Vec<f32> = trainer.nll(batch)?.into_iter().map(|nll| -nll).collect();
        let totals = Totals {
            samples: 1,
            divisor: logprobs.len() as u64,
            loss: logprobs.iter().map(|logprob| -f64::from(*logprob)).sum(),
            tokens: batch.tokens(),
            golden: vec![GoldenRow {
                prompt,
                token_ids: input_ids.iter().map(|&id| id as u32).collect(),
                logprobs,
            }],
            ..Totals::default()
        };
        self.insert(&self.additions(shard), Partial { gradient: None, totals });
        Ok(())
    }

    /// Adds what the network makes of a row before it is trained; of a language model's row, of the tokens that stand for text.
    pub(crate) fn add_probed(
        &mut self,
        trainer: &dyn Trainer,
        (shard, line): (u32, Line),
        batches: &[Batch],
        text: TrainedText,
    ) -> Result<(), Unadded> {
        let [row] = batches else {
            return Err(TrainError::Torch("one row was expected".into()).into());
        };
        let values = trainer.probe(row, line)?;
        let probed = match row {
            Batch::Text { input_ids, targets: Targets::Tokens(_), .. } => {
                if values.len() != text.is_text.len() {
                    let odd = format!("{} losses of {} tokens", values.len(), text.is_text.len());
                    return Err(TrainError::Torch(odd).into());
                }
                let tokens = row.predicted().zip(values).zip(text.is_text).filter(|(_, is_text)| *is_text);
                let mut probed = ProbedRow { bytes: text.bytes, ..ProbedRow::default() };
                for ((token, nats), _) in tokens {
                    probed.values.push(nats);
                    probed.token_ids.push(input_ids[token] as u32);
                    probed.before.push(token as u32);
                }
                probed
            }
            Batch::Text { .. } | Batch::Image { .. } => ProbedRow { values, ..ProbedRow::default() },
        };
        let totals = Totals { samples: 1, tokens: row.tokens(), probed: vec![probed], ..Totals::default() };
        self.insert(&self.additions(shard), Partial { gradient: None, totals });
        Ok(())
    }

    /// Puts a shard's sum, to which the others have been added, in their place.
    fn insert(&mut self, additions: &Additions, leaf: Partial) {
        let totals = self.totals(additions, leaf.totals);
        for _ in &additions.sums {
            let (_, left) = self.waiting.pop().expect("it was added");
            left.gradient.into_iter().for_each(|gradient| self.buffers.put(gradient));
        }
        let node = additions.sums.last().unwrap_or(&additions.shard);
        self.waiting.push((*node, Partial { gradient: leaf.gradient, totals }));
    }

    pub(crate) fn take(mut self) -> Partial {
        let (node, partial) = self.waiting.pop().expect("every shard of the node was computed");
        debug_assert_eq!(node, self.work.node, "nothing else waits");
        partial
    }
}

fn totals_of(Sums { samples, divisor, loss, finite: _, tokens, counts, measures }: Sums) -> Totals {
    Totals { samples, divisor, loss, counts, measures, tokens, ..Totals::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart::id::{Step, Version};
    use headstart::message::Pass;
    use headstart::run_file::Wire;

    use crate::fake::FakeTrainer;
    use crate::objective::Objective;

    fn partial(node: Node, wire: Wire) -> Partial {
        partial_without(node, wire, &[])
    }

    fn partial_without(node: Node, wire: Wire, not_yet: &[Range<usize>]) -> Partial {
        let weights = (0..40).map(|element| element as f32 * 0.37);
        let mut trainer =
            FakeTrainer::new(weights.collect(), 2, Objective::Classification { smoothing: 0.0 });
        // Nodes are equal, wherever their gradients are added up.
        if node.shards.is_multiple_of(2) {
            trainer = trainer.elsewhere();
        }
        let work = Work { pass: Pass::Train, step: Step(1), node, version: Version(1) };
        let sum = Subtree::new(work, Rounding::new(wire, 3), Buffers::default(), None);
        let mut sum = sum.without(not_yet.to_vec());
        for shard in node.range() {
            let row = |row: u32| Batch::Image {
                pixels: vec![(shard * 10 + row) as f32],
                shape: [1, 1, 1],
                labels: vec![0],
            };
            let draw = Draw { seed: 3, step: 1, shard, micro_batch: 0 };
            let added = sum.add_gradient(&mut trainer, draw, &[row(0), row(1)]);
            assert!(added.is_ok(), "fake gradients do not fail");
        }
        sum.take()
    }

    #[test]
    fn what_does_not_train_yet_is_left_out_of_every_sum() {
        let node = Node { first: 0, shards: 3 };
        let without = vec![0..3, 17..25, 39..40];
        for wire in [Wire::F32, Wire::Bf16] {
            let values = |partial: Partial| partial.gradient.expect("a training pass").values().to_vec();
            let (all, some) = (values(partial(node, wire)), values(partial_without(node, wire, &without)));
            for (element, (all, some)) in all.iter().zip(&some).enumerate() {
                let left_out = without.iter().any(|range| range.contains(&element));
                assert_eq!(some.to_bits(), if left_out { 0 } else { all.to_bits() }, "{wire:?}, {element}");
            }
        }
    }

    #[test]
    fn a_node_is_the_sum_of_its_halves_to_the_bit() {
        for wire in [Wire::F32, Wire::Bf16, Wire::Int8] {
            every_node_is_the_sum_of_its_halves(wire);
        }
    }

    fn every_node_is_the_sum_of_its_halves(wire: Wire) {
        let mut pending = vec![Node { first: 3, shards: 7 }];
        while let Some(node) = pending.pop() {
            let halves = Tree::children(Node { first: 0, ..node });
            let Some((left, right)) = halves else { continue };
            let [left, right] = [left, right].map(|half| Node { first: node.first + half.first, ..half });
            let whole = partial(node, wire);
            let values = |partial: Partial| partial.gradient.expect("a training pass").values;
            let mut sum = values(partial(left, wire));
            tree::add(&mut sum, &values(partial(right, wire)));
            Rounding::new(wire, 3).round(Step(1), node, 0, &mut sum).expect("all are finite");
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                bits(&sum),
                bits(whole.gradient.as_ref().expect("a training pass").values()),
                "{node}"
            );
            assert_eq!(whole.totals.samples, 2 * u64::from(node.shards));
            pending.extend([left, right]);
        }
    }
}
