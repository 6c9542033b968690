//! How images become pixels: HF's `preprocessor_config.json`.

use serde_json::Value;

use super::ModelError;
use super::blueprint::ImageInput;
use super::keys::{Keys, wrong};

/// Interpolation when an image is resized, by PIL's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// 0: the nearest pixel.
    Nearest,
    /// 1: a windowed sinc over three pixels.
    Lanczos,
    /// 2: linear in both directions.
    Bilinear,
    /// 3: cubic in both directions.
    Bicubic,
}

/// What is done to an image, in this order: convert, resize, rescale, normalise.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// Height and width of the result.
    pub size: [u32; 2],
    /// Channels of the result: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// How images of another size are resized; `None`: they are refused.
    pub resize: Option<Resample>,
    /// Factor from 0–255 to the scale that `mean` and `std` are on.
    pub rescale: f32,
    /// Subtracted per channel.
    pub mean: Vec<f32>,
    /// Divided by per channel.
    pub std: Vec<f32>,
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json` for a network. Absent keys, or an empty object for an absent file, take
    /// transformers' defaults for vision transformers, but the network's own image size.
    pub fn from_json(config: &Value, network: &ImageInput) -> Result<ImageProcessor, ModelError> {
        let keys = Keys::new(config)?;
        for key in ["do_center_crop", "do_pad"] {
            if keys.bool_or(key, false)? {
                return Err(wrong(key, "false: this step is not supported", &Value::Bool(true)));
            }
        }
        let channels = network.channels as usize;
        if channels != 1 && channels != 3 {
            return Err(wrong(
                "num_channels",
                "1 or 3, the channels image files have",
                &network.channels.into(),
            ));
        }
        let resize = if keys.bool_or("do_resize", true)? { Some(resample(&keys)?) } else { None };
        if let (Some(_), Some(size)) = (resize, keys.get("size")) {
            let found = target(size)?;
            if found != network.size {
                return Err(ModelError::ImageSize { found, expected: network.size });
            }
        }
        let rescale = keys.number_or("rescale_factor", 1.0 / 255.0, 1e6)?;
        let (mean, std) = if keys.bool_or("do_normalize", true)? {
            (keys.channels_or("image_mean", 0.5, channels)?, keys.channels_or("image_std", 0.5, channels)?)
        } else {
            (vec![0.0; channels], vec![1.0; channels])
        };
        if std.contains(&0.0) {
            return Err(wrong("image_std", "numbers other than 0", &Value::from(std)));
        }
        Ok(ImageProcessor {
            size: network.size.map(|side| side as u32),
            channels,
            resize,
            rescale: if keys.bool_or("do_rescale", true)? { rescale as f32 } else { 1.0 },
            mean,
            std,
        })
    }
}

/// `size`: `{"height": h, "width": w}`, one number, or a list of two.
fn target(size: &Value) -> Result<[u64; 2], ModelError> {
    match size {
        Value::Object(_) => {
            let keys = Keys::new(size)?;
            Ok([keys.size("height")?, keys.size("width")?])
        }
        other => {
            let wrapped = serde_json::json!({ "size": other });
            Keys::new(&wrapped)?.pair("size")
        }
    }
}

fn resample(keys: &Keys<'_>) -> Result<Resample, ModelError> {
    match keys.get("resample").map(|value| (value, value.as_u64())) {
        None | Some((_, Some(2))) => Ok(Resample::Bilinear),
        Some((_, Some(0))) => Ok(Resample::Nearest),
        Some((_, Some(1))) => Ok(Resample::Lanczos),
        Some((_, Some(3))) => Ok(Resample::Bicubic),
        Some((value, _)) => Err(wrong("resample", "0 nearest, 1 lanczos, 2 bilinear or 3 bicubic", value)),
    }
}
