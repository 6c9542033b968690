//! A row index as a message, and back.

use super::{DataFile, Flat, RowIndex};
use crate::data::format::DELIMITERS;
use crate::data::{DataError, Format, Packing};
use crate::wire::pb;

impl From<&RowIndex> for pb::RowIndex {
    fn from(index: &RowIndex) -> Self {
        let RowIndex { files, row_ends, offset, length, label, tokens, trained, dropped } = index;
        let starts = std::iter::once(0).chain(row_ends.iter().copied());
        pb::RowIndex {
            files: files.iter().map(pb::DataFile::from).collect(),
            rows_in_file: row_ends.iter().zip(starts).map(|(end, start)| (end - start) as u32).collect(),
            offset: offset.clone(),
            length: length.clone(),
            label: label.clone(),
            tokens: tokens.clone(),
            trained: trained.clone(),
            dropped: dropped.clone(),
        }
    }
}

impl TryFrom<pb::RowIndex> for RowIndex {
    type Error = DataError;

    fn try_from(message: pb::RowIndex) -> Result<Self, DataError> {
        let pb::RowIndex { files, rows_in_file, offset, length, label, tokens, trained, dropped } = message;
        let files = files.into_iter().map(DataFile::try_from).collect::<Result<Vec<_>, _>>()?;
        let mut rows = 0;
        let row_ends: Vec<u64> = rows_in_file
            .iter()
            .map(|&count| {
                rows += u64::from(count);
                rows
            })
            .collect();
        let equal = files.len() == row_ends.len()
            && rows == offset.len() as u64
            && offset.len() == length.len()
            && offset.len() == label.len();
        let counted = [tokens.len(), trained.len()];
        if !equal || (counted != [0; 2] && counted != [offset.len(); 2]) {
            return Err(DataError::Index("its lists differ in length"));
        }
        if !dropped.is_sorted_by(|one, other| one < other) {
            return Err(DataError::Index("dropped rows are out of order"));
        }
        if trained.iter().zip(&tokens).any(|(trained, tokens)| trained > tokens) {
            return Err(DataError::Index("a row trains more tokens than it has"));
        }
        let mut row = 0;
        for (file, &end) in files.iter().zip(&row_ends) {
            while row < end as usize {
                let inside = offset[row]
                    .checked_add(u64::from(length[row]))
                    .is_some_and(|end| end <= file.content_size());
                if !inside {
                    return Err(DataError::Index("a row lies outside its file"));
                }
                row += 1;
            }
        }
        Ok(RowIndex { files, row_ends, offset, length, label, tokens, trained, dropped })
    }
}

impl From<&DataFile> for pb::DataFile {
    fn from(file: &DataFile) -> Self {
        let DataFile {
            url,
            format,
            packing,
            size,
            etag,
            sha256,
            flat,
            columns,
            delimiter,
            column,
            pair_column,
            whole,
            entry,
        } = file;
        let format = match format {
            Format::Jsonl => pb::data_file::Format::Jsonl,
            Format::Json => pb::data_file::Format::Json,
            Format::Csv => pb::data_file::Format::Csv,
            Format::Text => pb::data_file::Format::Text,
            Format::Image => pb::data_file::Format::Image,
        };
        let packing = match packing {
            Packing::Plain => pb::data_file::Packing::Plain,
            Packing::Gzip => pb::data_file::Packing::Gzip,
            Packing::Zstd => pb::data_file::Packing::Zstd,
            Packing::Parquet => pb::data_file::Packing::Parquet,
        };
        pb::DataFile {
            url: url.clone(),
            format: format.into(),
            packing: packing.into(),
            size: *size,
            etag: etag.clone().unwrap_or_default(),
            sha256: sha256.map(|hash| hash.to_vec()).unwrap_or_default().into(),
            flat_size: flat.map(|flat| flat.size).unwrap_or_default(),
            flat_sha256: flat.map(|flat| flat.sha256.to_vec()).unwrap_or_default().into(),
            columns: columns.clone(),
            delimiter: (*delimiter).into(),
            column: column.clone(),
            pair_column: pair_column.clone().unwrap_or_default(),
            whole: *whole,
            entry: *entry,
        }
    }
}

impl TryFrom<pb::DataFile> for DataFile {
    type Error = DataError;

    fn try_from(message: pb::DataFile) -> Result<Self, DataError> {
        let pb::DataFile {
            url,
            format,
            packing,
            size,
            etag,
            sha256,
            flat_size,
            flat_sha256,
            columns,
            delimiter,
            column,
            pair_column,
            whole,
            entry,
        } = message;
        let format = match pb::data_file::Format::try_from(format) {
            Ok(pb::data_file::Format::Jsonl) => Format::Jsonl,
            Ok(pb::data_file::Format::Json) => Format::Json,
            Ok(pb::data_file::Format::Csv) => Format::Csv,
            Ok(pb::data_file::Format::Text) => Format::Text,
            Ok(pb::data_file::Format::Image) => Format::Image,
            Ok(pb::data_file::Format::Unspecified) | Err(_) => {
                return Err(DataError::Index("unknown format"));
            }
        };
        let packing = match pb::data_file::Packing::try_from(packing) {
            Ok(pb::data_file::Packing::Plain) => Packing::Plain,
            Ok(pb::data_file::Packing::Gzip) => Packing::Gzip,
            Ok(pb::data_file::Packing::Zstd) => Packing::Zstd,
            Ok(pb::data_file::Packing::Parquet) => Packing::Parquet,
            Err(_) => return Err(DataError::Index("unknown packing")),
        };
        let flat = hash(&flat_sha256)?.map(|sha256| Flat { size: flat_size, sha256 });
        if flat.is_some() != (packing != Packing::Plain) {
            return Err(DataError::Index("a packed file must say what it unpacks to, and no other"));
        }
        let etag = (!etag.is_empty()).then_some(etag);
        let sha256 = hash(&sha256)?;
        let delimiter = u8::try_from(delimiter).ok().filter(|delimiter| DELIMITERS.contains(delimiter));
        let delimiter = delimiter.ok_or(DataError::Index("unknown delimiter"))?;
        let pair_column = (!pair_column.is_empty()).then_some(pair_column);
        Ok(DataFile {
            url,
            format,
            packing,
            size,
            etag,
            sha256,
            flat,
            columns,
            delimiter,
            column,
            pair_column,
            whole,
            entry,
        })
    }
}

/// A hash, or nothing where there is none.
fn hash(bytes: &[u8]) -> Result<Option<[u8; 32]>, DataError> {
    match bytes {
        [] => Ok(None),
        bytes => bytes.try_into().map(Some).map_err(|_| DataError::Index("a hash has the wrong length")),
    }
}
