//! Planning's one pass over the data: dataset by dataset, file by file.

use futures::{StreamExt, TryStreamExt};

use super::collected::{Collected, Indexed, planned_texts};
use super::detect::{HEAD, detect};
use super::index_cache::CachedIndex;
use super::lines::Scan;
use super::request::{DataRequest, header};
use super::unpack::{Broken, Budget, Unpacked, read_through};
use super::window::Window;
use super::{DataError, DataFile, FilePosition, Packing, RowIndex, images, table};
use crate::run_file::{DATA_CACHE, Dataset, Task};
use crate::store::{Location, Meta, Stores};

/// Files whose first bytes are read at once.
const READS_IN_FLIGHT: usize = 16;

/// The rows of the datasets, in order, and their labels.
pub async fn index(stores: &Stores, wanted: DataRequest<'_>) -> Result<Indexed, DataError> {
    let place = CachedIndex::of(stores, &wanted).await?;
    if let Some(place) = &place
        && let Some(found) = place.read().await
    {
        return Ok(found);
    }
    let indexed = scan(stores, wanted).await?;
    if let Some(place) = &place {
        place.write(&indexed).await;
    }
    Ok(indexed)
}

async fn scan(stores: &Stores, wanted: DataRequest<'_>) -> Result<Indexed, DataError> {
    let DataRequest { datasets, task, labels, data_cache, kept: _ } = wanted;
    let mut collected = Collected::new(labels, data_cache);
    for (entry, dataset) in (0..).zip(datasets) {
        let (before, files) = (collected.index.len(), collected.index.files().len());
        collected = match task {
            Task::ImageClassification => images::add(stores, dataset, collected).await?,
            Task::SequenceClassification | Task::CausalLm => {
                add_texts(stores, dataset, task, collected).await?
            }
        };
        collected.index.assign(files, entry);
        if collected.index.len() == before {
            return Err(DataError::Empty { path: dataset.path.clone() });
        }
    }
    let indexed = collected.settle();
    match indexed.labels.as_slice() {
        [only] if labels.is_none() && task != Task::CausalLm => {
            Err(DataError::OneLabel { label: only.clone() })
        }
        _ => Ok(indexed),
    }
}

/// As [`index()`], with the default `data_cache`, and without indexes of earlier runs.
pub async fn index_in(
    stores: &Stores,
    datasets: &[Dataset],
    task: Task,
    labels: Option<&[String]>,
) -> Result<(RowIndex, Vec<String>), DataError> {
    let wanted = DataRequest { datasets, task, labels, data_cache: DATA_CACHE, kept: None };
    let Indexed { index, labels, .. } = scan(stores, wanted).await?;
    Ok((index, labels))
}

async fn add_texts(
    stores: &Stores,
    dataset: &Dataset,
    task: Task,
    mut collected: Collected,
) -> Result<Collected, DataError> {
    if stores.locate(&dataset.path)?.local_path().is_some_and(|path| path.is_dir()) {
        let reason =
            "a directory; name its files, for example with a pattern such as directory/*.jsonl".to_owned();
        return Err(DataError::Kind { url: dataset.path.clone(), reason });
    }
    let files = stores.glob(&dataset.path).await?;
    let first_bytes = files.iter().map(|(file, meta)| file.read_range(meta, 0..meta.size.min(HEAD)));
    let first_bytes: Vec<_> =
        futures::stream::iter(first_bytes).buffered(READS_IN_FLIGHT).try_collect().await?;
    let columns = header(dataset, task);
    let kinds = files.iter().zip(&first_bytes).map(|((file, _), first)| detect(file.url(), first, &columns));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    for (file, kind) in files.into_iter().zip(kinds) {
        let planned = planned_texts(&file, kind, dataset, task);
        collected = match kind {
            (_, Packing::Parquet) => {
                table::add(&file, planned, dataset.label_column.clone(), collected, None).await?.0
            }
            _ => add_text(&file, planned, dataset.label_column.clone(), collected).await?,
        };
    }
    Ok(collected)
}

async fn add_text(
    (file, meta): &(Location, Meta),
    planned: DataFile,
    label_column: Option<String>,
    collected: Collected,
) -> Result<Collected, DataError> {
    let budget = Budget::new(meta.size, collected.room, collected.data_cache);
    read_through(file, meta, move |pieces| {
        let unpacked = Unpacked::new(pieces, planned.packing, budget);
        let unpacked = unpacked.map_err(|error| Broken::from(error).at(&planned.url, FilePosition::File))?;
        Scan { file: planned, label_column, window: Window::new(unpacked), collected, most: u64::MAX }.run()
    })
    .await
}
