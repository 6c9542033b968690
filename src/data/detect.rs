//! What a file is: by its first bytes where they tell, and by its name otherwise.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::columns::{Header, shown};
use super::format::DELIMITERS;
use super::image_header::{self, Sniffed};
use super::unpack::ZSTD_WINDOW;
use super::{DataError, Format, Packing};
use crate::store::stand_in;

/// Bytes that tell what a file is.
pub(super) const HEAD: u64 = 16 << 10;
/// What some editors begin texts in UTF-8 with.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a file of texts is; `first` are its first bytes, at most [`HEAD`], and `header` what CSV must begin with.
///
/// Content decides. The name only helps where content leaves it open, as in a file whose first row is damaged.
pub(super) fn detect(url: &str, first: &[u8], header: &Header) -> Result<(Format, Packing), DataError> {
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
    let head = unpacked(first, packing);
    if let Some(reason) = foreign(&head) {
        return refuse(reason);
    }
    if let Some(format) = by_content(&head, header) {
        return Ok((format, packing));
    }
    match bare.rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "json" | "ndjson") => Ok((Format::Jsonl, packing)),
        Some("csv" | "tsv") => Ok((Format::Csv, packing)),
        Some("bz2" | "xz" | "zip" | "lz4") => refuse(COMPRESSED),
        Some("arrow" | "feather" | "orc") => refuse(COLUMNAR),
        _ => refuse(&format!(
            "neither its content nor its name says how it is read: it holds no JSON objects, and its first line does not \
             name {} {}. Names that say it end in .jsonl, .json or .csv, with or without .gz or .zst; Parquet \
             files may have any name",
            if header.all { "the columns" } else { "one of the columns" },
            shown(&header.columns)
        )),
    }
}

/// What the first bytes of a file unpack to; less than all of it where they end within a block.
fn unpacked(first: &[u8], packing: Packing) -> Vec<u8> {
    let mut head = Vec::new();
    // That the bytes break off is no error here, and damage is found when the file is read.
    let _ = match packing {
        Packing::Plain | Packing::Parquet => return first.to_vec(),
        Packing::Gzip => MultiGzDecoder::new(first).take(HEAD).read_to_end(&mut head),
        Packing::Zstd => match zstd::Decoder::new(first) {
            Ok(mut decoder) => {
                let _ = decoder.window_log_max(ZSTD_WINDOW);
                decoder.take(HEAD).read_to_end(&mut head)
            }
            Err(error) => Err(error),
        },
    };
    head
}

const COMPRESSED: &str =
    "this compression is not supported yet; unpack the file, or compress it with gzip or zstd";
const COLUMNAR: &str = "this columnar format is not supported yet; convert it to Parquet or JSONL";
const UTF16: &str = "its text is UTF-16, but UTF-8 is needed; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW";

/// Why a file that begins so cannot be read as rows of text.
fn foreign(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(UTF16),
        [first, 0, _, 0, ..] | [0, first, 0, _, ..] if first.is_ascii_graphic() => Some(UTF16),
        [b'P', b'K', 3, 4, ..] => {
            Some("a zip archive or an Excel workbook; unpack it, or save the sheet as CSV in UTF-8")
        }
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Some("an Excel workbook; save the sheet as CSV in UTF-8"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..]
        | [0xfd, b'7', b'z', b'X', b'Z', 0, ..]
        | [4, 0x22, 0x4d, 0x18, ..] => Some(COMPRESSED),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => Some(COLUMNAR),
        [b'F', b'E', b'A', b'1', next, ..] | [b'O', b'R', b'C', next, ..] if next.is_ascii_control() => {
            Some(COLUMNAR)
        }
        [b'O', b'b', b'j', 1, ..] => Some("an Avro file; convert it to Parquet or JSONL"),
        [b'S', b'Q', b'L', b'i', b't', b'e', b' ', ..] => {
            Some("an SQLite database; export the table as CSV or JSONL")
        }
        [b'%', b'P', b'D', b'F', ..] => Some("a PDF document; rows are read from JSONL, CSV or Parquet"),
        [0x80, 2..=5, ..] => Some("a Python pickle; write it as Parquet, CSV or JSONL"),
        _ if image_header::sniff(head) != Sniffed::Other => Some(
            "an image; for images set task: image-classification, and name the directory of the class folders",
        ),
        _ => None,
    }
}

/// The format, where content leaves no doubt.
fn by_content(head: &[u8], header: &Header) -> Option<Format> {
    let text = head.strip_prefix(BOM).unwrap_or(head).trim_ascii_start();
    let line = text.split(|byte| *byte == b'\n' || *byte == b'\r').next().unwrap_or_default();
    let after = |bytes: &[u8]| bytes[1..].trim_ascii_start().first().copied();
    match text.first()? {
        // An object that goes on over lines.
        b'{' if line.trim_ascii() == b"{" => Some(Format::Json),
        b'{' if matches!(after(text), Some(b'"' | b'}') | None) => Some(Format::Jsonl),
        b'[' if matches!(after(text), Some(b'{') | None) => Some(Format::Json),
        _ => {
            let names = |delimiter: u8| -> Vec<&[u8]> {
                line.split(|byte| *byte == delimiter).map(unquoted).collect()
            };
            let found = DELIMITERS.iter().any(|delimiter| {
                let names = names(*delimiter);
                header.is_met(|column| names.contains(&column.as_bytes()))
            });
            found.then_some(Format::Csv)
        }
    }
}

fn unquoted(field: &[u8]) -> &[u8] {
    field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\"")).unwrap_or(field)
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
