//! What a Parquet page says of itself, judged before anything is allocated by it.
//!
//! The `parquet` crate believes the sizes in page headers and the counts in footers, so they are read here first: Thrift's
//! compact protocol, of which only the integers that become allocations are kept.

/// Bytes of the largest page, packed or unpacked: images come in row groups of a hundred.
pub(super) const LARGEST_PAGE: u64 = 256 << 20;
/// Values of the largest dictionary.
const LARGEST_DICTIONARY: u64 = 1 << 20;
/// Values of one page; each takes a few bytes while it is decoded.
const MOST_VALUES: u64 = 1 << 26;
/// Structs and lists within each other; a page header has three, a footer seven.
const DEEPEST: u32 = 8;
/// Encodings whose decoders allocate no more than the page holds: plain, dictionary (twice), RLE, bit-packed.
const BOUNDED_ENCODINGS: [u64; 5] = [0, 2, 3, 4, 8];

/// What a page header announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) unpacked: u64,
    packed: u64,
    dictionary: u64,
    values: u64,
}

/// Reads the header at the start of `bytes`; the reason when the page must not be read.
pub(super) fn page(bytes: &[u8]) -> Result<Page, String> {
    let mut page = Page::default();
    let mut encoding = Ok(());
    let mut note = |parent: i64, field: i64, value: u64| match (parent, field) {
        (0, 2) => page.unpacked = page.unpacked.max(value),
        (0, 3) => page.packed = page.packed.max(value),
        (7, 1) => page.dictionary = page.dictionary.max(value),
        (5 | 8, 1) => page.values = page.values.max(value),
        (5, 2) | (8, 4) if !BOUNDED_ENCODINGS.contains(&value) => {
            encoding =
                Err(format!("encoding {value} is not read; write it with plain or dictionary encoding"));
        }
        _ => {}
    };
    Walk { bytes, note: &mut note }.fields(0, 0).ok_or("a page header is damaged")?;
    encoding?;
    if page.unpacked.max(page.packed) > LARGEST_PAGE {
        let size = page.unpacked.max(page.packed) >> 20;
        return Err(format!(
            "a page of {size} MiB, at most {} MiB are read; write smaller row groups",
            LARGEST_PAGE >> 20
        ));
    }
    // A string takes four bytes at least, a label one bit.
    if page.dictionary > LARGEST_DICTIONARY || page.dictionary > page.unpacked {
        return Err(format!(
            "a dictionary of {} values, at most {LARGEST_DICTIONARY} are read",
            page.dictionary
        ));
    }
    if page.values > MOST_VALUES {
        return Err(format!("a page of {} values, at most {MOST_VALUES} are read", page.values));
    }
    Ok(page)
}

/// Whether a footer holds as many values as it announces.
pub(super) fn is_sound(footer: &[u8]) -> bool {
    Walk { bytes: footer, note: &mut |_, _, _| {} }.fields(0, 0).is_some()
}

struct Walk<'a, 'f> {
    bytes: &'a [u8],
    /// Told of each integer: the field of the struct it is in (0: the outermost), its own field, its value.
    note: &'f mut dyn FnMut(i64, i64, u64),
}

impl Walk<'_, '_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn fields(&mut self, parent: i64, depth: u32) -> Option<()> {
        let mut field = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => self.integer()?,
                step => field.checked_add(step.into())?,
            };
            match head & 0x0f {
                // A boolean field is its own value.
                1 | 2 => {}
                4..=6 => {
                    // Negative sizes are as wrong as large ones.
                    let value = self.integer()?;
                    (self.note)(if depth == 0 { 0 } else { parent }, field, value as u64);
                }
                kind => self.value(kind, field, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, field: i64, depth: u32) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            // Booleans in a list take a byte or none, depending on who reads; no header or footer has such a list.
            1 | 2 => None,
            3 => self.skip(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                self.values(&[head & 0x0f], count, depth)
            }
            11 => match self.varint()? {
                0 => Some(()),
                count => {
                    let kinds = self.byte()?;
                    self.values(&[kinds >> 4, kinds & 0x0f], count, depth)
                }
            },
            // Integers of deeper structs are of no interest: their parent is a field that no page header has.
            12 => self.fields(if depth == 0 { field } else { -1 }, depth + 1),
            _ => None,
        }
    }

    fn values(&mut self, kinds: &[u8], count: u64, depth: u32) -> Option<()> {
        // Every value takes a byte, so a count beyond the bytes fails soon.
        for _ in 0..count {
            for &kind in kinds {
                self.value(kind, -1, depth + 1)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Type DATA_PAGE, sizes, a data page header with its count and encoding, stop.
    fn header(unpacked: u32, values: u8, encoding: u8) -> Vec<u8> {
        let mut bytes = vec![0x15, 0x00, 0x15];
        let mut value = unpacked << 1;
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.extend([value as u8, 0x15, 0x14, 0x2c, 0x15, values << 1, 0x15, encoding << 1, 0x00, 0x00]);
        bytes
    }

    #[test]
    fn sizes_and_encodings_are_judged() {
        assert_eq!(
            page(&header(1000, 3, 0)),
            Ok(Page { unpacked: 1000, packed: 10, dictionary: 0, values: 3 })
        );
        assert!(page(&header(1 << 29, 3, 0)).is_err_and(|reason| reason.contains("512 MiB")));
        assert!(page(&header(1000, 3, 7)).is_err_and(|reason| reason.contains("encoding 7")));
        // A second size after the first, in the long form.
        let mut twice = header(10, 3, 0);
        twice.pop();
        twice.extend([0x05, 0x04, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00]);
        assert!(page(&twice).is_err());
    }

    #[test]
    fn a_list_that_announces_more_than_there_is_is_no_footer() {
        // Field 1, a list of kind 1 or 3, two thousand million of them, stop.
        let list = |kind: u8| [0x19, 0xf0 | kind, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        assert!(!is_sound(&list(1)) && !is_sound(&list(3)));
        assert!(is_sound(&[0x19, 0x23, 7, 7, 0x00]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = page(&bytes);
        }
    }
}
