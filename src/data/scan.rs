//! Planning's one pass over the data: every row is checked, and noted where it lies.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};

use super::csv::{self, Parser};
use super::format::{MAGIC, detect};
use super::labels::Labels;
use super::unpack::{Broken, Budget, Unpacked, read_through};
use super::window::Window;
use super::{
    DataError, DataFile, FilePosition, Format, Packing, RowIndex, RowProblem, images, index_cache, jsonl,
    table,
};
use crate::run_file::{DATA_CACHE, Dataset, Task};
use crate::store::{Location, Meta, Stores};

/// Files whose first bytes are read at once.
const READS_IN_FLIGHT: usize = 16;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Rows to be indexed.
#[derive(Clone, Copy, Debug)]
pub struct DataRequest<'a> {
    /// The datasets, in run-file order.
    pub datasets: &'a [Dataset],
    /// What the rows hold.
    pub task: Task,
    /// The only labels allowed, in their order. `None`: those that occur, sorted.
    pub labels: Option<&'a [String]>,
    /// Bytes that packed files may unpack to.
    pub data_cache: u64,
    /// Where indexes of earlier runs are kept, if they are.
    pub kept: Option<&'a Path>,
}

/// The rows of the datasets, in order, and the label names.
pub async fn index(stores: &Stores, wanted: DataRequest<'_>) -> Result<(RowIndex, Vec<String>), DataError> {
    let place = index_cache::CachedIndex::of(stores, &wanted).await?;
    if let Some(place) = &place
        && let Some(found) = place.read().await
    {
        return Ok(found);
    }
    let (index, labels) = scan(stores, wanted).await?;
    if let Some(place) = &place {
        place.write(&index, &labels).await;
    }
    Ok((index, labels))
}

async fn scan(stores: &Stores, wanted: DataRequest<'_>) -> Result<(RowIndex, Vec<String>), DataError> {
    let DataRequest { datasets, task, labels, data_cache, kept: _ } = wanted;
    let mut collected = Collected::new(labels, data_cache);
    for dataset in datasets {
        let before = collected.index.len();
        collected = match task {
            Task::ImageClassification => images::add(stores, dataset, collected).await?,
            Task::SequenceClassification => add_texts(stores, dataset, collected).await?,
        };
        if collected.index.len() == before {
            return Err(DataError::Empty { path: dataset.path.clone() });
        }
    }
    let (index, names) = collected.settle();
    match names.as_slice() {
        [only] if labels.is_none() => Err(DataError::OneLabel { label: only.clone() }),
        _ => Ok((index, names)),
    }
}

/// As [`index()`], with the default `data_cache`, and without indexes of earlier runs.
pub async fn index_in(
    stores: &Stores,
    datasets: &[Dataset],
    task: Task,
    labels: Option<&[String]>,
) -> Result<(RowIndex, Vec<String>), DataError> {
    scan(stores, DataRequest { datasets, task, labels, data_cache: DATA_CACHE, kept: None }).await
}

/// Everything found so far.
pub(super) struct Collected {
    pub(super) index: RowIndex,
    pub(super) labels: Labels,
    /// Bytes that further packed files may unpack to, of `data_cache` in all.
    pub(super) room: u64,
    pub(super) data_cache: u64,
}

impl Collected {
    pub(super) fn new(labels: Option<&[String]>, data_cache: u64) -> Collected {
        Collected { index: RowIndex::default(), labels: Labels::new(labels), room: data_cache, data_cache }
    }

    /// Gives labels their final numbers, and their names.
    pub(super) fn settle(self) -> (RowIndex, Vec<String>) {
        let Collected { mut index, labels, .. } = self;
        let names = index.settle(labels);
        (index, names)
    }
}

async fn add_texts(
    stores: &Stores,
    dataset: &Dataset,
    mut collected: Collected,
) -> Result<Collected, DataError> {
    if stores.locate(&dataset.path)?.local_path().is_some_and(|path| path.is_dir()) {
        let reason =
            "a directory; name its files, for example with a pattern such as directory/*.jsonl".to_owned();
        return Err(DataError::Kind { url: dataset.path.clone(), reason });
    }
    let files = stores.glob(&dataset.path).await?;
    let first_bytes = files.iter().map(|(file, meta)| file.read_range(meta, 0..meta.size.min(MAGIC)));
    let first_bytes: Vec<_> =
        futures::stream::iter(first_bytes).buffered(READS_IN_FLIGHT).try_collect().await?;
    let kinds = files.iter().zip(&first_bytes).map(|((file, _), first)| detect(file.url(), first));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    for (file, kind) in files.into_iter().zip(kinds) {
        let planned = planned(&file, kind, &dataset.text_column);
        collected = match kind {
            (_, Packing::Parquet) => {
                table::add(&file, planned, dataset.label_column.clone(), collected, None).await?.0
            }
            _ => add_text(&file, planned, dataset.label_column.clone(), collected).await?,
        };
    }
    Ok(collected)
}

/// A file about to be read.
pub(super) fn planned(
    (file, meta): &(Location, Meta),
    (format, packing): (Format, Packing),
    column: &str,
) -> DataFile {
    DataFile {
        url: file.url().to_owned(),
        format,
        packing,
        size: meta.size,
        etag: meta.etag.clone(),
        sha256: None,
        flat: None,
        columns: Vec::new(),
        column: column.to_owned(),
    }
}

async fn add_text(
    (file, meta): &(Location, Meta),
    planned: DataFile,
    label_column: String,
    collected: Collected,
) -> Result<Collected, DataError> {
    let budget = Budget::new(meta.size, collected.room, collected.data_cache);
    read_through(file, meta, move |pieces| {
        let unpacked = Unpacked::new(pieces, planned.packing, budget);
        let unpacked = unpacked.map_err(|error| broken(&planned.url, FilePosition::File, error.into()))?;
        Scan { file: planned, label_column, window: Window::new(unpacked), collected, most: u64::MAX }.run()
    })
    .await
}

/// Why a stream broke off, and where.
pub(super) fn broken(url: &str, place: FilePosition, broken: Broken) -> DataError {
    match broken {
        Broken::Data(error) => error,
        Broken::Row(problem) => DataError::Row { url: url.to_owned(), place, problem },
    }
}

/// One file being scanned.
pub(super) struct Scan {
    pub(super) file: DataFile,
    pub(super) label_column: String,
    pub(super) window: Window,
    pub(super) collected: Collected,
    /// Rows after which it may stop.
    pub(super) most: u64,
}

impl Scan {
    /// Scans the file from end to end.
    pub(super) fn run(mut self) -> Result<Collected, DataError> {
        self.rows()?;
        let Scan { mut file, window, mut collected, .. } = self;
        let (sha256, flat) = window.finish();
        collected.room = collected.room.saturating_sub(flat.map_or(0, |flat| flat.size));
        (file.sha256, file.flat) = (Some(sha256), flat);
        collected.index.push_file(file);
        Ok(collected)
    }

    /// Scans the first rows of the file; also the number of its bytes that they took, about.
    pub(super) fn begin(mut self) -> Result<(Collected, u64), DataError> {
        self.rows()?;
        let Scan { file, window, mut collected, .. } = self;
        collected.index.push_file(file);
        Ok((collected, window.passed()))
    }

    fn rows(&mut self) -> Result<(), DataError> {
        let csv = self.file.format == Format::Csv;
        while self.window.bytes().len() < BOM.len() && self.more(csv)? {}
        if self.window.bytes().starts_with(BOM) {
            self.window.consume(BOM.len());
        }
        match self.file.format {
            Format::Csv => self.csv(),
            Format::Jsonl | Format::Text | Format::Image => self.jsonl(),
        }
    }

    fn jsonl(&mut self) -> Result<(), DataError> {
        let mut searched = 0;
        loop {
            let bytes = self.window.bytes();
            let found = memchr::memchr(b'\n', &bytes[searched..]).map(|place| searched + place);
            searched = bytes.len();
            let taken = match found {
                Some(newline) => newline + 1,
                None if self.more(false)? => continue,
                None => searched,
            };
            let line = self.window.bytes()[..taken].trim_ascii_end();
            if !line.is_empty() {
                let row = jsonl::text_and_label(line, &self.file.column, &self.label_column);
                let length = line.len();
                let label =
                    row.and_then(|(_, label)| self.collected.labels.number(&label, &self.label_column));
                self.push(length, label)?;
            }
            self.window.consume(taken);
            searched = 0;
            if taken == 0 || self.most == 0 {
                return Ok(());
            }
        }
    }

    fn csv(&mut self) -> Result<(), DataError> {
        let mut parser = Parser::new();
        let Some(taken) = self.record(&mut parser)? else {
            return Ok(());
        };
        let header: Result<Vec<String>, RowProblem> =
            (0..parser.len()).map(|place| parser.field(place).map(str::to_owned)).collect();
        self.file.columns = header.map_err(|problem| self.problem(problem))?;
        let columns = &self.file.columns;
        let place = |name: &str| csv::column(columns, name).map_err(|problem| self.problem(problem));
        let (text, label) = (place(&self.file.column)?, place(&self.label_column)?);
        self.window.consume(taken);
        while let Some(taken) = self.record(&mut parser)? {
            let checked = self.check(&parser, text, label);
            let length = self.window.bytes()[..taken].trim_suffix_newline().len();
            self.push(length, checked)?;
            self.window.consume(taken);
            if self.most == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Checks a CSV record and gives its label's number.
    fn check(&mut self, parser: &Parser, text: usize, label: usize) -> Result<u32, RowProblem> {
        if parser.len() != self.file.columns.len() {
            return Err(RowProblem::Ragged { found: parser.len(), expected: self.file.columns.len() });
        }
        for place in 0..parser.len() {
            parser.field(place)?;
        }
        parser.value(text, &self.file.column)?;
        self.collected.labels.number(parser.value(label, &self.label_column)?, &self.label_column)
    }

    /// Brings the next CSV record to the front of the window; its length, or `None` at the end of the file.
    fn record(&mut self, parser: &mut Parser) -> Result<Option<usize>, DataError> {
        let mut last = false;
        loop {
            let blank = self.window.bytes().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.window.consume(blank);
            if !self.window.bytes().is_empty() {
                if let Some(taken) = parser.parse(self.window.bytes(), last) {
                    return Ok(Some(taken));
                }
                if last {
                    return Err(self.problem(RowProblem::UnclosedQuote));
                }
            } else if last {
                return Ok(None);
            }
            last = !self.more(true)?;
        }
    }

    fn push(&mut self, length: usize, label: Result<u32, RowProblem>) -> Result<(), DataError> {
        let too_long = length as u64 > super::window::LONGEST_ROW;
        let limit = super::window::LONGEST_ROW;
        let label = match label {
            Ok(_) if too_long => Err(RowProblem::TooLong { limit, csv: self.file.format == Format::Csv }),
            other => other,
        };
        let label = label.map_err(|problem| self.problem(problem))?;
        self.most -= 1;
        self.collected.index.push_row(self.window.position, length as u32, label);
        Ok(())
    }

    fn more(&mut self, csv: bool) -> Result<bool, DataError> {
        let place = FilePosition::Line(self.window.line);
        self.window.more(csv).map_err(|why| broken(&self.file.url, place, why))
    }

    /// A problem with the row at the front of the window.
    fn problem(&self, problem: RowProblem) -> DataError {
        DataError::Row { url: self.file.url.clone(), place: FilePosition::Line(self.window.line), problem }
    }
}

trait TrimNewline {
    fn trim_suffix_newline(&self) -> &[u8];
}

impl TrimNewline for [u8] {
    /// Without the line break at the end, if any; fields keep their other spaces.
    fn trim_suffix_newline(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        &self[..end]
    }
}
