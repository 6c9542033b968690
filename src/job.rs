//! Everything that can be known before a worker starts: the data's rows and labels, the network, the plan.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::data::{self, DataError, RowIndex};
use crate::exit::Exit;
use crate::hash::hex;
use crate::network::{Network, NetworkError};
use crate::plan::{Plan, PlanError};
use crate::spec::RunSpec;
use crate::store::{Location, StoreError};

/// A run that is ready to begin.
#[derive(Debug)]
pub struct Job {
    /// The run file.
    pub spec: RunSpec,
    /// Label names, sorted.
    pub labels: Vec<String>,
    /// Training rows.
    pub train: RowIndex,
    /// Evaluation rows.
    pub eval: RowIndex,
    /// The network.
    pub network: Network,
    /// Steps and shards.
    pub plan: Plan,
    /// Where everything is written.
    pub output: Location,
}

impl Job {
    /// One hash over files, rows and labels of the data: what the ledger begins with.
    pub fn data_hash(&self) -> String {
        let mut hash = Sha256::new();
        for index in [&self.train, &self.eval] {
            hash.update(index.len().to_le_bytes());
            for file in index.files() {
                hash.update(file.size.to_le_bytes());
                hash.update(file.sha256.unwrap_or_default());
            }
            for label in index.labels() {
                hash.update(label.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The steps cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something where the run would write.
    #[error("output_dir {url} is not empty ({first}): choose another, or remove it")]
    OutputNotEmpty {
        /// The directory.
        url: String,
        /// An object in it.
        first: String,
    },
}

impl Job {
    /// Tries whether `output_dir` can be written, before hours are spent on what belongs there.
    pub async fn check_output(&self) -> Result<(), StoreError> {
        let file = self.output.join("write-check")?;
        file.write(Bytes::from_static(b"Whether results can be written here.\n")).await?;
        file.delete().await
    }
}

impl JobError {
    /// The exit code of a process that fails with this.
    pub fn exit(&self) -> Exit {
        match self {
            JobError::Data(error) => error.exit(),
            JobError::Network(error) => error.exit(),
            JobError::Store(error) => error.exit(),
            JobError::Plan(_) | JobError::OutputNotEmpty { .. } => Exit::Usage,
        }
    }
}

/// Everything a run needs to begin: what [`read`] reads, and an `output_dir` with nothing in it.
pub async fn prepare(spec: &RunSpec) -> Result<Job, JobError> {
    let output = spec.cluster.stores().locate(&spec.output_dir)?;
    if let Some((first, _)) = output.list().await?.into_iter().next() {
        return Err(JobError::OutputNotEmpty { url: output.url().to_owned(), first: first.url().to_owned() });
    }
    read(spec).await
}

/// Reads what a run file names, short of the weights themselves. What `output_dir` holds does not matter.
pub async fn read(spec: &RunSpec) -> Result<Job, JobError> {
    let stores = spec.cluster.stores();
    let output = stores.locate(&spec.output_dir)?;
    let (train, labels) = data::index_in(&stores, &spec.datasets, spec.task, None).await?;
    let eval = match spec.eval_datasets.as_slice() {
        [] => RowIndex::default(),
        datasets => data::index_in(&stores, datasets, spec.task, Some(&labels)).await?.0,
    };
    let network = Network::open(spec, &labels).await?;
    let plan = Plan::new(spec, train.len(), eval.len())?;
    Ok(Job { spec: spec.clone(), labels, train, eval, network, plan, output })
}
