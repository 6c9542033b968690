//! Planning's pass over a Parquet file.

use sha2::{Digest, Sha256};

use super::collected::Collected;
use super::parquet::{ParquetRow, ParquetTable, Source, contradicts};
use super::unpack::Budget;
use super::window::LONGEST_ROW;
use super::{DataError, DataFile, Flat, Format, Note, RowProblem, image_header, pair};
use crate::store::{Location, Meta};

/// What a row costs beside its bytes: its place in the index.
const ROW: u64 = 16;

/// Adds every row of a Parquet file, or `some` rows: of each of three row groups, or the first of whole rows. Also the
/// number of rows that it has.
pub(super) async fn add(
    (file, meta): &(Location, Meta),
    planned: DataFile,
    label_column: Option<String>,
    collected: Collected,
    some: Option<u64>,
) -> Result<(Collected, u64), DataError> {
    let source = Source::new(file, meta);
    let url = planned.url.clone();
    let reading =
        tokio::task::spawn_blocking(move || read(source, planned, label_column.as_deref(), collected, some));
    reading.await.unwrap_or_else(|_| Err(contradicts(url)))
}

fn read(
    source: Source,
    mut planned: DataFile,
    label_column: Option<&str>,
    mut collected: Collected,
    some: Option<u64>,
) -> Result<(Collected, u64), DataError> {
    let mut budget = Budget::new(planned.size, collected.room, collected.data_cache);
    let table = ParquetTable::open(source, &planned, label_column)?;
    if let (Some(names), Some(label_column)) = (table.classes(), label_column) {
        collected.declare(&planned.url, label_column, names)?;
        if !collected.fixed {
            collected.note(Note::DeclaredLabels { column: label_column.to_owned() });
        }
    }
    planned.columns = table.columns();
    let (mut size, mut hash) = (0, Sha256::new());
    let (format, whole, pairs) = (planned.format, planned.whole, planned.pair_column.is_some());
    let visit = |ParquetRow { content, label }: ParquetRow<'_>| -> Result<(), RowProblem> {
        check(format, pairs, content)?;
        let length = content.len() as u64;
        budget.spend(length + ROW)?;
        let label = match label_column.filter(|_| !whole) {
            None => 0,
            Some(column) => {
                let label = label.expect("a label column was asked for");
                collected.labels.of_cell(label, column)?
            }
        };
        collected.index.push_row(size, length as u32, label);
        hash.update(content);
        size += length;
        Ok(())
    };
    match some {
        None => table.read(visit)?,
        Some(most) if whole => table.read_first(most, visit)?,
        Some(most) => table.read_some(most, visit)?,
    }
    planned.flat = Some(Flat { size, sha256: hash.finalize().into() });
    collected.room = collected.room.saturating_sub(size);
    collected.index.push_file(planned);
    Ok((collected, table.rows()))
}

fn check(format: Format, pairs: bool, content: &[u8]) -> Result<(), RowProblem> {
    let limit = if format == Format::Image { image_header::LARGEST_IMAGE } else { LONGEST_ROW };
    if content.len() as u64 > limit {
        return Err(RowProblem::TooLong { limit, csv: false });
    }
    let text = |bytes| std::str::from_utf8(bytes).map(|_| ()).map_err(|_| RowProblem::NotUtf8);
    match format {
        Format::Image => image_header::check(content),
        _ if pairs => {
            let (first, second) = pair::split(content).expect("the reader joins them");
            text(first).and_then(|()| text(second))
        }
        _ => text(content),
    }
}
