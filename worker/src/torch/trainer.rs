//! The trainer: a network on a device.
//!
//! On a CPU the gradient is written where the caller wants it. Elsewhere weights and gradient have a tensor each on the device,
//! which crosses to or from host memory whole: see `staged.rs` and `device_gradient.rs`.

use std::sync::Arc;

use headstart::checkpoint::Values;
use headstart::message::NumericClass;
use headstart::network::Network;
use headstart::optimizer::Piece;
use headstart::run_file::Precision;
use rayon::prelude::*;
use tch::{Device, Kind};

use super::canary;
use super::device_gradient::DeviceGradient;
use super::network::Transformer;
use super::parameters::Parameters;
use super::step::Step;
use super::{device, host, shim};
use crate::objective::Objective;
use crate::trainer::TrainerJob;
use crate::trainer::{Batch, Draw, Line, Progress, ReadWeights, Sums, TrainError, Trainer};

/// Computes gradients with libtorch. One in a process: libtorch has one random generator for all threads.
pub struct TorchTrainer {
    network: Arc<Network>,
    objective: Objective,
    parameters: Parameters,
    transformer: Transformer,
    checkpointing: bool,
    /// What a probe compares with, until the first gradient.
    zero_line: Option<(Parameters, Transformer)>,
    /// A shard's gradient on the device, from the first one on; `None` where gradients are added up on the host.
    gradient: Option<DeviceGradient>,
    /// Copies weights; as many threads as compute.
    pool: Arc<rayon::ThreadPool>,
    threads: u32,
    micro_batch: u32,
    sequence_len: u32,
}

/// Makes the trainer of a run. To be called on the thread that will own it.
pub fn make_trainer(job: TrainerJob) -> Result<Box<dyn Trainer>, TrainError> {
    Ok(Box::new(TorchTrainer::new(job)?))
}

impl TorchTrainer {
    /// Sets libtorch up for this thread, and puts the network on its device.
    pub fn new(job: TrainerJob) -> Result<TorchTrainer, TrainError> {
        let staged = device::device(&job.device) != Device::Cpu;
        TorchTrainer::with(job, staged)
    }

    /// The same. `staged`: whether weights and gradient have tensors on the device and images on the host, as they must have where
    /// these are not one.
    pub(super) fn with(job: TrainerJob, staged: bool) -> Result<TorchTrainer, TrainError> {
        let TrainerJob {
            network,
            objective,
            threads,
            micro_batch,
            sequence_len,
            device,
            values,
            checkpointing,
            precision,
        } = job;
        shim::deterministic()?;
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        let device = device::device(&device);
        let mut parameters = Parameters::of(&network, values, device)?.computing(compute(precision, device));
        if staged {
            parameters = parameters.staged()?;
        }
        shim::give_back_memory();
        let transformer = Transformer::new(&network.blueprint, &parameters);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build();
        let pool = Arc::new(pool.map_err(|error| TrainError::Device(error.to_string()))?);
        Ok(TorchTrainer {
            network,
            objective,
            parameters,
            transformer,
            checkpointing,
            zero_line: None,
            gradient: None,
            pool,
            threads,
            micro_batch,
            sequence_len,
        })
    }

    /// Logits of a batch without dropout: `[rows × labels]`, row-major.
    pub fn logits(&self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        self.parameters.upload()?;
        let logits = self.transformer.evaluate(batch, self.parameters.device())?;
        host::elements(&logits, <[f32]>::to_vec)
    }
}

/// The number format of the forward and backward pass.
fn compute(precision: Precision, device: Device) -> Kind {
    match (precision, device) {
        (Precision::F32, _) | (_, Device::Cpu) => Kind::Float,
        (Precision::Bf16 | Precision::Auto, _) => Kind::BFloat16,
    }
}

/// What must be equal on two machines for equal bits.
fn class(device: Device, threads: u32, compute: Kind) -> NumericClass {
    NumericClass {
        headstart: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: shim::version(),
        device: device::kind(device),
        instructions: match device {
            Device::Cpu => shim::cpu_capability(),
            _ => String::new(),
        },
        threads,
        precision: if compute == Kind::BFloat16 { "bf16" } else { "f32" }.to_owned(),
    }
}

/// The numeric class on a device that [`choose_device`](super::choose_device) returned, and the number of GPUs, in JSON.
pub fn describe(device: &str, threads: u32) -> serde_json::Value {
    let mut text = serde_json::to_value(class(device::device(device), threads, Kind::Float))
        .expect("a class is plain data");
    text["gpus"] = tch::Cuda::device_count().into();
    text
}

impl Trainer for TorchTrainer {
    fn numeric_class(&self) -> NumericClass {
        class(self.parameters.device(), self.threads, self.parameters.compute())
    }

    fn canary(&mut self) -> Result<u128, TrainError> {
        let hash = canary::hash(
            &self.network.blueprint,
            self.objective,
            self.micro_batch as usize,
            self.sequence_len as usize,
            &self.pool,
            &self.parameters,
        );
        // It may have been larger than a micro-batch is.
        shim::give_back_memory();
        hash
    }

    fn trainable_len(&self) -> usize {
        self.parameters.len()
    }

    fn set_trainable(&mut self, offset: usize, values: &[f32]) -> Result<(), TrainError> {
        self.parameters.set(offset, values)
    }

    fn load_trainable(&mut self, read: &ReadWeights<'_>) -> Result<(), TrainError> {
        let pieces = self.parameters.pieces()?;
        let load = || pieces.into_par_iter().try_for_each(|(at, into)| read(at, into));
        self.pool.install(load).map_err(TrainError::Weights)
    }

    fn trainable_mut(&mut self) -> Result<Vec<Piece<'_>>, TrainError> {
        self.parameters.pieces()
    }

    fn pool(&self) -> Option<Arc<rayon::ThreadPool>> {
        Some(self.pool.clone())
    }

    fn gradient(
        &mut self,
        draw: Draw,
        batch: &Batch,
        gradient: &mut [f32],
        progress: &mut Progress<'_>,
    ) -> Result<Sums, TrainError> {
        self.zero_line = None;
        let TorchTrainer { transformer, parameters, objective, checkpointing, .. } = self;
        parameters.upload()?;
        let step = Step {
            network: transformer,
            parameters,
            objective: *objective,
            checkpointing: *checkpointing,
            draw,
            batch,
            not_yet: parameters.not_yet(draw.step),
        };
        let Some(layout) = parameters.layout() else { return step.gradient(gradient, progress) };
        let there = match &mut self.gradient {
            Some(there) => there,
            empty => empty.insert(DeviceGradient::new(layout.clone(), parameters.device())?),
        };
        step.gradient_there(there)
    }

    fn finish_shard(&mut self, gradient: &mut [f32]) -> Result<(), TrainError> {
        match &mut self.gradient {
            Some(there) => there.give(&self.pool, gradient),
            None => Ok(()),
        }
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<Sums, TrainError> {
        self.parameters.upload()?;
        self.objective.evaluate(&self.transformer, batch, self.parameters.device())
    }

    fn nll(&self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        self.parameters.upload()?;
        self.objective.nll(&self.transformer, batch, self.parameters.device())
    }

    fn set_zero_line(&mut self, values: Vec<Values>) -> Result<(), TrainError> {
        let parameters = Parameters::of(&self.network, values, self.parameters.device())?;
        let parameters = parameters.computing(self.parameters.compute());
        let transformer = Transformer::new(&self.network.blueprint, &parameters);
        self.zero_line = Some((parameters, transformer));
        Ok(())
    }

    fn has_zero_line(&self) -> bool {
        self.zero_line.is_some()
    }

    fn probe(&self, row: &Batch, line: Line) -> Result<Vec<f32>, TrainError> {
        let (parameters, transformer) = match (line, &self.zero_line) {
            (Line::First, _) => (&self.parameters, &self.transformer),
            (Line::Zero, Some((parameters, transformer))) => (parameters, transformer),
            (Line::Zero, None) => return Err(TrainError::Torch("there is nothing to compare with".into())),
        };
        parameters.upload()?;
        match self.objective {
            Objective::Classification { .. } => {
                host::elements(&transformer.features(row, parameters.device())?, <[f32]>::to_vec)
            }
            Objective::CausalLm { .. } => self.objective.nll(transformer, row, parameters.device()),
        }
    }
}
