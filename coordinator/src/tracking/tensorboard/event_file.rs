//! TensorBoard's event files. Source: TensorFlow's `record_writer.cc`, `event.proto` and `summary.proto`.

use crc_fast::CrcAlgorithm;
use prost::Message;

use super::super::lines::Line;

/// The first record of every file says this.
const VERSION: &str = "brain.Event:2";
/// What the names of metrics of evaluations begin with.
const EVAL: &str = "eval_";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// A file that holds these lines of metrics, their values rounded to 32 bits. What is not finite then is left out. It says that
/// it was begun with its first line.
pub(super) fn encode(lines: &[Line]) -> Vec<u8> {
    let begun = lines.first().map_or(0.0, |line| line.time);
    let mut file = Vec::new();
    let version = Event { wall_time: begun, file_version: Some(VERSION.to_owned()), ..Event::default() };
    append(&mut file, &version);
    for Line { step, time, values } in lines {
        let rounded = values.iter().map(|(name, value)| (name, *value as f32));
        let scalars = rounded.filter(|(_, value)| value.is_finite());
        let value =
            scalars.map(|(name, value)| Scalar { tag: tag(name), simple_value: Some(value) }).collect();
        let summary = Some(Summary { value });
        append(&mut file, &Event { wall_time: *time, step: *step, file_version: None, summary });
    }
    file
}

/// The name under which transformers shows a metric.
fn tag(name: &str) -> String {
    match name.strip_prefix(EVAL) {
        Some(name) => format!("eval/{name}"),
        None => format!("train/{name}"),
    }
}

/// Appends a record: its length, the length's checksum, its bytes, their checksum; numbers are little-endian.
fn append(file: &mut Vec<u8>, event: &Event) {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&masked_crc(&length).to_le_bytes());
    file.extend_from_slice(&data);
    file.extend_from_slice(&masked_crc(&data).to_le_bytes());
}

/// CRC-32C, rotated and shifted, so that a checksum of bytes that hold checksums is not weaker.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_as_tensorflow_writes_it() {
        let file = encode(&[]);
        assert_eq!(&file[..8], &15u64.to_le_bytes());
        assert_eq!(&file[12..27], b"\x1a\x0dbrain.Event:2");
        assert_eq!(file.len(), 8 + 4 + 15 + 4);
    }

    #[test]
    fn checksums_are_crc_32c_masked() {
        // Source: RFC 3720, B.4: 32 bytes of zero have the checksum 0x8a9136aa.
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn metrics_have_the_names_that_transformers_gives_them() {
        assert_eq!(tag("loss"), "train/loss");
        assert_eq!(tag("eval_accuracy"), "eval/accuracy");
    }
}
