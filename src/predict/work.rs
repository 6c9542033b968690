//! A prediction as bytes, on their way to a worker's standard input: the length of a header, the header in JSON, then the row
//! index.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::data::RowIndex;
use crate::run_file::RunSpec;

/// Bytes of the longest header.
const LONGEST_HEADER: u64 = 256 << 20;

/// What is predicted, with what.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The run that a worker opens the network for: model, adapter, data, threads, and rows of a forward pass as
    /// `per_device_train_batch_size`.
    pub spec: RunSpec,
    /// The names of the classes, by class id; empty for language models.
    pub labels: Vec<String>,
    /// The rows. Their labels are 0.
    pub index: RowIndex,
    /// Instead of rows: tokens whose log probabilities are asked for, each given the ones before it.
    pub golden: Vec<Vec<u32>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    spec: RunSpec,
    labels: Vec<String>,
    golden: Vec<Vec<u32>>,
}

impl Work {
    /// As bytes.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let Work { spec, labels, index, golden } = self;
        let (spec, labels, golden) = (spec.clone(), labels.clone(), golden.clone());
        let header = serde_json::to_vec(&Header { spec, labels, golden })?;
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        to.write_all(&index.encode())?;
        to.flush()
    }

    /// Reads what [`Work::write`] wrote, to the end.
    pub fn read(mut from: impl Read) -> io::Result<Work> {
        let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return Err(wrong(format!("a header of {length} bytes")));
        }
        let mut header = Vec::new();
        from.by_ref().take(length).read_to_end(&mut header)?;
        let Header { spec, labels, golden } = serde_json::from_slice(&header)?;
        let mut index = Vec::new();
        from.read_to_end(&mut index)?;
        let index = RowIndex::decode(&index, 1).map_err(|error| wrong(error.to_string()))?;
        Ok(Work { spec, labels, index, golden })
    }
}
