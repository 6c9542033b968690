//! How rows lie in a file.

use std::fmt;

/// How a row's bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// Objects of a JSON array, or one after another, over any lines.
    Json,
    /// Values with a header, separated by commas, tabs, semicolons or bars.
    Csv,
    /// The bytes are the text.
    Text,
    /// The bytes are an image file.
    Image,
}

/// What a file's bytes have to go through before rows have a place in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Nothing: rows lie in the file itself.
    Plain,
    /// Decompression.
    Gzip,
    /// Decompression.
    Zstd,
    /// The values of one column, one after another.
    Parquet,
}

/// What can separate the fields of a CSV file; the first at which the header has the columns that are wanted is taken.
pub(super) const DELIMITERS: [u8; 4] = *b",\t;|";

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jsonl => "JSONL",
            Format::Json => "JSON",
            Format::Csv => "CSV",
            Format::Text => "texts",
            Format::Image => "images",
        })
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Plain => "plain",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Parquet => "Parquet",
        })
    }
}
