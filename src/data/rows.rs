//! A row number becomes its content.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::cache::{self, Cache, Checked, Opened};
use super::{
    Blocks, DataError, DataFile, FilePosition, Format, Packing, RowIndex, RowPlace, RowProblem, csv, jsonl,
    pair,
};
use crate::store::{Location, Meta, StoreError, Stores, stand_in};

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
    /// A text, or a pair of texts.
    Text {
        /// The text column.
        text: String,
        /// The column of second texts.
        pair: Option<String>,
    },
    /// An image file.
    Image(Bytes),
    /// A whole row: its columns.
    Json(Map<String, Value>),
}

/// Times that a file is brought back which had to make room for others while it was read.
const MOST_RETURNS: u32 = 3;
/// Checked files remembered; checking one again costs little.
const MOST_REMEMBERED: usize = 1 << 16;

/// Reads rows. Plain local files are read in place; all others come into the cache, once: remote ones whole or, with
/// blocks, block by block; packed ones as what they unpack to.
pub struct Rows {
    index: Arc<RowIndex>,
    blocks: Option<Blocks>,
    cache: Option<Cache>,
    stores: Stores,
    /// One per file or part of a file, so that concurrent readers wait for one download.
    checked: Mutex<HashMap<Part, Arc<OnceCell<Checked>>>>,
}

/// A file's number and the first byte of the part of it that comes as one.
type Part = (usize, u64);
/// A row to read: its place in the answer, its number and where it lies.
type RowRequest = (usize, u64, RowPlace);

impl Rows {
    /// A reader of the index's rows. Without a cache, rows of remote files are read one by one, packed files not at all.
    pub fn new(index: Arc<RowIndex>, cache: Option<Cache>, stores: Stores) -> Rows {
        Rows { index, blocks: None, cache, stores, checked: Mutex::default() }
    }

    /// Remote files come block by block, not whole.
    pub fn in_blocks(mut self, blocks: Blocks) -> Rows {
        self.blocks = Some(blocks);
        self
    }

    pub fn index(&self) -> &RowIndex {
        &self.index
    }

    /// Reads rows, in the order asked for.
    pub async fn read(&self, rows: &[u64]) -> Result<Vec<Row>, DataError> {
        let mut by_part: BTreeMap<(usize, u64, u64), Vec<RowRequest>> = BTreeMap::new();
        for (place, &number) in rows.iter().enumerate() {
            let row = self.index.row(number)?;
            let part = self.part(row.file, number);
            by_part.entry((row.file, part.start, part.end)).or_default().push((place, number, row));
        }
        let mut found: Vec<(usize, Row)> = futures::stream::iter(by_part)
            .map(|((file, start, end), wanted)| self.read_part(file, start..end, wanted))
            .buffer_unordered(READS_IN_FLIGHT)
            .try_concat()
            .await?;
        found.sort_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    /// The bytes that come with a row: its block's part of its file, or the whole file.
    fn part(&self, file: usize, row: u64) -> Range<u64> {
        let planned = &self.index.files()[file];
        match &self.blocks {
            Some(blocks) if planned.packing == Packing::Plain => {
                self.index.part(file, blocks.rows(blocks.of_row(row)))
            }
            _ => 0..planned.content_size(),
        }
    }

    async fn read_part(
        &self,
        number: usize,
        part: Range<u64>,
        wanted: Vec<RowRequest>,
    ) -> Result<Vec<(usize, Row)>, DataError> {
        let file = &self.index.files()[number];
        let location = self.stores.locate(&file.url)?;
        let contents = match (&self.cache, location.local_path(), file.packing) {
            (None, Some(_), Packing::Plain) | (Some(_), _, _) => {
                self.read_here(number, part, &location, &wanted).await?
            }
            (None, None, Packing::Plain) => self.read_remote(file, &location, &wanted).await?,
            (None, _, _) => {
                let reason = "packed data is unpacked into a cache, and there is none".to_owned();
                return Err(DataError::Kind { url: file.url.clone(), reason });
            }
        };
        let mut found = Vec::with_capacity(wanted.len());
        for ((place, number, row), bytes) in wanted.into_iter().zip(contents) {
            let content = content(file, bytes).map_err(|problem| DataError::Row {
                url: file.url.clone(),
                place: FilePosition::Row { row: self.index.data_row(number), offset: row.offset },
                problem,
            })?;
            found.push((place, Row { number, label: row.label, content }));
        }
        Ok(found)
    }

    /// Reads rows from this machine's disk, after bringing them here.
    async fn read_here(
        &self,
        number: usize,
        part: Range<u64>,
        location: &Location,
        wanted: &[RowRequest],
    ) -> Result<Vec<Bytes>, DataError> {
        let file = &self.index.files()[number];
        // Folders of images have a file a row: remembering each would cost more than checking it again.
        let remembered = file.format != Format::Image || file.packing != Packing::Plain;
        for _ in 0..MOST_RETURNS {
            let cell = if remembered { self.cell((number, part.start)) } else { Arc::default() };
            let fetch = || self.fetch(file, part.clone(), location);
            let checked = cell.get_or_try_init(fetch).await?.clone();
            if let Some(contents) = read_checked(checked, file, wanted).await? {
                return Ok(contents);
            }
            self.forget((number, part.start));
        }
        let detail = "data is evicted from the cache before it is read: raise data_cache".to_owned();
        Err(StoreError::Unavailable { url: file.url.clone(), detail }.into())
    }

    /// Brings a file or a part of it here and checks it against the plan.
    async fn fetch(
        &self,
        file: &DataFile,
        part: Range<u64>,
        location: &Location,
    ) -> Result<Checked, DataError> {
        match (file.packing, location.local_path(), &self.cache) {
            (Packing::Plain, Some(path), _) => cache::check_local(path, location, file).await,
            (Packing::Plain, None, Some(cache)) => cache.download(location, file, part).await,
            (_, _, Some(cache)) => cache.unpack(location, file).await,
            (_, _, None) => unreachable!("files that need a cache are refused without one"),
        }
    }

    fn cell(&self, part: Part) -> Arc<OnceCell<Checked>> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= MOST_REMEMBERED {
            checked.clear();
        }
        checked.entry(part).or_default().clone()
    }

    fn forget(&self, part: Part) {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).remove(&part);
    }

    async fn read_remote(
        &self,
        file: &DataFile,
        location: &Location,
        wanted: &[RowRequest],
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

/// Positioned reads from a file on this machine, away from the async threads; `None` if it was evicted.
async fn read_checked(
    checked: Checked,
    file: &DataFile,
    wanted: &[RowRequest],
) -> Result<Option<Vec<Bytes>>, DataError> {
    let places: Vec<RowPlace> = wanted.iter().map(|(_, _, row)| *row).collect();
    let url = file.url.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let failed = |error: std::io::Error| StoreError::from_io(&checked.path.to_string_lossy(), &error);
        let file = match checked.open().map_err(failed)? {
            Opened::Same(file) => file,
            Opened::Changed => return Err(StoreError::Changed { url }),
            Opened::Evicted => return Ok(None),
        };
        let mut contents = Vec::with_capacity(places.len());
        for place in places {
            let mut bytes = vec![0; place.length as usize];
            let offset = place.offset - checked.start;
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, offset).map_err(failed)?;
            contents.push(Bytes::from(bytes));
        }
        Ok(Some(contents))
    });
    Ok(reading.await.expect("reading a file does not panic")?)
}

/// A row's bytes as what they are in its file.
pub(crate) fn content(file: &DataFile, bytes: Bytes) -> Result<Content, RowProblem> {
    if file.whole {
        return match file.format {
            Format::Csv => csv::whole(&bytes, file),
            _ => jsonl::whole(&bytes),
        }
        .map(Content::Json);
    }
    let columns = file.text_columns();
    let (text, pair) = match file.format {
        Format::Jsonl | Format::Json => jsonl::texts(&bytes, columns)?,
        Format::Csv => csv::texts(&bytes, file, columns)?,
        Format::Text if columns.pair.is_some() => {
            let (text, pair) = pair::split(&bytes).ok_or(RowProblem::NotUtf8)?;
            (utf8(text.to_vec())?, Some(utf8(pair.to_vec())?))
        }
        Format::Text => (utf8(bytes.into())?, None),
        Format::Image => {
            return match stand_in(&bytes) {
                Some(found) => Err(RowProblem::Image(found.to_owned())),
                None => Ok(Content::Image(bytes)),
            };
        }
    };
    Ok(Content::Text { text, pair })
}

fn utf8(bytes: Vec<u8>) -> Result<String, RowProblem> {
    String::from_utf8(bytes).map_err(|_| RowProblem::NotUtf8)
}
