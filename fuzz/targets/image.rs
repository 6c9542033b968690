//! An image file; the first byte says what the network takes.
#![no_main]

use headstart::model::{ImageProcessor, Resample};
use headstart_fuzz::let_give_up;
use libfuzzer_sys::fuzz_target;

// The file alone: its crate brings a tokenizer and libtorch along.
#[path = "../../worker/src/image.rs"]
mod pixels;

fuzz_target!(|bytes: &[u8]| {
    let_give_up(&["zune-jpeg", "png"]);
    let Some((kind, file)) = bytes.split_first() else { return };
    let channels = if kind & 1 == 0 { 1 } else { 3 };
    let resize = [None, Some(Resample::Nearest), Some(Resample::Bilinear), Some(Resample::Bicubic)];
    let processor = ImageProcessor {
        size: [8, 6],
        channels,
        resize: resize[usize::from(kind >> 1) % resize.len()],
        rescale: 1.0 / 255.0,
        mean: vec![0.5; channels],
        std: vec![0.5; channels],
    };
    let mut values = Vec::new();
    match pixels::pixels(&processor, file, &mut values) {
        Ok(()) => assert!(
            values.len() == channels * 48 && values.iter().all(|value| (-1.01..=1.01).contains(value))
        ),
        Err(error) => assert!(values.is_empty() && !error.to_string().is_empty()),
    }
});
