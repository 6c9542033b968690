//! An image file; the first byte says what the network takes, and how the image is made to fit.
#![no_main]

use headstart::model::{ImageProcessor, Normalize, Resample, Resize, Target};
use headstart_fuzz::let_give_up;
use libfuzzer_sys::fuzz_target;

// The module alone: its crate brings a tokenizer and libtorch along.
#[path = "../../worker/src/image/mod.rs"]
mod pixels;

const SIZE: [u32; 2] = [8, 6];

fuzz_target!(|bytes: &[u8]| {
    let_give_up(&["zune-jpeg", "png"]);
    let Some((kind, file)) = bytes.split_first() else { return };
    let channels = if kind & 1 == 0 { 1 } else { 3 };
    let resample = [Resample::Nearest, Resample::Bilinear, Resample::Bicubic, Resample::Lanczos]
        [usize::from(kind >> 1) % 4];
    let to = match kind >> 3 & 3 {
        0 => Target::Exact(SIZE),
        1 => Target::Shortest { edge: 8, longest: None },
        2 => Target::Shortest { edge: 8, longest: Some(20) },
        _ => Target::Within([9, 6]),
    };
    let processor = ImageProcessor {
        size: SIZE,
        channels,
        convert_rgb: kind >> 7 == 1,
        resize: (kind >> 5 & 1 == 0).then_some(Resize { to, resample }),
        crop: (kind >> 6 & 1 == 0).then_some(SIZE),
        rescale: Some(1.0 / 255.0),
        normalize: Some(Normalize { mean: vec![0.5; channels], std: vec![0.5; channels] }),
    };
    let mut values = Vec::new();
    match pixels::pixels(&processor, file, &mut values) {
        Ok(()) => assert!(
            values.len() == channels * 48 && values.iter().all(|value| (-1.01..=1.01).contains(value))
        ),
        Err(error) => assert!(values.is_empty() && !error.to_string().is_empty()),
    }
});
