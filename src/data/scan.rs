//! Planning's one pass over the data: every row is checked, and noted where it lies.

use futures::StreamExt;
use tokio::sync::mpsc;

use super::csv::{self, Parser};
use super::labels::Labels;
use super::window::{MoreError, Window};
use super::{DataError, DataFile, Format, Place, RowIndex, RowProblem, images, jsonl};
use crate::spec::{Dataset, Task};
use crate::store::{Location, Meta, Stores};

/// Pieces of a file waiting for the scanner.
const PIECES_AHEAD: usize = 2;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The rows of the datasets, in run-file order, and the label names.
///
/// With `labels` given (evaluation data) only these are allowed; otherwise they are collected and sorted.
pub async fn index(
    datasets: &[Dataset],
    task: Task,
    labels: Option<&[String]>,
) -> Result<(RowIndex, Vec<String>), DataError> {
    index_in(&Stores::default(), datasets, task, labels).await
}

/// As [`index()`], with stores opened elsewhere.
pub async fn index_in(
    stores: &Stores,
    datasets: &[Dataset],
    task: Task,
    labels: Option<&[String]>,
) -> Result<(RowIndex, Vec<String>), DataError> {
    let mut rows = RowIndex::default();
    let mut collected = Labels::new(labels);
    for dataset in datasets {
        let before = rows.len();
        match task {
            Task::ImageClassification => images::add(stores, dataset, &mut collected, &mut rows).await?,
            Task::SequenceClassification => {
                (rows, collected) = add_texts(stores, dataset, collected, rows).await?;
            }
        }
        if rows.len() == before {
            return Err(DataError::Empty { path: dataset.path.clone() });
        }
    }
    let names = rows.settle(collected);
    match names.as_slice() {
        [only] if labels.is_none() => Err(DataError::OneLabel { label: only.clone() }),
        _ => Ok((rows, names)),
    }
}

async fn add_texts(
    stores: &Stores,
    dataset: &Dataset,
    mut labels: Labels,
    mut index: RowIndex,
) -> Result<(RowIndex, Labels), DataError> {
    if stores.locate(&dataset.path)?.local_path().is_some_and(|path| path.is_dir()) {
        let reason =
            "a directory; name its files, for example with a pattern such as directory/*.jsonl".to_owned();
        return Err(DataError::Kind { url: dataset.path.clone(), reason });
    }
    let files = stores.glob(&dataset.path).await?;
    for (file, _) in &files {
        format(file.url())?;
    }
    for file in files {
        (index, labels) = add_text(file, dataset, labels, index).await?;
    }
    Ok((index, labels))
}

/// Scans one file on a thread of its own while the next pieces are on their way.
async fn add_text(
    (file, meta): (Location, Meta),
    dataset: &Dataset,
    labels: Labels,
    index: RowIndex,
) -> Result<(RowIndex, Labels), DataError> {
    let (send, pieces) = mpsc::channel(PIECES_AHEAD);
    let scan = Scan {
        file: DataFile {
            url: file.url().to_owned(),
            format: format(file.url())?,
            size: meta.size,
            etag: meta.etag.clone(),
            sha256: None,
            columns: Vec::new(),
            text_column: dataset.text_column.clone(),
        },
        label_column: dataset.label_column.clone(),
        window: Window::new(pieces),
        labels,
        index,
    };
    let scanning = tokio::task::spawn_blocking(move || scan.run());
    let feeding = async move {
        let mut stream = std::pin::pin!(file.pieces(&meta, 0..meta.size));
        while let Some(piece) = stream.next().await {
            let failed = piece.is_err();
            // The scanner hangs up at the first bad row; its own error says why.
            if send.send(piece).await.is_err() || failed {
                break;
            }
        }
    };
    let ((), scanned) = futures::join!(feeding, scanning);
    scanned.expect("scanning does not panic")
}

/// The format of a text file, by its name.
fn format(url: &str) -> Result<Format, DataError> {
    let name = url.rsplit('/').next().unwrap_or(url).to_ascii_lowercase();
    let reason = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "json" | "ndjson") => return Ok(Format::Jsonl),
        Some("csv") => return Ok(Format::Csv),
        Some("gz" | "zst" | "bz2" | "xz" | "zip" | "lz4") => {
            "compressed files are not supported by this version; unpack it".to_owned()
        }
        Some("parquet" | "arrow") => {
            "columnar files are not supported by this version; convert it to JSONL".to_owned()
        }
        _ => "the name must end in .jsonl, .json or .csv, which says how it is read".to_owned(),
    };
    Err(DataError::Kind { url: url.to_owned(), reason })
}

/// One file being scanned, and everything found so far.
struct Scan {
    file: DataFile,
    label_column: String,
    window: Window,
    labels: Labels,
    index: RowIndex,
}

impl Scan {
    fn run(mut self) -> Result<(RowIndex, Labels), DataError> {
        let csv = self.file.format == Format::Csv;
        while self.window.bytes().len() < BOM.len() && self.more(csv)? {}
        if self.window.bytes().starts_with(BOM) {
            self.window.consume(BOM.len());
        }
        match self.file.format {
            Format::Csv => self.csv()?,
            Format::Jsonl | Format::Image => self.jsonl()?,
        }
        self.file.sha256 = Some(self.window.finish());
        self.index.push_file(self.file);
        Ok((self.index, self.labels))
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
                let row = jsonl::text_and_label(line, &self.file.text_column, &self.label_column);
                let length = line.len();
                let label = row.and_then(|(_, label)| self.labels.number(&label, &self.label_column));
                self.push(length, label)?;
            }
            self.window.consume(taken);
            searched = 0;
            if taken == 0 {
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
        let (text, label) = (place(&self.file.text_column)?, place(&self.label_column)?);
        self.window.consume(taken);
        while let Some(taken) = self.record(&mut parser)? {
            let checked = self.check(&parser, text, label);
            let length = self.window.bytes()[..taken].trim_suffix_newline().len();
            self.push(length, checked)?;
            self.window.consume(taken);
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
        parser.value(text, &self.file.text_column)?;
        self.labels.number(parser.value(label, &self.label_column)?, &self.label_column)
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
        self.index.push_row(self.window.position, length as u32, label);
        Ok(())
    }

    fn more(&mut self, csv: bool) -> Result<bool, DataError> {
        self.window.more(csv).map_err(|error| match error {
            MoreError::Row(problem) => self.problem(problem),
            MoreError::Data(error) => error,
        })
    }

    /// A problem with the row at the front of the window.
    fn problem(&self, problem: RowProblem) -> DataError {
        DataError::Row { url: self.file.url.clone(), place: Place::Line(self.window.line), problem }
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
