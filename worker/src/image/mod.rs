//! An image file becomes pixels as transformers' image processors make them with Pillow: decode, turn upright, convert,
//! resize, crop, rescale, normalise.

mod decode;
mod gif;
mod metadata;
mod resample;
#[cfg(test)]
mod tests;
mod whole;

use std::panic::{AssertUnwindSafe, catch_unwind};

use headstart::data::{LONGEST_SIDE, MOST_PIXELS};
use headstart::model::{ImageProcessor, Normalize};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be decoded, or is too large.
    #[error("the image cannot be decoded: {0}")]
    Decode(#[from] image::ImageError),
    /// Its decoder gave up with a panic.
    #[error("the image cannot be decoded: it is damaged")]
    Damaged,
    /// It ends before its data does.
    #[error("the image is cut short: {0}")]
    CutShort(&'static str),
    /// It cannot be read.
    #[error("the image cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Too many pixels, in the file or after resizing.
    #[error(
        "the image {has} {} × {} pixels (height × width); at most {LONGEST_SIDE} a side and {MOST_PIXELS} in all are \
         processed", size[0], size[1]
    )]
    TooLarge {
        /// Whether it has them, or would get them.
        has: &'static str,
        /// Height and width.
        size: [u64; 2],
    },
    /// It is so narrow that nothing is left of its shorter side.
    #[error("the image would be resized to {} × {} pixels (height × width)", .0[0], .0[1])]
    Vanishes([u64; 2]),
    /// Its size is not the network's after all steps.
    #[error(
        "the image {becomes} {} × {} pixels (height × width), but the network takes {} × {}: {cure}",
        found[0], found[1], expected[0], expected[1]
    )]
    Size {
        /// Whether it has its size of itself or by resizing.
        becomes: &'static str,
        /// Its height and width.
        found: [usize; 2],
        /// The network's.
        expected: [u32; 2],
        /// What to change.
        cure: &'static str,
    },
}

/// An image of 8 bits a channel.
#[derive(Clone, Debug, PartialEq)]
struct Levels {
    height: usize,
    width: usize,
    channels: usize,
    /// `[height, width, channels]`, 0–255.
    values: Vec<u8>,
}

/// Appends an image's pixels, `[channels, height, width]`, to `pixels`.
pub fn pixels(processor: &ImageProcessor, file: &[u8], pixels: &mut Vec<f32>) -> Result<(), ImageError> {
    // Damaged files have made a decoder panic.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode::levels(processor, file)));
    let mut levels = resized(processor, decoded.map_err(|_| ImageError::Damaged)??)?;
    if let Some(size) = processor.crop {
        levels = cropped(levels, size.map(|side| side as usize));
    }
    let found = [levels.height, levels.width];
    if found != processor.size.map(|side| side as usize) {
        return Err(match processor.resize {
            Some(_) => ImageError::Size {
                becomes: "becomes",
                found,
                expected: processor.size,
                cure: "give the image processor a size of height and width, or do_center_crop and crop_size",
            },
            None => ImageError::Size {
                becomes: "has",
                found,
                expected: processor.size,
                cure: "let the image processor resize it (do_resize)",
            },
        });
    }
    // [height, width, channels] → [channels, height, width]
    for channel in 0..processor.channels {
        let values = scale(processor, channel);
        let of_channel = levels.values.iter().skip(channel).step_by(processor.channels);
        pixels.extend(of_channel.map(|&level| values[usize::from(level)]));
    }
    Ok(())
}

/// What each level 0–255 of a channel becomes. The factor is applied in f64 and the result rounded to f32, then mean and
/// standard deviation in f32.
fn scale(processor: &ImageProcessor, channel: usize) -> [f32; 256] {
    std::array::from_fn(|level| {
        let value = match processor.rescale {
            Some(factor) => (level as f64 * factor) as f32,
            None => level as f32,
        };
        match &processor.normalize {
            Some(Normalize { mean, std }) => (value - mean[channel]) / std[channel],
            None => value,
        }
    })
}

fn resized(processor: &ImageProcessor, image: Levels) -> Result<Levels, ImageError> {
    let Some(resize) = processor.resize else { return Ok(image) };
    let size = resize.to.of([image.height as u32, image.width as u32]);
    if size.contains(&0) {
        return Err(ImageError::Vanishes(size));
    }
    check_size("would be resized to", size)?;
    // Rows are resized first, and then columns.
    check_size("would be widened to", [image.height as u64, size[1]])?;
    Ok(resample::resize(image, size.map(|side| side as usize), resize.resample))
}

fn check_size(has: &'static str, size: [u64; 2]) -> Result<(), ImageError> {
    let [height, width] = size;
    if height.max(width) > LONGEST_SIDE.into() || height * width > MOST_PIXELS {
        return Err(ImageError::TooLarge { has, size });
    }
    Ok(())
}

/// The middle of an image, with zeros around it where it is smaller.
fn cropped(image: Levels, [height, width]: [usize; 2]) -> Levels {
    // Where the middle begins in the image, and where the image begins in the result.
    let begins = |from: usize, to: usize| (from.saturating_sub(to) / 2, to.saturating_sub(from).div_ceil(2));
    let ([top, left], channels) =
        ([begins(image.height, height), begins(image.width, width)], image.channels);
    let row_bytes = image.width.min(width) * channels;
    let mut values = vec![0; height * width * channels];
    for row in 0..image.height.min(height) {
        let from = ((top.0 + row) * image.width + left.0) * channels;
        let to = ((top.1 + row) * width + left.1) * channels;
        values[to..to + row_bytes].copy_from_slice(&image.values[from..from + row_bytes]);
    }
    Levels { height, width, channels, values }
}
