//! One file of text from end to end: every row is checked, and noted where it lies.

use super::collected::Collected;
use super::columns::{Column, Header, LABEL};
use super::csv::{self, Parser};
use super::detect::BOM;
use super::format::DELIMITERS;
use super::objects::Objects;
use super::window::{LONGEST_ROW, Window};
use super::{DataError, DataFile, FilePosition, Format, RowProblem, jsonl};
/// Begins a line of some CSV files that names their delimiter.
const SEPARATOR: &[u8] = b"sep=";

/// One file being scanned.
pub(super) struct Scan {
    pub(super) file: DataFile,
    /// `None`: rows have no label, and get class id 0.
    pub(super) label_column: Option<String>,
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
        if file.format != Format::Csv {
            file.columns.clear();
        }
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
            Format::Json => self.json(),
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
                let length = line.len();
                let label = self.object(length);
                self.push(length, label)?;
            }
            self.window.consume(taken);
            searched = 0;
            if taken == 0 || self.most == 0 {
                return Ok(());
            }
        }
    }

    /// Objects of an array, or one after another.
    fn json(&mut self) -> Result<(), DataError> {
        let mut objects = Objects::default();
        loop {
            let (skipped, found) =
                objects.next(self.window.bytes()).map_err(|problem| self.problem(problem))?;
            self.window.consume(skipped);
            match found {
                Some(length) => {
                    let label = self.object(length);
                    self.push(length, label)?;
                    self.window.consume(length);
                }
                None if self.more(false)? => {}
                None => return objects.end().map_err(|problem| self.problem(problem)),
            }
            if self.most == 0 {
                return Ok(());
            }
        }
    }

    fn csv(&mut self) -> Result<(), DataError> {
        let Some((mut parser, taken)) = self.header()? else { return Ok(()) };
        let columns = &self.file.columns;
        if self.file.whole {
            csv::distinct(columns).map_err(|problem| self.problem(problem))?;
        }
        let place =
            |wanted: Column<'_>| csv::column(columns, wanted).map_err(|problem| self.problem(problem));
        let wanted = match self.file.whole {
            true => None,
            false => {
                let texts = self.file.text_columns().all().map(place).collect::<Result<Vec<usize>, _>>()?;
                let label = self.label_column.as_deref().map(|name| place(label_column(name))).transpose()?;
                Some((texts, label))
            }
        };
        self.window.consume(taken);
        while let Some(taken) = self.record(&mut parser)? {
            let checked = self.check(&parser, wanted.as_ref());
            let length = self.window.bytes()[..taken].trim_suffix_newline().len();
            self.push(length, checked)?;
            self.window.consume(taken);
            if self.most == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Reads the header, split by the first delimiter that gives the columns that are wanted, and its length.
    fn header(&mut self) -> Result<Option<(Parser, usize)>, DataError> {
        // What spreadsheets put before the header, for themselves.
        while self.window.bytes().len() < SEPARATOR.len() + 2 && self.more(true)? {}
        if matches!(self.window.bytes().strip_prefix(SEPARATOR), Some([_, b'\r' | b'\n', ..])) {
            self.window.consume(SEPARATOR.len() + 1);
        }
        let wanted = self.wanted();
        let mut most: Option<(Vec<String>, u8)> = None;
        for delimiter in DELIMITERS {
            let mut parser = Parser::new(delimiter);
            let Some(taken) = self.record(&mut parser)? else { return Ok(None) };
            let names: Result<Vec<String>, RowProblem> =
                (0..parser.len()).map(|place| parser.field(place).map(str::to_owned)).collect();
            let names = names.map_err(|problem| self.problem(problem))?;
            if wanted.is_met(|column| names.iter().any(|name| name == column)) {
                (self.file.columns, self.file.delimiter) = (names, delimiter);
                return Ok(Some((parser, taken)));
            }
            if most.as_ref().is_none_or(|(other, _)| other.len() < names.len()) {
                most = Some((names, delimiter));
            }
        }
        // The caller that looks for the columns names the missing ones.
        (self.file.columns, self.file.delimiter) = most.unwrap_or_default();
        Ok(Some((Parser::new(self.file.delimiter), 0)))
    }

    /// What the header must have.
    fn wanted(&self) -> Header {
        if self.file.whole {
            return Header { columns: self.file.columns.clone(), all: false };
        }
        let columns = self.file.text_columns().all().chain(self.label_column.as_deref().map(label_column));
        Header { columns: columns.map(|column| column.name.to_owned()).collect(), all: true }
    }

    /// Checks a CSV record and gives its label's class id; 0 for rows without labels.
    fn check(
        &mut self,
        parser: &Parser,
        wanted: Option<&(Vec<usize>, Option<usize>)>,
    ) -> Result<u32, RowProblem> {
        if parser.len() != self.file.columns.len() {
            return Err(RowProblem::Ragged { found: parser.len(), expected: self.file.columns.len() });
        }
        for place in 0..parser.len() {
            parser.field(place)?;
        }
        let Some((texts, label)) = wanted else { return Ok(0) };
        for (&place, column) in texts.iter().zip(self.file.text_columns().all()) {
            parser.value(place, column.name)?;
        }
        match (label, &self.label_column) {
            (Some(label), Some(name)) => self.collected.labels.of_field(parser.value(*label, name)?, name),
            _ => Ok(0),
        }
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

    /// Checks the object at the front, and gives its label's class id; 0 for rows without labels.
    fn object(&mut self, length: usize) -> Result<u32, RowProblem> {
        let object = &self.window.bytes()[..length];
        if self.file.whole {
            return jsonl::check(object).map(|()| 0);
        }
        let Some(name) = &self.label_column else {
            return jsonl::texts(object, self.file.text_columns()).map(|_| 0);
        };
        let label = jsonl::label(object, self.file.text_columns(), label_column(name))?;
        self.collected.labels.of_cell(label, name)
    }

    fn push(&mut self, length: usize, label: Result<u32, RowProblem>) -> Result<(), DataError> {
        let too_long = length as u64 > LONGEST_ROW;
        let limit = LONGEST_ROW;
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
        self.window.more(csv).map_err(|why| why.at(&self.file.url, place))
    }

    /// A problem with the row at the front of the window.
    fn problem(&self, problem: RowProblem) -> DataError {
        DataError::Row { url: self.file.url.clone(), place: FilePosition::Line(self.window.line), problem }
    }
}

fn label_column(name: &str) -> Column<'_> {
    Column { name, key: LABEL }
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
