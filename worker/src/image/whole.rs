//! Files that end before their data does are refused, as Pillow refuses them. Decoders fill the rest with grey, or show what
//! they have.

use std::borrow::Cow;

use super::ImageError;
use super::metadata::{Segment, png_chunks, segments};

/// The last chunk of every PNG file.
const IEND: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";

/// The file, if nothing shows that its end is missing. PNG and BMP files that lack pixels are refused when they are decoded.
/// A PNG file that lacks only its last chunk, which holds nothing, gets one.
pub(super) fn check(file: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    match file {
        [0xff, 0xd8, ..] => match segments(file).any(|segment| matches!(segment, Segment::End)) {
            true => Ok(file.into()),
            false => Err(ImageError::CutShort("a JPEG file without its end marker")),
        },
        [b'R', b'I', b'F', b'F', size @ .., _] if file.get(8..12) == Some(b"WEBP") => {
            let size = size.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
            match file.len() as u64 >= u64::from(size) + 8 {
                true => Ok(file.into()),
                false => Err(ImageError::CutShort("a WebP file shorter than its header says")),
            }
        }
        [b'G', b'I', b'F', b'8', ..] => match frame_ends(file) {
            Some(()) => Ok(file.into()),
            None => Err(ImageError::CutShort("a GIF file without the end of its first frame")),
        },
        [0x89, b'P', b'N', b'G', ..] => Ok(with_end(file)),
        _ => Ok(file.into()),
    }
}

/// Walks over a GIF file's blocks to the end of its first frame.
fn frame_ends(file: &[u8]) -> Option<()> {
    // Bytes of a table of colours, which a flag announces.
    let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) };
    let mut rest = file.get(13 + colours(*file.get(10)?)..)?;
    loop {
        let (frame, head) = match rest.first()? {
            // An extension: its kind.
            0x21 => (false, 2),
            // A frame: its place, its colours, and a code's first bits.
            0x2c => (true, 11 + colours(*rest.get(9)?)),
            // What the decoder will refuse.
            _ => return Some(()),
        };
        rest = rest.get(head..)?;
        // Sub-blocks with their lengths; one of length 0 is the last.
        while let (length @ 1.., after) = rest.split_first()? {
            rest = after.get(usize::from(*length)..)?;
        }
        rest = &rest[1..];
        if frame {
            return Some(());
        }
    }
}

/// Ends a PNG file after its last whole chunk if that ended its pixels.
fn with_end(file: &[u8]) -> Cow<'_, [u8]> {
    let (mut end, mut pixels) = (8, false);
    for (kind, content) in png_chunks(file) {
        if &kind == b"IEND" {
            return file.into();
        }
        pixels |= &kind == b"IDAT";
        end += content.len() + 12;
    }
    let rest = file.get(end..).unwrap_or_default();
    if pixels && rest.get(4..8) != Some(b"IDAT") {
        return [&file[..end], &IEND].concat().into();
    }
    file.into()
}
