//! What a worker makes of run file, checkpoint and data index: once, for all the sessions of its life.

use std::sync::{Arc, Mutex};

use headstart::checkpoint::Values;
use headstart::data::RowIndex;
use headstart::hash;
use headstart::message::{Pass, Ready, Welcome};
use headstart::network::Network;
use headstart::plan::Plan;
use headstart::run_file::RunSpec;

use crate::collate::Collator;
use crate::data::{Loader, Reading};
use crate::engine::Engine;
use crate::error::WorkerError;
use crate::exchange::Exchange;
use crate::follow::lock;
use crate::objective::Objective;
use crate::replica::Replica;
use crate::settings::Settings;
use crate::times::Times;
use crate::trainer::{MakeTrainer, TrainerJob};

/// Everything that has to be loaded before a lease can be computed.
pub struct Prepared {
    /// The coordinator's words that all of this follows from.
    welcome: Welcome,
    pub(crate) spec: RunSpec,
    pub(crate) network: Arc<Network>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) engine: Arc<Engine>,
    /// Weights and optimizer state, where they are kept here.
    pub(crate) replica: Arc<Mutex<Replica>>,
    /// Numeric class and canary.
    pub(crate) ready: Ready,
}

impl Prepared {
    /// Loads checkpoint, data index and tokenizer, makes the trainer, and runs its canary.
    pub async fn load(
        settings: &Settings,
        welcome: &Welcome,
        exchange: &Exchange,
        times: &Times,
        make: MakeTrainer,
    ) -> Result<Prepared, WorkerError> {
        let spec: RunSpec = serde_json::from_str(&welcome.spec_json)?;
        if let Some(asked) = settings.threads.filter(|asked| *asked != spec.threads_per_worker) {
            return Err(WorkerError::Threads { asked, run: spec.threads_per_worker });
        }
        let place = settings.platform.place;
        let stores = settings.platform.stores.clone().unwrap_or_else(|| spec.cluster.stores());
        let network = Arc::new(Network::open(&stores, &spec, &welcome.labels).await?);
        times.follow_loading(network.progress());
        let plan = Plan::new(&spec, welcome.train_rows, welcome.eval_rows)?;
        let indexes = pull_indexes(exchange, welcome.labels.len()).await?;
        let collator = Collator::for_network(&network).await?;
        let transforms = collator.hash();
        // Of a language model, planning has counted the tokens of every row.
        let counted = indexes.iter().flat_map(|index| index.tokens()).max().copied();
        let reading = Reading { stores, cache: settings.cache.clone(), place };
        let loader = Loader::new(plan, &spec, indexes, collator, reading);
        let values = network.load_all().await?;
        let hashes: Vec<u128> = values.iter().map(Values::hash).collect();
        let base = network.frozen_hash(&hashes);
        let slots = network.trainable.slots().iter();
        let read = hash::of_segments(&slots.map(|slot| hashes[slot.parameter]).collect::<Vec<_>>());
        let job = TrainerJob {
            network: network.clone(),
            objective: Objective::new(&spec),
            threads: spec.threads_per_worker,
            micro_batch: spec.batch.per_device_train_batch_size,
            sequence_len: counted.unwrap_or(loader.sequence_len()),
            device: settings.device.clone(),
            values,
            checkpointing: spec.gradient_checkpointing,
            precision: spec.precision,
        };
        let engine = Arc::new(Engine::start(place, move || make(job)).await??);
        let replica = Arc::new(Mutex::new(Replica::new(network.clone(), &spec)));
        let (class, canary) = engine.run(|trainer| (trainer.numeric_class(), trainer.canary())).await?;
        // A worker that read other values, or makes other batches, changes bits as well.
        let shape = hash::of_bytes(format!("{:?}", network.blueprint).as_bytes());
        let canary = hash::of_segments(&[canary?, shape, read, transforms]);
        let ready = Ready { class, canary, base, parameters: network.parameters.clone(), follows: false };
        let (welcome, loader) = (welcome.clone(), Arc::new(loader));
        Ok(Prepared { welcome, spec, network, loader, engine, replica, ready })
    }

    /// Reads what a replica's updates need beside the state. Once loaded, it stays.
    pub async fn complete_replica(&self) -> Result<(), WorkerError> {
        if lock(&self.replica).lacks_first_values() {
            // Read again, because most workers keep no replica, and would hold them for nothing.
            let first_values = self.network.initial_vector().await?;
            lock(&self.replica).begin_from(&first_values);
        }
        Ok(())
    }

    /// Whether it is of the run that a coordinator names.
    pub fn check_run(&self, welcome: &Welcome) -> Result<(), WorkerError> {
        match self.welcome.run_id == welcome.run_id {
            true => Ok(()),
            false => Err(WorkerError::OtherRun {
                before: self.welcome.run_id.clone(),
                now: welcome.run_id.clone(),
            }),
        }
    }

    /// Whether loading again would give the same.
    pub fn suits(&self, welcome: &Welcome) -> bool {
        let Welcome {
            run_id,
            epoch: _,
            worker: _,
            spec_json,
            labels,
            parameters,
            heartbeat: _,
            train_rows,
            eval_rows,
            memory: _,
        } = welcome;
        let before = &self.welcome;
        (run_id, spec_json, labels, parameters)
            == (&before.run_id, &before.spec_json, &before.labels, &before.parameters)
            && (train_rows, eval_rows) == (&before.train_rows, &before.eval_rows)
    }
}

async fn pull_indexes(exchange: &Exchange, labels: usize) -> Result<[RowIndex; 2], WorkerError> {
    let train = RowIndex::decode(&exchange.pull_index(Pass::Train).await?, labels)?;
    let eval = RowIndex::decode(&exchange.pull_index(Pass::Eval).await?, labels)?;
    Ok([train, eval])
}
