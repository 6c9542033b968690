//! Files become a row index; a row number becomes its bytes.
//!
//! Planning reads every file of texts once ([`index()`]) and notes where each row lies. Rows of compressed and Parquet files
//! lie in what these unpack to: the same bytes here and on every worker, which the index pins by their hash. Workers get
//! the index and read only the rows they need ([`Rows`]); whatever changed in between is refused, not trained on.

mod blocks;
mod cache;
mod cell;
mod collected;
mod columns;
mod csv;
mod detect;
mod error;
mod format;
mod image_header;
mod images;
mod index;
mod index_cache;
mod jsonl;
mod kept;
mod labels;
mod lines;
mod note;
mod objects;
mod pair;
mod parquet;
mod problem;
mod request;
mod rows;
mod sample;
mod scan;
mod stream;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod unpack;
mod window;

pub use blocks::Blocks;
pub use cache::Cache;
pub use collected::Indexed;
pub use error::{DataError, FilePosition};
pub use format::{Format, Packing};
pub use image_header::{LONGEST_SIDE, MOST_PIXELS};
pub use index::{DataFile, Flat, RowCounts, RowIndex, RowPlace, RowTokens};
pub use index_cache::directory as kept_directory;
pub(crate) use kept::KeptFile;
pub use note::{FewRows, Note, RowsOf};
pub use problem::RowProblem;
pub use request::DataRequest;
pub(crate) use rows::content;
pub use rows::{Content, Row, Rows};
pub use sample::{Estimate, FIRST_ROWS, Survey, survey};
pub use scan::{index, index_in};
pub use stream::for_each_row;
pub(crate) use stream::{Visitor, stream};
