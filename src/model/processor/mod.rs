//! How images become pixels: HF's `preprocessor_config.json`, or the `image_processor` part of `processor_config.json`.

mod size;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

pub use self::size::Target;
use super::ModelError;
use super::blueprint::ImageInput;
use super::families::image_processors::Defaults;
use super::keys::{Keys, wrong};

/// Interpolation when an image is resized. The numbers are Pillow's, which HF files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// 0: the nearest pixel.
    Nearest,
    /// 1: a sinc over three pixels, windowed by a wider sinc.
    Lanczos,
    /// 2: linear in both directions.
    Bilinear,
    /// 3: cubic in both directions, with a = -1/2.
    Bicubic,
    /// 4: the mean of the pixels covered.
    Box,
    /// 5: linear, sharpened by a Hamming window.
    Hamming,
}

/// How images are resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The size they get.
    pub to: Target,
    /// How pixels between pixels are found.
    pub resample: Resample,
}

/// Per channel, `(pixel - mean) / std`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Divided by.
    pub std: Vec<f32>,
}

/// What is done to an image, in this order: convert, resize, crop, rescale, normalise.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// Height and width that the network takes.
    pub size: [u32; 2],
    /// Channels of the result: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `do_convert_rgb`: a colour that stands for transparency becomes white. Alpha channels are dropped in any case.
    pub convert_rgb: bool,
    /// `do_resize`.
    pub resize: Option<Resize>,
    /// `do_center_crop`: height and width that are kept. What an image lacks is filled with zeros.
    pub crop: Option<[u32; 2]>,
    /// `do_rescale`: the factor that values 0–255 are multiplied by.
    pub rescale: Option<f64>,
    /// `do_normalize`.
    pub normalize: Option<Normalize>,
}

impl ImageProcessor {
    /// Reads the settings of an image processor. Absent keys take the defaults of the class that the file names, or of
    /// the plainest one; an absent `size` is the network's own, unless the image is cropped afterwards.
    ///
    /// transformers 5 with `backend="pil"` is what the result follows.
    pub fn from_json(config: &Value, network: &ImageInput) -> Result<ImageProcessor, ModelError> {
        let keys = Keys::new(config)?;
        let defaults = Defaults::of_class(&keys)?;
        refuse_other_steps(&keys)?;
        let channels = network.channels as usize;
        if channels != 1 && channels != 3 {
            let expected = "1 or 3, the channels image files have";
            return Err(wrong("num_channels", expected, &network.channels.into()));
        }
        let crop = match keys.bool_or("do_center_crop", defaults.crop)? {
            true => Some(size::crop(&keys, defaults.crop_size)?),
            false => None,
        };
        let resize = match keys.bool_or("do_resize", true)? {
            true => {
                let square = keys.bool_or("default_to_square", defaults.square)?;
                let to = match (keys.get("size"), crop) {
                    (Some(size), _) => Target::read(size, square)?,
                    (None, Some(_)) => defaults.size,
                    (None, None) => Target::Exact(network.size.map(|side| side as u32)),
                };
                Some(Resize { to, resample: resample(&keys, defaults.resample)? })
            }
            false => None,
        };
        let rescale = keys.number_or("rescale_factor", 1.0 / 255.0, 1e6)?;
        let processor = ImageProcessor {
            size: network.size.map(|side| side as u32),
            channels,
            convert_rgb: keys.bool_or("do_convert_rgb", defaults.convert_rgb)?,
            resize,
            crop,
            rescale: keys.bool_or("do_rescale", true)?.then_some(rescale),
            normalize: match keys.bool_or("do_normalize", true)? {
                true => Some(Normalize::read(&keys, &defaults, channels)?),
                false => None,
            },
        };
        processor.check_size()?;
        Ok(processor)
    }

    /// Refuses a processor that never yields the size that the network takes.
    fn check_size(&self) -> Result<(), ModelError> {
        let found = match (self.crop, self.resize.map(|resize| resize.to)) {
            (Some(size), _) | (None, Some(Target::Exact(size))) if size != self.size => {
                format!("{} × {} pixels", size[0], size[1])
            }
            (None, Some(to)) if !to.may_be(self.size) => format!("{to} pixels"),
            _ => return Ok(()),
        };
        Err(ModelError::ImageSize { found, expected: self.size })
    }
}

impl Normalize {
    fn read(keys: &Keys<'_>, defaults: &Defaults, channels: usize) -> Result<Normalize, ModelError> {
        let mean = keys.channels_or("image_mean", &defaults.mean, channels)?;
        let std = keys.channels_or("image_std", &defaults.std, channels)?;
        if std.contains(&0.0) {
            return Err(wrong("image_std", "numbers other than 0", &Value::from(std)));
        }
        Ok(Normalize { mean, std })
    }
}

/// Refuses steps that would change pixels and that this program does not take. Classes of transformers ignore every other
/// key that they do not know.
fn refuse_other_steps(keys: &Keys<'_>) -> Result<(), ModelError> {
    const TAKEN: [&str; 5] = ["do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize"];
    // Of label maps, which segmentation has.
    const WITHOUT_INFLUENCE: [&str; 1] = ["do_reduce_labels"];
    for (key, value) in keys.all() {
        let step = key.starts_with("do_") || key == "use_square_size";
        let known = TAKEN.contains(&key.as_str()) || WITHOUT_INFLUENCE.contains(&key.as_str());
        if step && !known && value.as_bool() != Some(false) && !value.is_null() {
            return Err(ModelError::NotSupported { what: format!("{key}: {value}") });
        }
    }
    Ok(())
}

fn resample(keys: &Keys<'_>, default: Resample) -> Result<Resample, ModelError> {
    let Some(value) = keys.get("resample") else { return Ok(default) };
    Ok(match value.as_u64() {
        Some(0) => Resample::Nearest,
        Some(1) => Resample::Lanczos,
        Some(2) => Resample::Bilinear,
        Some(3) => Resample::Bicubic,
        Some(4) => Resample::Box,
        Some(5) => Resample::Hamming,
        _ => {
            let expected = "0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box or 5 hamming";
            return Err(wrong("resample", expected, value));
        }
    })
}

/// For people: `resized to 224 × 224 (bilinear), multiplied by 0.00392, …`.
impl fmt::Display for ImageProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = Vec::new();
        if let Some(Resize { to, resample }) = self.resize {
            steps.push(format!("resized to {to} ({})", format!("{resample:?}").to_lowercase()));
        }
        if let Some([height, width]) = self.crop {
            steps.push(format!("cropped to {height} × {width}"));
        }
        if let Some(factor) = self.rescale {
            steps.push(format!("multiplied by {factor:.5}"));
        }
        if let Some(Normalize { mean, std }) = &self.normalize {
            steps.push(format!("normalised with mean {mean:?} and std {std:?}"));
        }
        f.write_str(&steps.join(", "))
    }
}
