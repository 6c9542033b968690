//! A look at some rows of large data, for those who only want to know whether a run could begin.

use super::collected::{Collected, Indexed, planned, planned_texts};
use super::detect::{HEAD, detect};
use super::lines::Scan;
use super::request::{DataRequest, header, scanned_files};
use super::unpack::{Broken, Budget, Pieces, Unpacked, read_through};
use super::window::Window;
use super::{DataError, DataFile, FilePosition, Format, Note, Packing, RowIndex, scan, table};
use crate::run_file::{Dataset, Task};
use crate::store::{Location, Meta, Stores};

/// Bytes of data that are read from end to end.
const SMALL: u64 = 1 << 30;
/// Places of a file that are looked at, from its first byte to its last.
const PLACES: u64 = 16;
/// Bytes read at each of them.
const SLICE: u64 = 256 << 10;
/// Rows looked at where a file can only be read from its start.
pub const FIRST_ROWS: u64 = 10_000;

/// The result of sampling the data.
#[derive(Debug)]
pub struct Survey {
    /// The rows that were checked: all, or some of large data.
    pub index: RowIndex,
    /// The labels of these rows, or those that were given.
    pub labels: Vec<String>,
    /// What people should know of them.
    pub notes: Vec<Note>,
    /// Where only some rows were checked: about what there is.
    pub estimate: Option<Estimate>,
}

/// The estimated size of data when only a sample of its rows was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Estimated number of rows.
    pub rows: u64,
    /// Bytes of the files, as they are.
    pub bytes: u64,
}

/// As [`super::index()`] for data up to 1 GiB; of larger data some rows are checked: the first, the last, and some evenly
/// spread between them. Compressed and CSV files are read from their start only.
pub async fn survey(stores: &Stores, wanted: DataRequest<'_>) -> Result<Survey, DataError> {
    survey_above(SMALL, stores, wanted).await
}

async fn survey_above(small: u64, stores: &Stores, wanted: DataRequest<'_>) -> Result<Survey, DataError> {
    let mut datasets = Vec::new();
    for dataset in wanted.datasets {
        let files = scanned_files(stores, dataset, wanted.task).await?;
        datasets.extend(files.map(|files| (dataset, files)));
    }
    let total: u64 = datasets.iter().flat_map(|(_, files)| files).map(|(_, meta)| meta.size).sum();
    if datasets.len() < wanted.datasets.len() || total <= small {
        let Indexed { index, labels, notes } = scan::index(stores, wanted).await?;
        return Ok(Survey { index, labels, notes, estimate: None });
    }
    let (Indexed { index, labels, notes }, rows) = some_rows(datasets, wanted).await?;
    Ok(Survey { index, labels, notes, estimate: Some(Estimate { rows, bytes: total }) })
}

async fn some_rows(
    datasets: Vec<(&Dataset, Vec<(Location, Meta)>)>,
    wanted: DataRequest<'_>,
) -> Result<(Indexed, u64), DataError> {
    let DataRequest { task, labels, data_cache, .. } = wanted;
    let mut collected = Collected::new(labels, data_cache);
    let mut rows = 0.0;
    for (entry, (dataset, files)) in (0..).zip(datasets) {
        let first = collected.index.files().len();
        for file in files {
            let found;
            (collected, found) = some_of_file(&file, dataset, task, collected).await?;
            rows += found;
        }
        collected.index.assign(first, entry);
    }
    Ok((collected.settle(), f64::round(rows) as u64))
}

/// Checks some rows of a file, and says about how many it has.
async fn some_of_file(
    file: &(Location, Meta),
    dataset: &Dataset,
    task: Task,
    collected: Collected,
) -> Result<(Collected, f64), DataError> {
    let (location, meta) = file;
    let first = location.read_range(meta, 0..meta.size.min(HEAD)).await?;
    let (format, packing) = detect(location.url(), &first, &header(dataset, task))?;
    let planned = match task {
        Task::SequenceClassification | Task::CausalLm => {
            planned_texts(file, (format, packing), dataset, task)
        }
        Task::ImageClassification => planned(file, (Format::Image, packing), &dataset.image_column, None),
    };
    let label_column = dataset.label_column.clone();
    match (packing, planned.format) {
        (Packing::Parquet, _) => {
            let (collected, rows) =
                table::add(file, planned, label_column, collected, Some(FIRST_ROWS)).await?;
            Ok((collected, rows as f64))
        }
        (Packing::Plain, Format::Jsonl) if !planned.whole => {
            slices(file, planned, label_column, collected).await
        }
        _ => beginning(file, planned, label_column, collected).await,
    }
}

/// The first rows of a file that can only be read from its start.
async fn beginning(
    (file, meta): &(Location, Meta),
    planned: DataFile,
    label_column: Option<String>,
    collected: Collected,
) -> Result<(Collected, f64), DataError> {
    let size = meta.size as f64;
    let budget = Budget::new(meta.size, collected.room, collected.data_cache);
    read_through(file, meta, move |pieces| {
        let url = planned.url.clone();
        let unpacked = Unpacked::new(pieces, planned.packing, budget);
        let unpacked = unpacked.map_err(|error| Broken::from(error).at(&url, FilePosition::File))?;
        let before = collected.index.len();
        let scan =
            Scan { file: planned, label_column, window: Window::new(unpacked), collected, most: FIRST_ROWS };
        let (collected, passed) = scan.begin()?;
        let rows = (collected.index.len() - before) as f64;
        Ok((collected, rows * size / (passed.max(1) as f64)))
    })
    .await
}

/// Slices of a file whose rows are lines.
async fn slices(
    (file, meta): &(Location, Meta),
    planned: DataFile,
    label_column: Option<String>,
    mut collected: Collected,
) -> Result<(Collected, f64), DataError> {
    let before = collected.index.len();
    let mut seen = 0;
    let last = meta.size.saturating_sub(SLICE);
    for place in 0..PLACES {
        let start = last / (PLACES - 1) * place;
        let start = if place == PLACES - 1 { last } else { start };
        let end = (start + SLICE).min(meta.size);
        let bytes = file.read_range(meta, start..end).await?;
        // Whole lines only: what another slice would hold the rest of is left out.
        let from =
            if start == 0 { 0 } else { memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |at| at + 1) };
        let to = if end == meta.size {
            bytes.len()
        } else {
            memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1)
        };
        let lines = bytes.slice(from..to.max(from));
        seen += lines.len();
        let (planned, label_column) = (planned.clone(), label_column.clone());
        let scanning = tokio::task::spawn_blocking(move || {
            let url = planned.url.clone();
            let budget = Budget::new(SLICE, SLICE, SLICE);
            let unpacked = Unpacked::new(Pieces::of(lines), Packing::Plain, budget);
            let unpacked = unpacked.map_err(|error| Broken::from(error).at(&url, FilePosition::File))?;
            Scan { file: planned, label_column, window: Window::new(unpacked), collected, most: u64::MAX }
                .run()
        });
        let scanned = scanning.await.expect("scanning does not panic");
        collected = scanned.map_err(|error| match error {
            // Lines before the slice were not counted.
            DataError::Row { url, place: FilePosition::Line(line), problem } if start > 0 => DataError::Row {
                url,
                place: FilePosition::After { offset: start + from as u64, line },
                problem,
            },
            other => other,
        })?;
    }
    let rows = (collected.index.len() - before) as f64;
    Ok((collected, rows * meta.size as f64 / (seen.max(1) as f64)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{TEXTS, dataset, stored};
    use super::*;

    const SMALL: u64 = 1 << 20;

    /// Rows of about a hundred bytes, six megabytes of them.
    fn rows() -> Vec<String> {
        let row = |number: u32| format!("{{\"text\":\"{number:080}\",\"label\":\"{}\"}}\n", number % 3);
        (0..60_000).map(row).collect()
    }

    async fn look(name: &str, content: &[u8]) -> Result<Survey, DataError> {
        let stores = stored(&[(name, content)]).await;
        let datasets = [dataset(format!("memory://data/{name}"))];
        let wanted =
            DataRequest { datasets: &datasets, task: TEXTS, labels: None, data_cache: 1 << 30, kept: None };
        survey_above(SMALL, &stores, wanted).await
    }

    #[tokio::test]
    async fn large_data_is_looked_at_here_and_there() {
        let (rows, csv_header) = (rows(), "text,label\n");
        let csv: String = rows.iter().map(|row| format!("{},{}\n", &row[9..89], &row[100..101])).collect();
        let csv = format!("{csv_header}{csv}");
        // Text that packs about as well everywhere.
        let zstd = zstd::encode_all(rows.concat().as_bytes(), -7).unwrap();
        let plain = rows.concat();
        for (name, content) in [("t.jsonl", plain.as_bytes()), ("t.csv", csv.as_bytes())] {
            let Survey { index, labels, estimate, .. } = look(name, content).await.unwrap();
            let estimate = estimate.expect("it is large");
            assert_eq!((labels.len(), estimate.bytes), (3, content.len() as u64), "{name}");
            assert!(estimate.rows.abs_diff(60_000) < 1500, "{name}: {}", estimate.rows);
            assert!(index.len() >= FIRST_ROWS && index.len() <= 45_000, "{name}: {}", index.len());
        }
        let small = look("t.jsonl.zst", &zstd).await.unwrap();
        assert_eq!(small.estimate.is_none(), zstd.len() as u64 <= SMALL);
        let packed = stored(&[("t.jsonl.zst", zstd.as_slice())]).await;
        let datasets = [dataset("memory://data/t.jsonl.zst")];
        let wanted =
            DataRequest { datasets: &datasets, task: TEXTS, labels: None, data_cache: 1 << 30, kept: None };
        let survey = survey_above(1, &packed, wanted).await.unwrap();
        assert_eq!(survey.index.len(), FIRST_ROWS);
    }

    #[tokio::test]
    async fn a_bad_first_or_last_row_is_seen() {
        let mut rows = rows();
        rows[59_999] = "{}".to_owned();
        let error = look("t.jsonl", rows.concat().as_bytes()).await.unwrap_err().to_string();
        assert!(error.contains("t.jsonl, line ") && error.contains("no column \"text\""), "{error}");
        rows[1] = "[]\n".to_owned();
        let error = look("t.jsonl", rows.concat().as_bytes()).await.unwrap_err().to_string();
        assert!(error.contains("t.jsonl:2: not a JSON object"), "{error}");
    }
}
