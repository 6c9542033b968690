//! Checkpoints as other programs write them, and as nobody should.

mod damaged;
mod properties;
mod tied;
mod written;

use bytes::Bytes;

use super::header::{self, Dtype};
use super::{Checkpoint, CheckpointError, Mismatch, Resolution, ToWrite, write_model};
use crate::exit::Exit;
use crate::model::{Block, Init, Parameter, Part};
use crate::store::{Location, StoreError};

/// Written by Python: `safetensors.torch.save_file(…, metadata={"format": "pt"})`.
const SINGLE: &[u8] = include_bytes!("../testdata/single.safetensors");
/// As above: `half` is F16, `brain` is BF16.
const HALF: &[u8] = include_bytes!("../testdata/half.safetensors");
/// Written by Python: `huggingface_hub.save_torch_state_dict(…, max_shard_size=32)`.
const SHARDED: [(&str, &[u8]); 4] = [
    (
        "model-00001-of-00003.safetensors",
        include_bytes!("../testdata/sharded/model-00001-of-00003.safetensors"),
    ),
    (
        "model-00002-of-00003.safetensors",
        include_bytes!("../testdata/sharded/model-00002-of-00003.safetensors"),
    ),
    (
        "model-00003-of-00003.safetensors",
        include_bytes!("../testdata/sharded/model-00003-of-00003.safetensors"),
    ),
    ("model.safetensors.index.json", include_bytes!("../testdata/sharded/model.safetensors.index.json")),
];
const SHARDED_SHAPES: [(&str, u64); 5] = [("z.weight", 4), ("big", 16), ("a.bias", 3), ("b", 2), ("c", 5)];

async fn directory(files: &[(&str, &[u8])]) -> Location {
    let directory = Location::memory("checkpoint");
    for (name, content) in [("config.json", b"{\"model_type\":\"bert\"}".as_slice())].iter().chain(files) {
        directory.join(name).unwrap().write(Bytes::copy_from_slice(content)).await.unwrap();
    }
    directory
}

async fn open(weights: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::open(&directory(&[("model.safetensors", weights)]).await).await
}

fn parameter(name: &str, shape: &[u64], classifier: bool) -> Parameter {
    let part = if classifier { Part::Classifier } else { Part::Body };
    let (block, init) = (Block::Embed, Init::Ones);
    Parameter { name: name.into(), shape: shape.into(), block, init, decay: true, part }
}

async fn load(checkpoint: &Checkpoint, table: &[Parameter]) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let resolution = checkpoint.resolve(table, "bert", false)?;
    let mut values = vec![Vec::new(); table.len()];
    let fresh = |parameter: &Parameter| vec![1.0; parameter.len()];
    checkpoint
        .load(
            &resolution,
            table,
            |_| true,
            fresh,
            |index, loaded| -> Result<(), CheckpointError> {
                assert!(values[index].is_empty(), "{} was given twice", table[index].name);
                values[index] = loaded.into_f32();
                Ok(())
            },
        )
        .await?;
    Ok(values)
}

/// The values that the Python fixtures hold.
fn ramp(len: u64) -> Vec<f32> {
    (0..len).map(|index| index as f32 / 8.0 - 1.0).collect()
}

/// A file with this header text, and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn with_length(length: u64) -> Vec<u8> {
    [&length.to_le_bytes()[..], b"{}      "].concat()
}

fn tensor(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}")
}

#[tokio::test]
async fn a_file_that_python_wrote_is_read_and_written_to_the_byte() {
    let checkpoint = open(SINGLE).await.unwrap();
    let shapes: [(&str, &[u64]); 4] =
        [("scale", &[]), ("layer.weight", &[3, 2]), ("embed \"ü\".weight", &[2, 2]), ("layer.bias", &[3])];
    let table: Vec<Parameter> = shapes.iter().map(|(name, shape)| parameter(name, shape, false)).collect();
    let values = load(&checkpoint, &table).await.unwrap();
    for (parameter, values) in table.iter().zip(&values) {
        assert_eq!(*values, ramp(parameter.len() as u64), "{}", parameter.name);
    }
    let tensors: Vec<_> =
        shapes.iter().map(|(name, shape)| (name.to_string(), shape.to_vec()).into()).collect();
    let out = Location::memory("out");
    let values = &values;
    let written = write_model(
        &out,
        "model",
        &tensors,
        super::SHARD_BYTES,
        async |tensor| -> Result<_, CheckpointError> { Ok(values[tensor].clone()) },
    )
    .await
    .unwrap();
    assert_eq!(out.join("model.safetensors").unwrap().read(10_000).await.unwrap(), SINGLE);
    assert_eq!(written.len(), 1);
    assert_eq!((written[0].name.as_str(), written[0].size), ("model.safetensors", SINGLE.len() as u64));
    let hash: String = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(SINGLE))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(written[0].sha256, hash);
}

#[tokio::test]
async fn shards_are_cut_as_python_cuts_them() {
    let checkpoint = Checkpoint::open(&directory(&SHARDED).await).await.unwrap();
    assert_eq!(checkpoint.files.len(), 3);
    let table: Vec<Parameter> =
        SHARDED_SHAPES.iter().map(|(name, len)| parameter(name, &[*len], false)).collect();
    let values = load(&checkpoint, &table).await.unwrap();
    assert_eq!(values, SHARDED_SHAPES.map(|(_, len)| ramp(len)));

    let tensors = SHARDED_SHAPES.map(|(name, len)| ToWrite::from((name.to_owned(), vec![len])));
    let out = Location::memory("out");
    let written = write_model(&out, "model", &tensors, 32, async |tensor| -> Result<_, CheckpointError> {
        Ok(ramp(SHARDED_SHAPES[tensor].1))
    })
    .await
    .unwrap();
    for ((name, expected), written) in SHARDED.iter().zip(&written) {
        assert_eq!(written.name, *name);
        let found = out.join(name).unwrap().read(10_000).await.unwrap();
        if name.ends_with(".json") {
            // The one index is sorted by tensor, the other by shard; both are JSON objects of the same content.
            let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
            assert_eq!(parse(&found), parse(expected));
        } else {
            assert_eq!(found, *expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_value_of_the_wrong_length_is_never_written() {
    let out = Location::memory("out");
    let tensors = [ToWrite::from(("a".to_owned(), vec![3]))];
    let result = write_model(&out, "model", &tensors, 100, async |_| -> Result<_, CheckpointError> {
        Ok(vec![0.0; 2])
    })
    .await;
    assert_eq!(result, Err(CheckpointError::Length { tensor: "a".into(), found: 2, expected: 3 }));
    assert!(out.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn half_precision_weights_become_f32() {
    let table = [parameter("half", &[4], false), parameter("brain", &[4], false)];
    let values = load(&open(HALF).await.unwrap(), &table).await.unwrap();
    let smallest_half = 2f32.powi(-24);
    assert_eq!(values[0], [1.0, -2.5, 65504.0, smallest_half]);
    let brain = [0x3f80, 0xc020, 0x7f62, 0x0001].map(|upper: u32| f32::from_bits(upper << 16));
    assert_eq!(values[1], brain);
}

#[tokio::test]
async fn weights_that_change_while_they_are_loaded_are_refused() {
    let checkpoint = open(SINGLE).await.unwrap();
    checkpoint.files[0].location.write(Bytes::from_static(SINGLE)).await.unwrap();
    let error = load(&checkpoint, &[parameter("scale", &[], false)]).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Store(StoreError::Changed { .. })), "{error}");
}

/// A checkpoint of F32 vectors.
async fn vectors(names: &[(&str, u64)]) -> Checkpoint {
    let shapes: Vec<[u64; 1]> = names.iter().map(|(_, len)| [*len]).collect();
    let mut bytes = header::write(
        names.iter().zip(&shapes).map(|((name, _), shape)| (*name, shape.as_slice(), Dtype::F32)),
    );
    for value in names.iter().flat_map(|(_, len)| ramp(*len)) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    open(&bytes).await.unwrap()
}

#[tokio::test]
async fn a_base_checkpoint_gets_the_new_head() {
    let checkpoint = vectors(&[
        ("embeddings.position_ids", 9),
        ("encoder.LayerNorm.beta", 2),
        ("encoder.LayerNorm.gamma", 3),
    ])
    .await;
    let table = [
        parameter("bert.encoder.LayerNorm.weight", &[3], false),
        parameter("bert.encoder.LayerNorm.bias", &[2], false),
        parameter("classifier.weight", &[5], true),
    ];
    let resolution = checkpoint.resolve(&table, "bert", false).unwrap();
    let expected = Resolution {
        sources: vec![Some("encoder.LayerNorm.gamma".into()), Some("encoder.LayerNorm.beta".into()), None],
        newly_initialised: vec!["classifier.weight".into()],
        unused: vec!["embeddings.position_ids".into()],
        ..Resolution::default()
    };
    assert_eq!(resolution, expected);
    assert_eq!(load(&checkpoint, &table).await.unwrap(), [ramp(3), ramp(2), vec![1.0; 5]]);
}

#[tokio::test]
async fn a_head_for_other_labels_begins_fresh_and_says_so() {
    let checkpoint = vectors(&[("bert.pooler.bias", 4), ("classifier.bias", 2)]).await;
    // The model is the base model here: its names lack the prefix that the checkpoint has.
    let table = [parameter("pooler.bias", &[4], false), parameter("classifier.bias", &[20], true)];
    let resolution = checkpoint.resolve(&table, "bert.", false).unwrap();
    let mismatch = Mismatch { name: "classifier.bias".into(), found: vec![2], expected: vec![20] };
    assert_eq!(resolution.mismatched, [mismatch]);
    assert_eq!(resolution.newly_initialised, ["classifier.bias"]);
    assert_eq!((resolution.loaded(), resolution.unused.len()), (1, 0));
    assert_eq!(
        resolution.to_string(),
        "loaded 1 of 2 parameters from the checkpoint\n\
         newly initialised (another shape in the checkpoint):\n  classifier.bias: checkpoint [2], model [20]"
    );
    assert_eq!(load(&checkpoint, &table).await.unwrap(), [ramp(4), vec![1.0; 20]]);
}

#[tokio::test]
async fn a_head_that_would_fit_begins_fresh_when_its_labels_are_other_ones() {
    let checkpoint = vectors(&[("pooler.bias", 4), ("classifier.bias", 2)]).await;
    let table = [
        parameter("pooler.bias", &[4], false),
        parameter("classifier.weight", &[2], true),
        parameter("classifier.bias", &[2], true),
    ];
    let resolution = checkpoint.resolve(&table, "bert", false).unwrap().with_head_rows(&table, None);
    assert_eq!(resolution.sources, [Some("pooler.bias".into()), None, None]);
    assert_eq!(resolution.newly_initialised, ["classifier.bias", "classifier.weight"]);
    assert!(!resolution.is_exact() && resolution.unused.is_empty());
    assert_eq!(
        resolution.to_string(),
        "loaded 1 of 3 parameters from the checkpoint\n\
         newly initialised (not in the checkpoint):\n  classifier.weight\n\
         newly initialised (the checkpoint's head is for other labels):\n  classifier.bias"
    );
}

#[tokio::test]
async fn a_head_of_the_same_labels_in_another_order_keeps_its_rows() {
    let checkpoint = vectors(&[("pooler.bias", 4), ("classifier.weight", 6), ("classifier.bias", 3)]).await;
    let table = [
        parameter("pooler.bias", &[4], false),
        parameter("classifier.weight", &[6], true),
        parameter("classifier.bias", &[3], true),
    ];
    let resolution = checkpoint.resolve(&table, "bert", false).unwrap();
    assert!(resolution.clone().with_head_rows(&table, Some(vec![0, 1, 2])).rows.is_empty(), "as they are");
    let resolution = resolution.with_head_rows(&table, Some(vec![2, 0, 1]));
    assert!(resolution.is_exact());
    let [pooler, weight, bias] = [ramp(4), ramp(6), ramp(3)];
    let permuted = [pooler, [&weight[4..], &weight[..4]].concat(), [&bias[2..], &bias[..2]].concat()];
    for (index, expected) in permuted.iter().enumerate() {
        let one = checkpoint.load_one(&resolution, index).await.unwrap();
        assert_eq!(one.map(crate::checkpoint::Values::into_f32).as_ref(), Some(expected));
    }
    let mut loaded = vec![Vec::new(); 3];
    let fresh = |_: &Parameter| unreachable!("all are there");
    checkpoint
        .load(
            &resolution,
            &table,
            |_| true,
            fresh,
            |index, values| -> Result<(), CheckpointError> {
                loaded[index] = values.into_f32();
                Ok(())
            },
        )
        .await
        .unwrap();
    assert_eq!(loaded, permuted);
}

#[tokio::test]
async fn a_body_with_gaps_is_refused_unless_they_are_to_be_filled() {
    let checkpoint = vectors(&[("encoder.a", 4), ("encoder.c", 2)]).await;
    let table = [
        parameter("bert.encoder.a", &[4], false),
        parameter("bert.encoder.b", &[4], false),
        parameter("bert.encoder.c", &[2], false),
        parameter("bert.encoder.d", &[2], false),
        parameter("classifier.bias", &[2], true),
    ];
    let error = checkpoint.resolve(&table, "bert", false).unwrap_err();
    assert_eq!(error.exit(), Exit::Checkpoint);
    let text = error.to_string();
    assert!(text.contains("tensor \"bert.encoder.b\" is missing, and 1 more, though 2 others"), "{text}");
    let resolution = checkpoint.resolve(&table, "bert", true).unwrap();
    assert_eq!(resolution.newly_initialised, ["bert.encoder.b", "bert.encoder.d", "classifier.bias"]);
}

#[tokio::test]
async fn training_from_scratch_draws_everything() {
    let checkpoint = Checkpoint::config_only(&directory(&[]).await).await.unwrap();
    let table = [parameter("b", &[2], false), parameter("a", &[1], true)];
    let resolution = Resolution::random(&table);
    assert_eq!(resolution.newly_initialised, ["a", "b"]);
    let mut order = Vec::new();
    let fresh = |parameter: &Parameter| vec![1.0; parameter.len()];
    checkpoint
        .load(
            &resolution,
            &table,
            |_| true,
            fresh,
            |index, values| -> Result<(), CheckpointError> {
                order.push((index, values.len()));
                Ok(())
            },
        )
        .await
        .unwrap();
    assert_eq!(order, [(0, 2), (1, 1)]);
}

#[tokio::test]
async fn reads_span_files_gaps_and_large_tensors() {
    let large = (40 << 20) / 4;
    let checkpoint = vectors(&[("a", 10), ("large", large), ("skipped", 1 << 19), ("z", 7)]).await;
    let table =
        [parameter("z", &[7], false), parameter("large", &[large], false), parameter("a", &[10], false)];
    assert!(load(&checkpoint, &table).await.unwrap() == [ramp(7), ramp(large), ramp(10)]);
}

/// The coordinator and the worker do these as tasks of a multi-threaded runtime.
#[tokio::test]
async fn everything_can_be_spawned() {
    let checkpoint = open(SINGLE).await.unwrap();
    let task = tokio::spawn(async move {
        let table = [parameter("scale", &[], false)];
        let values = load(&checkpoint, &table).await?;
        let tensors = [ToWrite::from(("scale".to_owned(), vec![]))];
        let values = &values;
        let give = |tensor: usize| async move { Ok::<_, CheckpointError>(values[tensor].clone()) };
        write_model(&Location::memory("out"), "model", &tensors, 100, give).await
    });
    assert_eq!(task.await.unwrap().unwrap().len(), 1);
}
