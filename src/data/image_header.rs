//! The first bytes of an image: what it is and how large, without decoding it.

use super::RowProblem;
use crate::store::stand_in;

/// Longest side of an image, in pixels.
pub const LONGEST_SIDE: u32 = 1 << 14;
/// Most pixels of an image.
pub const MOST_PIXELS: u64 = 1 << 27;
/// Bytes of the largest image file.
pub(super) const LARGEST_IMAGE: u64 = 64 << 20;
/// Bytes that nearly always hold the size.
pub(super) const HEAD: usize = 16 << 10;

/// What a file is by its first bytes, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// An image of a kind that is decoded, and its width and height where the first bytes hold them.
    Image(Option<[u32; 2]>),
    /// An image of a kind that is not.
    Unsupported(&'static str),
    /// Nothing known.
    Other,
}

/// Refuses what is no image that can be decoded, and what is too large. `bytes` begin the file and need not be all of it: a
/// size that stands further behind is left to the decoder, which has the same limits.
pub(super) fn check(bytes: &[u8]) -> Result<(), RowProblem> {
    let size = match sniff(bytes) {
        Sniffed::Image(size) => size,
        Sniffed::Unsupported(kind) => {
            let reason = format!("{kind} images are not supported yet; convert it to PNG or JPEG");
            return Err(RowProblem::Image(reason));
        }
        Sniffed::Other => {
            let found = stand_in(bytes);
            let found = found.unwrap_or("not a PNG, JPEG, WebP, GIF or BMP image, by its first bytes");
            return Err(RowProblem::Image(found.to_owned()));
        }
    };
    size.map_or(Ok(()), fits)
}

/// Refuses images that are too large, or empty.
pub(super) fn fits([width, height]: [u32; 2]) -> Result<(), RowProblem> {
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

/// What a file is that begins with these bytes.
pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', rest @ ..] => Sniffed::Image(png(rest)),
        [0xff, 0xd8, rest @ ..] if rest.first().is_none_or(|byte| *byte == 0xff) => {
            Sniffed::Image(jpeg(rest))
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', chunks @ ..] => {
            Sniffed::Image(webp(chunks))
        }
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', rest @ ..] => {
            Sniffed::Image(little(rest, 0).zip(little(rest, 2)).map(|(width, height)| [width, height]))
        }
        [b'B', b'M', ..] if is_bmp(bytes) => Sniffed::Image(bmp(bytes)),
        _ => unsupported(bytes).map_or(Sniffed::Other, Sniffed::Unsupported),
    }
}

/// Kinds of images that are not decoded.
fn unsupported(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12).and_then(|bytes| bytes.strip_prefix(b"ftyp"));
    match bytes {
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some("TIFF"),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Some("JPEG XL"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => Some("JPEG 2000"),
        [b'8', b'B', b'P', b'S', ..] => Some("PSD"),
        [b'q', b'o', b'i', b'f', ..] => Some("QOI"),
        [0, 0, 1, 0, 1..=32, 0, ..] => Some("ICO"),
        [0x76, 0x2f, 0x31, 0x01, ..] => Some("OpenEXR"),
        [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r', ..] => Some("PNM"),
        _ => match brand {
            Some(b"avif" | b"avis") => Some("AVIF"),
            Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1") => Some("HEIC"),
            _ => is_svg(bytes).then_some("SVG"),
        },
    }
}

fn is_svg(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"<") && memchr::memmem::find(bytes, b"<svg").is_some()
}

/// A number of two bytes, little end first.
fn little(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<2>().map(|bytes| u32::from(u16::from_le_bytes(*bytes)))
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

/// Width and height, which stand in the first chunk (RFC 9649, 2.5–2.7).
fn webp(chunks: &[u8]) -> Option<[u32; 2]> {
    let (kind, data) = (chunks.first_chunk::<4>()?, chunks.get(8..)?);
    match kind {
        // Lossy: a frame tag, a start code, then 14 bits for each side.
        b"VP8 " if data.get(3..6) == Some(&[0x9d, 0x01, 0x2a]) => {
            Some([little(data, 6)? & 0x3fff, little(data, 8)? & 0x3fff])
        }
        // Lossless: a signature, then 14 bits for each side, less one.
        b"VP8L" if data.first() == Some(&0x2f) => {
            let bits = u32::from_le_bytes(*data.get(1..)?.first_chunk()?);
            Some([(bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1])
        }
        // Extended: flags, then 24 bits for each side of the canvas, less one.
        b"VP8X" => {
            let side = |at: usize| Some((little(data, at)? | u32::from(*data.get(at + 2)?) << 16) + 1);
            Some([side(4)?, side(7)?])
        }
        _ => None,
    }
}

/// Two letters begin many texts, so the length of the header must be one that there is, too.
fn is_bmp(bytes: &[u8]) -> bool {
    let length =
        bytes.get(14..).and_then(|bytes| bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)));
    matches!(length, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// Width and height, which stand behind the length of the header; a height below zero means rows from the top.
fn bmp(bytes: &[u8]) -> Option<[u32; 2]> {
    let header = bytes.get(14..)?;
    if header.first() == Some(&12) {
        return Some([little(header, 4)?, little(header, 6)?]);
    }
    let side = |at: usize| Some(i32::from_le_bytes(*header.get(at..)?.first_chunk()?).unsigned_abs());
    Some([side(4)?, side(8)?])
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
    fn every_kind_is_known_with_its_size() {
        let riff = |chunk: &[u8]| [b"RIFF\0\0\0\0WEBP", chunk].concat();
        // As Pillow writes images of 300 × 200 pixels.
        let cases: [(Vec<u8>, Sniffed); 8] = [
            (b"GIF89a\x2c\x01\xc8\x00".to_vec(), Sniffed::Image(Some([300, 200]))),
            (riff(b"VP8 \0\0\0\0\x30\x14\x00\x9d\x01\x2a\x2c\x01\xc8\x00"), Sniffed::Image(Some([300, 200]))),
            (riff(b"VP8L\0\0\0\0\x2f\x2b\xc1\x31\x00"), Sniffed::Image(Some([300, 200]))),
            (riff(b"VP8X\x0a\0\0\0\x10\0\0\0\x2b\x01\x00\xc7\x00\x00"), Sniffed::Image(Some([300, 200]))),
            (
                b"BM\x36\xbf\x02\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x2c\x01\0\0\xc8\0\0\0".to_vec(),
                Sniffed::Image(Some([300, 200])),
            ),
            (
                b"BM\x36\xbf\x02\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x2c\x01\0\0\x38\xff\xff\xff".to_vec(),
                Sniffed::Image(Some([300, 200])),
            ),
            (b"BMW drives to the station, and back".to_vec(), Sniffed::Other),
            (b"\0\0\0\x1cftypavif\0\0\0\0".to_vec(), Sniffed::Unsupported("AVIF")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(&bytes), expected, "{bytes:?}");
            // However few bytes there are, none is read beyond them.
            assert!((0..bytes.len()).all(|end| sniff(&bytes[..end]) != Sniffed::Image(Some([0, 0]))));
        }
        assert_eq!(sniff(b"<?xml version='1.0'?>\n<svg width='8'/>"), Sniffed::Unsupported("SVG"));
        assert_eq!(sniff(b"<annotation><size/></annotation>"), Sniffed::Other);
        assert_eq!(sniff(b"II*\0\x08\0\0\0"), Sniffed::Unsupported("TIFF"));
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        assert_eq!(check(&png_of(224, 224)), Ok(()));
        let large_gif = b"GIF89a\xff\xff\xff\xff".to_vec();
        for bytes in [
            png_of(60_000, 60_000),
            png_of(0, 5),
            png_of(16_000, 16_000),
            large_gif,
            b"GIF".to_vec(),
            Vec::new(),
        ] {
            assert!(matches!(check(&bytes), Err(RowProblem::Image(_))));
        }
    }
}
