//! Writes what fuzzing begins from: `seeds DIRECTORY`. One folder per target; files of the tests, and messages of ours.

use std::fs::{create_dir_all, write};
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use headstart::chat::RowFormat;
use headstart::checkpoint::Loading;
use headstart::data::index_in;
use headstart::id::{CoordinatorEpoch, LeaseId, Step, Version, WorkerId};
use headstart::manifest::{BestParts, Manifest, Number, Parts, Piece, Pins, RunState, State};
use headstart::message::{
    Failure, FromWorker, Join, NumericClass, PartialId, Pass, Ready, StopReason, TimeBreakdown, ToWorker,
    Totals, Welcome, Work,
};
use headstart::run_file::{self, Dataset, Task, Wire};
use headstart::shared_memory::Address;
use headstart::store::Stores;
use headstart::tree::Node;
use headstart::wire::{payload, pb};
use image::{DynamicImage, ImageFormat};
use object_store::memory::InMemory;
use prost::Message;
// The instrumentation of this program calls into it.
use libfuzzer_sys as _;

const RUN_FILES: [&str; 4] = [
    include_str!("../../examples/digits/pretrain.yaml"),
    include_str!("../../examples/digits/scratch.yaml"),
    include_str!("../../examples/sections/run.yaml"),
    include_str!("../../tests/parity/run.yaml"),
];
const WEIGHTS: [&[u8]; 3] = [
    include_bytes!("../../src/checkpoint/testdata/single.safetensors"),
    include_bytes!("../../src/checkpoint/testdata/half.safetensors"),
    include_bytes!("../../src/checkpoint/testdata/sharded/model-00001-of-00003.safetensors"),
];
const SHARD_INDEX: &str = include_str!("../../src/checkpoint/testdata/sharded/model.safetensors.index.json");
const CONFIGS: [&str; 5] = [
    include_str!("../../tests/reference/bert/config.json"),
    include_str!("../../tests/reference/vit/config.json"),
    include_str!("../../examples/digits/model/config.json"),
    include_str!("../../examples/digits/model/preprocessor_config.json"),
    r#"{"added_tokens": [{"id": 4, "content": "[X]"}], "model": {"vocab": {"a": 0, "b": 1}}}"#,
];
/// Templates of both kinds, each with a row after a zero.
const CHATS: [&str; 2] = [
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content|trim + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}\0{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"aa\", \"train\": true}]}",
    "{% set n = namespace(x=[]) %}{%- for m in messages -%}{% set n.x = n.x + [m] %}{%- generation -%}{{ m.tool_calls|tojson(indent=2) }}{%- endgeneration -%}{%- endfor -%}{{ n.x }}\0{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"tool_calls\": [{\"function\": {\"name\": \"a\", \"arguments\": \"{}\"}}]}], \"tools\": []}",
];
const JSONL: &str = "{\"text\":\"a \\u00e9\",\"label\":\"x\"}\n{\"label\":7,\"text\":\"b\",\"more\":[1,{}]}\n\n{\"text\":\"c\",\"label\":true}";
const CSV: &str = "label,text,more\r\nx,\"a \"\"b\"\",\nc\",1\r\ny,d,\n\n7,e,\"\"\n";
/// Of the program's own tests, as pyarrow writes them: each codec, both versions of data pages, and what is refused.
const PARQUET: [&[u8]; 8] = [
    include_bytes!("../../src/data/testdata/texts_none.parquet"),
    include_bytes!("../../src/data/testdata/texts_snappy.parquet"),
    include_bytes!("../../src/data/testdata/texts_gzip.parquet"),
    include_bytes!("../../src/data/testdata/texts_zstd.parquet"),
    include_bytes!("../../src/data/testdata/texts_lz4.parquet"),
    include_bytes!("../../src/data/testdata/texts_v2.parquet"),
    include_bytes!("../../src/data/testdata/texts_null.parquet"),
    include_bytes!("../../src/data/testdata/texts_int.parquet"),
];
/// Whole rows: lists and structs.
const NESTED: [&[u8]; 3] = [
    include_bytes!("../../src/data/testdata/messages.parquet"),
    include_bytes!("../../src/data/testdata/messages_v2.parquet"),
    include_bytes!("../../src/data/testdata/messages_old.parquet"),
];

/// Each format, with orientations and colours that stand for transparency.
const IMAGES: [&[u8]; 6] = [
    include_bytes!("../../tests/reference/images/alpha-exif7.webp"),
    include_bytes!("../../tests/reference/images/corner.gif"),
    include_bytes!("../../tests/reference/images/one-bit-profile3.png"),
    include_bytes!("../../tests/reference/images/palette.bmp"),
    include_bytes!("../../tests/reference/images/progressive-exif5.jpg"),
    include_bytes!("../../tests/reference/images/transparent-palette.png"),
];

fn main() {
    let Some(directory) = std::env::args_os().nth(1) else { panic!("usage: seeds DIRECTORY") };
    let save = |target: &str, seeds: Vec<Vec<u8>>| {
        let folder = Path::new(&directory).join(target);
        create_dir_all(&folder).expect("the directory is writable");
        for (number, seed) in seeds.into_iter().enumerate() {
            write(folder.join(format!("seed-{number}")), seed).expect("the directory is writable");
        }
    };
    let bytes = |text: &str| text.as_bytes().to_vec();
    let mut run_files: Vec<Vec<u8>> = RUN_FILES.map(bytes).into();
    run_files.push(format!("{}\0cluster.min_workers=2", RUN_FILES[0]).into_bytes());
    save("chat", CHATS.map(|seed| seed.as_bytes().to_vec()).into());
    save("run_file", run_files);
    save("weights", WEIGHTS.map(<[u8]>::to_vec).into());
    let index = SHARD_INDEX.replace("00003-of", "00002-of");
    save("shard_index", vec![bytes(SHARD_INDEX), bytes(&index)]);
    save("config", CONFIGS.map(bytes).into());
    save("rows", rows());
    let gzip = gzip(JSONL.as_bytes());
    let indexed = [("rows.jsonl", JSONL.as_bytes()), ("rows.csv", CSV.as_bytes()), ("rows.jsonl.gz", &gzip)];
    save("row_index", indexed.map(|(name, content)| row_index(name, content)).into());
    save("image", images());
    save("manifest", manifests());
    save("wire", messages());
}

/// A seed whose first byte chooses.
fn with(first: u8, rest: &[u8]) -> Vec<u8> {
    [&[first], rest].concat()
}

fn rows() -> Vec<Vec<u8>> {
    let plain = [(0, JSONL.as_bytes()), (1, CSV.as_bytes())];
    let as_they_are = plain.map(|(kind, content)| with(kind, content));
    let gzip = plain.map(|(kind, content)| with(kind, &gzip(content)));
    let zstd = plain
        .map(|(kind, content)| with(kind, &zstd::encode_all(content, 3).expect("memory takes everything")));
    let parquet = PARQUET.map(|content| with(0, content));
    let nested = NESTED.map(|content| with(6, content));
    let whole = plain.map(|(kind, content)| with(kind + 6, content));
    [&as_they_are[..], &gzip, &zstd, &parquet, &nested, &whole].concat()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn row_index(name: &str, content: &[u8]) -> Vec<u8> {
    let stores = Stores::default();
    stores.mount("memory://seeds", Arc::new(InMemory::new()));
    let path = format!("memory://seeds/{name}");
    let dataset = Dataset {
        path: path.clone(),
        text_column: "text".into(),
        text_pair_column: None,
        image_column: "image".into(),
        label_column: Some("label".into()),
        rows: RowFormat::default(),
    };
    headstart_fuzz::run(async {
        let file = stores.locate(&path).expect("a plain URL");
        file.write(Bytes::copy_from_slice(content)).await.expect("memory takes everything");
        let indexed = index_in(&stores, &[dataset], Task::SequenceClassification, None).await;
        indexed.expect("the seed is in order").0.encode()
    })
}

fn images() -> Vec<Vec<u8>> {
    let levels = (0..8 * 6 * 3).map(|place| (place * 37 % 256) as u8).collect();
    let colours = DynamicImage::ImageRgb8(image::RgbImage::from_raw(6, 8, levels).expect("its size"));
    let pictures = [
        (1, ImageFormat::Png, colours.clone()),
        (0, ImageFormat::Png, colours.clone().into_luma8().into()),
        (5, ImageFormat::Png, colours.clone().into_rgba16().into()),
        (3, ImageFormat::Jpeg, colours.clone()),
        (4, ImageFormat::Jpeg, colours.into_luma8().into()),
    ];
    let encode = |(kind, format, picture): (u8, ImageFormat, DynamicImage)| {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).expect("memory takes everything");
        with(kind, file.get_ref())
    };
    let files = (0..).step_by(45).zip(IMAGES).map(|(kind, file)| with(kind, file));
    pictures.into_iter().map(encode).chain(files).collect()
}

fn messages() -> Vec<Vec<u8>> {
    let work =
        Work { pass: Pass::Train, step: Step(3), node: Node { first: 4, shards: 2 }, version: Version(3) };
    let (worker, lease) = (WorkerId(2), LeaseId(9));
    let class = class();
    let join = Join { name: "host-1".into(), device: "cpu".into(), memory: 1 << 30 };
    let failures = [
        Failure::Error("an error".into()),
        Failure::NotFinite { shard: 1 },
        Failure::Data("a.csv:3".into()),
        Failure::Storage("a.csv".into()),
        Failure::SumNotFinite,
    ];
    let times = [1, 2, 3].map(Duration::from_micros);
    let mut events = vec![
        FromWorker::Join(join),
        FromWorker::Ready(Ready {
            class,
            canary: 7,
            base: Some(9),
            parameters: "hash".into(),
            follows: true,
        }),
        FromWorker::Heartbeat(
            TimeBreakdown { compute: times[0], transfer: times[1], wait: times[2] },
            Loading { done: 1, total: 2 },
        ),
        FromWorker::Computed(lease),
        FromWorker::Current(Version(3)),
        FromWorker::Leaving { reason: "bye".into() },
    ];
    events.extend(failures.map(|failure| FromWorker::LeaseFailed { lease, failure }));
    let commands = [
        ToWorker::Welcome(welcome(worker)),
        ToWorker::Lease { lease, work, skipped: vec![1], traceparent: Some("00-1-2-01".into()) },
        ToWorker::Revoke { lease, reason: "late".into() },
        ToWorker::Publish(Version(4)),
        ToWorker::Follow { anew: true },
        ToWorker::Rest { reason: "slow".into() },
        ToWorker::Stop { reason: StopReason::Finished, detail: "done".into() },
    ];
    let partial = PartialId { run_id: "run".into(), epoch: CoordinatorEpoch(1), worker, lease, work };
    let totals = Totals {
        samples: 8,
        divisor: 8,
        loss: 1.5,
        counts: vec![1, 2, 3],
        tokens: 90,
        compute: times[2],
        ..Totals::default()
    };
    let chunk = pb::SegmentChunk {
        partial: Some(partial.into()),
        segment: 1,
        offset: 2,
        payload: Bytes::from_static(&[0; 8]),
        crc32: 3,
        totals: Some(totals.into()),
        memory: Some(pb::Memory { process: 7, file: 3, name: "headstart-0".into() }),
        weights: Bytes::from_static(&[7; 16]),
        computing: true,
        compute_micros: 5,
    };
    let status = pb::RunStatus {
        state: pb::run_status::State::Training.into(),
        workers: vec![pb::WorkerStatus { worker_id: 1, ready: true, ..Default::default() }],
        eval: [("loss".to_owned(), 0.5)].into(),
        ..Default::default()
    };
    let events = events.into_iter().map(|event| with(0, &pb::WorkerEvent::from(event).encode_to_vec()));
    let commands = commands.into_iter().map(|command| with(1, &pb::Command::from(command).encode_to_vec()));
    events
        .chain(commands)
        .chain([with(2, &chunk.encode_to_vec()), with(3, &status.encode_to_vec())])
        .chain(packed())
        .chain(updates())
        .collect()
}

/// Numbers in every format, dense and sparse.
fn packed() -> Vec<Vec<u8>> {
    let mut values = [0.0; 700];
    values[70..90].fill(0.5);
    values[600..].fill(-2.0);
    let formats = (0u8..).zip([Wire::F32, Wire::Bf16, Wire::Int8]);
    let seed = |(format, wire): (u8, Wire)| {
        let mut bytes = vec![4, format];
        bytes.extend(700u16.to_le_bytes());
        payload::encode(wire, &values, &mut bytes);
        bytes
    };
    formats.map(seed).collect()
}

/// What keeps replicas up to date.
fn updates() -> Vec<Vec<u8>> {
    use pb::replica_update::Update;
    let payload = Bytes::from_static(&[0; 8]);
    let state = pb::StateChunk { segment: 1, vector: 2, payload: payload.clone(), ..Default::default() };
    let sum = pb::SumChunk { step: 3, attempt: 1, segment: 1, payload, ..Default::default() };
    let apply = pb::Apply { step: 3, attempt: 1, divisor: 8, learning_rate: 1e-3, factor: 0.5 };
    let updates = [Update::State(state), Update::Sum(sum), Update::Apply(apply)];
    let updates = updates.map(|update| {
        let update = pb::ReplicaUpdate { update: Some(update) };
        with(5, &update.encode_to_vec())
    });
    let follow = pb::FollowRequest { run_id: "run".into(), coordinator_epoch: 1, weights_version: Some(3) };
    [&updates[..], &[with(6, &follow.encode_to_vec())]].concat()
}

fn class() -> NumericClass {
    NumericClass {
        headstart: "0.1.0".into(),
        libtorch: "2.11.0".into(),
        device: "cpu".into(),
        instructions: "AVX512".into(),
        threads: 1,
        precision: "f32".into(),
    }
}

/// The file of a manifest, and the text in one.
fn manifests() -> Vec<Vec<u8>> {
    let piece = |name: &str| Piece { name: name.into(), size: 40, sha256: "ab".repeat(32) };
    let parts =
        |directory: &str| Parts { directory: directory.into(), files: vec![piece("state.safetensors")] };
    let loss = [("loss".to_owned(), Number::from(0.5))];
    let standing = RunState {
        version: 4,
        evaluated: true,
        class: Some((class(), "ff".repeat(16))),
        best: Some((2, Number::from(0.75))),
        without_improvement: 1,
        eval: Some((4, loss.into())),
        ..RunState::default()
    };
    let best = BestParts {
        version: 2,
        eval: [("loss".to_owned(), 0.5.into())].into_iter().collect(),
        parts: parts("parts/000000000002-1-n-best"),
    };
    let manifest = Manifest {
        number: 7,
        previous: "cd".repeat(32),
        run_id: "run".into(),
        epoch: 2,
        nonce: "n".into(),
        owner: "http://127.0.0.1:7070".into(),
        pins: Pins {
            keys: [("seed".to_owned(), 1.into())].into(),
            parameters: "hash".into(),
            data: "hash".into(),
            weights: "hash".into(),
            base: Some("hash".into()),
        },
        state: State {
            standing,
            vectors: Some(parts("parts/000000000004-7-n")),
            best: Some(best),
            texts: Some(parts("parts/000000000004-7-n-texts")),
            exports: vec![2, 4],
        },
        drops: vec!["checkpoint-2".into()],
    };
    let text = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    vec![manifest.seal().0.into_bytes(), text]
}

fn welcome(worker: WorkerId) -> Welcome {
    let run = "{base_model: m, task: sequence-classification, datasets: [a.csv], output_dir: o}";
    let spec = run_file::parse("run.yaml", run, &[]).expect("the seed is in order");
    Welcome {
        run_id: "run".into(),
        epoch: CoordinatorEpoch(1),
        worker,
        spec_json: serde_json::to_string(&spec).expect("a run is plain data"),
        labels: vec!["a".into(), "b".into()],
        parameters: "hash".into(),
        heartbeat: Duration::from_secs(1),
        train_rows: 20,
        eval_rows: 5,
        memory: Some(Address { pid: 7, file: 3, name: "headstart-0".into() }),
    }
}
