//! TensorBoard: a directory of event files, each written once.
//!
//! Object stores cannot append. So each commit adds a file with the lines of metrics since the one before. A file's name says how
//! many lines of metrics it and those before it hold, in ten digits: TensorBoard reads files in the order of their names, and a
//! coordinator that takes a run over sees which lines are written.

mod event_file;

use bytes::Bytes;
use headstart::store::{Location, Meta, StoreError};

use super::lines::{Cursor, Line};
use super::{News, Tracker};

/// Where the files are, under `output_dir`.
const DIRECTORY: &str = "tensorboard";
/// What TensorBoard knows its files by.
const PREFIX: &str = "events.out.tfevents.";
/// Lines of metrics that one file holds at most: a few megabytes.
const MOST_LINES: usize = 10_000;

/// The event files of one run.
#[derive(Debug)]
pub(super) struct TensorBoard {
    directory: Location,
    /// What the names of this run's files end with.
    suffix: String,
    /// Lines that are written, once it is known.
    written: Option<usize>,
    cursor: Cursor,
}

impl TensorBoard {
    pub(super) fn new(output: &Location, run_id: &str) -> Result<TensorBoard, StoreError> {
        let directory = output.join(DIRECTORY)?;
        let suffix = format!(".headstart.{run_id}");
        Ok(TensorBoard { directory, suffix, written: None, cursor: Cursor::default() })
    }

    /// Lines of metrics in the files that there are.
    async fn find(&self) -> Result<usize, StoreError> {
        let lines = |(file, _): &(Location, Meta)| {
            let name = file.url().rsplit('/').next()?;
            name.strip_prefix(PREFIX)?.strip_suffix(&self.suffix)?.parse::<usize>().ok()
        };
        Ok(self.directory.list().await?.iter().filter_map(lines).max().unwrap_or_default())
    }
}

impl Tracker for TensorBoard {
    type Error = StoreError;

    fn name(&self) -> &'static str {
        "tensorboard"
    }

    async fn report(&mut self, news: &News) -> Result<(), StoreError> {
        let mut written = match self.written {
            Some(written) => written,
            None => self.find().await?,
        };
        self.written = Some(written);
        // What is committed may be older than what was written: a damaged commit is skipped.
        while self.cursor.lines < written {
            let (passed, after) = self.cursor.next(&news.metrics, written - self.cursor.lines);
            if passed.is_empty() {
                return Ok(());
            }
            self.cursor = after;
        }
        loop {
            let (text, after) = self.cursor.next(&news.metrics, MOST_LINES);
            if text.is_empty() {
                return Ok(());
            }
            let lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
            let file = self.directory.join(&format!("{PREFIX}{:010}{}", after.lines, self.suffix))?;
            // TensorBoard reads every file whose name it knows, also one that a kill left half written.
            let staging = self.directory.join(&format!(".writing{}", self.suffix))?;
            match file.create_through(&staging, Bytes::from(event_file::encode(&lines))).await {
                // By this coordinator, whose request was repeated, or by the one before it, from the same metrics.
                Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
            written = after.lines;
            (self.written, self.cursor) = (Some(written), after);
        }
    }
}
