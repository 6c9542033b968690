//! CSV records (RFC 4180) with exact byte positions.

use std::collections::BTreeSet;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::columns::{Column, TextColumns};
use super::{DataFile, RowProblem};

/// Splits one record at a time. Planning and workers split with the same code.
pub(super) struct Parser {
    reader: Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
}

impl Parser {
    pub(super) fn new(delimiter: u8) -> Parser {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Parser { reader, output: vec![0; 4096], ends: vec![0; 64], fields: 0 }
    }

    /// Splits the record at the start of `input`: the number of bytes it takes, or `None` when it goes on beyond
    /// `input`. With `last` nothing follows `input`, so `None` means a quote that is never closed.
    pub(super) fn parse(&mut self, input: &[u8], last: bool) -> Option<usize> {
        self.reader.reset();
        let (mut read, mut written, mut fields) = (0, 0, 0);
        let mut fed_newline = false;
        loop {
            let rest = if fed_newline { b"\n".as_slice() } else { &input[read..] };
            let (result, taken, out, ended) =
                self.reader.read_record(rest, &mut self.output[written..], &mut self.ends[fields..]);
            if !fed_newline {
                read += taken;
            }
            written += out;
            fields += ended;
            match result {
                ReadRecordResult::Record => {
                    self.fields = fields;
                    return Some(read);
                }
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                // The end of the file ends a record as a line break does, unless a quote is open.
                ReadRecordResult::InputEmpty if last && !fed_newline => fed_newline = true,
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return None,
            }
        }
    }

    /// Number of fields of the record split last.
    pub(super) fn len(&self) -> usize {
        self.fields
    }

    /// A field of the record split last; it must exist.
    pub(super) fn field(&self, index: usize) -> Result<&str, RowProblem> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        std::str::from_utf8(&self.output[start..self.ends[index]]).map_err(|_| RowProblem::NotUtf8)
    }

    /// A field that must hold something.
    pub(super) fn value(&self, index: usize, column: &str) -> Result<&str, RowProblem> {
        match self.field(index)? {
            "" => Err(RowProblem::EmptyValue { column: column.to_owned() }),
            value => Ok(value),
        }
    }
}

/// The place of a column in a header.
pub(super) fn column(header: &[String], column: Column<'_>) -> Result<usize, RowProblem> {
    let mut places = (0..header.len()).filter(|&place| header[place] == column.name);
    let (name, key) = (column.name.to_owned(), column.key);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(RowProblem::TwoColumns { column: name }),
        (None, _) => Err(RowProblem::MissingColumn { column: name, key, present: header.to_vec() }),
    }
}

/// Refuses a header that names a column twice.
pub(super) fn distinct(header: &[String]) -> Result<(), RowProblem> {
    let mut names = BTreeSet::new();
    match header.iter().find(|name| !names.insert(*name)) {
        Some(name) => Err(RowProblem::TwoColumns { column: name.clone() }),
        None => Ok(()),
    }
}

/// A record that planning has seen as an object of texts, one for each column.
pub(super) fn whole(record: &[u8], file: &DataFile) -> Result<Map<String, Value>, RowProblem> {
    let header = &file.columns;
    let parser = split(record, file)?;
    let field = |(place, name): (usize, &String)| Ok((name.clone(), parser.field(place)?.into()));
    header.iter().enumerate().map(field).collect()
}

/// Splits a record that planning has seen.
fn split(record: &[u8], file: &DataFile) -> Result<Parser, RowProblem> {
    let mut parser = Parser::new(file.delimiter);
    parser.parse(record, true).ok_or(RowProblem::UnclosedQuote)?;
    if parser.len() != file.columns.len() {
        return Err(RowProblem::Ragged { found: parser.len(), expected: file.columns.len() });
    }
    Ok(parser)
}

/// The text of a row that planning has seen, and its second text where rows are pairs.
pub(super) fn texts(
    record: &[u8],
    file: &DataFile,
    columns: TextColumns<'_>,
) -> Result<(String, Option<String>), RowProblem> {
    let header = &file.columns;
    let parser = split(record, file)?;
    let mut texts = columns.all().map(|wanted| -> Result<String, RowProblem> {
        let place = column(header, wanted)?;
        Ok(parser.value(place, wanted.name)?.to_owned())
    });
    let text = texts.next().expect("there is a column of texts")?;
    Ok((text, texts.next().transpose()?))
}
