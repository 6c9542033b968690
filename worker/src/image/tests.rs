//! Pixels against those that transformers and Pillow made (`tests/reference/make_images.py`), and files that are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use headstart::model::blueprint::ImageInput;
use headstart::model::{ImageProcessor, Normalize, Resample};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;

/// Formats whose decoders round differently. Mean difference allowed, in levels of 255.
const LOSSY: [(&str, f64); 2] = [(".jpg", 0.5), ("exif7.webp", 0.5)];

fn network(size: [u64; 2], channels: u64) -> ImageInput {
    let (positions, projection) = (String::new(), String::new());
    ImageInput { size, patch: [1, 1], channels, own_tokens: Vec::new(), positions, projection }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/images")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(directory().join(name)).expect("the reference is there")
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).expect("the reference is JSON")
}

/// The image files of the reference by name, each with the shortest beginning that Pillow loads.
fn files() -> BTreeMap<String, (Vec<u8>, usize)> {
    let reference = read_json("reference.json");
    let lengths = reference["whole_from"].as_object().expect("an object");
    assert_eq!(lengths.len(), 12);
    let file = |(name, length): (&String, &Value)| {
        (name.clone(), (read(name), length.as_u64().expect("a length") as usize))
    };
    lengths.iter().map(file).collect()
}

/// The processors of the reference by name.
fn processors() -> BTreeMap<String, ImageProcessor> {
    let all = read_json("processors.json");
    let size = serde_json::from_value(all["network"]["size"].clone()).expect("two numbers");
    let processors = all["processors"].as_object().expect("an object").iter();
    let processor = |(name, settings): (&String, &Value)| {
        let channels = if name == "grey" { 1 } else { 3 };
        let read = ImageProcessor::from_json(settings, &network(size, channels));
        (name.clone(), read.expect("transformers takes it"))
    };
    processors.map(processor).collect()
}

/// What makes levels of one image as they are.
fn plain(size: [u32; 2]) -> ImageProcessor {
    let settings = json!({"do_resize": false, "do_rescale": false, "do_normalize": false});
    ImageProcessor::from_json(&settings, &network(size.map(u64::from), 3)).expect("plain")
}

/// Levels as they are.
fn colours() -> ImageProcessor {
    plain([1, 1])
}

fn made(processor: &ImageProcessor, file: &[u8]) -> Result<Vec<f32>, ImageError> {
    let mut values = Vec::new();
    pixels(processor, file, &mut values)?;
    Ok(values)
}

fn refusal(processor: &ImageProcessor, file: &[u8]) -> String {
    made(processor, file).expect_err("it must be refused").to_string()
}

/// What one level of 255 makes of a channel's values.
fn step(processor: &ImageProcessor, channel: usize) -> f64 {
    let rescale = processor.rescale.unwrap_or(1.0);
    processor.normalize.as_ref().map_or(rescale, |Normalize { std, .. }| rescale / f64::from(std[channel]))
}

#[test]
fn pixels_are_those_of_transformers() {
    let stored = read("pixels.safetensors");
    let stored = SafeTensors::deserialize(&stored).expect("the reference is whole");
    for (name, (file, _)) in files() {
        for (kind, processor) in processors() {
            let expected = stored.tensor(&format!("{name}/{kind}")).expect("the reference has it");
            let expected: Vec<f32> = bytemuck::pod_collect_to_vec(expected.data());
            let found = made(&processor, &file).unwrap_or_else(|error| panic!("{name}, {kind}: {error}"));
            assert_eq!(found.len(), expected.len(), "{name}, {kind}");
            let Some((_, allowed)) = LOSSY.iter().find(|(ending, _)| name.ends_with(ending)) else {
                assert_eq!(found, expected, "{name}, {kind}");
                continue;
            };
            let a_channel = found.len() / processor.channels;
            let differences = found.iter().zip(&expected).enumerate().map(|(place, (found, expected))| {
                f64::from((found - expected).abs()) / step(&processor, place / a_channel)
            });
            let (sum, most) = differences.fold((0.0, 0.0_f64), |(sum, most), one| (sum + one, most.max(one)));
            let mean = sum / found.len() as f64;
            println!("{name}, {kind}: {mean:.3} levels of 255 on average, {most:.1} at most");
            assert!(mean <= *allowed, "{name}, {kind}: {mean}");
        }
    }
}

#[test]
fn resizing_is_that_of_pillow() {
    let stored = read("pixels.safetensors");
    let stored = SafeTensors::deserialize(&stored).expect("the reference is whole");
    let image = decode::levels(&colours(), &read("rgb.png")).expect("it is an image");
    let mut compared = 0;
    for (name, levels) in stored.tensors() {
        let Some(("resize", rest)) = name.split_once('/') else { continue };
        let resample = match &rest[..1] {
            "0" => Resample::Nearest,
            "1" => Resample::Lanczos,
            "2" => Resample::Bilinear,
            "3" => Resample::Bicubic,
            "4" => Resample::Box,
            _ => Resample::Hamming,
        };
        let [height, width, _] = *levels.shape() else { panic!("{name} has three dimensions") };
        let found = resample::resize(image.clone(), [height, width], resample);
        assert_eq!(found.values, levels.data(), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 6 * 9);
}

#[test]
fn files_that_are_cut_short_are_refused() {
    for (name, (file, whole_from)) in files() {
        let image = decode::levels(&colours(), &file).expect("it is whole");
        let lengths = (0..whole_from).filter(|length| length % 7 == 0 || length + 40 > whole_from);
        for length in lengths {
            let cut = decode::levels(&colours(), &file[..length]);
            assert!(cut.is_err(), "{name} is accepted after {length} of {} bytes", file.len());
        }
        let followed = [&file[..], b"what somebody added"].concat();
        assert_eq!(decode::levels(&colours(), &followed).expect("the image is whole"), image, "{name}");
        if name.ends_with(".png") {
            // Wherever its last chunk is cut, which says nothing.
            for missing in 1..=12 {
                let cut = &file[..file.len() - missing];
                assert_eq!(decode::levels(&colours(), cut).expect("its pixels are whole"), image, "{name}");
            }
        }
    }
}

#[test]
fn an_image_within_a_jpeg_file_does_not_end_it() {
    let photo = read("photo.jpg");
    // As a thumbnail within EXIF.
    let content = [b"Exif\0\0", &photo[..]].concat();
    let length = (content.len() as u16 + 2).to_be_bytes();
    let file = [&photo[..2], &[0xff, 0xe1], &length, &content, &photo[2..]].concat();
    let image = decode::levels(&colours(), &photo).expect("it is whole");
    assert_eq!(decode::levels(&colours(), &file).expect("it is whole"), image);
    let error = decode::levels(&colours(), &file[..file.len() - 100]).expect_err("it is cut");
    assert!(matches!(error, ImageError::CutShort(_)), "{error}");
    // And as a second picture behind the first.
    assert_eq!(
        decode::levels(&colours(), &[&photo[..], &photo[..300]].concat()).expect("the first is whole"),
        image
    );
}

#[test]
fn sizes_that_no_image_should_have_are_refused_unread() {
    let png =
        [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", &[0, 0, 0xea, 0x60].repeat(2)[..], b"\x08\x02\0\0\0"].concat();
    let checksum = crc32fast::hash(&png[12..]).to_be_bytes();
    let bmp = [
        b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec(),
        60_000_u32.to_le_bytes().repeat(2),
        vec![1, 0, 24, 0],
        vec![0; 24],
    ];
    let mut jpeg = read("photo.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let mut gif = read("corner.gif");
    gif[6..10].fill(0xff);
    let mut webp = read("alpha-exif7.webp");
    webp[24..30].copy_from_slice(&[0x5f, 0xea, 0, 0x5f, 0xea, 0]);
    let files = [
        ("png", [png, checksum.to_vec()].concat()),
        ("bmp", bmp.concat()),
        ("jpeg", jpeg),
        ("gif", gif),
        ("webp", webp),
    ];
    for (format, file) in files {
        let error = refusal(&plain([60_000, 60_000]), &file);
        assert!(
            error.contains("60000") || error.contains("65535") || error.contains("limit"),
            "{format}: {error}"
        );
    }
}

#[test]
fn images_that_do_not_fit_are_refused_with_both_sizes() {
    let rgb = read("rgb.png");
    let error = refusal(&plain([12, 10]), &rgb);
    assert!(error.contains("has 29 × 37 pixels") && error.contains("takes 12 × 10"), "{error}");
    let settings = json!({"size": {"shortest_edge": 12}});
    let shortest =
        ImageProcessor::from_json(&settings, &network([12, 12], 3)).expect("square images would fit");
    let error = refusal(&shortest, &rgb);
    assert!(error.contains("becomes 12 × 15 pixels") && error.contains("takes 12 × 12"), "{error}");
    // One row of pixels, which grows beyond all bounds or vanishes.
    let mut row = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(9000, 1).write_to(&mut row, image::ImageFormat::Png).expect("memory takes it");
    let error = refusal(&shortest, row.get_ref());
    assert!(error.contains("would be resized to 12 × 108000"), "{error}");
    let settings = json!({"size": {"max_height": 12, "max_width": 12}});
    let within =
        ImageProcessor::from_json(&settings, &network([12, 12], 3)).expect("square images would fit");
    let error = refusal(&within, row.get_ref());
    assert!(error.contains("would be resized to 0 × 12"), "{error}");
}

#[test]
fn a_middle_is_cut_out_or_surrounded_by_zeros() {
    let image = |height: usize, width: usize| Levels {
        height,
        width,
        channels: 1,
        values: (1..=(height * width) as u8).collect(),
    };
    assert_eq!(cropped(image(4, 3), [1, 2]).values, [4, 5]);
    assert_eq!(cropped(image(1, 2), [2, 5]).values, [0, 0, 0, 0, 0, 0, 0, 1, 2, 0]);
    assert_eq!(cropped(image(3, 1), [2, 2]).values, [0, 1, 0, 2]);
}
