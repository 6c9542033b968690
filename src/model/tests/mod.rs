//! Configurations in, parameter tables out: what users' files hold, and what they may hold by mistake.

mod decoders;

use serde_json::{Value, json};

use super::*;
use crate::exit::Exit;
use crate::run_file::Task;

fn bert() -> Value {
    json!({"model_type": "bert", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,
           "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 16})
}

fn vit() -> Value {
    json!({"model_type": "vit", "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 32,
           "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48})
}

fn read(config: Value) -> Result<Blueprint, ModelError> {
    let images = config.get("image_size").is_some();
    let task = if images { Task::ImageClassification } else { Task::SequenceClassification };
    Blueprint::from_config(&config, task, 3)
}

fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

#[test]
fn the_tables_are_those_of_saved_transformers_checkpoints() {
    let references = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(references).expect("the references are committed").flatten() {
        let json = |name: &str| -> Option<Value> {
            Some(serde_json::from_slice(&std::fs::read(entry.path().join(name)).ok()?).expect("it is JSON"))
        };
        let Some(saved) = json("parameters.json") else { continue };
        assert!(entry.path().join("gradients.safetensors").is_file(), "{:?} has gradients too", entry.path());
        let config = json("config.json").expect("it lies beside");
        seen.push(config["model_type"].as_str().expect("a name").to_owned());
        let table = read(config).expect("a valid configuration").parameters();
        assert_eq!(table.len(), saved.as_object().expect("an object").len());
        for parameter in &table {
            let reference = &saved[&parameter.name];
            assert_eq!(json!(parameter.shape), reference["shape"], "{}", parameter.name);
            assert_eq!(json!(parameter.decay), reference["decay"], "{}", parameter.name);
        }
        assert!(table.is_sorted_by_key(|parameter| parameter.block), "blocks come in order");
        let classifiers: Vec<&Parameter> =
            table.iter().filter(|parameter| parameter.part == Part::Classifier).collect();
        assert_eq!(classifiers.len(), 2, "a weight and a bias");
        assert!(classifiers.iter().all(|parameter| parameter.shape[0] == 3), "a row for each label");
    }
    let mut families: Vec<&str> = families::model_types(Some(Task::SequenceClassification))
        .chain(families::model_types(Some(Task::ImageClassification)))
        .collect();
    families.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, families, "a reference for each family");
}

#[test]
fn absent_keys_take_the_defaults_of_transformers() {
    let network = read(bert()).expect("a BERT configuration");
    let (layer, text) = (&network.layers[0], network.text().expect("it reads texts"));
    let blueprint::Head::Classifier(classifier) = &network.head else { panic!("{:?}", network.head) };
    let dropouts = [layer.around_mlp.dropout, layer.attention.dropout, classifier.dropout];
    assert_eq!(dropouts, [0.1; 3]);
    assert_eq!(layer.around_mlp.sum.as_ref().map(|norm| norm.epsilon), Some(1e-12));
    assert_eq!((text.tokens.padding, text.token_types.as_ref().map(|table| table.rows)), (Some(0), Some(2)));
    let network = read(with(bert(), "pad_token_id", Value::Null)).expect("a BERT configuration");
    assert_eq!(
        network.text().expect("it reads texts").tokens.padding,
        None,
        "an explicit null means that no token pads"
    );
    let network = read(vit()).expect("a ViT configuration");
    let (layer, image) = (&network.layers[0], network.image().expect("it reads images"));
    assert_eq!((layer.around_mlp.dropout, layer.attention.query.bias, image.patches()), (0.0, true, 16));
}

#[test]
fn a_vit_may_have_any_image_and_no_qkv_biases() {
    let config = with(with(vit(), "image_size", json!([6, 9])), "patch_size", json!([3, 2]));
    let table = read(with(config, "qkv_bias", json!(false))).expect("valid").parameters();
    let shape = |name: &str| table.iter().find(|row| row.name == name).map(|row| row.shape.clone());
    assert_eq!(shape("vit.embeddings.position_embeddings"), Some(vec![1, 2 * 4 + 1, 32]));
    assert_eq!(shape("vit.embeddings.patch_embeddings.projection.weight"), Some(vec![32, 1, 3, 2]));
    assert_eq!(shape("vit.encoder.layer.0.attention.attention.query.bias"), None);
}

#[test]
fn what_cannot_be_used_is_refused_and_named() {
    let cases = [
        (json!([]), "no JSON object"),
        (json!({}), "\"model_type\" is missing"),
        (json!({"model_type": "mixtral"}), "\"mixtral\" is not supported"),
        (json!({"model_type": 7}), "7 is not supported"),
        (json!({"model_type": "bert"}), "\"hidden_size\" is missing"),
        (with(bert(), "vocab_size", Value::Null), "\"vocab_size\" is missing"),
        (with(bert(), "num_attention_heads", json!(5)), "32 is not divisible by num_attention_heads 5"),
        (with(bert(), "hidden_size", json!(0)), "hidden_size: expected a whole number from 1"),
        (with(bert(), "hidden_size", json!(-32)), "hidden_size: expected a whole number from 1"),
        (with(bert(), "hidden_size", json!("32")), "found \"32\""),
        (with(bert(), "hidden_act", json!("mish")), "hidden_act: expected one of gelu"),
        (with(bert(), "position_embedding_type", json!("relative_key")), "position_embedding_type: expected"),
        (with(bert(), "is_decoder", json!(true)), "is_decoder"),
        (
            with(bert(), "hidden_dropout_prob", json!(1.0)),
            "hidden_dropout_prob: expected a probability below 1",
        ),
        (with(bert(), "pad_token_id", json!(64)), "pad_token_id: expected a token below vocab_size 64"),
        (with(bert(), "num_hidden_layers", json!(1_000_000)), "num_hidden_layers: expected at most"),
        (with(with(bert(), "hidden_size", json!(1 << 24)), "vocab_size", json!(1 << 24)), "more than 2^40"),
        (with(vit(), "patch_size", json!(9)), "patch_size [9, 9] is larger than image_size [8, 8]"),
        (with(vit(), "image_size", json!([8, 8, 8])), "image_size: expected a whole number or a list of two"),
        (with(vit(), "head_dim", json!(4)), "head_dim: expected 8"),
    ];
    for (config, expected) in cases {
        let error = read(config.clone()).expect_err("must be refused");
        assert!(error.to_string().contains(expected), "{config} gives {error:?}, which lacks {expected:?}");
        assert_eq!(error.exit(), Exit::Checkpoint);
    }
    let error = Blueprint::from_config(&bert(), Task::ImageClassification, 3).expect_err("wrong task");
    assert!(matches!(error, ModelError::WrongTask { model_type: "bert", .. }), "{error}");
    assert_eq!(Blueprint::from_config(&bert(), Task::SequenceClassification, 1), Err(ModelError::Labels(1)));
}

#[test]
fn the_hash_tells_names_and_shapes_apart() {
    let table = read(bert()).expect("valid").parameters();
    let reference = hash(&table);
    assert_eq!(reference.len(), 64);
    let mut renamed = table.clone();
    renamed[0].name.push('x');
    let mut reshaped = table.clone();
    reshaped[0].shape.swap(0, 1);
    let mut other_start = table.clone();
    other_start[0].init = Init::Zeros;
    assert_ne!(hash(&renamed), reference);
    assert_ne!(hash(&reshaped), reference);
    assert_eq!(hash(&other_start), reference, "how a value begins is not part of the contract");
}

fn parameter(name: &str, shape: &[u64], init: Init) -> Parameter {
    Parameter {
        name: name.into(),
        shape: shape.into(),
        block: Block::Embed,
        init,
        decay: true,
        part: Part::Body,
    }
}

#[test]
fn draws_depend_on_seed_name_and_element_alone() {
    let normal = Init::Normal { std: 0.02 };
    let long = initial_values(&parameter("a", &[100, 7], normal), 1);
    let short = initial_values(&parameter("a", &[3, 5], normal), 1);
    assert_eq!(long[..15], short[..], "the same elements whatever else is drawn");
    assert_ne!(initial_values(&parameter("b", &[3, 5], normal), 1), short);
    assert_ne!(initial_values(&parameter("a", &[3, 5], normal), 2), short);
    let padded = Init::NormalWithZeroRow { std: 0.02, row: 1 };
    let padded = initial_values(&parameter("a", &[3, 5], padded), 1);
    assert_eq!(padded[5..10], [0.0; 5]);
    assert_eq!((&padded[..5], &padded[10..]), (&short[..5], &short[10..]));
}

#[test]
fn draws_are_normal_and_their_bits_are_fixed() {
    let values = initial_values(&parameter("w", &[1000, 100], Init::Normal { std: 0.5 }), 42);
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let moment = |power| values.iter().map(|&value| f64::from(value).powi(power)).sum::<f64>() / count;
    assert!(mean.abs() < 0.01, "{mean}");
    assert!((moment(2).sqrt() - 0.5).abs() < 0.005, "{}", moment(2));
    assert!((moment(4) / moment(2).powi(2) - 3.0).abs() < 0.1, "a normal distribution's kurtosis is 3");
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    values.iter().for_each(|value| hash.update(&value.to_le_bytes()));
    assert_eq!(format!("{:016x}", hash.digest()), "4764ff8d32f47a73");
}

/// Classes of transformers and of the tokenizers library are named after the family that had them first.
const LIBRARIES: [&str; 4] = ["Tokenizer", "Processor", "Normalizer", "Processing"];

/// Other programs that are named after a family, and keys and chat templates of theirs.
const PROGRAMS: [&str; 5] = ["LLaMA-Factory", "llama.cpp", "use_llama_pro", "\"llama3\"", "\"llama4\""];

/// Adding a family must not mean searching for the places that know families.
#[test]
fn only_families_are_named_in_their_folder() {
    let names: Vec<String> =
        families::model_types(None).flat_map(|name| name.split('-').map(str::to_owned)).collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "coordinator/src", "worker/src"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 100, "{} files", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("it is text");
        let code = text.split("\nmod tests {").next().expect("there is a first part").to_owned();
        let code = PROGRAMS.iter().fold(code, |code, program| code.replace(program, ""));
        // A camel-cased word such as RobertaConfig begins with the name.
        let words = code
            .split(|c: char| !c.is_ascii_alphabetic())
            .filter(|word| !LIBRARIES.iter().any(|kind| word.contains(kind)));
        let named = words.filter(|word| {
            let lower = word.to_lowercase();
            names.iter().any(|name| {
                let rest = lower.strip_prefix(name.as_str()).map(|rest| &word[word.len() - rest.len()..]);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_uppercase()))
            })
        });
        let found: Vec<&str> = named.collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

fn collect(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        match path.is_dir() {
            true if ["tests", "families", "testdata"].contains(&name.as_str()) => {}
            true => collect(&path, files),
            false if name.ends_with(".rs") && name != "tests.rs" => files.push(path),
            false => {}
        }
    }
}
