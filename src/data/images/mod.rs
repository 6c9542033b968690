//! Images: a directory with one folder per class, a directory with a `metadata.jsonl`, or Parquet files.

mod folder;
mod listed;
mod look;
mod splits;

use super::collected::{Collected, planned};
use super::detect::{HEAD, packing};
use super::{DataError, FilePosition, Format, Packing, RowProblem, columns, image_header, table};
use crate::run_file::Dataset;
use crate::store::{Location, Meta, StoreError, Stores, is_pattern, stand_in};
use folder::Folder;

/// Bytes of the largest list of labels.
const LARGEST_METADATA: u64 = 256 << 20;

/// Adds every image of a dataset.
pub(super) async fn add(
    stores: &Stores,
    dataset: &Dataset,
    collected: Collected,
) -> Result<Collected, DataError> {
    let root = stores.locate(&dataset.path)?;
    if are_tables(&root, &dataset.path).await? {
        return add_tables(stores, dataset, collected).await;
    }
    let folder = Folder::open(&dataset.path, &root).await?;
    let metadata = match &folder.metadata {
        Some((file, _)) => Some(file.read(LARGEST_METADATA).await?),
        None => None,
    };
    if let (Some((file, _)), Some(found)) = (&folder.metadata, metadata.as_deref().and_then(stand_in)) {
        return Err(kind(file.url(), found));
    }
    let column = dataset.label_column.clone();
    let adding = tokio::task::spawn_blocking(move || match metadata {
        _ if column.is_none() => folder.unlabelled(collected),
        None => folder.by_folder(collected),
        Some(lines) => folder.by_metadata(&lines, column.as_deref().unwrap_or_default(), collected),
    });
    adding.await.expect("looking at images does not panic")
}

/// Whether a dataset's path names Parquet files rather than a directory, whose name can have brackets in it.
pub(super) async fn are_tables(root: &Location, path: &str) -> Result<bool, StoreError> {
    match root.local_path() {
        Some(local) if local.is_dir() => Ok(false),
        Some(local) if local.is_file() => Ok(true),
        _ if path.to_ascii_lowercase().ends_with(".parquet") => Ok(true),
        Some(_) => Ok(is_pattern(path)),
        None => Ok(is_pattern(path) && !root.is_directory().await?),
    }
}

async fn add_tables(
    stores: &Stores,
    dataset: &Dataset,
    mut collected: Collected,
) -> Result<Collected, DataError> {
    for file in stores.glob(&dataset.path).await? {
        let first = file.0.read_range(&file.1, 0..file.1.size.min(HEAD)).await?;
        if packing(&first) != Packing::Parquet {
            let reason = "not a Parquet file; image data is Parquet files, or a directory with one folder per class or \
                          a metadata.jsonl";
            return Err(kind(file.0.url(), stand_in(&first).unwrap_or(reason)));
        }
        let planned = planned(&file, (Format::Image, Packing::Parquet), &dataset.image_column, None);
        (collected, _) = table::add(&file, planned, dataset.label_column.clone(), collected, None).await?;
    }
    Ok(collected)
}

/// Adds an image with the class id of its label.
fn push(file: &(Location, Meta), label: u32, collected: &mut Collected) -> Result<(), DataError> {
    let (location, meta) = file;
    let refuse = |problem| row(location.url(), FilePosition::File, problem);
    if meta.size == 0 {
        return Err(refuse(RowProblem::EmptyFile));
    }
    if meta.size > image_header::LARGEST_IMAGE {
        return Err(refuse(RowProblem::TooLong { limit: image_header::LARGEST_IMAGE, csv: false }));
    }
    collected.index.push_row(0, meta.size as u32, label);
    collected.index.push_file(planned(file, (Format::Image, Packing::Plain), "", None));
    Ok(())
}

fn row(url: &str, place: FilePosition, problem: RowProblem) -> DataError {
    DataError::Row { url: url.to_owned(), place, problem }
}

fn kind(url: &str, reason: &str) -> DataError {
    DataError::Kind { url: url.to_owned(), reason: reason.to_owned() }
}

/// The column of labels, under the name that the run file gives it.
fn label_column(name: &str) -> columns::Column<'_> {
    columns::Column { name, key: columns::LABEL }
}
