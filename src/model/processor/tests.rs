//! Settings as transformers writes them, older spellings, and what is refused.

use serde_json::{Value, json};

use super::*;

fn network(side: u64, channels: u64) -> ImageInput {
    ImageInput {
        size: [side, side],
        patch: [1, 1],
        channels,
        own_tokens: Vec::new(),
        positions: String::new(),
        projection: String::new(),
    }
}

fn read(settings: Value) -> ImageProcessor {
    ImageProcessor::from_json(&settings, &network(224, 3))
        .unwrap_or_else(|error| panic!("{settings}: {error}"))
}

#[test]
fn what_transformers_writes_is_read() {
    let written = json!({"do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": false,
        "image_mean": [0.25], "image_std": [0.75], "image_processor_type": "ViTImageProcessor", "resample": 3,
        "rescale_factor": 0.0625, "size": {"height": 8, "width": 8}});
    let expected = ImageProcessor {
        size: [8, 8],
        channels: 1,
        convert_rgb: false,
        resize: None,
        crop: None,
        rescale: Some(0.0625),
        normalize: Some(Normalize { mean: vec![0.25], std: vec![0.75] }),
    };
    assert_eq!(ImageProcessor::from_json(&written, &network(8, 1)), Ok(expected));
}

#[test]
fn absent_keys_take_the_defaults_of_the_class() {
    let bilinear = Resize { to: Target::Exact([224, 224]), resample: Resample::Bilinear };
    let half = Some(Normalize { mean: vec![0.5; 3], std: vec![0.5; 3] });
    for settings in [json!({}), json!({"image_processor_type": "ViTImageProcessorFast", "resample": null})] {
        let read = read(settings);
        assert_eq!((read.resize, read.crop, read.rescale), (Some(bilinear), None, Some(1.0 / 255.0)));
        assert_eq!(read.normalize, half);
    }
    // Another size than the class's own is the network's.
    let read_large = ImageProcessor::from_json(&json!({}), &network(384, 3)).expect("it fits");
    assert_eq!(read_large.resize.map(|resize| resize.to), Some(Target::Exact([384, 384])));

    let deit = read(json!({"feature_extractor_type": "DeiTFeatureExtractor"}));
    let bicubic = Resize { to: Target::Exact([256, 256]), resample: Resample::Bicubic };
    assert_eq!((deit.resize, deit.crop, deit.normalize), (Some(bicubic), Some([224, 224]), half));
    let clip = read(json!({"image_processor_type": "CLIPImageProcessor"}));
    let shortest = Target::Shortest { edge: 224, longest: None };
    assert_eq!((clip.resize.map(|resize| resize.to), clip.crop), (Some(shortest), Some([224, 224])));
    let mean = clip.normalize.expect("it normalises").mean;
    assert_eq!(mean, [0.48145466, 0.4578275, 0.40821073]);
}

#[test]
fn older_spellings_of_sizes_are_read() {
    let exact = Target::Exact([224, 224]);
    for (settings, expected) in [
        (json!({"feature_extractor_type": "ViTFeatureExtractor", "size": 224}), exact),
        (json!({"size": [224, 224]}), exact),
        (
            json!({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}),
            Target::Shortest { edge: 224, longest: None },
        ),
        (
            json!({"size": 256, "default_to_square": false, "do_center_crop": true, "crop_size": [224, 224]}),
            Target::Shortest { edge: 256, longest: None },
        ),
        (
            json!({"size": {"shortest_edge": 224, "longest_edge": 400, "height": null}}),
            Target::Shortest { edge: 224, longest: Some(400) },
        ),
        (json!({"size": {"max_height": 300, "max_width": 224}}), Target::Within([300, 224])),
    ] {
        assert_eq!(read(settings).resize.map(|resize| resize.to), Some(expected));
    }
}

#[test]
fn keys_without_influence_pass() {
    let read_all = read(json!({"_valid_processor_keys": ["images"], "processor_class": "CLIPProcessor",
        "data_format": "channels_first", "do_pad": false, "do_reduce_labels": true, "use_fast": true, "crop_pct": 0.875,
        "crop_size": {"height": 7, "width": 7}, "pad_size": null}));
    assert_eq!(read_all, read(json!({})));
}

#[test]
fn what_would_go_wrong_is_refused_by_its_key() {
    for (settings, expected) in [
        (
            json!({"size": {"height": 224, "width": 225}}),
            "images become 224 × 225 pixels, but the network takes 224 × 224",
        ),
        (
            json!({"size": {"shortest_edge": 256}}),
            "images become a shorter side of 256 pixels, but the network takes",
        ),
        (
            json!({"size": {"max_height": 223, "max_width": 300}}),
            "at most 223 × 300 pixels, but the network takes",
        ),
        (json!({"do_center_crop": true, "crop_size": 192}), "images become 192 × 192 pixels, but"),
        (json!({"do_center_crop": true}), "\"crop_size\" is missing"),
        (json!({"size": {"longest_edge": 224}}), "size: expected height and width, shortest_edge"),
        (json!({"size": {"height": 224}}), "size: expected height and width, shortest_edge"),
        (json!({"size": "224"}), "size: expected a whole number"),
        (json!({"size": {"shortest_edge": 100_000}}), "shortest_edge: expected at most 16384"),
        (json!({"image_std": [0.0, 1.0, 1.0]}), "image_std: expected numbers other than 0"),
        (json!({"image_mean": [0.5]}), "image_mean: expected 3 numbers"),
        (json!({"resample": 6}), "resample: expected 0 nearest"),
        (json!({"do_pad": true}), "do_pad: true is not supported yet"),
        (json!({"do_flip_channel_order": true}), "do_flip_channel_order: true is not supported yet"),
        (json!({"image_processor_type": "MyProcessor"}), "image_processor_type: \"MyProcessor\""),
        (json!([1]), "no JSON object"),
    ] {
        let error = ImageProcessor::from_json(&settings, &network(224, 3)).expect_err("it must be refused");
        assert!(error.to_string().contains(expected), "{settings}: {error}");
    }
}

/// Sizes that transformers computes (`tests/reference/make_images.py`).
#[test]
fn sizes_round_as_in_transformers() {
    let reference = include_str!("../../../tests/reference/images/reference.json");
    let reference: Value = serde_json::from_str(reference).expect("the reference is JSON");
    let sizes = reference["sizes"].as_array().expect("a list");
    assert!(sizes.len() > 300);
    for row in sizes {
        let image: [u32; 2] = serde_json::from_value(row["image"].clone()).expect("two numbers");
        let becomes: [u64; 2] = serde_json::from_value(row["becomes"].clone()).expect("two numbers");
        assert_eq!(Target::read(&row["size"], true).expect("it is a size").of(image), becomes, "{row}");
    }
}
