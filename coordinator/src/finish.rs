//! What a run leaves behind: `final/`, or the weights of an unfinished run, as directories that transformers opens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headstart::checkpoint::{self, CheckpointError, WrittenFile};
use headstart::exit::Exit;
use headstart::id::Version;
use headstart::message::{GoldenRow, NumericClass};
use headstart::network::Network;
use headstart::plan::Plan;
use headstart::run_file::{Probe, RunSpec};
use headstart::store::{Location, StoreError};
use headstart::trainable::SEGMENT;
use headstart::verify::{EVENTS, GOLDEN, WORKERS};
use serde_json::{Map, Value, json};

use crate::card::model_card;
use crate::machine::Delivered;

/// Writes a run's remains.
#[derive(Debug)]
pub struct Writer {
    /// Name of the run.
    pub run_id: String,
    pub spec: RunSpec,
    pub network: Arc<Network>,
    pub plan: Plan,
    pub labels: Vec<String>,
    /// What the data consists of, for the record.
    pub data: Value,
    /// Where to.
    pub output: Location,
}

/// A state of the run that is worth keeping.
#[derive(Debug)]
pub struct Kept {
    /// Updates the weights have seen.
    pub version: Version,
    /// Updates made.
    pub steps: u64,
    /// The trainable vector, segment by segment.
    pub weights: Vec<Vec<f32>>,
    pub ledger: String,
    pub metrics: String,
    /// What happened, one JSON object a line.
    pub events: String,
    /// The last evaluation's line.
    pub eval: Map<String, Value>,
    /// Who delivered how much.
    pub delivered: Vec<Delivered>,
    /// The run's numeric class.
    pub class: Option<NumericClass>,
    /// Hash of the frozen weights, if there are any.
    pub base: Option<u128>,
    /// When the run began, in seconds since 1970.
    pub started_unix: f64,
    /// How long it has run.
    pub elapsed: Duration,
}

/// Why nothing could be left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Frozen parameters could not be read, or weights could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Another file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The frozen weights here are not those that the workers computed with.
    #[error(
        "{url}: the frozen weights have the hash {found:032x}, those of the workers {expected:032x}: give coordinator and \
         workers the same checkpoint"
    )]
    OtherBase { url: String, found: u128, expected: u128 },
}

impl WriteError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            WriteError::Checkpoint(error) => error.exit(),
            WriteError::Store(error) => error.exit(),
            WriteError::OtherBase { .. } => Exit::Checkpoint,
        }
    }
}

/// The hashes of a `final/`, not written yet.
#[derive(Debug)]
pub struct Seal {
    sums: Location,
    text: String,
}

/// The file of `checkpoint-<step>/` that is written last.
const LAST_EXPORTED: &str = "trainer_state.json";

/// Whether `checkpoint-<step>/` is whole, if it is among those that were to be written.
pub async fn is_exported(output: &Location, exports: &[u64], step: u64) -> Result<bool, StoreError> {
    match exports.contains(&step) {
        true => output.join(&format!("checkpoint-{step}/{LAST_EXPORTED}"))?.exists().await,
        false => Ok(true),
    }
}

impl Writer {
    /// Writes `final/`, but for its file of hashes, which [`Writer::seal`] writes: a directory that has it is whole.
    ///
    /// workers.json and events.jsonl, which record the workers and what happened, are not hashed, so that a coordinator and its
    /// successor write identical results.
    pub async fn finish(&self, kept: Kept, golden: &[GoldenRow]) -> Result<Seal, WriteError> {
        self.check_base(kept.base).await?;
        let directory = self.output.join("final")?;
        let sums = directory.join("SHA256SUMS")?;
        let mut written = self.write_model(&directory, &kept).await?;
        let weights = checkpoint::weights_hash(&written);
        let texts = [
            ("README.md", model_card(self, &kept)),
            ("run.json", pretty(&self.run_json(&kept, &weights))),
            ("ledger.jsonl", kept.ledger),
            ("metrics.jsonl", kept.metrics),
        ];
        for (name, text) in texts {
            written.push(put(&directory, name, text).await?);
        }
        if !golden.is_empty() {
            let line = |row| serde_json::to_string(row).expect("a row is plain data") + "\n";
            written.push(put(&directory, GOLDEN, golden.iter().map(line).collect()).await?);
        }
        let workers = json!({
            "started": kept.started_unix,
            "train_runtime": kept.elapsed.as_secs_f64(),
            "workers": kept.delivered,
        });
        put(&directory, WORKERS, pretty(&workers)).await?;
        put(&directory, EVENTS, kept.events).await?;
        written.sort_by(|left, right| left.name.cmp(&right.name));
        let text = written.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
        Ok(Seal { sums, text })
    }

    /// What is frozen is copied from this machine's checkpoint, where it is written at all.
    async fn check_base(&self, base: Option<u128>) -> Result<(), WriteError> {
        let Some(expected) = base.filter(|_| self.network.adapter.is_none()) else { return Ok(()) };
        match self.network.read_frozen().await? {
            Some(found) if found != expected => {
                Err(WriteError::OtherBase { url: self.network.directory().to_string(), found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Says that what [`Writer::finish`] wrote is whole.
    pub async fn seal(&self, Seal { sums, text }: Seal) -> Result<(), WriteError> {
        Ok(sums.write(Bytes::from(text)).await?)
    }

    /// Writes the weights of an unfinished run as `checkpoint-<step>/`; returns its URL.
    pub async fn export(&self, kept: Kept) -> Result<String, WriteError> {
        let directory = self.output.join(&format!("checkpoint-{}", kept.version.0))?;
        self.write_model(&directory, &kept).await?;
        put(&directory, "ledger.jsonl", kept.ledger.clone()).await?;
        put(&directory, LAST_EXPORTED, pretty(&self.trainer_state(&kept))).await?;
        Ok(directory.url().to_owned())
    }

    /// Weights, configuration, and the files that training does not change.
    async fn write_model(&self, directory: &Location, kept: &Kept) -> Result<Vec<WrittenFile>, WriteError> {
        let places = self.network.trainable.places(self.network.table.len());
        let trained = |index: usize| {
            let range = places[index].clone().expect("only what trains is asked for");
            std::future::ready(Ok(gather(&kept.weights, range)))
        };
        self.network.write(directory, &self.spec, trained).await
    }

    /// Everything that pins the run.
    fn run_json(&self, kept: &Kept, weights: &str) -> Value {
        json!({
            "run_id": self.run_id,
            "headstart": env!("CARGO_PKG_VERSION"),
            // Whether the run was probed is no part of its result.
            "spec": RunSpec { probe: Probe::default(), ..self.spec.clone() },
            "labels": self.labels,
            "adapter_order": self.network.adapter_order(),
            "base": kept.base.map(|base| format!("{base:032x}")),
            "parameters": self.network.parameters,
            "newly_initialised": self.network.resolution.newly_initialised,
            "data": self.data,
            "steps_per_epoch": self.plan.steps_per_epoch(),
            "total_steps": self.plan.steps(),
            "steps": kept.steps,
            "weights_version": kept.version.0,
            "weights_sha256": weights,
            "ledger_sha256": headstart::hash::sha256(kept.ledger.as_bytes()),
            "numeric_class": kept.class,
        })
    }

    /// As transformers' Trainer writes it.
    fn trainer_state(&self, kept: &Kept) -> Value {
        let history: Vec<Value> =
            kept.metrics.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        json!({
            "global_step": kept.version.0,
            "epoch": self.plan.epoch_after(kept.version.0),
            "max_steps": self.plan.steps(),
            "num_train_epochs": self.spec.num_train_epochs,
            "train_batch_size": self.spec.batch.per_device_train_batch_size,
            "log_history": history,
        })
    }
}

/// The elements `range` of a vector held in segments.
fn gather(segments: &[Vec<f32>], range: std::ops::Range<usize>) -> Vec<f32> {
    let mut values = Vec::with_capacity(range.len());
    let mut at = range.start;
    while at < range.end {
        let (segment, offset) = (&segments[at / SEGMENT], at % SEGMENT);
        let take = (segment.len() - offset).min(range.end - at);
        values.extend_from_slice(&segment[offset..offset + take]);
        at += take;
    }
    values
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

async fn put(directory: &Location, name: &str, text: String) -> Result<WrittenFile, StoreError> {
    let file = WrittenFile {
        name: name.to_owned(),
        size: text.len() as u64,
        sha256: headstart::hash::sha256(text.as_bytes()),
    };
    directory.join(name)?.write(Bytes::from(text)).await?;
    Ok(file)
}
