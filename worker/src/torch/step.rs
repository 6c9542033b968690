//! One micro-batch: forward block by block, then backward from the head to the embeddings.
//!
//! What goes in is a batch, the weights, and the numbers that seed its dropout; what comes out is the gradient of the *summed* loss,
//! written straight into the flat trainable vector, and the sums beside it. The network is cut into blocks: each runs forward
//! on a detached input, so that libtorch builds one small graph a block. Backward goes from the last block to the first and
//! hands the gradient of a block's input to the block before it, as its output's gradient; a block's graph is freed once it has
//! been used. Blocks before the first parameter that trains build no graph at all.
//!
//! The order is what makes bits repeat: each block draws dropout from a generator seeded by (step, shard, micro-batch, block), so
//! the draws do not depend on what this process computed before; and gradients are copied (first micro-batch) or added (later
//! ones) parameter by parameter in the table's order, rows of an embedding table token by token. Division by the number of
//! samples or tokens happens on the coordinator, once: dividing here would round in every shard.

use std::ops::Range;

use headstart::model::Block;
use headstart::tree;
use tch::Tensor;

use super::blocks::{Blocks, mask};
use super::dropout::DropoutRng;
use super::host;
use super::parameters::{Parameters, Trained};
use crate::objective::Objective;
use crate::trainer::{Batch, Draw, Sums, TrainError};

/// One block between its forward and its backward pass.
struct Passed {
    block: Block,
    /// What it was computed from, cut off from the blocks before.
    input: Tensor,
    output: Tensor,
}

/// Computes the gradient of the summed loss into `gradient`, the trainable vector's: a shard's first micro-batch
/// overwrites it, later ones add. Returns the sums beside it.
///
/// Each block's random draws are seeded by what it computes, so every worker draws the same numbers. Blocks before the
/// first trainable parameter keep nothing for a backward pass.
pub(super) fn gradient(
    blocks: &dyn Blocks,
    parameters: &Parameters,
    objective: Objective,
    draw: Draw,
    batch: &Batch,
    gradient: &mut [f32],
) -> Result<Sums, TrainError> {
    let (passed, loss) = forward(blocks, parameters, objective, draw, batch)?;
    let mut finite = loss.is_finite();
    let mut upstream = None;
    for Passed { block, input, output } in passed.into_iter().rev() {
        // Summing output times its gradient passes that gradient on, bit for bit.
        let root = match &upstream {
            None => output,
            Some(of_output) => output.f_mul(of_output)?.f_sum(None)?,
        };
        upstream = backward(&root, &input, parameters.trained(block), |place, found| {
            let place = &mut gradient[place];
            match found {
                Some(found) if draw.is_first() => host::copy(found, place)?,
                Some(found) => host::elements(found, |found| tree::add(place, found))?,
                // Not reached by the loss, or a table that the input's gradient is added to below.
                None if draw.is_first() => return host::clear(place),
                None => return Ok(()),
            }
            // Judged here, while it is in a core's cache.
            finite &= tree::all_finite(place);
            Ok(())
        })?;
    }
    if let Some(of_input) = upstream {
        let hidden = of_input.size().last().map_or(1, |&hidden| hidden as usize);
        host::elements(&of_input, |of_input| {
            for lookup in blocks.lookups(batch) {
                finite &= lookup.scatter(hidden, of_input, gradient);
            }
        })?;
    }
    Ok(objective.trained(batch, loss, finite))
}

/// The blocks that need a backward pass, in order; the last output is the loss, whose value is returned beside.
fn forward(
    blocks: &dyn Blocks,
    parameters: &Parameters,
    objective: Objective,
    draw: Draw,
    batch: &Batch,
) -> Result<(Vec<Passed>, f64), TrainError> {
    let device = parameters.device();
    let mask = mask(batch, device)?;
    let targets = objective.targets(batch, device)?;
    let trains = |block: Block| match block {
        Block::Embed if !blocks.lookups(batch).is_empty() => true,
        block => parameters.trained(block).next().is_some(),
    };
    let mut passed: Vec<Passed> = Vec::new();
    let mut hidden = blocks.input(batch, device)?;
    // Images have no gradient; sums of looked-up embeddings do, when a table trains.
    let mut wanted = !blocks.lookups(batch).is_empty();
    for block in chain(blocks) {
        let keep = wanted || trains(block);
        let input = hidden.f_detach()?.f_set_requires_grad(wanted)?;
        let draws = DropoutRng::new(draw, block, device);
        let output = {
            let _guard = (!keep).then(tch::no_grad_guard);
            match block {
                Block::Embed => blocks.embed(&input, Some(&draws))?,
                Block::Layer(layer) => blocks.layer(layer as usize, &input, mask.as_ref(), Some(&draws))?,
                Block::Head => objective.loss_sum(&blocks.head(&input, Some(&draws))?, &targets)?,
            }
        };
        hidden = output.shallow_clone();
        if keep {
            passed.push(Passed { block, input, output });
        }
        wanted = keep;
    }
    Ok((passed, hidden.f_double_value(&[])?))
}

fn chain(blocks: &dyn Blocks) -> impl Iterator<Item = Block> {
    let layers = (0..blocks.layers() as u32).map(Block::Layer);
    std::iter::once(Block::Embed).chain(layers).chain(std::iter::once(Block::Head))
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
