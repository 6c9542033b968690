//! Heads that share the embedding table, as different tools store them.

use super::super::{Checkpoint, CheckpointError, Resolution};
use super::{directory, parameter, tensor};
use crate::exit::Exit;
use crate::model::Parameter;

const TABLE: &str = "model.embed_tokens.weight";

/// A checkpoint of tensors with these names, types and bytes.
async fn stored(tensors: &[(&str, &str, &[u8])]) -> Checkpoint {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, bytes) in tensors {
        let elements = bytes.len() / if *dtype == "F32" { 4 } else { 2 };
        let start = data.len() as u64;
        header.push(tensor(name, dtype, &format!("[{elements}]"), start, start + bytes.len() as u64));
        data.extend_from_slice(bytes);
    }
    let header = format!("{{{}}}", header.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    Checkpoint::open(&directory(&[("model.safetensors", &file)]).await).await.unwrap()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn brain_floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect()
}

fn table() -> [Parameter; 1] {
    [parameter(TABLE, &[3], false)]
}

fn resolve(checkpoint: &Checkpoint) -> Result<Resolution, CheckpointError> {
    checkpoint.resolve_tied(&table(), "model", false, Some(TABLE))
}

#[tokio::test]
async fn a_tied_head_may_be_stored_again_or_alone() {
    let values = floats(&[1.0, -0.0, 3.0]);
    let same = floats(&[1.0, 0.0, 3.0]);
    for tensors in [
        &[(TABLE, "F32", values.as_slice())][..],
        &[(TABLE, "F32", &values), ("lm_head.weight", "F32", &values)],
        &[(TABLE, "F32", &values), ("lm_head.weight", "F32", &same)],
        &[(TABLE, "F32", &values), ("lm_head.weight", "BF16", &brain_floats(&[1.0, 0.0, 3.0]))],
        &[("embed_tokens.weight", "F32", &values), ("model.lm_head.weight", "F32", &values)],
        &[("lm_head.weight", "F32", &values)],
    ] {
        let checkpoint = stored(tensors).await;
        let resolution = resolve(&checkpoint).unwrap();
        assert!(resolution.is_exact(), "{resolution}");
        checkpoint.check_tied(&resolution).await.unwrap();
        let loaded = checkpoint.load_one(&resolution, 0).await.unwrap();
        assert_eq!(loaded.map(crate::checkpoint::Values::into_f32), Some(vec![1.0, 0.0, 3.0]));
    }
}

#[tokio::test]
async fn a_tied_head_of_other_values_is_damage() {
    let values = floats(&[1.0, 2.0, 3.0]);
    for (dtype, other) in [("F32", floats(&[1.0, 2.0, 3.5])), ("BF16", brain_floats(&[1.0, 2.0, 3.5]))] {
        let checkpoint = stored(&[(TABLE, "F32", &values), ("lm_head.weight", dtype, &other)]).await;
        let error = checkpoint.check_tied(&resolve(&checkpoint).unwrap()).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Checkpoint);
        let text = error.to_string();
        for part in ["\"lm_head.weight\"", TABLE, "element 2", "tie_word_embeddings: false"] {
            assert!(text.contains(part), "{text}");
        }
        let untied = [parameter(TABLE, &[3], false), parameter("lm_head.weight", &[3], false)];
        let resolution = checkpoint.resolve(&untied, "model", false).unwrap();
        checkpoint.check_tied(&resolution).await.unwrap();
        assert!(resolution.is_exact());
    }
    let short = stored(&[(TABLE, "F32", &values), ("lm_head.weight", "F32", &values[4..])]).await;
    let error = resolve(&short).unwrap_err();
    assert!(matches!(&error, CheckpointError::Shape { tensor, .. } if tensor == "lm_head.weight"), "{error}");
}

#[tokio::test]
async fn large_tables_are_compared_to_their_end() {
    let mut values = vec![1.0; (1 << 21) + 5];
    let first = floats(&values);
    let last = values.len() - 1;
    values[last] = 2.0;
    let checkpoint = stored(&[(TABLE, "F32", &first), ("lm_head.weight", "F32", &floats(&values))]).await;
    let table = [parameter(TABLE, &[values.len() as u64], false)];
    let resolution = checkpoint.resolve_tied(&table, "model", false, Some(TABLE)).unwrap();
    let error = checkpoint.check_tied(&resolution).await.unwrap_err();
    assert!(
        matches!(error, CheckpointError::TiedDiffer { element, .. } if element == last as u64),
        "{error}"
    );
}

#[tokio::test]
async fn an_untied_network_without_its_head_is_damaged() {
    let values = floats(&[1.0, 2.0, 3.0]);
    let checkpoint = stored(&[(TABLE, "F32", &values)]).await;
    let untied = [parameter(TABLE, &[3], false), parameter("lm_head.weight", &[3], false)];
    let error = checkpoint.resolve(&untied, "model", false).unwrap_err();
    assert_eq!(error.exit(), Exit::Checkpoint);
    let text = error.to_string();
    assert!(
        text.contains("\"lm_head.weight\" is missing") && text.contains("tie_word_embeddings: true"),
        "{text}"
    );
}

#[tokio::test]
async fn frequencies_that_older_programs_stored_are_no_news() {
    let values = floats(&[1.0, 2.0, 3.0]);
    let frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let checkpoint = stored(&[(TABLE, "F32", &values), (frequencies, "F32", &values)]).await;
    assert!(resolve(&checkpoint).unwrap().is_exact());
}
