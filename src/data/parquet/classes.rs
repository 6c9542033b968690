//! The classes of a `ClassLabel` column, which the `datasets` library writes into a file's metadata as JSON: beside the
//! schema, or within the Arrow schema that Parquet files carry along.

use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

/// The key of the JSON.
const KEY: &str = "huggingface";
/// The key of the Arrow schema, in Base64.
const ARROW: &str = "ARROW:schema";
/// Classes of columns that give only a number of them.
const MOST_NUMBERED: u64 = 100_000;

/// The names of a column's classes in their order, if it is such a column.
pub(super) fn names(footer: &ParquetMetaData, column: &str) -> Option<Vec<String>> {
    let pairs = footer.file_metadata().key_value_metadata()?;
    let value = |key: &str| pairs.iter().find(|pair| pair.key == key)?.value.as_deref();
    let beside = value(KEY).and_then(|json| of_json(json, column));
    beside.or_else(|| of_json(&arrow_metadata(&base64(value(ARROW)?)?)?, column))
}

fn of_json(json: &str, column: &str) -> Option<Vec<String>> {
    let json: Value = serde_json::from_str(json).ok()?;
    let feature = json.get("info")?.get("features")?.get(column)?;
    if feature.get("_type")? != "ClassLabel" {
        return None;
    }
    match feature.get("names") {
        Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => {
            let classes = feature.get("num_classes")?.as_u64().filter(|classes| *classes <= MOST_NUMBERED)?;
            Some((0..classes).map(|class| class.to_string()).collect())
        }
    }
}

/// The JSON in the metadata of an Arrow schema: an encapsulated message (four bytes of ones, a length) around a table of
/// FlatBuffers. Positions are those of `Message.fbs` and `Schema.fbs` of the Arrow format.
fn arrow_metadata(message: &[u8]) -> Option<String> {
    let buffer = match message {
        [0xff, 0xff, 0xff, 0xff, _, _, _, _, rest @ ..] => rest,
        [_, _, _, _, rest @ ..] => rest,
        _ => return None,
    };
    let message = Table { buffer, at: 0 }.follow(0)?;
    let schema = message.follow(message.field(2)?)?;
    let (count, first) = schema.vector(schema.field(2)?)?;
    (0..count).find_map(|place| {
        let pair = Table { buffer, at: 0 }.follow(first.checked_add(place.checked_mul(4)?)?)?;
        let text = |field| {
            let (length, start) = pair.vector(pair.field(field)?)?;
            std::str::from_utf8(buffer.get(start..start.checked_add(length)?)?).ok()
        };
        (text(0)? == KEY).then(|| text(1).map(str::to_owned)).flatten()
    })
}

/// A table of a buffer of FlatBuffers; nothing is believed of what it says.
struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.buffer.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }

    /// Where a field of the table lies, if the table has it.
    fn field(&self, field: usize) -> Option<usize> {
        let offset = i32::from_le_bytes(*self.buffer.get(self.at..)?.first_chunk()?);
        let offsets = i64::try_from(self.at).ok()?.checked_sub(offset.into())?;
        let entry = usize::try_from(offsets).ok()?.checked_add(4 + 2 * field)?;
        let short = |at: usize| Some(u16::from_le_bytes(*self.buffer.get(at..)?.first_chunk()?));
        let length = usize::from(short(usize::try_from(offsets).ok()?)?);
        let inside = 4 + 2 * field + 2 <= length;
        let place = usize::from(short(entry).filter(|_| inside)?);
        (place != 0).then(|| self.at.checked_add(place)).flatten()
    }

    /// The table that a reference leads to.
    fn follow(&self, reference: usize) -> Option<Table<'a>> {
        let at = reference.checked_add(self.number(reference)?)?;
        Some(Table { buffer: self.buffer, at })
    }

    /// The number of elements of the vector that a reference leads to, and where the first lies.
    fn vector(&self, reference: usize) -> Option<(usize, usize)> {
        let at = reference.checked_add(self.number(reference)?)?;
        let count = self.number(at)?;
        // Every element takes a byte.
        (count <= self.buffer.len()).then(|| Some((count, at.checked_add(4)?))).flatten()
    }
}

/// What Base64 (RFC 4648) stands for.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for sign in text.trim_end_matches('=').bytes() {
        let value = match sign {
            b'A'..=b'Z' => sign - b'A',
            b'a'..=b'z' => sign - b'a' + 26,
            b'0'..=b'9' => sign - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, held) = ((bits << 6 | u32::from(value)) & 0xffff, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_as_defined() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("Zm9v!"), None);
    }

    #[test]
    fn a_number_of_classes_is_enough() {
        let json = r#"{"info": {"features": {"y": {"num_classes": 3, "_type": "ClassLabel"}}}}"#;
        assert_eq!(of_json(json, "y").unwrap(), ["0", "1", "2"]);
        assert_eq!(of_json(json, "x"), None);
        let value = r#"{"info": {"features": {"y": {"dtype": "int64", "_type": "Value"}}}}"#;
        assert_eq!(of_json(value, "y"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(prop_oneof![Just(0u8), 1u8..24, any::<u8>()], 0..200)) {
            let _ = arrow_metadata(&bytes);
        }
    }
}
