//! Data that must be refused: exit code 10, the file and the row, little memory, little time, and no worker.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use headstart_tests::refused::Refused;
use headstart_tests::{digits, texts};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const GOOD: &str = "{\"text\":\"a game\",\"label\":\"code\"}\n{\"text\":\"a tool\",\"label\":\"other\"}\n";

/// Trains on one file, which must be refused before a worker starts.
#[track_caller]
fn refuse(name: &str, make: impl Fn(&Path), says: &[&str]) {
    let directory = texts();
    make(&directory.path().join(name));
    let set = format!("datasets.0.path={name}");
    Refused::of(directory.path(), &["train", "run.yaml", "--set", &set])
        .code(10)
        .says(&[name])
        .says(says)
        .before_workers();
    assert!(!directory.path().join("out").exists());
}

fn put(content: impl AsRef<[u8]>) -> impl Fn(&Path) {
    move |path| std::fs::write(path, content.as_ref()).expect("the directory is writable")
}

/// Two good rows, then a large hole, which takes no disk space.
fn sparse(path: &Path) {
    let mut file = File::create(path).expect("the directory is writable");
    file.write_all(format!("{GOOD}{{\"text\":\"").as_bytes()).expect("the disk takes it");
    file.set_len(1 << 30).expect("the file system takes holes");
}

fn gzip(content: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    (0..times).for_each(|_| encoder.write_all(content).expect("memory takes it"));
    encoder.finish().expect("memory takes it")
}

fn zstd(content: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    (0..times).for_each(|_| encoder.write_all(content).expect("memory takes it"));
    encoder.finish().expect("memory takes it")
}

/// A Parquet file with this number of equal texts.
fn parquet(text: Vec<u8>, rows: usize) -> impl Fn(&Path) {
    move |path| {
        let schema = "message rows { required binary text (UTF8); required binary label (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).expect("the schema is good"));
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_page_size_limit(1 << 20)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .build();
        let file = File::create(path).expect("the directory is writable");
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).expect("it begins");
        let mut group = writer.next_row_group().expect("a row group");
        for value in [ByteArray::from(text.clone()), ByteArray::from("code")] {
            let mut column = group.next_column().expect("a column").expect("there are two");
            let values = vec![value; rows];
            column.typed::<ByteArrayType>().write_batch(&values, None, None).expect("written");
            column.close().expect("the column ends");
        }
        group.close().expect("the row group ends");
        writer.close().expect("the file ends");
    }
}

/// What another maker writes, but for its end.
fn cut(make: impl Fn(&Path), bytes: usize) -> impl Fn(&Path) {
    move |path| {
        make(path);
        let mut content = std::fs::read(path).expect("it was written");
        content.truncate(content.len() - bytes);
        std::fs::write(path, content).expect("the directory is writable");
    }
}

macro_rules! refused {
    ($($case:ident: $name:expr, $make:expr => $says:expr,)*) => {
        $(
            #[test]
            fn $case() {
                refuse($name, $make, &$says);
            }
        )*
    };
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n";
const PULL: &str = "a Git LFS pointer, not the file: git lfs pull";

refused! {
    rows_that_were_not_pulled: "t.jsonl", put(POINTER) => [PULL],
    a_table_that_was_not_pulled: "t.csv", put(POINTER) => [PULL],
    a_parquet_that_was_not_pulled: "t.parquet", put(POINTER) => [PULL],
    a_gzip_that_was_not_pulled: "t.csv.gz", put(POINTER) => [PULL],
    rows_that_annex_has_elsewhere: "t.jsonl", put("/annex/objects/MD5E-s1--00.jsonl\n") => ["git annex get"],
    a_table_that_is_a_page: "t.csv", put("<!doctype html>\n<html></html>\n") => ["an HTML page, not the file"],
    an_empty_file: "t.jsonl", put("") => ["no rows"],
    invalid_utf8: "t.jsonl", put([GOOD.as_bytes(), b"{\"text\":\"\xff\",\"label\":\"code\"}\n"].concat())
        => ["t.jsonl:3", "not valid UTF-8"],
    json_ten_thousand_deep: "t.jsonl", put(format!("{GOOD}{{\"text\":{}", "[".repeat(10_000)))
        => ["t.jsonl:3", "not valid JSON: EOF while parsing a list"],
    a_line_of_a_gibibyte: "t.jsonl", sparse => ["t.jsonl:3", "longer than 16 MiB"],
    a_missing_column: "t.jsonl", put("{\"txt\":\"a\",\"label\":\"code\"}\n") => ["t.jsonl:1", "no column \"text\""],
    ragged_rows: "t.csv", put("text,label\na,code\na,other,more\n") => ["t.csv:3", "3 fields, but the header has 2"],
    a_cut_gzip: "t.jsonl.gz", cut(put(gzip(GOOD.as_bytes(), 100)), 9) => ["t.jsonl.gz:", "damaged or cut short"],
    a_cut_zstd: "t.jsonl.zst", cut(put(zstd(GOOD.as_bytes(), 100)), 9) => ["t.jsonl.zst:", "damaged or cut short"],
    a_gzip_bomb_of_one_line: "t.jsonl.gz", put(gzip(&vec![b'x'; 1 << 20], 300)) => ["t.jsonl.gz:1", "longer than 16 MiB"],
    a_gzip_bomb_of_rows: "t.jsonl.gz", put(gzip(&GOOD.as_bytes().repeat(10_000), 400))
        => ["t.jsonl.gz:", "more than 200 times its size"],
    a_zstd_bomb_of_rows: "t.jsonl.zst", put(zstd(&GOOD.as_bytes().repeat(10_000), 400))
        => ["t.jsonl.zst:", "more than 200 times its size"],
    a_cut_parquet: "t.parquet", cut(parquet(b"a game".to_vec(), 10), 5) => ["t.parquet", "cut short"],
    a_parquet_without_its_pages: "t.parquet", |path: &Path| {
        parquet(b"a game".to_vec(), 10)(path);
        let mut content = std::fs::read(path).expect("it was written");
        let end = content.len() - 8;
        let footer = u32::from_le_bytes(content[end..end + 4].try_into().expect("four bytes"));
        content.drain(4..end - footer as usize);
        std::fs::write(path, content).expect("the directory is writable");
    } => ["t.parquet", "row 0"],
    a_parquet_bomb_of_one_page: "t.parquet", parquet(vec![b'x'; 300 << 20], 1) => ["t.parquet, row 0", "a page of 300 MiB"],
    a_parquet_bomb_of_rows: "t.parquet", parquet(vec![b'x'; 4096], 1_000_000)
        => ["t.parquet, row ", "more than 200 times its size"],
}

#[test]
fn labels_that_are_none() {
    for (name, content, says) in [
        (
            "t.jsonl",
            format!("{GOOD}{{\"text\":\"a\",\"label\":-1}}\n"),
            "t.jsonl:3: the label -1 in column \"label\" is negative",
        ),
        (
            "t.csv",
            "text,label\na,0\nb,1\nc,-100\n".to_owned(),
            "t.csv:4: the label -100 in column \"label\" is negative",
        ),
        (
            "t.csv",
            "text,label\na,0.5\n".to_owned(),
            "t.csv:2: the label 0.5 in column \"label\" has a fraction",
        ),
    ] {
        refuse(name, put(content), &[says]);
    }
}

#[test]
fn a_label_that_only_evaluation_has() {
    let directory = texts();
    let eval = format!("{GOOD}{{\"text\":\"a\",\"label\":\"section\"}}\n");
    put(eval)(&directory.path().join("e.jsonl"));
    Refused::of(directory.path(), &["train", "run.yaml", "--set", "eval_datasets.0.path=e.jsonl"])
        .code(10)
        .says(&["e.jsonl:3", "label \"section\" is not one of the run's labels", "\"code\", \"other\""])
        .before_workers();
}

#[test]
fn a_label_that_the_run_file_does_not_name() {
    let directory = texts();
    Refused::of(directory.path(), &["train", "run.yaml", "--set", "labels=[code, section]"])
        .code(10)
        .says(&["train.jsonl:", "label \"other\" is not one of the run's labels"])
        .before_workers();
}

/// The first bytes of a PNG of this size; decoding begins there, and ends.
fn png(side: u32) -> Vec<u8> {
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
        &side.to_be_bytes(),
        &side.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat()
}

/// Names and contents.
type Files<'a> = &'a [(&'a str, Vec<u8>)];

#[test]
fn images_that_cannot_be_used() {
    let cases: [(Files<'_>, &[&str]); 11] = [
        (&[("a/good.png", png(8)), ("b/x.png", POINTER.into())], &["images/b/x.png", PULL]),
        (&[("a.png", png(8)), ("metadata.jsonl", POINTER.into())], &["images/metadata.jsonl", PULL]),
        (
            &[
                ("a.png", png(8)),
                ("metadata.jsonl", b"{\"file_name\":\"%2e%2e/run.yaml\",\"label\":1}\n".to_vec()),
            ],
            &["images/metadata.jsonl:1", "%2e%2e/run.yaml"],
        ),
        (
            &[
                ("a.png", png(8)),
                ("metadata.jsonl", b"{\"file_name\":\"/etc/passwd\",\"label\":1}\n".to_vec()),
            ],
            &["images/metadata.jsonl:1", "leads out of the directory"],
        ),
        (&[], &["images: no rows"]),
        (
            &[("a/good.png", png(8)), ("b/large.png", png(60_000))],
            &["images/b/large.png", "60000 × 60000 pixels"],
        ),
        (
            &[("a/good.png", png(8)), ("b/text.png", b"text".to_vec())],
            &["images/b/text.png", "not a PNG, JPEG, WebP, GIF or BMP image, by its first bytes"],
        ),
        (
            &[("train/a/0.png", png(8)), ("train/b/0.png", png(8)), ("test/a/0.png", png(8))],
            &[
                "images: its folders \"test\", \"train\" are named like parts of one dataset",
                "path: images/train",
            ],
        ),
        (
            &[("a/good.png", png(8)), ("b/good.png", png(8)), ("c/clip.mp4", b"film".to_vec())],
            &["images: the class folder \"c\" has no image; 1 other file is there (c/clip.mp4)"],
        ),
        (
            &[("a.png", png(8)), ("metadata.jsonl", b"\n{\"file_name\":\"b.png\",\"label\":1}\n".to_vec())],
            &["images/metadata.jsonl:2", "\"b.png\" is not an image file of the directory"],
        ),
        (
            &[
                ("a.png", png(8)),
                ("metadata.jsonl", b"{\"file_name\":\"../run.yaml\",\"label\":1}\n".to_vec()),
            ],
            &["images/metadata.jsonl:1", "leads out of the directory"],
        ),
    ];
    for (files, says) in cases {
        let directory = digits();
        let root = directory.path().join("images");
        std::fs::create_dir(&root).expect("the directory is writable");
        for (name, content) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("the directory is writable");
            put(content)(&path);
        }
        Refused::of(directory.path(), &["train", "run.yaml", "--set", "datasets.0.path=images"])
            .code(10)
            .says(says)
            .before_workers();
    }
}

#[test]
fn an_image_that_only_a_worker_looks_into() {
    let directory = digits();
    for class in ["a", "b"] {
        let class = directory.path().join("images").join(class);
        std::fs::create_dir_all(&class).expect("the directory is writable");
        put(png(8))(&class.join("cut.png"));
    }
    let sets = [
        "datasets.0.path=images",
        "eval_datasets=null",
        "eval_strategy=no",
        "global_batch_size=2",
        "shards_per_step=1",
        "per_device_train_batch_size=2",
    ];
    let arguments: Vec<&str> = ["train", "run.yaml", "--workers", "2"]
        .into_iter()
        .chain(sets.iter().flat_map(|set| ["--set", set]))
        .collect();
    Refused::of(directory.path(), &arguments).code(10).says(&["images/", "/cut.png"]);
}
