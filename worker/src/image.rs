//! An image file becomes pixels as transformers' `ViTImageProcessor` makes them: convert, resize, rescale, normalise.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use headstart::data::LONGEST_SIDE;
use headstart::model::{ImageProcessor, Resample};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageReader, Limits, RgbImage};

/// Memory that decoding one file may take: three bytes for each of [`headstart::data::MOST_PIXELS`], and some to work with.
const DECODED_BYTES: u64 = 512 << 20;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be decoded, or is too large.
    #[error("the image cannot be decoded: {0}")]
    Decode(#[from] image::ImageError),
    /// Its decoder gave up with a panic.
    #[error("the image cannot be decoded: it is damaged")]
    Damaged,
    /// It cannot be read.
    #[error("the image cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Its size is not the network's, and it may not be resized.
    #[error(
        "the image has {found:?} pixels (height, width), the network takes {expected:?} and do_resize is off"
    )]
    Size {
        /// Its own.
        found: [u32; 2],
        /// The network's.
        expected: [u32; 2],
    },
}

/// Appends an image's pixels, `[channels, height, width]`, to `pixels`.
pub fn pixels(processor: &ImageProcessor, file: &[u8], pixels: &mut Vec<f32>) -> Result<(), ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(DECODED_BYTES);
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    reader.limits(limits);
    // Damaged files have made a decoder panic.
    let image = catch_unwind(AssertUnwindSafe(|| reader.decode())).map_err(|_| ImageError::Damaged)??;
    let levels = match processor.channels {
        1 => resized(processor, grey(&image))?.into_raw(),
        _ => resized(processor, image.into_rgb8())?.into_raw(),
    };
    // [height, width, channels] → [channels, height, width]
    for channel in 0..processor.channels {
        let (mean, std) = (processor.mean[channel], processor.std[channel]);
        let of_channel = levels.iter().skip(channel).step_by(processor.channels);
        pixels.extend(of_channel.map(|&level| (f32::from(level) * processor.rescale - mean) / std));
    }
    Ok(())
}

fn resized<P>(
    processor: &ImageProcessor,
    image: image::ImageBuffer<P, Vec<u8>>,
) -> Result<image::ImageBuffer<P, Vec<u8>>, ImageError>
where
    P: image::Pixel<Subpixel = u8> + 'static,
{
    let [height, width] = processor.size;
    if (image.height(), image.width()) == (height, width) {
        return Ok(image);
    }
    let filter = match processor.resize {
        None => {
            let found = [image.height(), image.width()];
            return Err(ImageError::Size { found, expected: processor.size });
        }
        Some(Resample::Nearest) => FilterType::Nearest,
        Some(Resample::Lanczos) => FilterType::Lanczos3,
        Some(Resample::Bilinear) => FilterType::Triangle,
        Some(Resample::Bicubic) => FilterType::CatmullRom,
    };
    Ok(imageops::resize(&image, width, height, filter))
}

/// Brightness by the weights of ITU-R 601, rounded as PIL's `convert("L")` rounds.
fn grey(image: &DynamicImage) -> GrayImage {
    if let DynamicImage::ImageLuma8(grey) = image {
        return grey.clone();
    }
    let colours: RgbImage = image.to_rgb8();
    let levels = colours.pixels().map(|pixel| {
        let [red, green, blue] = pixel.0.map(u32::from);
        ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
    });
    GrayImage::from_raw(colours.width(), colours.height(), levels.collect())
        .expect("one level for each pixel")
}
