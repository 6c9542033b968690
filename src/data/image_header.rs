//! The first bytes of an image: what it is and how large, without decoding it.

use super::RowProblem;
use crate::store::stand_in;

/// Longest side of an image, in pixels.
pub const LONGEST_SIDE: u32 = 1 << 14;
/// Most pixels of an image.
pub const MOST_PIXELS: u64 = 1 << 27;
/// Bytes that nearly always hold the size.
pub(super) const HEAD: usize = 16 << 10;

/// Refuses what is neither PNG nor JPEG, and what is too large. `bytes` begin the file and need not be all of it: a size
/// that stands further behind is left to the decoder, which has the same limits.
pub(super) fn check(bytes: &[u8]) -> Result<(), RowProblem> {
    let size = match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', rest @ ..] => png(rest),
        [0xff, 0xd8, rest @ ..] => jpeg(rest),
        _ => {
            let found = stand_in(bytes).unwrap_or("neither a PNG nor a JPEG image, by its first bytes");
            return Err(RowProblem::Image(found.to_owned()));
        }
    };
    let Some([width, height]) = size else { return Ok(()) };
    if width == 0 || height == 0 {
        return Err(RowProblem::Image("the image has no pixels".to_owned()));
    }
    if width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(RowProblem::Image(format!(
            "the image has {width} × {height} pixels; at most {LONGEST_SIDE} a side and {MOST_PIXELS} in all are decoded"
        )));
    }
    Ok(())
}

/// Width and height, which stand in the first chunk.
fn png(chunks: &[u8]) -> Option<[u32; 2]> {
    let sides = chunks.get(4..16)?.strip_prefix(b"IHDR")?.as_chunks::<4>().0;
    Some([u32::from_be_bytes(sides[0]), u32::from_be_bytes(sides[1])])
}

/// Width and height, which stand in the first frame header (ITU T.81, B.2.2).
fn jpeg(mut segments: &[u8]) -> Option<[u32; 2]> {
    loop {
        let [0xff, marker, high, low, ref rest @ ..] = *segments else { return None };
        match marker {
            0xff => segments = &segments[1..],
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let side =
                    |at: usize| Some(u32::from(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?])));
                return Some([side(3)?, side(1)?]);
            }
            _ => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                segments = rest.get(length.checked_sub(2)?..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes
    }

    #[test]
    fn sizes_are_read_from_the_first_bytes() {
        assert_eq!(png(&png_of(7, 60_000)[8..]), Some([7, 60_000]));
        let comment = b"\xff\xfe\x00\x06hello";
        let frame = b"\xff\xc2\x00\x0b\x08\x00\x10\x00\x20\x01";
        assert_eq!(jpeg(&[&comment[..8], frame].concat()), Some([32, 16]));
        assert_eq!(jpeg(b"\xff\xfe\x00\x01"), None, "a length that does not hold itself");
        assert_eq!(jpeg(b"\xff\xc0\x00"), None);
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        assert_eq!(check(&png_of(224, 224)), Ok(()));
        for bytes in
            [png_of(60_000, 60_000), png_of(0, 5), png_of(16_000, 16_000), b"GIF89a".to_vec(), Vec::new()]
        {
            assert!(matches!(check(&bytes), Err(RowProblem::Image(_))));
        }
    }
}
