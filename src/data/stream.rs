//! All rows of an index once, in order, file by file: for what is found out about every row while a run is planned.

use std::io::{BufReader, Read};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::parquet::{ParquetRow, ParquetTable, Source, contradicts};
use super::unpack::{Broken, Budget, Pieces, Unpacked, read_through};
use super::{DataError, DataFile, FilePosition, Packing, Row, RowIndex, RowProblem, content};
use crate::store::{Location, Meta, Stores};

/// Bytes of rows that are given on together, about …
const BATCH_BYTES: usize = 4 << 20;
/// … and the number of them.
const BATCH_ROWS: usize = 4096;
/// Bytes of a read.
const READ: usize = 1 << 20;

/// Who is given the rows, on a thread that may block.
pub(crate) trait Visitor: Send + 'static {
    /// Takes some rows of a file, of which the first has the number `first`. After a break it is given no more.
    fn visit(&mut self, file: &DataFile, first: u64, rows: &[Bytes]) -> ControlFlow<()>;
}

/// Gives the first `most` rows of the index to `visitor`, as bytes of their files.
pub(crate) async fn stream<V: Visitor>(
    stores: &Stores,
    index: &RowIndex,
    most: u64,
    mut visitor: V,
) -> Result<V, DataError> {
    for (number, file) in index.files().iter().enumerate() {
        let rows = index.rows_of(number);
        let end = rows.end.min(usize::try_from(most).unwrap_or(usize::MAX));
        if rows.start >= end {
            continue;
        }
        let places = rows.start..end;
        let lengths = index.lengths()[places.clone()].to_vec();
        let offsets = index.offsets()[places].to_vec();
        let location = stores.locate(&file.url)?;
        let meta = Meta { size: file.size, etag: file.etag.clone() };
        let batch =
            Batch { file: file.clone(), first: rows.start as u64, rows: Vec::new(), bytes: 0, visitor };
        let ended = match file.packing {
            Packing::Parquet => of_table(&location, &meta, lengths, batch).await?,
            _ => of_bytes(&location, &meta, offsets, lengths, batch).await?,
        };
        let flow;
        (visitor, flow) = ended;
        if flow.is_break() {
            break;
        }
    }
    Ok(visitor)
}

/// Gives every row of the index to `take`, decoded, in order, on a thread that may block. After a break it is given no more.
/// Memory does not grow with the files.
pub async fn for_each_row<F>(stores: &Stores, index: &RowIndex, take: F) -> Result<(), DataError>
where
    F: FnMut(Row) -> ControlFlow<()> + Send + 'static,
{
    let decoder = stream(stores, index, u64::MAX, Decoder { take, problem: None }).await?;
    let Some((row, problem)) = decoder.problem else { return Ok(()) };
    let place = index.row(row)?;
    let url = index.files()[place.file].url.clone();
    Err(DataError::Row { url, place: FilePosition::Row { row, offset: place.offset }, problem })
}

/// Turns bytes into rows.
struct Decoder<F> {
    take: F,
    /// The first row that cannot be decoded, and why.
    problem: Option<(u64, RowProblem)>,
}

impl<F: FnMut(Row) -> ControlFlow<()> + Send + 'static> Visitor for Decoder<F> {
    fn visit(&mut self, file: &DataFile, first: u64, rows: &[Bytes]) -> ControlFlow<()> {
        for (number, bytes) in (first..).zip(rows) {
            match content(file, bytes.clone()) {
                Ok(content) => (self.take)(Row { number, label: 0, content })?,
                Err(problem) => {
                    self.problem = Some((number, problem));
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Rows on their way to a visitor.
struct Batch<V> {
    file: DataFile,
    /// Number of the first.
    first: u64,
    rows: Vec<Bytes>,
    bytes: usize,
    visitor: V,
}

impl<V: Visitor> Batch<V> {
    fn push(&mut self, row: Bytes) -> ControlFlow<()> {
        self.bytes += row.len();
        self.rows.push(row);
        if self.bytes >= BATCH_BYTES || self.rows.len() >= BATCH_ROWS {
            self.flush()
        } else {
            ControlFlow::Continue(())
        }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        let rows = std::mem::take(&mut self.rows);
        let first = self.first;
        (self.first, self.bytes) = (first + rows.len() as u64, 0);
        if rows.is_empty() { ControlFlow::Continue(()) } else { self.visitor.visit(&self.file, first, &rows) }
    }

    fn end(mut self) -> (V, ControlFlow<()>) {
        let flow = self.flush();
        (self.visitor, flow)
    }
}

async fn of_bytes<V: Visitor>(
    location: &Location,
    meta: &Meta,
    offsets: Vec<u64>,
    lengths: Vec<u32>,
    mut batch: Batch<V>,
) -> Result<(V, ControlFlow<()>), DataError> {
    read_through(location, meta, move |pieces: Pieces| {
        let url = batch.file.url.clone();
        let broken = |error| Broken::from(error).at(&url, FilePosition::File);
        let most = batch.file.content_size().saturating_add(1);
        let budget = Budget::new(batch.file.size, most, most);
        let unpacked = Unpacked::new(pieces, batch.file.packing, budget).map_err(broken)?;
        let mut content = BufReader::with_capacity(READ, unpacked);
        let mut position = 0;
        for (offset, length) in offsets.into_iter().zip(lengths) {
            let between = offset.saturating_sub(position);
            let passed = std::io::copy(&mut content.by_ref().take(between), &mut std::io::sink());
            let mut row = vec![0; length as usize];
            match passed.and_then(|passed| content.read_exact(&mut row).map(|()| passed)) {
                Ok(passed) if passed == between => {}
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(broken(error)),
                _ => return Err(DataError::Changed { url }),
            }
            position = offset + u64::from(length);
            if batch.push(row.into()).is_break() {
                return Ok((batch.visitor, ControlFlow::Break(())));
            }
        }
        Ok(batch.end())
    })
    .await
}

async fn of_table<V: Visitor>(
    location: &Location,
    meta: &Meta,
    lengths: Vec<u32>,
    mut batch: Batch<V>,
) -> Result<(V, ControlFlow<()>), DataError> {
    let source = Source::new(location, meta);
    let url = batch.file.url.clone();
    let of = url.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let table = ParquetTable::open(source, &batch.file, None)?;
        let most = lengths.len() as u64;
        let (mut lengths, mut over) = (lengths.into_iter(), None);
        let read = table.read_first(most, |ParquetRow { content, .. }: ParquetRow<'_>| {
            if lengths.next().map(|length| length as usize) != Some(content.len()) {
                over = Some(Err(DataError::Changed { url: url.clone() }));
            } else if batch.push(Bytes::copy_from_slice(content)).is_break() {
                over = Some(Ok(()));
            }
            // That it is over is said beside, whatever the reader makes of this.
            if over.is_some() { Err(RowProblem::EmptyFile) } else { Ok(()) }
        });
        match over {
            Some(Err(changed)) => Err(changed),
            Some(Ok(())) => Ok((batch.visitor, ControlFlow::Break(()))),
            None => {
                read?;
                match lengths.next() {
                    Some(_) => Err(DataError::Changed { url }),
                    None => Ok(batch.end()),
                }
            }
        }
    });
    reading.await.unwrap_or_else(|_| Err(contradicts(of)))
}
