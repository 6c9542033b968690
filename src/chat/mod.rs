//! Rows of language-model data become tokens with a training mask. Pure code: no files, no network, no libtorch.
//!
//! A row is a JSON object. `row` finds its format and reads it, `message` gives messages the names that templates use.
//! Conversations are rendered by the checkpoint's own `template`, as transformers renders them (`choose` picks it,
//! `python` prints values). `spans` decides which characters are trained: those that `{% generation %}` blocks enclose
//! (`generation`, after `rewrite`), else the turns that placeholders locate (`turns`). What cannot be told is refused by name, never
//! guessed. `encode` tokenises the text as a whole and maps spans to tokens.

mod choose;
mod date;
mod encode;
mod error;
mod generation;
mod message;
mod plain;
mod python;
mod rewrite;
mod row;
mod settings;
mod spans;
mod template;
#[cfg(test)]
mod tests;
mod turns;

pub use date::utc_day;
pub use encode::{EncodedRow, EncoderParts, RowEncoder};
pub use error::{ChatError, DropReason, RowRefusal, RowWarning};
pub use row::{RowKind, columns, drop_nested_nulls};
pub use settings::{ChatSettings, ExcessLength, RowFormat, RowType, TemplateChoice, TrainOnEos};
pub use spans::Rendered;
