//! Files become a row index; a row number becomes its bytes.
//!
//! Planning scans every text file once ([`index`]) and notes where each row lies. Workers get the index and read only
//! the rows they need ([`Rows`]); whatever changed in between is refused, not trained on.

mod cache;
mod csv;
mod error;
mod images;
mod index;
mod jsonl;
mod labels;
mod rows;
mod scan;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod window;

pub use error::{DataError, Place, RowProblem};
pub use index::{DataFile, Format, RowIndex, RowPlace};
pub use rows::{Content, Row, Rows};
pub use scan::{index, index_in};
