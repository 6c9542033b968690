//! Images from the file to the loss: orientation, cut files, and the settings beside the weights.

use std::io::Write;
use std::path::Path;

use headstart_tests::refused::Refused;
use headstart_tests::{digits, headstart, repository, succeed, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A grey PNG file, with EXIF if an orientation is given.
fn png([height, width]: [u32; 2], levels: &[u8], orientation: Option<u8>) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], content: &[u8]| {
        let checked = [kind.as_slice(), content].concat();
        [&(content.len() as u32).to_be_bytes()[..], &checked, &crc32fast::hash(&checked).to_be_bytes()]
            .concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let exif = orientation.map(|value| {
        chunk(b"eXIf", &[b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[value][..], &[0; 6]].concat())
    });
    let rows = levels.chunks(width as usize).flat_map(|row| [&[0], row].concat());
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&rows.collect::<Vec<u8>>()).expect("memory takes it");
    let pixels = chunk(b"IDAT", &packed.finish().expect("memory takes it"));
    let start = b"\x89PNG\r\n\x1a\n".to_vec();
    [start, chunk(b"IHDR", &header), exif.unwrap_or_default(), pixels, chunk(b"IEND", &[])].concat()
}

fn put(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("the directory is writable");
    std::fs::write(path, content).expect("the directory is writable");
}

/// A run of the small digits network on a folder of images, with these settings beside its weights.
fn run(settings: &[(&str, Value)]) -> TempDir {
    let directory = digits();
    let model = directory.path().join("model");
    put(
        &model.join("config.json"),
        std::fs::read(repository().join("examples/digits/model/config.json")).expect("it is there"),
    );
    for (file, content) in settings {
        put(&model.join(file), content.to_string());
    }
    let levels: Vec<u8> = (0..64).map(|place| (place * 3) as u8).collect();
    put(&directory.path().join("images/a/good.png"), png([8, 8], &levels, None));
    put(&directory.path().join("images/b/good.png"), png([8, 8], &levels[..64], None));
    directory
}

const PLAIN: [&str; 10] = [
    "base_model=model",
    "datasets.0.path=images",
    "eval_datasets.0.path=images",
    "global_batch_size=2",
    "shards_per_step=1",
    "per_device_train_batch_size=2",
    "max_steps=1",
    "learning_rate=0",
    "eval_strategy=steps",
    "eval_steps=1",
];

fn arguments<'a>(command: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let sets = PLAIN.iter().chain(sets).flat_map(|set| ["--set", set]);
    let workers: &[&str] = if command == "train" { &["--workers", "1"] } else { &[] };
    [command, "run.yaml"].into_iter().chain(workers.iter().copied()).chain(sets).collect()
}

/// The loss of evaluation that a run writes down.
fn loss(directory: &Path, output: &str, sets: &[&str]) -> f64 {
    let output_set = format!("output_dir={output}");
    succeed(directory, &arguments("train", &[&[output_set.as_str()], sets].concat()));
    let metrics =
        std::fs::read_to_string(directory.join(output).join("final/metrics.jsonl")).expect("it was written");
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    lines.filter_map(|line| line.get("eval_loss")?.as_f64()).next_back().expect("it was evaluated")
}

#[test]
fn images_are_turned_upright() {
    let settings = json!({"image_mean": [0.5], "image_std": [0.5]});
    let directory = run(&[("preprocessor_config.json", settings)]);
    let stored: Vec<u8> = (0..96).map(|place| (place * 37 % 251) as u8).collect();
    // What is stored in 8 rows of 12 stands on its side: turned clockwise, the first row is the last column.
    let upright: Vec<u8> = (0..12)
        .flat_map(|row| (0..8).map(move |column| (7 - column) * 12 + row))
        .map(|place| stored[place])
        .collect();
    let evaluated = |name: &str, file: Vec<u8>| {
        put(&directory.path().join(name).join("a/x.png"), file);
        loss(directory.path(), &format!("out-{name}"), &[&format!("eval_datasets.0.path={name}")])
    };
    let expected = evaluated("upright", png([12, 8], &upright, None));
    assert_eq!(evaluated("turned", png([8, 12], &stored, Some(6))), expected);
    assert_ne!(evaluated("stored", png([8, 12], &stored, None)), expected);
}

#[test]
fn files_that_are_cut_short_are_refused_by_name() {
    let photo = std::fs::read(repository().join("tests/reference/images/photo.jpg")).expect("it is there");
    let cuts = [("half.jpg", photo.len() / 2), ("noeoi.jpg", photo.len() - 2)];
    for (name, length) in cuts {
        let directory = run(&[]);
        put(&directory.path().join("images/b").join(name), &photo[..length]);
        Refused::of(directory.path(), &arguments("train", &[]))
            .code(10)
            .says(&[&format!("images/b/{name}"), "cut short"]);
    }
}

#[test]
fn the_settings_of_either_file_count() {
    let settings =
        json!({"image_processor_type": "ViTImageProcessor", "image_mean": [0.1], "image_std": [0.2]});
    let nested = json!({"image_processor": settings, "processor_class": "ViTProcessor"});
    let flat = run(&[("preprocessor_config.json", settings)]);
    let expected = loss(flat.path(), "out", &[]);
    // The one that transformers reads first decides.
    let both = run(&[("processor_config.json", nested), ("preprocessor_config.json", json!({}))]);
    assert_eq!(loss(both.path(), "out", &[]), expected);
    let without_part = json!({"processor_class": "ViTProcessor"});
    let neither = run(&[("processor_config.json", without_part), ("preprocessor_config.json", json!({}))]);
    assert_ne!(loss(neither.path(), "out", &[]), expected);
}

#[test]
fn without_settings_their_defaults_are_said() {
    let directory = run(&[]);
    let said = text(&headstart(directory.path(), &arguments("validate", &[])));
    for part in
        ["model has no preprocessor_config.json: images are resized to 8 × 8 (bilinear)", "mean [0.5]"]
    {
        assert!(said.contains(part), "{said}");
    }
    let directory = run(&[("preprocessor_config.json", json!({}))]);
    let said = text(&headstart(directory.path(), &arguments("validate", &[])));
    assert!(!said.contains("images are resized"), "{said}");
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_their_file() {
    let cases = [
        (
            "preprocessor_config.json",
            json!({"size": {"height": 9, "width": 9}}),
            "images become 9 × 9 pixels, but the network takes 8 × 8",
        ),
        ("preprocessor_config.json", json!({"do_pad": true}), "do_pad: true is not supported yet"),
        (
            "processor_config.json",
            json!({"image_processor": {"resample": "bilinear"}}),
            "resample: expected 0 nearest",
        ),
    ];
    for (file, settings, says) in cases {
        let directory = run(&[(file, settings)]);
        Refused::of(directory.path(), &arguments("validate", &[]))
            .code(12)
            .says(&[&format!("model/{file}: {says}")]);
    }
}

#[test]
fn an_image_that_keeps_its_proportions_may_not_fit() {
    let shortest = json!({"size": {"shortest_edge": 8}});
    let directory = run(&[("preprocessor_config.json", shortest)]);
    loss(directory.path(), "square", &[]);
    put(&directory.path().join("images/b/wide.png"), png([8, 12], &[7; 96], None));
    Refused::of(directory.path(), &arguments("train", &[])).code(10).says(&[
        "images/b/wide.png",
        "becomes 8 × 12 pixels",
        "takes 8 × 8",
        "do_center_crop",
    ]);
    let cropped = json!({"size": {"shortest_edge": 8}, "do_center_crop": true, "crop_size": 8});
    put(&directory.path().join("model/preprocessor_config.json"), cropped.to_string());
    loss(directory.path(), "cropped", &[]);
}
