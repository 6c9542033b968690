//! Prints a finished run's logits for the first rows of its evaluation data, as JSON that `tests/parity/check_final.py`
//! compares with what transformers computes from the same files.
//!
//!     cargo run --release -p headstart-worker --example logits -- RUN/final 64 > logits.json

use std::error::Error;
use std::sync::Arc;

use headstart::checkpoint::{CheckpointError, Values};
use headstart::data::{Content, Rows};
use headstart::network::Network;
use headstart::run_file::RunSpec;
use headstart::store::Location;
use headstart_worker::collate::{Collator, Sample};
use headstart_worker::objective::Objective;
use headstart_worker::torch::{self, TorchTrainer};
use headstart_worker::trainer::TrainerJob;

fn main() -> Result<(), Box<dyn Error>> {
    torch::fix_environment()?;
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: logits RUN/final COUNT".into());
    };
    tokio::runtime::Runtime::new()?.block_on(print(&directory, count.parse()?))
}

async fn print(directory: &str, count: u64) -> Result<(), Box<dyn Error>> {
    let run = Location::parse(directory)?.join("run.json")?.read(1 << 24).await?;
    let run: serde_json::Value = serde_json::from_slice(&run)?;
    let mut spec: RunSpec = serde_json::from_value(run["spec"].clone())?;
    directory.clone_into(&mut spec.base_model);
    spec.init = headstart::run_file::InitFrom::Pretrained;
    let labels: Vec<String> = serde_json::from_value(run["labels"].clone())?;
    let stores = spec.cluster.stores();
    let network = Network::open(&stores, &spec, &labels).await?;
    let index = headstart::data::index_in(&stores, &spec.eval_datasets, spec.task, Some(&labels)).await?.0;
    let numbers: Vec<u64> = (0..count.min(index.len())).collect();
    let rows = Rows::new(Arc::new(index), None, stores).read(&numbers).await?;
    let collator = Collator::for_network(&network).await?;
    let mut values = vec![Values::F32(Vec::new()); network.table.len()];
    let store = |index: usize, loaded| {
        values[index] = loaded;
        Ok::<(), CheckpointError>(())
    };
    network.load_stored(|_| true, store).await?;
    let job = TrainerJob {
        objective: Objective::new(&spec),
        threads: spec.threads_per_worker,
        micro_batch: spec.batch.per_device_train_batch_size,
        sequence_len: collator.sequence_len(),
        device: torch::choose_device("cpu")?,
        network: Arc::new(network),
        values,
        checkpointing: false,
        precision: spec.precision,
    };
    let trainer = TorchTrainer::new(job)?;
    let samples: Vec<Sample<'_>> = rows
        .iter()
        .map(|row| match &row.content {
            Content::Text { text, pair } => Sample::Text { text, pair: pair.as_deref() },
            Content::Image(file) => Sample::Image(file),
            Content::Json(object) => Sample::Json { object, entry: 0 },
        })
        .collect();
    let actual: Vec<i64> = rows.iter().map(|row| i64::from(row.label)).collect();
    // A batch of several would be ordered by length.
    let rows = samples.chunks(1).zip(actual.chunks(1)).zip(numbers.chunks(1));
    let logits = rows.map(|((sample, label), number)| {
        trainer.logits(&collator.collate(sample, label, number)?).map_err(Into::into)
    });
    let logits = logits.collect::<Result<Vec<Vec<f32>>, Box<dyn Error>>>()?;
    println!("{}", serde_json::json!({"rows": numbers, "logits": logits}));
    Ok(())
}
