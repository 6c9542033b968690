//! Settings of a worker, fixed when it starts.

use std::path::PathBuf;

use crate::platform::Platform;

/// Settings that differ between the workers of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The coordinator's URL.
    pub coordinator: String,
    /// For people.
    pub name: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads it insists on; the run's number when absent.
    pub threads: Option<u32>,
    /// Where remote data files are kept. Without, remote rows are read one by one.
    pub cache: Option<PathBuf>,
    /// Bytes it may use for accumulators.
    pub memory: u64,
    /// What it stands on.
    pub platform: Platform,
}
