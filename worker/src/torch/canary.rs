//! The canary: gradients from synthetic weights and inputs. Their hash detects machines whose arithmetic differs.

use headstart::checkpoint::Values;
use headstart::model::blueprint::{Blueprint, Input, TextInput};
use headstart::model::{Init, Parameter, Part, canary, initial_values};
use headstart::trainable::Trainable;
use rayon::ThreadPool;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::device_gradient::DeviceGradient;
use super::network::Transformer;
use super::parameters::Parameters;
use super::step::Step;
use crate::objective::Objective;
use crate::trainer::{Batch, Draw, Targets, TrainError};

const SEED: u64 = 0xCA_4A_12;

/// Hash of the gradients of a small copy of the network: one row and a micro-batch, short and full length.
///
/// They are computed where `like`, the run's parameters, are, and in its numbers. Every gradient is computed twice; if the two differ, this machine is refused by itself.
pub(super) fn hash(
    blueprint: &Blueprint,
    objective: Objective,
    micro_batch: usize,
    sequence_len: usize,
    pool: &ThreadPool,
    like: &Parameters,
) -> Result<u128, TrainError> {
    let blueprint = canary::network(blueprint);
    let table: Vec<Parameter> = blueprint.parameters().into_iter().map(noisy).collect();
    // Beside adapters, nothing else trains: that takes other paths through libtorch.
    let adapted = table.iter().any(|parameter| parameter.part == Part::Adapter);
    let frozen = table.iter().filter(|parameter| adapted && parameter.part != Part::Adapter);
    let frozen: Vec<String> = frozen.map(|parameter| parameter.name.clone()).collect();
    let layout = Trainable::new(&table, &frozen).map_err(|error| TrainError::Torch(error.to_string()))?;
    let values = table.iter().map(|parameter| Values::F32(initial_values(parameter, SEED))).collect();
    let mut parameters = Parameters::new(&table, &layout, values, like.device())?.computing(like.compute());
    if like.layout().is_some() {
        parameters = parameters.staged()?;
    }
    parameters.upload()?;
    let network = Transformer::new(&blueprint, &parameters);
    let mut hash = Xxh3::new();
    for (number, batch) in (0..).zip(batches(&blueprint, micro_batch, sequence_len)) {
        let compute = || {
            let draw = Draw { seed: SEED, step: number, shard: 0, micro_batch: 0 };
            let mut gradient = vec![0.0; layout.len()];
            let step = Step {
                network: &network,
                parameters: &parameters,
                objective,
                checkpointing: false,
                draw,
                batch: &batch,
                not_yet: Vec::new(),
            };
            match parameters.layout() {
                None => {
                    step.gradient(&mut gradient, &mut |_, _, _| {})?;
                }
                Some(layout) => {
                    let mut there = DeviceGradient::new(layout.clone(), parameters.device())?;
                    step.gradient_there(&mut there)?;
                    there.give(pool, &mut gradient)?;
                }
            }
            Ok::<_, TrainError>(gradient)
        };
        let (first, second) = (compute()?, compute()?);
        if let Some(element) = first.iter().zip(&second).position(|(one, two)| one.to_bits() != two.to_bits())
        {
            return Err(TrainError::Nondeterministic(format!(
                "the same gradient, computed twice, differs in element {element} ({} and {}): \
                 this machine cannot give equal bits",
                first[element], second[element]
            )));
        }
        for value in first {
            hash.update(&value.to_le_bytes());
        }
    }
    Ok(hash.digest128())
}

/// Biases and norms begin with draws too: zeros and ones would hide what is added and multiplied.
fn noisy(parameter: Parameter) -> Parameter {
    Parameter { init: Init::Normal { std: 0.1 }, ..parameter }
}

fn batches(blueprint: &Blueprint, micro_batch: usize, sequence_len: usize) -> Vec<Batch> {
    let largest = canary::largest_batch(blueprint, micro_batch as u64, sequence_len as u64);
    let [rows, full] = largest.map(|count| count as usize);
    let classes = blueprint.labels();
    match &blueprint.input {
        Input::Text(text) => [(1, full.min(7)), (1, full), (rows, full)]
            .map(|(rows, tokens)| texts(text, classes, rows, tokens))
            .into(),
        Input::Image(image) => {
            let shape = [image.channels, image.size[0], image.size[1]].map(|side| side as usize);
            [1, rows].map(|rows| images(shape, rows, classes)).into()
        }
    }
}

/// A batch of texts; every second one has half the length.
fn texts(text: &TextInput, classes: usize, rows: usize, tokens: usize) -> Batch {
    let lengths: Vec<usize> =
        (0..rows).map(|row| if row.is_multiple_of(2) { tokens } else { tokens.div_ceil(2) }).collect();
    let places = || (0..).zip(&lengths).flat_map(|(row, &length)| (0..length).map(move |token| (row, token)));
    let (vocab, types) = (text.tokens.rows, text.token_types.as_ref().map_or(1, |table| table.rows));
    let targets = match classes {
        0 => Targets::Tokens(places().map(|(row, token)| token > (row + 1) % 2).collect()),
        _ => Targets::Labels(labels(rows, classes)),
    };
    Batch::Text {
        input_ids: places().map(|(row, token)| (draw(row, token) % vocab) as i64).collect(),
        token_type_ids: places().map(|(row, token)| (draw(token, row) % types) as i64).collect(),
        lengths,
        targets,
    }
}

fn images(shape: [usize; 3], rows: usize, classes: usize) -> Batch {
    let size: usize = shape.iter().product();
    let pixel = |index: usize| (draw(index, 0) % 512) as f32 / 256.0 - 1.0;
    Batch::Image { pixels: (0..rows * size).map(pixel).collect(), shape, labels: labels(rows, classes) }
}

fn labels(rows: usize, classes: usize) -> Vec<i64> {
    (0..rows).map(|row| (row % classes) as i64).collect()
}

fn draw(one: usize, other: usize) -> u64 {
    let bytes: Vec<u8> = [one as u64, other as u64].iter().flat_map(|word| word.to_le_bytes()).collect();
    xxh3_64_with_seed(&bytes, SEED)
}
