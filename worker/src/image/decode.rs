//! Files of images become levels, upright, as Pillow's `exif_transpose` and `convert` make them.

use std::io::Cursor;
use std::num::NonZeroU64;

use headstart::data::LONGEST_SIDE;
use headstart::model::ImageProcessor;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, LumaA};

use super::{ImageError, Levels, check_size, gif, metadata, whole};

/// Memory that decoding one file may take: three bytes for each of [`headstart::data::MOST_PIXELS`], and some to work with.
const DECODED_BYTES: NonZeroU64 = NonZeroU64::new(512 << 20).expect("it is not zero");

const WHITE: [u8; 3] = [255; 3];

/// Decodes the first frame of a file.
pub(super) fn levels(processor: &ImageProcessor, file: &[u8]) -> Result<Levels, ImageError> {
    let file = whole::check(file)?;
    let (mut image, transparent) = match file.starts_with(b"GIF8") {
        true => gif::decode(&file, DECODED_BYTES)?,
        false => (decoded(&file)?, metadata::transparent_colour(&file)),
    };
    if let Some(orientation) = metadata::orientation(&file).and_then(Orientation::from_exif) {
        image.apply_orientation(orientation);
    }
    let (height, width) = (image.height() as usize, image.width() as usize);
    let is_grey = metadata::png_colours(&file).is_some_and(|[_, kind]| kind == 0);
    let (colours, channels) = (Colours::of(image, is_grey), processor.channels);
    if channels == 1 {
        return Ok(Levels { height, width, channels, values: colours.grey() });
    }
    let mut values = colours.red_green_blue();
    if let Some(transparent) = transparent.filter(|_| processor.convert_rgb) {
        values
            .as_chunks_mut()
            .0
            .iter_mut()
            .filter(|colour| **colour == transparent)
            .for_each(|colour| *colour = WHITE);
    }
    Ok(Levels { height, width, channels, values })
}

fn decoded(file: &[u8]) -> Result<DynamicImage, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(DECODED_BYTES.get());
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    check_size("has", [height.into(), width.into()])?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    Ok(DynamicImage::from_decoder(decoder)?)
}

/// Levels without alpha, which Pillow's `convert` ignores.
enum Colours {
    Grey(Vec<u8>),
    RedGreenBlue(Vec<u8>),
}

impl Colours {
    /// 16 bits become 8: levels of a grey image are clipped (it may have alpha after decoding: the level that stands for
    /// transparency), and of all others the high byte is kept.
    fn of(image: DynamicImage, is_grey: bool) -> Colours {
        use Colours::{Grey, RedGreenBlue};
        let high = |value: &u16| (value >> 8) as u8;
        let clipped = |value: &u16| (*value).min(255) as u8;
        match image {
            DynamicImage::ImageLuma8(image) => Grey(image.into_raw()),
            DynamicImage::ImageLumaA8(image) => Grey(image.pixels().map(|pixel| pixel.0[0]).collect()),
            DynamicImage::ImageLuma16(image) => Grey(image.iter().map(clipped).collect()),
            DynamicImage::ImageLumaA16(image) => {
                let of_pixel =
                    |pixel: &LumaA<u16>| if is_grey { clipped(&pixel.0[0]) } else { high(&pixel.0[0]) };
                Grey(image.pixels().map(of_pixel).collect())
            }
            DynamicImage::ImageRgb16(image) => RedGreenBlue(image.iter().map(high).collect()),
            DynamicImage::ImageRgba16(image) => {
                RedGreenBlue(image.pixels().flat_map(|pixel| &pixel.0[..3]).map(high).collect())
            }
            other => RedGreenBlue(other.into_rgb8().into_raw()),
        }
    }

    fn red_green_blue(self) -> Vec<u8> {
        match self {
            Colours::Grey(levels) => levels.into_iter().flat_map(|level| [level; 3]).collect(),
            Colours::RedGreenBlue(levels) => levels,
        }
    }

    /// Brightness by the weights of ITU-R 601, rounded as Pillow's `convert("L")` rounds.
    fn grey(self) -> Vec<u8> {
        match self {
            Colours::Grey(levels) => levels,
            Colours::RedGreenBlue(levels) => {
                let brightness = |pixel: &[u8; 3]| {
                    let [red, green, blue] = pixel.map(u32::from);
                    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
                };
                levels.as_chunks().0.iter().map(brightness).collect()
            }
        }
    }
}
