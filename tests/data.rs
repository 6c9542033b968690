//! The same rows in other wrappings train the same network.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headstart_tests::{digits, headstart, outcome, succeed, text, texts};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

/// Trains `run.yaml` on other data and returns weights and ledger.
fn train(directory: &Path, name: &str, workers: &str, sets: &[&str]) -> [String; 2] {
    let output = format!("output_dir={name}-out");
    let mut arguments = vec!["train", "run.yaml", "--workers", workers, "--set", &output];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    succeed(directory, &arguments);
    outcome(&directory.join(format!("{name}-out")))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("the directory is writable");
    std::fs::write(path, content).expect("the directory is writable");
}

/// One column of a Parquet file, every value present.
enum Column {
    Bytes(Vec<Vec<u8>>),
    Numbers(Vec<i64>),
}

/// Writes a Parquet file of several row groups; `depth` is the definition level of a value.
fn write_parquet(path: &Path, schema: &str, columns: &[(i16, Column)], huggingface: Option<String>) {
    let schema = Arc::new(parse_message_type(schema).expect("the schema is good"));
    let metadata = huggingface.map(|json| vec![KeyValue::new("huggingface".into(), json)]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(metadata)
        .build();
    let file = File::create(path).expect("the directory is writable");
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).expect("it begins");
    let rows = match &columns[0].1 {
        Column::Bytes(values) => values.len(),
        Column::Numbers(values) => values.len(),
    };
    for start in (0..rows).step_by(33) {
        let part = start..(start + 33).min(rows);
        let mut group = writer.next_row_group().expect("a row group");
        for (depth, column) in columns {
            let levels = vec![*depth; part.len()];
            let mut to = group.next_column().expect("a column").expect("as many as the schema has");
            match column {
                Column::Bytes(values) => {
                    let values: Vec<ByteArray> =
                        values[part.clone()].iter().map(|value| ByteArray::from(value.clone())).collect();
                    to.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).expect("written");
                }
                Column::Numbers(values) => {
                    let values = &values[part.clone()];
                    to.typed::<Int64Type>().write_batch(values, Some(&levels), None).expect("written");
                }
            }
            to.close().expect("the column ends");
        }
        group.close().expect("the row group ends");
    }
    writer.close().expect("the file ends");
}

/// The two columns of a file of the harness.
fn columns(jsonl: &[u8]) -> [Vec<Vec<u8>>; 2] {
    let rows: Vec<Value> = jsonl
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("the harness writes JSON"))
        .collect();
    ["text", "label"].map(|name| rows.iter().map(|row| row[name].as_str().expect("a text").into()).collect())
}

#[test]
fn texts_train_alike_in_every_format() {
    let directory = texts();
    let at = |name: &str| directory.path().join(name);
    for name in ["train", "eval"] {
        let jsonl = read(&at(&format!("{name}.jsonl")));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&jsonl).expect("memory takes it");
        write(&at(&format!("{name}.jsonl.gz")), &gzip.finish().expect("memory takes it"));
        write(
            &at(&format!("{name}.jsonl.zst")),
            &zstd::encode_all(jsonl.as_slice(), 3).expect("memory takes it"),
        );
        let [texts, labels] = columns(&jsonl);
        let schema = "message rows { required binary text (UTF8); required binary label (UTF8); }";
        let columns = [(0, Column::Bytes(texts)), (0, Column::Bytes(labels))];
        write_parquet(&at(&format!("{name}.parquet")), schema, &columns, None);
    }
    let run = |format: &str, kind: &str| {
        let paths =
            ["datasets.0.path=train", "eval_datasets.0.path=eval"].map(|set| format!("{set}.{format}"));
        let said =
            succeed(directory.path(), &["validate", "run.yaml", "--set", &paths[0], "--set", &paths[1]]);
        assert!(said.contains(&format!("90 rows in 1 file ({kind})")), "{said}");
        train(directory.path(), format, "2", &[&paths[0], &paths[1]])
    };
    let [weights, ledger] = run("jsonl", "JSONL");
    for (format, kind) in
        [("jsonl.gz", "JSONL in gzip"), ("jsonl.zst", "JSONL in zstd"), ("parquet", "Parquet")]
    {
        let other = run(format, kind);
        assert_eq!(other[0], weights, "{format}");
        assert_ne!(other[1], ledger, "{format}: the ledger pins the files themselves");
    }
}

#[test]
fn pairs_train_alike_in_every_format() {
    let directory = texts();
    let at = |name: &str| directory.path().join(name);
    for name in ["train", "eval"] {
        let [texts, labels] = columns(&read(&at(&format!("{name}.jsonl"))));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the harness writes UTF-8");
        let seconds: Vec<Vec<u8>> = texts.iter().rev().cloned().collect();
        let rows = texts.iter().zip(&seconds).zip(&labels).map(|((first, second), label)| {
            serde_json::json!({"text": text(first), "second": text(second), "label": text(label)})
        });
        let rows: Vec<Value> = rows.collect();
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        write(&at(&format!("{name}-pairs.jsonl")), lines.as_bytes());
        let array = serde_json::to_string_pretty(&rows).expect("rows are JSON");
        write(&at(&format!("{name}-pairs.json")), array.as_bytes());
        let quoted = |value: &Value| format!("\"{}\"", value.as_str().expect("a text").replace('"', "\"\""));
        let line = |row: &Value| ["label", "text", "second"].map(|column| quoted(&row[column])).join(";");
        let csv: String = rows.iter().map(|row| format!("{}\r\n", line(row))).collect();
        write(&at(&format!("{name}-pairs.csv")), format!("label;text;second\r\n{csv}").as_bytes());
        let schema = "message rows { required binary second (UTF8); required binary label (UTF8); \
                      required binary text (UTF8); }";
        let columns = [(0, Column::Bytes(seconds)), (0, Column::Bytes(labels)), (0, Column::Bytes(texts))];
        write_parquet(&at(&format!("{name}-pairs.parquet")), schema, &columns, None);
    }
    let run = |format: &str, workers: &str, pairs: bool| {
        let mut sets = Vec::new();
        for (set, file) in [("datasets", "train"), ("eval_datasets", "eval")] {
            sets.push(format!("{set}.0.path={file}-pairs.{format}"));
            sets.extend(pairs.then(|| format!("{set}.0.text_pair_column=second")));
        }
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        train(directory.path(), &format!("{format}-{pairs}"), workers, &sets)
    };
    let [weights, _] = run("jsonl", "2", true);
    for format in ["json", "csv", "parquet"] {
        assert_eq!(run(format, "1", true)[0], weights, "{format}");
    }
    assert_ne!(run("jsonl", "1", false)[0], weights, "second texts are read");
}

/// So many images of each class of a folder, sorted by class and name.
fn some_images(folder: &Path, of_each: usize) -> Vec<(String, PathBuf)> {
    let sorted = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
        paths.sort();
        paths
    };
    let name = |path: &Path| path.file_name().expect("it has one").to_string_lossy().into_owned();
    let classes = sorted(folder).into_iter().filter(|path| path.is_dir());
    classes
        .flat_map(|class| sorted(&class).into_iter().take(of_each).map(move |image| (name(&class), image)))
        .collect()
}

#[test]
fn images_train_alike_in_folders_lists_and_parquet() {
    let directory = digits();
    let run_file = std::fs::read_to_string(directory.path().join("run.yaml")).expect("it was written");
    let marker = "datasets: [{path: ";
    let start = run_file.find(marker).expect("the harness names the data") + marker.len();
    let source = PathBuf::from(run_file[start..].split('}').next().expect("it ends"));
    let images = some_images(&source, 12);
    let at = |name: &str| directory.path().join(name);
    let mut list = String::new();
    for (number, (class, image)) in images.iter().enumerate() {
        let bytes = read(image);
        // The names sort as the list does, so all three have their rows in one order.
        let name = format!("{number:03}.png");
        write(&at("folders").join(class).join(&name), &bytes);
        write(&at("listed").join(&name), &bytes);
        list += &format!("{}\n", serde_json::json!({"file_name": name, "label": class}));
    }
    write(&at("listed/metadata.jsonl"), list.as_bytes());
    let mut names: Vec<&String> = images.iter().map(|(class, _)| class).collect();
    names.dedup();
    let numbers = images
        .iter()
        .map(|(class, _)| names.iter().position(|name| *name == class).expect("it is one") as i64);
    let feature = serde_json::json!({"info": {"features": {
        "image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"},
    }}});
    let schema = "message rows { optional group image { optional binary bytes; optional binary path (UTF8); } \
                  optional int64 label; }";
    let columns = [
        (2, Column::Bytes(images.iter().map(|(_, image)| read(image)).collect())),
        (2, Column::Bytes(images.iter().map(|_| b"a.png".to_vec()).collect())),
        (1, Column::Numbers(numbers.collect())),
    ];
    write_parquet(&at("images.parquet"), schema, &columns, Some(feature.to_string()));
    let plain = "message rows { required binary pixels; required binary class (UTF8); }";
    let columns = [
        (0, Column::Bytes(images.iter().map(|(_, image)| read(image)).collect())),
        (0, Column::Bytes(images.iter().map(|(class, _)| class.clone().into_bytes()).collect())),
    ];
    write_parquet(&at("plain.parquet"), plain, &columns, None);

    let run = |name: &str, path: &str, more: &[&str]| {
        let (train_on, eval_on) = (format!("datasets.0.path={path}"), format!("eval_datasets.0.path={path}"));
        let sets = [&[train_on.as_str(), &eval_on, "max_steps=6", "eval_steps=3"][..], more].concat();
        train(directory.path(), name, "2", &sets)
    };
    let [weights, _] = run("folders", "folders", &[]);
    assert_eq!(run("listed", "listed", &[])[0], weights);
    assert_eq!(run("struct", "images.parquet", &[])[0], weights);
    let columns = ["datasets.0", "eval_datasets.0"]
        .map(|set| [format!("{set}.image_column=pixels"), format!("{set}.label_column=class")])
        .concat();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    assert_eq!(run("plain", "plain.parquet", &columns)[0], weights);
}

#[test]
fn shuffled_blocks_do_not_depend_on_the_number_of_workers() {
    let directory = texts();
    // Rows of 300 kB, of which the text is the least: three blocks and more.
    let pad = "x".repeat(300_000);
    let jsonl =
        String::from_utf8(read(&directory.path().join("train.jsonl"))).expect("the harness writes UTF-8");
    let padded: String = jsonl.lines().map(|line| format!("{{\"pad\":\"{pad}\",{}\n", &line[1..])).collect();
    write(&directory.path().join("train.jsonl"), padded.as_bytes());
    let one = train(directory.path(), "one", "1", &["shuffle=blocks"]);
    let three = train(directory.path(), "three", "3", &["shuffle=blocks", "cluster.min_workers=3"]);
    assert_eq!(one, three);
    let global = train(directory.path(), "global", "1", &[]);
    assert_ne!(one[0], global[0], "another order gives other weights");
    // Data beyond the cache is shuffled in blocks unless the run file says otherwise.
    assert_eq!(train(directory.path(), "small", "1", &["data_cache=20MB"])[0], one[0]);
    let run = String::from_utf8(read(&directory.path().join("small-out/final/run.json"))).expect("UTF-8");
    let run: Value = serde_json::from_str(&run).expect("JSON");
    assert_eq!(run["spec"]["shuffle"], "blocks");
}

#[test]
fn labels_of_the_run_file_have_its_order() {
    let directory = texts();
    let set = "labels=[other, code, never]";
    train(directory.path(), "named", "1", &[set, "max_steps=2", "eval_strategy=no"]);
    let config =
        String::from_utf8(read(&directory.path().join("named-out/final/config.json"))).expect("UTF-8");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["id2label"], serde_json::json!({"0": "other", "1": "code", "2": "never"}));
}

/// What `validate` prints of a run, and what it warns of.
fn validate(directory: &Path, sets: &[&str]) -> [String; 2] {
    let mut arguments = vec!["validate", "run.yaml"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let output = headstart(directory, &arguments);
    assert!(output.status.success(), "{}", text(&output));
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
}

#[test]
fn validate_says_where_labels_come_from_and_what_was_skipped() {
    let directory = digits();
    let at = |name: &str| directory.path().join("nested").join(name);
    // As many pixels as the checkpoint of the harness takes does not matter here: only the first bytes are looked at.
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x08\0\0\0\x08".as_slice(), &[8, 0, 0, 0, 0]].concat();
    for name in ["animals/cat/0.png", "animals/dog/0", "things/cup/0.jpg"] {
        write(&at(name), &png);
    }
    write(&at("things/.DS_Store"), b"x");
    write(&at("things/clip.mp4"), b"film");
    let sets = ["datasets.0.path=nested", "eval_datasets=null", "eval_strategy=no", "global_batch_size=2"];
    let sets = [&sets[..], &["shards_per_step=1", "per_device_train_batch_size=2"]].concat();
    let [said, warned] = validate(directory.path(), &sets);
    assert!(said.contains("3 rows in 3 files (images)") && said.contains("2: animals, things"), "{said}");
    assert!(said.contains("labels from the first folder level"), "{said}");
    assert!(said.contains("nested: skipped 1 hidden or system file: things/.DS_Store"), "{said}");
    assert!(
        warned.contains("warning: ")
            && warned.contains("nested: skipped 1 file that is no image: things/clip.mp4"),
        "{warned}"
    );
}

#[test]
fn a_second_text_that_only_some_datasets_have_is_warned_of() {
    let directory = texts();
    for name in ["train", "eval"] {
        let jsonl = String::from_utf8(read(&directory.path().join(format!("{name}.jsonl")))).expect("UTF-8");
        let rows: String = jsonl.lines().map(|line| format!("{{\"second\":\"b\",{}\n", &line[1..])).collect();
        write(&directory.path().join(format!("{name}.jsonl")), rows.as_bytes());
    }
    let train = "datasets.0.text_pair_column=second";
    let [_, warned] = validate(directory.path(), &[train]);
    assert!(warned.contains("some datasets have a text_pair_column and some have none"), "{warned}");
    let [_, warned] = validate(directory.path(), &[train, "eval_datasets.0.text_pair_column=second"]);
    assert!(!warned.contains("text_pair_column"), "{warned}");
}
