//! One micro-batch: forward block by block, then backward from the head to the embeddings.
//!
//! What goes in is a batch, the weights, and the numbers that seed its dropout; what comes out is the gradient of the *summed* loss,
//! written straight to where a shard's is added up (`gradient.rs`), and the sums beside it. The network is cut into blocks: each runs forward
//! on a detached input, so that libtorch builds one small graph a block. Backward goes from the last block to the first and
//! hands the gradient of a block's input to the block before it, as its output's gradient; a block's graph is freed once it has
//! been used. Blocks before the first parameter that trains build no graph at all. A parameter that does not train yet is left
//! out of every graph, and its gradient is zero.
//!
//! Gradients that no graph gives are added by hand: of looked-up embedding tables, and of a vocabulary's weight (`lookup.rs`,
//! `parts/vocabulary.rs`). With checkpointing a layer keeps no graph: it is computed again in the backward pass, from its input
//! and the same draws.
//!
//! The order is what makes bits repeat: each block draws dropout from a generator seeded by (step, shard, micro-batch, block), so
//! the draws do not depend on what this process computed before; and gradients are copied (first micro-batch) or added (later
//! ones) parameter by parameter in the table's order, rows of an embedding table token by token. Division by the number of
//! samples or tokens happens on the coordinator, once: dividing here would round in every shard.
//!
//! On the host the loss is known before the backward pass, and parts of the gradient are shown as soon as they are final. On a
//! device nothing is read until all is queued: the loss and the judgement of the gradient come down together.

use std::ops::Range;

use headstart::model::Block;
use tch::Tensor;

use super::bus;
use super::device_gradient::DeviceGradient;
use super::dropout::DropoutRng;
use super::gradient::{Dropped, HostGradient, Sink};
use super::lookup::Lookup;
use super::network::{Inputs, Transformer};
use super::objective::Loss;
use super::parameters::{Parameters, Trained};
use super::parts::{Judged, Vocabulary};
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
    /// Places of the parameters that the step does not train yet.
    pub(super) not_yet: Vec<Range<usize>>,
}

/// One block between its forward and its backward pass.
struct Passed {
    block: Block,
    /// What it was computed from, cut off from the blocks before.
    input: Tensor,
    /// `None`: to be computed again.
    output: Option<Tensor>,
}

/// A micro-batch between its forward and its backward pass.
struct Judgement {
    inputs: Inputs,
    /// Places whose gradients no graph gives.
    by_hand: Vec<Range<usize>>,
    passed: Vec<Passed>,
    /// Gradient of what the last block gave; `None`: that is the loss itself.
    of_output: Option<Tensor>,
    /// See [`Loss::numbers`].
    numbers: Tensor,
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
        let mut gradient = HostGradient::new(gradient);
        let judgement = self.judge(&mut gradient)?;
        let mut sums = self.objective.sums(self.batch, &bus::read(&judgement.numbers)?);
        let is_loss_finite = sums.finite;
        self.backward(judgement, &mut gradient, |start, gradient| {
            sums.finite = is_loss_finite && gradient.finite;
            progress(&sums, start, gradient.values);
        })?;
        sums.finite = is_loss_finite && gradient.finite;
        Ok(sums)
    }

    /// The same on a device. The host waits for it once.
    pub(super) fn gradient_there(&self, gradient: &mut DeviceGradient) -> Result<Sums, TrainError> {
        let judgement = self.judge(gradient)?;
        let numbers = judgement.numbers.shallow_clone();
        self.backward(judgement, gradient, |_, _| {})?;
        let (numbers, is_finite) = gradient.read(&numbers)?;
        let sums = self.objective.sums(self.batch, &numbers);
        Ok(Sums { finite: sums.finite && is_finite, ..sums })
    }

    /// The forward pass, the loss, and what the head adds by hand.
    fn judge(&self, gradient: &mut dyn Sink) -> Result<Judgement, TrainError> {
        let Step { network, parameters, batch, .. } = *self;
        let by_hand = network.outside_graphs(batch);
        if self.draw.is_first() {
            by_hand.iter().chain(&self.not_yet).try_for_each(|place| gradient.clear(place.clone()))?;
        }
        let inputs = network.inputs(batch, parameters.device())?;
        let (mut passed, head) = self.forward(&inputs, &by_hand)?;
        let of_head = network.vocabulary().and_then(Vocabulary::place);
        let sink: &mut dyn Sink =
            if of_head.is_some_and(|place| self.not_yet.contains(&place)) { &mut Dropped } else { gradient };
        let loss = self.objective.loss(network, &head, batch, Some(sink))?;
        let numbers = loss.numbers()?;
        let of_output = match loss {
            Loss::Scalar(loss) => {
                if let Some(head) = passed.last_mut() {
                    head.output = Some(loss);
                }
                None
            }
            Loss::Tokens(Judged { of_hidden, .. }) => of_hidden,
        };
        Ok(Judgement { inputs, by_hand, passed, of_output, numbers })
    }

    /// The backward pass. `after` is told the first element of what has become final, after each block but the first.
    fn backward<S: Sink>(
        &self,
        judgement: Judgement,
        gradient: &mut S,
        mut after: impl FnMut(usize, &mut S),
    ) -> Result<(), TrainError> {
        let Judgement { inputs, by_hand, mut passed, of_output: mut upstream, .. } = judgement;
        while let Some(block) = passed.pop() {
            let root = self.root(&block, &inputs, upstream.take())?;
            let trained = self.in_graph(block.block, &by_hand);
            upstream = differentiate(&root, &block.input, trained, |place, found| {
                self.store(found, place, gradient)
            })?;
            // Tables wait for the gradient of the first block's input.
            let start = self.parameters.start(block.block).filter(|_| block.block != Block::Embed);
            start.into_iter().for_each(|start| after(start, gradient));
        }
        match upstream {
            Some(of_input) => gradient.scatter(self.lookups(), &of_input),
            None => Ok(()),
        }
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
        let mut wanted = !self.lookups().is_empty();
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

    /// The tables that rows were looked up in, as far as the step trains them.
    fn lookups(&self) -> Vec<Lookup<'_>> {
        let mut lookups = self.network.lookups(self.batch);
        lookups.retain(|lookup| !self.not_yet.contains(&lookup.place));
        lookups
    }

    /// The parameters of a block whose gradients its graph gives.
    fn in_graph<'a>(
        &'a self,
        block: Block,
        by_hand: &'a [Range<usize>],
    ) -> impl Iterator<Item = Trained<'a>> {
        let outside = |place: &Range<usize>| by_hand.contains(place) || self.not_yet.contains(place);
        self.parameters.trained(block).filter(move |parameter| !outside(&parameter.place))
    }

    /// Writes or adds a parameter's gradient, `None` where the loss does not reach it.
    fn store(
        &self,
        found: Option<&Tensor>,
        place: Range<usize>,
        gradient: &mut dyn Sink,
    ) -> Result<(), TrainError> {
        match (found, self.draw.is_first()) {
            (Some(found), true) => gradient.write(place, found),
            (Some(found), false) => gradient.add(place, found),
            (None, true) => gradient.clear(place),
            (None, false) => Ok(()),
        }
    }
}

/// Gives the gradient of each of a block's parameters to `store`, `None` where the graph does not reach it; returns the
/// input's, where it has one.
fn differentiate<'a>(
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
