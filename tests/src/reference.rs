//! The small networks of `tests/reference/`, and what PyTorch computed with them. The worker's own tests include this
//! file as well.

use std::path::PathBuf;
use std::sync::Arc;

use headstart::checkpoint::{CheckpointError, Values};
use headstart::network::Network;
use headstart::run_file::{self, RunSpec};
use headstart_worker::objective::Objective;
use headstart_worker::trainer::{Batch, Targets, TrainerJob};
use serde_json::Value;

/// One of them.
pub struct Reference {
    /// Its checkpoint.
    pub directory: PathBuf,
    /// Inputs and results, as `make_references.py` wrote them.
    pub facts: Value,
}

impl Reference {
    /// A folder's name, such as `bert`.
    pub fn open(name: &str) -> Reference {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/reference").join(name);
        let text =
            std::fs::read_to_string(directory.join("reference.json")).expect("the reference is committed");
        Reference { directory, facts: serde_json::from_str(&text).expect("the reference is JSON") }
    }

    /// A run that begins from its weights, with these `key=value` overrides.
    pub fn spec(&self, sets: &[&str]) -> RunSpec {
        let images = self.facts["inputs"].get("pixel_values").is_some();
        let task = if images { "image-classification" } else { "sequence-classification" };
        let text = format!(
            "base_model: {}\ntask: {task}\ndatasets: [{{path: none.jsonl}}]\noutput_dir: none\n",
            self.directory.display()
        );
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        run_file::parse("run.yaml", &text, &sets).expect("the run file is good")
    }

    /// What a trainer is made of, for the run of [`Reference::spec`].
    pub async fn job(&self, sets: &[&str]) -> TrainerJob {
        let labels: Vec<String> = (0..3).map(|label| format!("LABEL_{label}")).collect();
        let spec = self.spec(sets);
        let network = Network::open_without_files(&spec.cluster.stores(), &spec, &labels).await;
        let network = Arc::new(network.expect("it is a checkpoint"));
        let mut values = vec![Values::F32(Vec::new()); network.table.len()];
        let store = |index: usize, loaded| {
            values[index] = loaded;
            Ok::<(), CheckpointError>(())
        };
        network.load_stored(|_| true, store).await.expect("its weights are whole");
        TrainerJob {
            network,
            objective: Objective::new(&spec),
            threads: 1,
            micro_batch: 3,
            sequence_len: 7,
            device: "cpu".to_owned(),
            values,
            checkpointing: false,
            precision: spec.precision,
        }
    }

    /// Its inputs: three rows, one of each label.
    pub fn batch(&self) -> Batch {
        let labels = integers(&self.facts["labels"]);
        let inputs = &self.facts["inputs"];
        match inputs.get("pixel_values") {
            Some(pixels) => Batch::Image { pixels: floats(pixels), shape: [1, 8, 8], labels },
            None => {
                let mask = integers(&inputs["attention_mask"]);
                let real = |values: Vec<i64>| -> Vec<i64> {
                    values.into_iter().zip(&mask).filter(|(_, real)| **real == 1).map(|(id, _)| id).collect()
                };
                Batch::Text {
                    input_ids: real(integers(&inputs["input_ids"])),
                    token_type_ids: real(inputs.get("token_type_ids").map_or(vec![0; 3 * 7], integers)),
                    lengths: mask.chunks(7).map(|row| row.iter().sum::<i64>() as usize).collect(),
                    targets: Targets::Labels(labels),
                }
            }
        }
    }
}

impl Reference {
    /// The rows of [`Reference::batch`], a batch each.
    pub fn rows(&self) -> Vec<Batch> {
        match self.batch() {
            Batch::Image { pixels, shape, labels } => {
                let images = pixels.chunks(shape.iter().product()).zip(labels);
                images
                    .map(|(pixels, label)| Batch::Image {
                        pixels: pixels.to_vec(),
                        shape,
                        labels: vec![label],
                    })
                    .collect()
            }
            Batch::Text { input_ids, token_type_ids, lengths, targets: Targets::Labels(labels) } => {
                let (mut ids, mut types) = (input_ids.into_iter(), token_type_ids.into_iter());
                let rows = lengths.into_iter().zip(labels);
                rows.map(|(length, label)| Batch::Text {
                    input_ids: ids.by_ref().take(length).collect(),
                    token_type_ids: types.by_ref().take(length).collect(),
                    lengths: vec![length],
                    targets: Targets::Labels(vec![label]),
                })
                .collect()
            }
            Batch::Text { targets: Targets::Tokens(_), .. } => unreachable!("these are classifiers"),
        }
    }
}

fn flat(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        one => vec![one],
    }
}

/// The numbers of nested lists, in order.
pub fn numbers(value: &Value) -> Vec<f64> {
    flat(value).into_iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// As [`numbers`], in the precision of weights.
pub fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|number| number as f32).collect()
}

/// Whole numbers of nested lists, in order.
pub fn integers(value: &Value) -> Vec<i64> {
    flat(value).into_iter().map(|number| number.as_i64().expect("a whole number")).collect()
}
