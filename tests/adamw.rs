//! Worker and coordinator together against PyTorch: five updates of small networks, as `tests/reference/` records them.

use headstart::checkpoint::CheckpointError;
use headstart::network::Network;
use headstart::trainable::SEGMENT;
use headstart_coordinator::master::Master;
use headstart_coordinator::optimizer::Rule;
use headstart_coordinator::reduce::Whole;
use headstart_tests::repository;
use headstart_worker::member::TrainerJob;
use headstart_worker::torch::make_trainer;
use headstart_worker::trainer::{Batch, Draw};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        one => vec![one.as_f64().expect("a number")],
    }
}

fn batch(reference: &Value) -> Batch {
    let integers = |value: &Value| numbers(value).into_iter().map(|number| number as i64).collect();
    let (inputs, labels) = (&reference["inputs"], integers(&reference["labels"]));
    match inputs.get("pixel_values") {
        Some(pixels) => {
            let pixels = numbers(pixels).into_iter().map(|pixel| pixel as f32).collect();
            Batch::Image { pixels, shape: [1, 8, 8], labels }
        }
        None => Batch::Text {
            input_ids: integers(&inputs["input_ids"]),
            attention_mask: integers(&inputs["attention_mask"]),
            token_type_ids: integers(&inputs["token_type_ids"]),
            tokens: 7,
            labels,
        },
    }
}

async fn losses_agree(name: &str, task: &str) {
    let directory = repository().join("tests/reference").join(name);
    let text = std::fs::read_to_string(directory.join("reference.json")).expect("the reference is committed");
    let reference: Value = serde_json::from_str(&text).expect("it is JSON");
    let expected = &reference["adamw"];
    let rate = expected["learning_rate"].as_f64().expect("a number");
    let run_file = format!(
        "base_model: {}\ntask: {task}\ndatasets: [none.jsonl]\noutput_dir: none\nweight_decay: {}\nmax_grad_norm: 0\n",
        directory.display(),
        expected["weight_decay"]
    );
    let spec = headstart::spec::parse("run.yaml", &run_file, &[]).expect("the run file is good");
    let labels: Vec<String> = (0..3).map(|label| format!("LABEL_{label}")).collect();
    let network = Network::open_without_files(&spec, &labels).await.expect("it is a checkpoint");
    let mut values = vec![Vec::new(); network.table.len()];
    let store = |index: usize, loaded| {
        values[index] = loaded;
        Ok::<(), CheckpointError>(())
    };
    network.load(store).await.expect("the weights are whole");
    let initial = network.initial_vector().await.expect("the weights are whole");
    let master =
        Master::new(Rule::new(&spec), spec.max_grad_norm, &network.trainable, &initial).expect("memory");
    let device = "cpu".to_owned();
    let network = std::sync::Arc::new(network);
    let len = network.trainable.len();
    let job = TrainerJob { network, threads: 1, micro_batch: 3, sequence_len: 7, device, values };
    let mut trainer = make_trainer(job).expect("libtorch works");
    let batch = batch(&reference);
    for (step, expected) in (0..).zip(numbers(&expected["losses"])) {
        let mut gradient = vec![0.0; len];
        let draw = Draw { seed: 1, step, shard: 0, micro_batch: 0 };
        let sums = trainer.gradient(draw, &batch, &mut gradient).expect("a gradient");
        let loss = sums.loss / sums.samples as f64;
        assert!((loss - expected).abs() < 2e-5, "{name}, step {step}: loss {loss}, PyTorch has {expected}");
        let segments: Vec<Whole> = gradient.chunks(SEGMENT).map(|part| Whole::new(part.to_vec())).collect();
        master.update(&segments, sums.samples, rate).expect("the norm is finite");
        trainer.set_trainable(0, &master.copy().concat()).expect("it fits");
    }
}

#[tokio::test]
async fn training_follows_pytorch() {
    losses_agree("bert", "sequence-classification").await;
    losses_agree("vit", "image-classification").await;
}
