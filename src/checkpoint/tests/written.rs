//! Directories that are written: formats, names, and files that are copied.

use super::super::{Content, copy_files};
use super::*;

#[tokio::test]
async fn tensors_keep_their_formats_and_stored_ones_their_bytes() {
    let checkpoint = open(SINGLE).await.unwrap();
    let table = [parameter("layer.weight", &[3, 2], false)];
    let resolution = checkpoint.resolve(&table, "", true).unwrap();
    let (file, entry) = checkpoint.stored(&resolution, 0).unwrap();
    let stored = Content::Stored(file, entry.range.clone());
    let tensor =
        |name: &str, shape: &[u64], dtype| ToWrite { name: name.into(), shape: shape.to_vec(), dtype };
    let tensors = [
        tensor("brain", &[2], Dtype::BF16),
        tensor("half", &[2], Dtype::F16),
        tensor("layer.weight", &[3, 2], entry.dtype),
    ];
    // Ties go to the even neighbour: 1 + 2⁻⁸ in 8 bits, 1 + 2⁻¹¹ in 11.
    let values = [vec![1.003_906_2, -3.0], vec![1.000_488_3, 0.5], Vec::new()];
    let (values, stored) = (&values, &stored);
    let give = async |index: usize| -> Result<Content, CheckpointError> {
        Ok(if index == 2 { stored.clone() } else { values[index].clone().into() })
    };
    let out = Location::memory("out");
    write_model(&out, "model", &tensors, crate::checkpoint::SHARD_BYTES, give).await.unwrap();
    out.join("config.json").unwrap().write("{}".into()).await.unwrap();
    let written = Checkpoint::open(&out).await.unwrap();
    for (name, expected) in [("brain", vec![1.0, -3.0]), ("half", vec![1.0, 0.5]), ("layer.weight", ramp(6))]
    {
        assert_eq!(written.read_tensor(name).await.unwrap().unwrap().into_f32(), expected, "{name}");
    }
    let large = async |_: usize| -> Result<Content, CheckpointError> { Ok(vec![7e4, 0.0].into()) };
    let error = write_model(&out, "model", &tensors[1..2], 100, large).await.unwrap_err();
    assert!(matches!(error, CheckpointError::BeyondFormat { value: 7e4, dtype: "F16", .. }), "{error}");
}

#[tokio::test]
async fn a_tokenizer_class_of_version_5_gets_the_name_of_version_4() {
    let text = "{\n \"tokenizer_class\" : \"TokenizersBackend\",\n \"odd\":1e5 }";
    let from = directory(&[("tokenizer_config.json", text.as_bytes())]).await;
    let to = Location::memory("final");
    copy_files(&from, &to).await.unwrap();
    let copied = to.join("tokenizer_config.json").unwrap().read(1000).await.unwrap();
    assert_eq!(copied, text.replace("TokenizersBackend", "PreTrainedTokenizerFast"));
}

#[tokio::test]
async fn the_tokenizer_is_copied_to_the_byte_and_weights_are_not() {
    let files: [(&str, &[u8]); 3] =
        [("tokenizer.json", b"{ \"odd\" :1}\r\n"), ("vocab.txt", b"a\nb"), ("model.safetensors", SINGLE)];
    let from = directory(&files).await;
    let to = Location::memory("final");
    let written = copy_files(&from, &to).await.unwrap();
    assert_eq!(
        written.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
        ["tokenizer.json", "vocab.txt"]
    );
    assert_eq!(to.list().await.unwrap().len(), 2);
    assert_eq!(to.join("tokenizer.json").unwrap().read(100).await.unwrap(), files[0].1);
}
