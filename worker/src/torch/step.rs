//! One micro-batch: forward block by block, then backward from the head to the embeddings.
//!
//! What goes in is a batch, the weights, and the numbers that seed its dropout; what comes out is the gradient of the *summed* loss,
//! written straight into the flat trainable vector, and the sums beside it. The network is cut into blocks: each runs forward
//! on a detached input, so that libtorch builds one small graph a block. Backward goes from the last block to the first and
//! hands the gradient of a block's input to the block before it, as its output's gradient; a block's graph is freed once it has
//! been used. Blocks before the first parameter that trains build no graph at all.
//!
//! Gradients that no graph gives are added by hand: of looked-up embedding tables, and of a vocabulary's weight (`lookup.rs`,
//! `parts/vocabulary.rs`). With checkpointing a layer keeps no graph: it is computed again in the backward pass, from its input
//! and the same draws.
//!
//! The order is what makes bits repeat: each block draws dropout from a generator seeded by (step, shard, micro-batch, block), so
//! the draws do not depend on what this process computed before; and gradients are copied (first micro-batch) or added (later
//! ones) parameter by parameter in the table's order, rows of an embedding table token by token. Division by the number of
//! samples or tokens happens on the coordinator, once: dividing here would round in every shard.

use std::ops::Range;

use headstart::model::Block;
use headstart::tree;
use tch::Tensor;

use super::dropout::DropoutRng;
use super::host;
use super::network::{Inputs, Transformer};
use super::objective::Loss;
use super::parameters::{Parameters, Trained};
use super::parts::Judged;
use crate::objective::Objective;
use crate::trainer::{Batch, Draw, Progress, Sums, TrainError};

/// What a micro-batch is computed with.
pub(super) struct Step<'a> {
    pub(super) network: &'a Transformer,
    pub(super) parameters: &'a Parameters,
    pub(super) objective: Objective,
    /// Whether layers are computed again in the backward pass.
    pub(super) checkpointing: bool,
    /// What seeds the random draws.
    pub(super) draw: Draw,
    pub(super) batch: &'a Batch,
}

/// One block between its forward and its backward pass.
struct Passed {
    block: Block,
    /// What it was computed from, cut off from the blocks before.
    input: Tensor,
    /// `None`: to be computed again.
    output: Option<Tensor>,
}

impl Step<'_> {
    /// Computes the gradient of the summed loss into `gradient`, the trainable vector's: a shard's first micro-batch
    /// overwrites it, later ones add. Returns the sums beside it.
    ///
    /// Each block's random draws are seeded by what it computes, so every worker draws the same numbers. Blocks before the
    /// first trainable parameter keep nothing for a backward pass.
    pub(super) fn gradient(
        &self,
        gradient: &mut [f32],
        progress: &mut Progress<'_>,
    ) -> Result<Sums, TrainError> {
        let Step { network, parameters, batch, .. } = *self;
        let by_hand = network.outside_graphs(batch);
        if self.draw.is_first() {
            by_hand.iter().try_for_each(|place| host::clear(&mut gradient[place.clone()]))?;
        }
        let inputs = network.inputs(batch, parameters.device())?;
        let (mut passed, head) = self.forward(&inputs, &by_hand)?;
        let loss = self.objective.loss(network, &head, batch, Some(gradient))?;
        drop(head);
        let (mut sums, mut upstream) = self.judged(loss, &mut passed)?;
        while let Some(block) = passed.pop() {
            let root = self.root(&block, &inputs, upstream.take())?;
            let trained = self.in_graph(block.block, &by_hand);
            upstream = backward(&root, &block.input, trained, |place, found| {
                sums.finite &= self.store(found, &mut gradient[place])?;
                Ok(())
            })?;
            // Tables wait for the gradient of the first block's input.
            if let Some(start) = parameters.start(block.block).filter(|_| block.block != Block::Embed) {
                progress(&sums, start, gradient);
            }
        }
        if let Some(of_input) = upstream {
            let hidden = of_input.size().last().map_or(1, |&hidden| hidden as usize);
            host::elements(&of_input, |of_input| {
                for lookup in network.lookups(batch) {
                    sums.finite &= lookup.scatter(hidden, of_input, gradient);
                }
            })?;
        }
        Ok(sums)
    }

    /// The blocks that need a backward pass, in order, and what the head gave.
    fn forward(
        &self,
        inputs: &Inputs,
        by_hand: &[Range<usize>],
    ) -> Result<(Vec<Passed>, Tensor), TrainError> {
        let mut passed: Vec<Passed> = Vec::new();
        let mut hidden = inputs.first.shallow_clone();
        // Images have no gradient; sums of looked-up embeddings do, when a table trains.
        let mut wanted = !self.network.lookups(self.batch).is_empty();
        for block in self.network.chain() {
            let keep = wanted || self.in_graph(block, by_hand).next().is_some();
            let again = self.checkpointing && matches!(block, Block::Layer(_));
            let input = hidden.f_detach()?.f_set_requires_grad(wanted)?;
            hidden = {
                let _guard = (again || !keep).then(tch::no_grad_guard);
                self.compute(block, &input, inputs)?
            };
            if keep {
                let output = (!again).then(|| hidden.shallow_clone());
                passed.push(Passed { block, input, output });
            }
            wanted = keep;
        }
        Ok((passed, hidden))
    }

    fn compute(&self, block: Block, input: &Tensor, inputs: &Inputs) -> Result<Tensor, TrainError> {
        let draws = DropoutRng::new(self.draw, block, self.parameters.device());
        self.network.block(block, input, inputs, Some(&draws))
    }

    /// The sums of a micro-batch, and the gradient of what the head gave; `None`: the last block's output is the loss itself.
    fn judged(&self, loss: Loss, passed: &mut [Passed]) -> Result<(Sums, Option<Tensor>), TrainError> {
        match loss {
            Loss::Scalar(loss) => {
                let value = loss.f_double_value(&[])?;
                if let Some(head) = passed.last_mut() {
                    head.output = Some(loss);
                }
                Ok((self.objective.trained(self.batch, value, value.is_finite()), None))
            }
            Loss::Tokens(Judged { sums, of_hidden, finite, .. }) => {
                let finite = finite && sums.loss.is_finite();
                Ok((self.objective.predicted(self.batch, sums, finite), of_hidden))
            }
        }
    }

    /// What the backward pass of a block begins with. `of_output`: the gradient of its output, if that is not the loss itself.
    fn root(
        &self,
        passed: &Passed,
        inputs: &Inputs,
        of_output: Option<Tensor>,
    ) -> Result<Tensor, TrainError> {
        let output = match &passed.output {
            Some(output) => output.shallow_clone(),
            None => self.compute(passed.block, &passed.input, inputs)?,
        };
        match of_output {
            None => Ok(output),
            // Summing output times its gradient passes that gradient on, bit for bit.
            Some(of_output) => Ok(output.f_mul(&of_output)?.f_sum(None)?),
        }
    }

    /// The parameters of a block whose gradients its graph gives.
    fn in_graph<'a>(
        &'a self,
        block: Block,
        by_hand: &'a [Range<usize>],
    ) -> impl Iterator<Item = Trained<'a>> {
        self.parameters.trained(block).filter(|parameter| !by_hand.contains(&parameter.place))
    }

    /// Writes or adds a parameter's gradient, `None` where the loss does not reach it. Whether all of it is finite, judged here,
    /// while it is in a core's cache.
    fn store(&self, found: Option<&Tensor>, place: &mut [f32]) -> Result<bool, TrainError> {
        match found {
            Some(found) if self.draw.is_first() => host::copy(found, place)?,
            Some(found) => host::elements(found, |found| tree::add(place, found))?,
            None if self.draw.is_first() => {
                host::clear(place)?;
                return Ok(true);
            }
            None => return Ok(true),
        }
        Ok(tree::all_finite(place))
    }
}

/// Gives the gradient of each of a block's parameters to `store`, `None` where the graph does not reach it; returns the
/// input's, where it has one.
fn backward<'a>(
    root: &Tensor,
    input: &Tensor,
    trained: impl Iterator<Item = Trained<'a>>,
    mut store: impl FnMut(Range<usize>, Option<&Tensor>) -> Result<(), TrainError>,
) -> Result<Option<Tensor>, TrainError> {
    let trained: Vec<Trained<'a>> = trained.collect();
    let mut leaves: Vec<&Tensor> = trained.iter().map(|parameter| parameter.tensor).collect();
    leaves.extend(input.requires_grad().then_some(input));
    let mut gradients = Tensor::f_run_backward(&[root], &leaves, false, false)?;
    let of_input = if input.requires_grad() { gradients.pop() } else { None };
    for (parameter, found) in trained.into_iter().zip(gradients) {
        store(parameter.place, found.defined().then_some(&found))?;
    }
    Ok(of_input)
}
