//! Planning's pass over a Parquet file.

use sha2::{Digest, Sha256};

use super::jsonl::{Cell, label_of};
use super::parquet::{ParquetTable, Source};
use super::scan::Collected;
use super::unpack::Budget;
use super::window::LONGEST_ROW;
use super::{DataError, DataFile, FilePosition, Flat, Format, RowProblem, image_header, images};
use crate::store::{Location, Meta};

/// What a row costs beside its bytes: its place in the index.
const ROW: u64 = 16;

/// Adds every row of a Parquet file, or `some` rows of each of three row groups; also the number of its rows.
pub(super) async fn add(
    (file, meta): &(Location, Meta),
    planned: DataFile,
    label_column: String,
    collected: Collected,
    some: Option<u64>,
) -> Result<(Collected, u64), DataError> {
    let source = Source::new(file, meta);
    let url = planned.url.clone();
    let reading = tokio::task::spawn_blocking(move || read(source, planned, &label_column, collected, some));
    reading.await.unwrap_or_else(|_| Err(contradicts(url)))
}

/// What is said of a file on which the `parquet` crate gives up.
pub(super) fn contradicts(url: String) -> DataError {
    let problem = RowProblem::Parquet("its pages contradict each other".to_owned());
    DataError::Row { url, place: FilePosition::File, problem }
}

fn read(
    source: Source,
    mut planned: DataFile,
    label_column: &str,
    mut collected: Collected,
    some: Option<u64>,
) -> Result<(Collected, u64), DataError> {
    let mut budget = Budget::new(planned.size, collected.room, collected.data_cache);
    let table = ParquetTable::open(source, planned.format, &planned.column, Some(label_column))?;
    let (mut size, mut hash) = (0, Sha256::new());
    let visit = |_: u64, content: &[u8], label: Option<Cell>| -> Result<(), RowProblem> {
        check(planned.format, content)?;
        let length = content.len() as u64;
        budget.spend(length + ROW)?;
        let label = label_of(label.expect("a label column was asked for"), label_column)?;
        let label = collected.labels.number(&label, label_column)?;
        collected.index.push_row(size, length as u32, label);
        hash.update(content);
        size += length;
        Ok(())
    };
    match some {
        None => table.read(visit)?,
        Some(most) => table.read_some(most, visit)?,
    }
    planned.flat = Some(Flat { size, sha256: hash.finalize().into() });
    collected.room = collected.room.saturating_sub(size);
    collected.index.push_file(planned);
    Ok((collected, table.rows()))
}

fn check(format: Format, content: &[u8]) -> Result<(), RowProblem> {
    let limit = if format == Format::Image { images::LARGEST_IMAGE } else { LONGEST_ROW };
    if content.len() as u64 > limit {
        return Err(RowProblem::TooLong { limit, csv: false });
    }
    match format {
        Format::Image => image_header::check(content),
        _ => std::str::from_utf8(content).map(|_| ()).map_err(|_| RowProblem::NotUtf8),
    }
}
