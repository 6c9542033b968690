//! The first frame of a GIF file, on its canvas, as Pillow composes it.

use std::io::Cursor;
use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};
use image::error::{DecodingError, ImageFormatHint};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::{ImageError, check_size};

/// Decodes the first frame. Pixels that it does not cover have its transparent colour, or the first of its palette; what is
/// transparent keeps its colour, which is returned too. A frame beyond the canvas enlarges it.
pub(super) fn decode(
    file: &[u8],
    most_bytes: NonZeroU64,
) -> Result<(DynamicImage, Option<[u8; 3]>), ImageError> {
    let failed = |error: gif::DecodingError| {
        let format = ImageFormatHint::Exact(ImageFormat::Gif);
        image::ImageError::Decoding(DecodingError::new(format, error))
    };
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(most_bytes));
    let mut decoder = options.read_info(Cursor::new(file)).map_err(failed)?;
    let [mut width, mut height] = [decoder.width(), decoder.height()].map(u32::from);
    let Some(frame) = decoder.next_frame_info().map_err(failed)? else {
        return Err(ImageError::CutShort("a GIF file without a frame"));
    };
    let [left, top] = [frame.left, frame.top].map(u32::from);
    let [frame_width, frame_height] = [frame.width, frame.height].map(u32::from);
    (width, height) = (width.max(left + frame_width), height.max(top + frame_height));
    let transparent = frame.transparent;
    check_size("has", [height.into(), width.into()])?;
    let palette = decoder.palette().map(<[u8]>::to_vec).unwrap_or_default();
    let mut places = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut places).map_err(failed)?;

    let colour = |place: u8| match palette.as_chunks().0.get(usize::from(place)) {
        Some(colour) => Rgb(*colour),
        // Without a palette, places are levels of grey.
        None => Rgb([place; 3]),
    };
    let mut image = RgbImage::from_pixel(width, height, colour(transparent.unwrap_or(0)));
    let rows = places.chunks_exact((frame_width as usize).max(1));
    for (y, row) in rows.enumerate() {
        for (x, &place) in row.iter().enumerate() {
            image.put_pixel(left + x as u32, top + y as u32, colour(place));
        }
    }
    Ok((image.into(), transparent.map(|place| colour(place).0)))
}
