//! A row number becomes its content.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::cache::{self, Checked};
use super::{DataError, DataFile, Format, Place, RowIndex, RowPlace, csv, jsonl};
use crate::store::{Location, Meta, StoreError, Stores};

/// Files (or, without a cache, rows of a remote file) read at once.
const READS_IN_FLIGHT: usize = 16;

/// One row, undecoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number in the index.
    pub number: u64,
    /// Index into the run's labels.
    pub label: u32,
    /// What it holds.
    pub content: Content,
}

/// What a row holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The text column.
    Text(String),
    /// A PNG or JPEG file.
    Image(Bytes),
}

/// Reads rows. Local files are read in place; remote ones are downloaded whole, once, where there is a cache.
pub struct Rows {
    index: Arc<RowIndex>,
    cache: Option<PathBuf>,
    stores: Stores,
    /// One per text file, so that concurrent readers wait for one download. Images need none.
    checked: Vec<OnceCell<Checked>>,
}

/// A row to read: its place in the answer, its number and where it lies.
type Wanted = (usize, u64, RowPlace);

impl Rows {
    /// A reader of the index's rows; `cache` is a directory for downloads, which workers of one machine can share.
    pub fn new(index: Arc<RowIndex>, cache: Option<PathBuf>, stores: Stores) -> Rows {
        let text_files = index.files().iter().filter(|file| file.format != Format::Image).count();
        let cells = if text_files == 0 { 0 } else { index.files().len() };
        Rows { checked: std::iter::repeat_with(OnceCell::new).take(cells).collect(), index, cache, stores }
    }

    /// The index.
    pub fn index(&self) -> &RowIndex {
        &self.index
    }

    /// Reads rows, in the order asked for.
    pub async fn read(&self, rows: &[u64]) -> Result<Vec<Row>, DataError> {
        let mut by_file: BTreeMap<usize, Vec<Wanted>> = BTreeMap::new();
        for (place, &number) in rows.iter().enumerate() {
            let row = self.index.row(number)?;
            by_file.entry(row.file).or_default().push((place, number, row));
        }
        let mut found: Vec<(usize, Row)> = futures::stream::iter(by_file)
            .map(|(file, wanted)| self.read_file(&self.index.files()[file], file, wanted))
            .buffer_unordered(READS_IN_FLIGHT)
            .try_concat()
            .await?;
        found.sort_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    async fn read_file(
        &self,
        file: &DataFile,
        number: usize,
        wanted: Vec<Wanted>,
    ) -> Result<Vec<(usize, Row)>, DataError> {
        let location = self.stores.locate(&file.url)?;
        let mut found = Vec::with_capacity(wanted.len());
        let source = match (location.local_path(), &self.cache) {
            (Some(path), _) => Some(Source::Local(path)),
            (None, Some(cache)) => Some(Source::Cached(cache)),
            (None, None) => None,
        };
        let contents = match source {
            None => self.read_remote(file, &location, &wanted).await?,
            Some(source) => {
                let checked = match self.checked.get(number) {
                    Some(cell) => cell.get_or_try_init(|| source.fetch(file, &location)).await?.clone(),
                    None => source.fetch(file, &location).await?,
                };
                read_checked(checked, file, &wanted).await?
            }
        };
        for ((place, number, row), bytes) in wanted.into_iter().zip(contents) {
            let content = content(file, bytes).map_err(|problem| DataError::Row {
                url: file.url.clone(),
                place: Place::Row { row: number, offset: row.offset },
                problem,
            })?;
            found.push((place, Row { number, label: row.label, content }));
        }
        Ok(found)
    }

    async fn read_remote(
        &self,
        file: &DataFile,
        location: &Location,
        wanted: &[Wanted],
    ) -> Result<Vec<Bytes>, DataError> {
        let meta = Meta { size: file.size, etag: file.etag.clone() };
        let ranges: Vec<_> =
            wanted.iter().map(|(_, _, row)| row.offset..row.offset + u64::from(row.length)).collect();
        futures::stream::iter(ranges)
            .map(|range| location.read_range(&meta, range))
            .buffered(READS_IN_FLIGHT)
            .map_err(DataError::from)
            .try_collect()
            .await
    }
}

/// How a whole file comes to this machine.
enum Source<'a> {
    /// It is here.
    Local(PathBuf),
    /// It is downloaded into this directory.
    Cached(&'a Path),
}

impl Source<'_> {
    /// Brings the file here and checks it against the plan.
    async fn fetch(self, file: &DataFile, location: &Location) -> Result<Checked, DataError> {
        match self {
            Source::Local(path) => cache::check_local(path, location, file).await,
            Source::Cached(cache) => cache::download(cache, location, file).await,
        }
    }
}

/// Positioned reads from a file on this machine, away from the async threads.
async fn read_checked(checked: Checked, file: &DataFile, wanted: &[Wanted]) -> Result<Vec<Bytes>, DataError> {
    let places: Vec<RowPlace> = wanted.iter().map(|(_, _, row)| *row).collect();
    let url = file.url.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let failed = |error: std::io::Error| StoreError::from_io(&checked.path.to_string_lossy(), &error);
        let Some(file) = checked.open().map_err(failed)? else {
            return Err(StoreError::Changed { url });
        };
        let mut contents = Vec::with_capacity(places.len());
        for place in places {
            let mut bytes = vec![0; place.length as usize];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, place.offset).map_err(failed)?;
            contents.push(Bytes::from(bytes));
        }
        Ok(contents)
    });
    Ok(reading.await.expect("reading a file does not panic")?)
}

fn content(file: &DataFile, bytes: Bytes) -> Result<Content, super::RowProblem> {
    match file.format {
        Format::Jsonl => jsonl::text(&bytes, &file.text_column).map(Content::Text),
        Format::Csv => csv::text(&bytes, &file.columns, &file.text_column).map(Content::Text),
        Format::Image => Ok(Content::Image(bytes)),
    }
}
