//! Reads the tensors: in file order, in parallel, in bounded memory.

use std::ops::Range;

use futures::{StreamExt, TryStreamExt};
use half::{bf16, f16};

use super::header::Dtype;
use super::{Checkpoint, CheckpointError, Resolution, TensorEntry};
use crate::model::Parameter;

/// Bytes of one read: neighbouring tensors share one. A larger tensor is a read of its own.
const RUN: u64 = 32 << 20;
/// Unused bytes read along rather than skipped.
const SKIP: u64 = 1 << 20;
const RUNS_IN_FLIGHT: usize = 2;

/// Neighbouring tensors of one file.
struct Run {
    file: usize,
    range: Range<u64>,
    tensors: Vec<TensorToLoad>,
}

/// A tensor to load.
struct TensorToLoad {
    parameter: usize,
    name: String,
    entry: TensorEntry,
    /// Which of its rows are taken, in order; `None`: it is taken as it is.
    rows: Option<Vec<usize>>,
}

impl Checkpoint {
    /// Gives every parameter's values to `sink`, with its index in the table: first the checkpoint's, in file order,
    /// then fresh ones from `initial`. All values are finite. Peak memory is about three runs of tensors.
    pub async fn load<E: From<CheckpointError>>(
        &self,
        resolution: &Resolution,
        table: &[Parameter],
        initial: impl Fn(&Parameter) -> Vec<f32>,
        mut sink: impl FnMut(usize, Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let runs = self.runs(resolution);
        let mut reads = std::pin::pin!(
            futures::stream::iter(runs).map(|run| self.read_run(run)).buffered(RUNS_IN_FLIGHT)
        );
        while let Some(tensors) = reads.try_next().await? {
            for (parameter, values) in tensors {
                sink(parameter, values)?;
            }
        }
        for (index, source) in resolution.sources.iter().enumerate() {
            if source.is_none() {
                sink(index, initial(&table[index]))?;
            }
        }
        Ok(())
    }

    /// One parameter's values; `None` if it begins fresh.
    pub async fn load_one(
        &self,
        resolution: &Resolution,
        parameter: usize,
    ) -> Result<Option<Vec<f32>>, CheckpointError> {
        let Some(wanted) = self.to_load(resolution, parameter) else { return Ok(None) };
        let (file, range) = (wanted.entry.file, wanted.entry.range.clone());
        let mut read = self.read_run(Run { file, range, tensors: vec![wanted] }).await?;
        Ok(read.pop().map(|(_, values)| values))
    }

    fn to_load(&self, resolution: &Resolution, parameter: usize) -> Option<TensorToLoad> {
        let (name, entry) = self.tensors.get_key_value(resolution.sources[parameter].as_ref()?)?;
        let rows = resolution.rows.get(&parameter).cloned();
        Some(TensorToLoad { parameter, name: name.clone(), entry: entry.clone(), rows })
    }

    /// The tensors to load, grouped into reads.
    fn runs(&self, resolution: &Resolution) -> Vec<Run> {
        let parameters = 0..resolution.sources.len();
        let mut wanted: Vec<TensorToLoad> =
            parameters.filter_map(|parameter| self.to_load(resolution, parameter)).collect();
        wanted.sort_by_key(|tensor| (tensor.entry.file, tensor.entry.range.start));
        let mut runs: Vec<Run> = Vec::new();
        for tensor in wanted {
            let (file, range) = (tensor.entry.file, tensor.entry.range.clone());
            match runs.last_mut() {
                Some(run)
                    if run.file == file
                        && range.end - run.range.start <= RUN
                        && range.start.saturating_sub(run.range.end) <= SKIP =>
                {
                    run.range.end = run.range.end.max(range.end);
                    run.tensors.push(tensor);
                }
                _ => runs.push(Run { file, range, tensors: vec![tensor] }),
            }
        }
        runs
    }

    async fn read_run(&self, run: Run) -> Result<Vec<(usize, Vec<f32>)>, CheckpointError> {
        let file = &self.files[run.file];
        let bytes = file.location.read_large(&file.meta, run.range.clone()).await?;
        let decoding = tokio::task::spawn_blocking(move || {
            let start = run.range.start;
            let decoded = run.tensors.into_iter().map(|TensorToLoad { parameter, name, entry, rows }| {
                let range = (entry.range.start - start) as usize..(entry.range.end - start) as usize;
                let values = decode(&name, entry.dtype, &bytes[range])?;
                Ok((
                    parameter,
                    match rows {
                        Some(rows) => in_order(&values, &rows),
                        None => values,
                    },
                ))
            });
            decoded.collect()
        });
        decoding.await.expect("decoding does not panic")
    }
}

/// A tensor of as many rows as `rows` has, with these rows.
fn in_order(values: &[f32], rows: &[usize]) -> Vec<f32> {
    let width = values.len() / rows.len();
    rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
}

/// Little-endian floats as f32; NaN and infinities are refused.
fn decode(tensor: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, CheckpointError> {
    let values: Vec<f32> = match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        other => {
            return Err(CheckpointError::Dtype { tensor: tensor.to_owned(), dtype: other.name() });
        }
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(element) => Err(CheckpointError::NotFinite {
            tensor: tensor.to_owned(),
            element: element as u64,
            value: values[element],
        }),
        None => Ok(values),
    }
}
