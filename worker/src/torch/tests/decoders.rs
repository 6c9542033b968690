//! Decoders against what transformers computed with them (`tests/reference/decoders/`), with every switch of their
//! configurations flipped alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headstart::checkpoint::Values;
use headstart::model::{Blueprint, Parameter};
use headstart::run_file::Task;
use headstart::trainable::Trainable;
use safetensors::SafeTensors;
use serde_json::Value;
use tch::Device;

use super::super::host;
use super::super::network::Transformer;
use super::super::parameters::Parameters;
use super::super::step::Step;
use super::{DRAW, FLOOR, assert_close, largest, take_turn};
use crate::objective::Objective;
use crate::trainer::{Batch, Sums, Targets};

const OBJECTIVE: Objective = Objective::CausalLm { smoothing: 0.0 };

/// Tensors by name.
type Tensors = BTreeMap<String, Vec<f32>>;

/// A family's reference: see `tests/reference/make_decoders.py`.
struct Reference {
    directory: PathBuf,
    facts: Value,
    config: Value,
    weights: Tensors,
}

impl Reference {
    fn open(directory: &Path) -> Reference {
        let json = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(directory.join(name)).expect("committed"))
                .expect("it is JSON")
        };
        Reference {
            directory: directory.to_owned(),
            facts: json("reference.json"),
            config: json("config.json"),
            weights: tensors(&directory.join("model.safetensors")),
        }
    }

    fn tensors(&self, file: &str) -> Tensors {
        tensors(&self.directory.join(file))
    }

    fn rows(&self) -> Vec<Vec<i64>> {
        serde_json::from_value(self.facts["rows"].clone()).expect("token ids")
    }

    /// The rows, with the targets of the reference, or with every token that can be one.
    fn batch(&self, all: bool) -> Batch {
        let rows = self.rows();
        let trained: Vec<Vec<bool>> = match all {
            true => rows.iter().map(|row| (0..row.len()).map(|token| token > 0).collect()).collect(),
            false => serde_json::from_value(self.facts["trained"].clone()).expect("booleans"),
        };
        let input_ids = rows.concat();
        Batch::Text {
            token_type_ids: vec![0; input_ids.len()],
            lengths: rows.iter().map(Vec::len).collect(),
            targets: Targets::Tokens(trained.concat()),
            input_ids,
        }
    }

    /// The rows of `[tokens, vocabulary]` that predict a token: all but each row's last.
    fn predicting(&self, logits: &[f32]) -> Vec<f32> {
        let rows = self.rows();
        let width = logits.len() / rows.concat().len();
        let mut tokens = logits.chunks_exact(width);
        let mut kept = Vec::new();
        for row in rows {
            kept.extend(tokens.by_ref().take(row.len() - 1).flatten());
            tokens.next();
        }
        kept
    }
}

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("committed");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let floats =
        |data: &[u8]| data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    file.iter().map(|(name, tensor)| (name.to_owned(), floats(tensor.data()))).collect()
}

/// A network on the CPU, all of which trains.
struct Built {
    blueprint: Blueprint,
    table: Vec<Parameter>,
    layout: Trainable,
    parameters: Parameters,
    transformer: Transformer,
}

impl Built {
    fn new(blueprint: Blueprint, weight: impl Fn(&str) -> Vec<f32>) -> Built {
        let table = blueprint.parameters();
        let layout = Trainable::new(&table, &[]).expect("all of it trains");
        let values = table.iter().map(|parameter| Values::F32(weight(&parameter.name))).collect();
        let parameters = Parameters::new(&table, &layout, values, Device::Cpu).expect("they fit");
        let transformer = Transformer::new(&blueprint, &parameters);
        Built { blueprint, table, layout, parameters, transformer }
    }

    /// Scores of what follows each token of a batch that is to predict one, `[positions, vocabulary]`.
    fn logits(&self, batch: &Batch) -> Vec<f32> {
        let headstart::model::blueprint::Head::Language(head) = &self.blueprint.head else {
            panic!("no language model")
        };
        let _guard = tch::no_grad_guard();
        let hidden = self.transformer.evaluate(batch, Device::Cpu).expect("vectors");
        let logits = hidden.matmul(&self.parameters.tensor(&head.output.weight()).tr());
        host::elements(&logits, <[f32]>::to_vec).expect("on the host")
    }

    /// The sums of a batch, and the gradients by parameter.
    fn gradients(&self, batch: &Batch, checkpointing: bool) -> (Sums, Tensors) {
        // What the buffer held before must not matter.
        let mut gradient = vec![f32::NAN; self.layout.len()];
        let step = Step {
            network: &self.transformer,
            parameters: &self.parameters,
            objective: OBJECTIVE,
            checkpointing,
            draw: DRAW,
            batch,
            not_yet: Vec::new(),
        };
        let sums = step.gradient(&mut gradient, &mut |_, _, _| {}).expect("a gradient");
        let by_name = self
            .layout
            .slots()
            .iter()
            .map(|slot| (self.table[slot.parameter].name.clone(), gradient[slot.range.clone()].to_vec()));
        (sums, by_name.collect())
    }
}

fn read(config: &Value) -> Blueprint {
    Blueprint::from_config(config, Task::CausalLm, 0).expect("a valid configuration")
}

fn assert_loss(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-5 * expected, "{what}: loss {found}, transformers has {expected}");
}

fn agrees_with_transformers(reference: &Reference) {
    let name = reference.config["model_type"].as_str().expect("a name");
    let (batch, all) = (reference.batch(false), reference.batch(true));
    let logits = reference.tensors("logits.safetensors");
    let built = Built::new(read(&reference.config), |parameter| reference.weights[parameter].clone());
    let found = built.logits(&all);
    assert_close(&format!("{name}: logits"), &found, &reference.predicting(&logits["main"]), 0.0);
    let (sums, gradients) = built.gradients(&batch, false);
    assert_loss(name, sums.loss, &reference.facts["loss_sum"]);
    assert_eq!(Some(sums.divisor), reference.facts["tokens"].as_u64());
    let expected = reference.tensors("gradients.safetensors");
    assert_eq!(gradients.len(), expected.len(), "a gradient for each parameter");
    let floor = FLOOR * largest(expected.values().flatten());
    for (parameter, found) in &gradients {
        assert_close(&format!("{name}: {parameter}"), found, &expected[parameter], floor);
    }
    assert_eq!(built.gradients(&batch, true).1, gradients, "{name}: the same bits with checkpointing");
    let judged = OBJECTIVE.evaluate(&built.transformer, &batch, Device::Cpu).expect("an evaluation");
    assert!(
        (judged.loss - sums.loss).abs() < 1e-5 * sums.loss,
        "without dropout, evaluation has the same loss"
    );

    let step = &reference.facts["step"];
    let rate = step["learning_rate"].as_f64().expect("a number") / sums.divisor as f64;
    let stepped = Built::new(read(&reference.config), |parameter| {
        let pairs = reference.weights[parameter].iter().zip(&gradients[parameter]);
        pairs.map(|(weight, slope)| weight - rate as f32 * slope).collect()
    });
    let found = stepped.logits(&all);
    assert_close(
        &format!("{name}: logits after a step"),
        &found,
        &reference.predicting(&logits["after_step"]),
        0.0,
    );
    assert_loss(name, stepped.gradients(&batch, false).0.loss, &step["loss_sum"]);
}

fn flips_agree_with_transformers(reference: &Reference) {
    let (batch, all) = (reference.batch(false), reference.batch(true));
    let main = reference.predicting(&reference.tensors("logits.safetensors")["main"]);
    let stored = reference.tensors("flips.safetensors");
    for flip in reference.facts["flips"].as_array().expect("a list") {
        let what = format!("{}, {}", reference.config["model_type"], flip["name"]);
        let flipped = flip["name"].as_str().expect("a name");
        let mut config = reference.config.clone();
        for (key, value) in flip["keys"].as_object().expect("an object") {
            config[key] = value.clone();
        }
        let mut blueprint = read(&config);
        if flip["head_norms"] == false {
            for layer in &mut blueprint.layers {
                (layer.attention.query_norm, layer.attention.key_norm) = (None, None);
            }
        }
        let weight = |name: &str| match stored.get(&format!("{flipped}/weight/{name}")) {
            Some(own) => own.clone(),
            None => reference.weights[name].clone(),
        };
        let built = Built::new(blueprint, weight);
        let found = built.logits(&all);
        assert_close(&what, &found, &reference.predicting(&stored[&format!("{flipped}/logits")]), 0.0);
        let moved: Vec<f32> = found.iter().zip(&main).map(|(found, main)| found - main).collect();
        assert!(
            largest(&moved) > 100.0 * super::TOLERANCE * largest(&main),
            "{what}: a switch that moves nothing"
        );
        let (sums, gradients) = built.gradients(&batch, false);
        assert_loss(&what, sums.loss, &flip["loss_sum"]);
        let floor = FLOOR * largest(gradients.values().flatten());
        let prefix = format!("{flipped}/gradient/");
        let expected = stored.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)));
        let compared = expected.map(|(parameter, expected)| {
            assert_close(&format!("{what}: {parameter}"), &gradients[parameter], expected, floor);
        });
        assert!(compared.count() >= 4, "{what}: embeddings and the first layer's projections");
    }
}

#[test]
fn decoders_agree_with_transformers() {
    let _turn = take_turn();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reference/decoders");
    let families: Vec<_> = std::fs::read_dir(directory).expect("committed").flatten().collect();
    assert_eq!(families.len(), 3);
    for family in families {
        let reference = Reference::open(&family.path());
        agrees_with_transformers(&reference);
        flips_agree_with_transformers(&reference);
    }
}
