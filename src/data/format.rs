//! What a file is: by its first bytes where they tell, by its name otherwise.

use std::fmt;

use super::DataError;
use crate::store::{STAND_IN, stand_in};

/// How a row's bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// The bytes are the text.
    Text,
    /// The bytes are a PNG or JPEG image.
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

/// Bytes that tell a packing, or that the file is not itself.
pub(super) const MAGIC: u64 = STAND_IN;

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jsonl => "JSONL",
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

/// What a file of texts is; `first` are its first bytes, at most [`MAGIC`].
pub(super) fn detect(url: &str, first: &[u8]) -> Result<(Format, Packing), DataError> {
    let name = url.rsplit('/').next().unwrap_or(url).to_ascii_lowercase();
    let packing = packing(first);
    let refuse = |reason: &str| Err(DataError::Kind { url: url.to_owned(), reason: reason.to_owned() });
    let (bare, named) = match name.rsplit_once('.') {
        Some((bare, "gz" | "gzip")) => (bare, Some(Packing::Gzip)),
        Some((bare, "zst" | "zstd")) => (bare, Some(Packing::Zstd)),
        Some((_, "parquet")) => (name.as_str(), Some(Packing::Parquet)),
        _ => (name.as_str(), None),
    };
    if packing == Packing::Parquet {
        return Ok((Format::Text, packing));
    }
    if let Some(found) = stand_in(first) {
        return refuse(found);
    }
    if let Some(named) = named.filter(|named| *named != packing) {
        return refuse(&format!("named as {named}, but its first bytes are not those of {named}"));
    }
    match bare.rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "json" | "ndjson") => Ok((Format::Jsonl, packing)),
        Some("csv") => Ok((Format::Csv, packing)),
        Some("bz2" | "xz" | "zip" | "lz4") => {
            refuse("of compressed files only gzip and zstd are read; unpack it, or compress it anew")
        }
        Some("arrow" | "feather" | "orc") => {
            refuse("of columnar files only Parquet is read; convert it to Parquet or JSONL")
        }
        _ => refuse(
            "the name must end in .jsonl, .json or .csv, which says how it is read, and may go on with .gz or .zst; \
             Parquet files may have any name",
        ),
    }
}

/// The packing that a file's first bytes tell.
pub(super) fn packing(first: &[u8]) -> Packing {
    match first {
        [b'P', b'A', b'R', b'1', ..] => Packing::Parquet,
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}
