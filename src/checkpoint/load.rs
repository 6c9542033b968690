//! Reads the tensors: in file order, in parallel, in bounded memory.

use std::ops::Range;

use super::{Checkpoint, CheckpointError, Resolution, TensorEntry, TensorFile, Values};
use crate::model::Parameter;
use futures::{StreamExt, TryStreamExt};

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
    /// Gives the values of the parameters that are `wanted` to `sink`, with their index in the table: first the
    /// checkpoint's, in file order, then fresh ones from `initial`. All values are finite. Peak memory is about three runs
    /// of tensors.
    pub async fn load<E: From<CheckpointError>>(
        &self,
        resolution: &Resolution,
        table: &[Parameter],
        wanted: impl Fn(usize) -> bool,
        initial: impl Fn(&Parameter) -> Vec<f32>,
        mut sink: impl FnMut(usize, Values) -> Result<(), E>,
    ) -> Result<(), E> {
        let runs = self.runs(resolution, &wanted);
        self.progress.expect(runs.iter().map(|run| run.range.end - run.range.start).sum());
        let mut reads = std::pin::pin!(
            futures::stream::iter(runs).map(|run| self.read_counted(run)).buffered(RUNS_IN_FLIGHT)
        );
        while let Some(tensors) = reads.try_next().await? {
            for (parameter, values) in tensors {
                sink(parameter, values)?;
            }
        }
        for (index, source) in resolution.sources.iter().enumerate() {
            if source.is_none() && wanted(index) {
                sink(index, Values::F32(initial(&table[index])))?;
            }
        }
        Ok(())
    }

    /// One parameter's values; `None` if it begins fresh.
    pub async fn load_one(
        &self,
        resolution: &Resolution,
        parameter: usize,
    ) -> Result<Option<Values>, CheckpointError> {
        let Some(wanted) = self.to_load(resolution, parameter) else { return Ok(None) };
        let (file, range) = (wanted.entry.file, wanted.entry.range.clone());
        let mut read = self.read_run(Run { file, range, tensors: vec![wanted] }).await?;
        Ok(read.pop().map(|(_, values)| values))
    }

    /// Where a parameter's values lie, as they are; `None` if it begins fresh or its rows change places.
    pub fn stored(&self, resolution: &Resolution, parameter: usize) -> Option<(TensorFile, &TensorEntry)> {
        let entry = self.tensors.get(resolution.sources[parameter].as_ref()?)?;
        let as_it_is = !resolution.rows.contains_key(&parameter);
        as_it_is.then(|| (self.files[entry.file].clone(), entry))
    }

    /// One tensor by its name; `None` if there is none.
    pub async fn read_tensor(&self, name: &str) -> Result<Option<Values>, CheckpointError> {
        let Some((name, entry)) = self.tensors.get_key_value(name) else { return Ok(None) };
        let (file, range) = (entry.file, entry.range.clone());
        let tensor = TensorToLoad { parameter: 0, name: name.clone(), entry: entry.clone(), rows: None };
        let mut read = self.read_run(Run { file, range, tensors: vec![tensor] }).await?;
        Ok(read.pop().map(|(_, values)| values))
    }

    fn to_load(&self, resolution: &Resolution, parameter: usize) -> Option<TensorToLoad> {
        let (name, entry) = self.tensors.get_key_value(resolution.sources[parameter].as_ref()?)?;
        let rows = resolution.rows.get(&parameter).cloned();
        Some(TensorToLoad { parameter, name: name.clone(), entry: entry.clone(), rows })
    }

    /// The tensors to load, grouped into reads.
    fn runs(&self, resolution: &Resolution, wanted: &impl Fn(usize) -> bool) -> Vec<Run> {
        let parameters = (0..resolution.sources.len()).filter(|&index| wanted(index));
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

    /// As [`Checkpoint::read_run`]; counts its bytes.
    async fn read_counted(&self, run: Run) -> Result<Vec<(usize, Values)>, CheckpointError> {
        let bytes = run.range.end - run.range.start;
        let read = self.read_run(run).await?;
        self.progress.advance(bytes);
        Ok(read)
    }

    async fn read_run(&self, run: Run) -> Result<Vec<(usize, Values)>, CheckpointError> {
        let file = &self.files[run.file];
        let bytes = file.location.read_large(&file.meta, run.range.clone()).await?;
        let decoding = tokio::task::spawn_blocking(move || {
            let start = run.range.start;
            let decoded = run.tensors.into_iter().map(|TensorToLoad { parameter, name, entry, rows }| {
                let range = (entry.range.start - start) as usize..(entry.range.end - start) as usize;
                let values = Values::decode(&name, entry.dtype, &bytes[range])?;
                Ok((
                    parameter,
                    match rows {
                        Some(rows) => values.in_order(&rows),
                        None => values,
                    },
                ))
            });
            decoded.collect()
        });
        decoding.await.expect("decoding does not panic")
    }
}
