//! Defaults of transformers' image processor classes: what holds where a file leaves a key out.

use crate::model::ModelError;
use crate::model::keys::{Keys, wrong};
use crate::model::processor::{Resample, Target};

const HALF: [f64; 3] = [0.5, 0.5, 0.5];
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Of one class. All of them resize, rescale by 1/255 and normalise.
pub(in crate::model) struct Defaults {
    /// `do_convert_rgb`.
    pub(in crate::model) convert_rgb: bool,
    pub(in crate::model) resample: Resample,
    pub(in crate::model) mean: [f64; 3],
    pub(in crate::model) std: [f64; 3],
    /// Whether a `size` of one number is a square's side, not the shorter edge.
    pub(in crate::model) square: bool,
    pub(in crate::model) size: Target,
    pub(in crate::model) crop: bool,
    pub(in crate::model) crop_size: Option<[u32; 2]>,
}

const PLAIN: Defaults = Defaults {
    convert_rgb: false,
    resample: Resample::Bilinear,
    mean: HALF,
    std: HALF,
    square: true,
    size: Target::Exact([224, 224]),
    crop: false,
    crop_size: None,
};
const BICUBIC: Defaults = Defaults { resample: Resample::Bicubic, ..PLAIN };
const CLIP: Defaults = Defaults {
    convert_rgb: true,
    mean: CLIP_MEAN,
    std: CLIP_STD,
    square: false,
    size: Target::Shortest { edge: 224, longest: None },
    crop: true,
    crop_size: Some([224, 224]),
    ..BICUBIC
};

/// Classes whose steps are those of [`crate::model::ImageProcessor`] and no others.
const CLASSES: [(&str, Defaults); 9] = [
    ("ViTImageProcessor", PLAIN),
    (
        "DeiTImageProcessor",
        Defaults { size: Target::Exact([256, 256]), crop: true, crop_size: Some([224, 224]), ..BICUBIC },
    ),
    ("BeitImageProcessor", Defaults { crop_size: Some([224, 224]), ..BICUBIC }),
    ("BitImageProcessor", CLIP),
    ("CLIPImageProcessor", CLIP),
    ("ChineseCLIPImageProcessor", CLIP),
    ("SiglipImageProcessor", Defaults { convert_rgb: true, square: false, ..BICUBIC }),
    (
        "BlipImageProcessor",
        Defaults { size: Target::Exact([384, 384]), square: true, crop: false, crop_size: None, ..CLIP },
    ),
    ("PvtImageProcessor", Defaults { mean: IMAGENET_MEAN, std: IMAGENET_STD, ..BICUBIC }),
];

impl Defaults {
    /// Of the class that `image_processor_type` names, or `feature_extractor_type` in older files.
    pub(in crate::model) fn of_class(keys: &Keys<'_>) -> Result<Defaults, ModelError> {
        let mut key = "image_processor_type";
        if keys.get(key).is_none() {
            key = "feature_extractor_type";
        }
        let Some(value) = keys.get(key) else { return Ok(PLAIN) };
        let name = value.as_str().ok_or_else(|| wrong(key, "a class name", value))?;
        let class = name.replace("FeatureExtractor", "ImageProcessor");
        let class = class.strip_suffix("Fast").or(class.strip_suffix("Pil")).unwrap_or(&class);
        match CLASSES.into_iter().find(|(name, _)| *name == class) {
            Some((_, defaults)) => Ok(defaults),
            None => {
                let known = CLASSES.map(|(name, _)| name).join(", ");
                let name: String = name.chars().take(80).collect();
                Err(ModelError::NotSupported { what: format!("{key}: {name:?} (supported are {known})") })
            }
        }
    }
}
