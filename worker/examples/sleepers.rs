//! Workers whose trainer only sleeps, many in one process: what is left of a step is the cost of the exchange.

use std::time::Duration;

use clap::Parser;
use headstart::checkpoint::Values;
use headstart::message::{NumericClass, StopReason};
use headstart::optimizer::Piece;
use headstart_worker::error::WorkerError;
use headstart_worker::objective::{Objective, TokenSums};
use headstart_worker::platform::Platform;
use headstart_worker::session;
use headstart_worker::settings::Settings;
use headstart_worker::trainer::{Batch, Draw, Line, Progress, Sums, TrainError, Trainer, TrainerJob};
use tokio::task::{JoinSet, LocalSet};

/// Bytes that a worker may use for accumulators: those of every case fit.
const MEMORY: u64 = 1 << 30;
/// How long a micro-batch takes.
const SLEEP: Duration = Duration::from_millis(50);

/// Takes part in a run as many workers at once; exit code 0 when the run is over.
#[derive(Debug, Parser)]
struct Config {
    /// The coordinator's address.
    #[arg(long)]
    coordinator: String,
    /// Number of workers.
    #[arg(long)]
    workers: u32,
}

/// Sleeps for each micro-batch. Its gradient depends on the draw alone, so it is the same from every worker; its weights are there
/// to be updated.
struct Sleeper {
    objective: Objective,
    weights: Vec<f32>,
    /// Whether a probe has what it compares with, which here is nothing.
    has_zero_line: bool,
}

fn make_trainer(job: TrainerJob) -> Result<Box<dyn Trainer>, TrainError> {
    let mut weights = vec![0.0; job.network.trainable.len()];
    for slot in job.network.trainable.slots() {
        weights[slot.range.clone()].copy_from_slice(&job.values[slot.parameter].clone().into_f32());
    }
    Ok(Box::new(Sleeper { objective: job.objective, weights, has_zero_line: false }))
}

impl Trainer for Sleeper {
    fn numeric_class(&self) -> NumericClass {
        NumericClass {
            headstart: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch: "sleeper".to_owned(),
            device: "cpu".to_owned(),
            instructions: "any".to_owned(),
            threads: 1,
            precision: "f32".to_owned(),
        }
    }

    fn canary(&mut self) -> Result<u128, TrainError> {
        Ok(1)
    }

    fn trainable_len(&self) -> usize {
        self.weights.len()
    }

    fn set_trainable(&mut self, offset: usize, values: &[f32]) -> Result<(), TrainError> {
        self.weights[offset..offset + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn trainable_mut(&mut self) -> Result<Vec<Piece<'_>>, TrainError> {
        Ok(vec![(0, &mut self.weights)])
    }

    fn gradient(
        &mut self,
        draw: Draw,
        batch: &Batch,
        gradient: &mut [f32],
        _: &mut Progress<'_>,
    ) -> Result<Sums, TrainError> {
        std::thread::sleep(SLEEP);
        let value = 1e-3 / (1.0 + draw.shard as f32);
        match draw.is_first() {
            true => gradient.fill(value),
            false => gradient.iter_mut().for_each(|element| *element += value),
        }
        Ok(self.objective.predicted(batch, nothing_learned(), true))
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<Sums, TrainError> {
        Ok(self.objective.predicted(batch, nothing_learned(), true))
    }

    fn nll(&self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        Ok(vec![1.0; batch.predicted().count()])
    }

    fn set_zero_line(&mut self, _: Vec<Values>) -> Result<(), TrainError> {
        self.has_zero_line = true;
        Ok(())
    }

    fn has_zero_line(&self) -> bool {
        self.has_zero_line
    }

    fn probe(&self, row: &Batch, _: Line) -> Result<Vec<f32>, TrainError> {
        self.nll(row)
    }
}

fn nothing_learned() -> TokenSums {
    TokenSums { loss: 1.0, nll: 1.0, entropy: 0.0, right: 0 }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // A session stays on one thread; its connections run on the others.
    LocalSet::new().block_on(&runtime, sleep(config))
}

/// Runs all workers until the run is over, or one of them fails.
async fn sleep(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut sessions = JoinSet::new();
    for number in 0..config.workers {
        let settings = Settings {
            coordinator: config.coordinator.clone(),
            name: format!("sleeper {number} of {}", std::process::id()),
            device: "cpu".to_owned(),
            threads: None,
            cache: None,
            memory: MEMORY,
            platform: Platform::default(),
        };
        sessions.spawn_local(session::run(settings, make_trainer));
    }
    while let Some(ended) = sessions.join_next().await {
        match ended? {
            Ok(()) | Err(WorkerError::Stopped { reason: StopReason::Finished | StopReason::Stopped, .. }) => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
