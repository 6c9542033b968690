//! Pages of a column of lists, counted, so that a row made of endless pages is refused instead of filling memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::Result;

use super::ranged;

/// Values of one page; lists without values take few bytes, but each takes a few while it is decoded.
const MOST_IN_PAGE: u64 = 1 << 24;

/// Values of the pages that were read since a row was complete.
pub(super) type Since = Arc<AtomicU64>;

/// Gives a column's pages on.
pub(super) struct Paced<P> {
    pages: P,
    since: Since,
}

impl<P: PageReader> Paced<P> {
    pub(super) fn new(pages: P, since: Since) -> Paced<P> {
        Paced { pages, since }
    }

    fn admit(&self, page: &Page) -> Result<()> {
        let values = u64::from(page.num_values());
        let before = self.since.fetch_add(values, Ordering::Relaxed);
        if values > MOST_IN_PAGE || before > MOST_IN_PAGE {
            let reason =
                format!("lists of more than {MOST_IN_PAGE} values in one page; write smaller row groups");
            return Err(ranged::refused(reason));
        }
        Ok(())
    }
}

impl<P: PageReader> PageReader for Paced<P> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.as_ref().map(|page| self.admit(page)).transpose()?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl<P: PageReader> Iterator for Paced<P> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}
