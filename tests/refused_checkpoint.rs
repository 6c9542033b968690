//! Checkpoints that must be refused: exit code 12, naming file or tensor, before a worker starts.

use std::fs::{read, write};
use std::path::Path;

use headstart_tests::refused::Refused;
use headstart_tests::texts;
use serde_json::{Map, Value, json};

const WORDS: &str = "bert.embeddings.word_embeddings.weight";

/// A run that is in order but for what `spoil` does to its checkpoint.
#[track_caller]
fn refuse(commands: &[&[&str]], spoil: impl Fn(&Path), says: &[&str]) {
    let directory = texts();
    spoil(&directory.path().join("model"));
    for command in commands {
        let arguments = [command, &["run.yaml"][..]].concat();
        Refused::of(directory.path(), &arguments).code(12).says(says).before_workers();
    }
    let written = std::fs::read_dir(directory.path().join("out")).map_or(0, Iterator::count);
    assert_eq!(written, 0, "nothing is left in output_dir");
}

/// What `validate` sees as well.
const BOTH: &[&[&str]] = &[&["validate"], &["train"]];
/// What is seen when the weights themselves are read.
const TRAIN: &[&[&str]] = &[&["train"]];
/// As `BOTH`, without weights that may not fit either.
const FROM_SCRATCH: &[&[&str]] = &[&["validate", "--set", "init=random"], &["train", "--set", "init=random"]];

macro_rules! refused {
    ($commands:ident: $($case:ident: $spoil:expr => $says:expr,)*) => {
        $(
            #[test]
            fn $case() {
                refuse($commands, $spoil, &$says);
            }
        )*
    };
}

fn weights(bytes: Vec<u8>) -> impl Fn(&Path) {
    move |model| write(model.join("model.safetensors"), &bytes).expect("writable")
}

/// A file of `size` bytes, most of which take no disk, that begins like this.
fn sparse(start: Vec<u8>, size: u64) -> impl Fn(&Path) {
    move |model| {
        weights(start.clone())(model);
        let file = std::fs::File::options().write(true).open(model.join("model.safetensors"));
        file.and_then(|file| file.set_len(size)).expect("the file system has sparse files");
    }
}

/// A safetensors file with this header, and this many bytes of zeros after it.
fn file(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

fn settings(settings: Value) -> impl Fn(&Path) {
    move |model| write(model.join("tokenizer_config.json"), settings.to_string()).expect("writable")
}

fn tensor(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}")
}

fn one(dtype: &str, shape: &str, bytes: usize) -> Vec<u8> {
    file(&format!("{{{}}}", tensor(WORDS, dtype, shape, 0, bytes as u64)), bytes)
}

fn two(first: (&str, u64, u64), second: (&str, u64, u64), data: usize) -> Vec<u8> {
    let tensor = |(name, start, end): (&str, u64, u64)| {
        tensor(name, "F32", &format!("[{}]", (end - start) / 4), start, end)
    };
    file(&format!("{{{},{}}}", tensor(first), tensor(second)), data)
}

/// A tensor of 2^40 bytes, none of which was ever written.
fn terabyte(model: &Path) {
    let start = file(&format!("{{{}}}", tensor(WORDS, "F32", "[274877906944]", 0, 1 << 40)), 0);
    let size = start.len() as u64 + (1 << 40);
    sparse(start, size)(model);
}

fn many(count: usize) -> Vec<u8> {
    let tensors: Vec<String> = (0..count).map(|name| tensor(&name.to_string(), "U8", "[0]", 0, 0)).collect();
    file(&format!("{{{}}}", tensors.join(",")), 0)
}

/// The whole checkpoint with one tensor's entry changed, and what `values` does to the tensor's own bytes.
fn spoilt(edit: impl Fn(&mut Value), values: impl Fn(&mut Vec<u8>)) -> impl Fn(&Path) {
    move |model| {
        let path = model.join("model.safetensors");
        let bytes = read(&path).expect("it was copied");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
        // Written anew, end to end, whatever length the changed tensor has.
        let (mut entries, mut data) = (Map::new(), Vec::new());
        for (name, mut entry) in header {
            let Some(offsets) = entry.get("data_offsets") else { continue };
            let at = |place: usize| 8 + length + offsets[place].as_u64().expect("a number") as usize;
            let mut own = bytes[at(0)..at(1)].to_vec();
            if name == WORDS {
                edit(&mut entry);
                values(&mut own);
            }
            entry["data_offsets"] = json!([data.len(), data.len() + own.len()]);
            data.extend(own);
            entries.insert(name, entry);
        }
        let mut whole = file(&Value::Object(entries).to_string(), 0);
        whole.extend(data);
        weights(whole)(model);
    }
}

fn truncated(model: &Path) {
    let mut bytes = read(model.join("model.safetensors")).expect("it was copied");
    bytes.truncate(bytes.len() - 100);
    weights(bytes)(model);
}

/// Two shards, the second of which `spoil` may change or remove.
fn sharded(spoil: impl Fn(&Path)) -> impl Fn(&Path) {
    move |model| {
        let whole = read(model.join("model.safetensors")).expect("it was copied");
        let length = u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
        let header: Map<String, Value> = serde_json::from_slice(&whole[8..8 + length]).expect("JSON");
        let mut map = Map::new();
        for name in header.keys().filter(|name| *name != "__metadata__") {
            map.insert(name.clone(), json!("one.safetensors"));
        }
        map.insert("extra".into(), json!("two.safetensors"));
        let index = json!({"metadata": {}, "weight_map": map}).to_string();
        write(model.join("model.safetensors.index.json"), index).expect("writable");
        std::fs::rename(model.join("model.safetensors"), model.join("one.safetensors")).expect("it is there");
        let second = file(&format!("{{{}}}", tensor("extra", "F32", "[4]", 0, 16)), 16);
        write(model.join("two.safetensors"), second).expect("writable");
        spoil(model);
    }
}

fn edit_json(name: &'static str, edit: impl Fn(&mut Value)) -> impl Fn(&Path) {
    move |model| {
        let path = model.join(name);
        let mut config: Value = serde_json::from_slice(&read(&path).expect("it is there")).expect("JSON");
        edit(&mut config);
        write(path, config.to_string()).expect("writable");
    }
}

fn config(key: &'static str, value: Value) -> impl Fn(&Path) {
    edit_json("config.json", move |config| config[key] = value.clone())
}

refused! { BOTH:
    no_bytes: weights(vec![]) => ["model.safetensors", "the file is empty"],
    seven_bytes: weights(vec![0; 7]) => ["model.safetensors", "7 bytes are too few"],
    the_largest_header_length: weights([&[0xff; 8][..], b"{}      "].concat())
        => ["model.safetensors", "the header claims 18446744073709551615 bytes"],
    a_header_beyond_the_file: weights([&9u64.to_le_bytes()[..], b"{}      "].concat())
        => ["model.safetensors", "truncated or not safetensors"],
    a_header_over_the_limit: sparse(((16u64 << 20) + 1).to_le_bytes().to_vec(), 64 << 20)
        => ["model.safetensors", "more than the 16 MiB allowed"],
    a_header_of_nothing: sparse((16u64 << 20).to_le_bytes().to_vec(), 64 << 20)
        => ["model.safetensors", "does not begin with {"],
    more_tensors_than_any_model: weights(many(100_001)) => ["model.safetensors", "100001 tensors"],
    overlapping_tensors: weights(two(("a", 0, 8), ("b", 4, 12), 12)) => ["model.safetensors", "\"b\" overlaps"],
    trailing_bytes: weights([one("F32", "[1]", 4), vec![0]].concat())
        => ["model.safetensors", "1 bytes follow the last tensor"],
    a_shape_that_overflows: weights(one("F32", "[4294967296,4294967296]", 0))
        => [WORDS, "impossibly large shape"],
    two_to_the_61_elements: weights(one("F32", "[2305843009213693952]", 4)) => [WORDS, "impossibly large shape"],
    no_rows_of_two_to_the_63: weights(one("F32", "[0,9223372036854775808]", 0)) => [WORDS, "impossibly large shape"],
    a_dimension_beyond_64_bits: weights(one("F32", "[18446744073709551616]", 4)) => ["header is not valid"],
    one_name_twice: weights(two(("a", 0, 4), ("a", 4, 8), 8)) => ["model.safetensors", "two tensors are named \"a\""],
    another_shape: spoilt(|entry| entry["shape"] = json!([1]), |own| own.truncate(4))
        => [WORDS, "has shape [1], the model expects [64, 32]"],
    a_terabyte_of_nothing: terabyte => [WORDS, "has shape [274877906944], the model expects [64, 32]"],
    doubles: spoilt(|entry| entry["dtype"] = json!("F64"), |own| own.extend(own.clone()))
        => [WORDS, "is F64; weights are read as F32, F16 or BF16"],
    integers: spoilt(|entry| entry["dtype"] = json!("I64"), |own| own.extend(own.clone()))
        => [WORDS, "is I64; weights are read as F32, F16 or BF16"],
    a_pickle: weights([b"\x80\x02\x8a\x0a".as_slice(), &[0xff; 60]].concat())
        => ["model.safetensors", "a pickle, which is never loaded"],
    a_zipped_pickle: weights([b"PK\x03\x04".as_slice(), &[0xff; 60]].concat())
        => ["model.safetensors", "a pickle, which is never loaded"],
    only_a_pickle: |model: &Path| {
        let name = model.join("pytorch_model.bin");
        std::fs::rename(model.join("model.safetensors"), name).expect("it is there");
    } => ["pytorch_model.bin", "a pickle, which is never loaded"],
    a_truncated_file: truncated => ["model.safetensors", "truncated: the tensors need"],
    a_missing_shard: sharded(|model| std::fs::remove_file(model.join("two.safetensors")).expect("it is there"))
        => ["model.safetensors.index.json", "shard \"two.safetensors\" is missing"],
    a_truncated_shard: sharded(|model| {
        let path = model.join("two.safetensors");
        let bytes = read(&path).expect("it is there");
        write(path, &bytes[..bytes.len() - 1]).expect("writable");
    }) => ["two.safetensors", "truncated: the tensors need 16 bytes, the file has 15"],
    a_tensor_in_no_shard: sharded(edit_json("model.safetensors.index.json",
        |index| index["weight_map"][WORDS] = json!("two.safetensors")))
        => ["model.safetensors.index.json", WORDS, "is not in \"two.safetensors\""],
    a_shard_elsewhere: sharded(edit_json("model.safetensors.index.json",
        |index| index["weight_map"]["extra"] = json!("../two.safetensors"))) => ["../two.safetensors"],
    an_index_that_is_none: sharded(|model| write(model.join("model.safetensors.index.json"), "[1]").expect("writable"))
        => ["model.safetensors.index.json"],
    an_index_of_too_many: sharded(edit_json("model.safetensors.index.json", |index| {
        let map = (0..10_001).map(|number| (format!("t{number}"), json!(format!("s{number}.safetensors"))));
        index["weight_map"] = Value::Object(map.collect());
    })) => ["model.safetensors.index.json", "10001 shards, more than the 10000 allowed"],
    another_network: weights(file(&format!("{{{}}}", tensor("lstm", "F32", "[1]", 0, 4)), 4))
        => ["none of its 1 tensors belongs to this model"],
    no_weights: |model: &Path| std::fs::remove_file(model.join("model.safetensors")).expect("it is there")
        => ["model", "no model.safetensors"],
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n";
const PULL: &str = "a Git LFS pointer, not the file: git lfs pull";

fn put(name: &'static str, content: &'static str) -> impl Fn(&Path) {
    move |model| write(model.join(name), content).expect("writable")
}

refused! { BOTH:
    weights_that_were_not_pulled: put("model.safetensors", POINTER) => ["model.safetensors", PULL],
    a_shard_that_was_not_pulled: sharded(put("two.safetensors", POINTER)) => ["two.safetensors", PULL],
    an_index_that_was_not_pulled: sharded(put("model.safetensors.index.json", POINTER))
        => ["model.safetensors.index.json", PULL],
    a_configuration_that_was_not_pulled: put("config.json", POINTER) => ["config.json", PULL],
    a_tokenizer_that_was_not_pulled: put("tokenizer.json", POINTER) => ["tokenizer.json", PULL],
    weights_that_annex_has_elsewhere: put("model.safetensors", "/annex/objects/SHA256E-s107904--00.safetensors\n")
        => ["model.safetensors", "a git-annex pointer, not the file: git annex get"],
    weights_that_are_a_page: put("model.safetensors", "<!DOCTYPE html>\n<html><title>Sign in</title></html>\n")
        => ["model.safetensors", "an HTML page, not the file"],
    a_configuration_that_is_a_page: put("config.json", "<html><body>404</body></html>")
        => ["config.json", "an HTML page, not the file"],
    weights_that_are_the_text_of_a_link: put("model.safetensors", "../../blobs/2")
        => ["model.safetensors", "the text of a link, not the file"],
    a_configuration_without_a_byte: put("config.json", "") => ["config.json", "the file is empty"],
    a_tokenizer_without_a_byte: put("tokenizer.json", "") => ["tokenizer.json", "the file is empty"],
}

refused! { TRAIN:
    not_a_number: spoilt(|_| {}, |own| own[8..12].copy_from_slice(&f32::NAN.to_le_bytes()))
        => [WORDS, "holds NaN at element 2"],
    an_infinity: spoilt(|_| {}, |own| own[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()))
        => [WORDS, "holds inf at element 0"],
}

refused! { BOTH:
    an_unknown_network: config("model_type", json!("mamba"))
        => ["config.json", "model_type \"mamba\" is not supported yet; supported are bert, "],
    no_kind_of_network: config("model_type", Value::Null) => ["config.json", "\"model_type\" is missing"],
    a_network_for_another_task: config("model_type", json!("vit")) => ["config.json"],
    heads_that_do_not_divide: config("num_attention_heads", json!(5))
        => ["config.json", "hidden_size 32 is not divisible by num_attention_heads 5"],
    a_token_beyond_the_vocabulary: edit_json("tokenizer.json", |file| file["model"]["vocab"]["zebra"] = json!(64))
        => ["the tokenizer's token \"zebra\" has number 64", "vocab_size 64"],
    an_added_token_beyond_the_vocabulary: |model: &Path| {
        settings(json!({"tokenizer_class": "TokenizersBackend"}))(model);
        edit_json("tokenizer.json", |file| {
        let flags = json!({"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        file["added_tokens"] = json!([{"id": 4_000_000_000u64, "content": "[NEW]"}]);
        file["added_tokens"][0].as_object_mut().expect("an object").extend(flags.as_object().expect("one").clone());
    })(model);
    } => ["the tokenizer's token \"[NEW]\" has number 4000000000", "vocab_size 64"],
    a_tokenizer_that_is_none: |model: &Path| write(model.join("tokenizer.json"), "{\"model\": 1").expect("writable")
        => ["tokenizer.json"],
    no_tokenizer: |model: &Path| std::fs::remove_file(model.join("tokenizer.json")).expect("it is there")
        => ["tokenizer.json: there is no such file, nor vocab.txt", "save_pretrained"],
    an_added_token_without_an_embedding: settings(json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": ["<x>", "<y>", "<z>"],
    })) => ["\"<z>\" has number 64", "vocab_size 64"],
    a_tokenizer_setting_of_another_type: settings(json!({"do_lower_case": "no"}))
        => ["tokenizer_config.json: do_lower_case must be true or false"],
    a_tokenizer_of_several_versions: settings(json!({"fast_tokenizer_files": ["tokenizer.4.0.json"]}))
        => ["tokenizer_config.json: fast_tokenizer_files is not supported yet"],
    a_length_that_is_a_text: settings(json!({"model_max_length": "512"}))
        => ["tokenizer_config.json: model_max_length must be a whole number"],
    a_configuration_that_is_none: |model: &Path| write(model.join("config.json"), b"\xff\xfe{}").expect("writable")
        => ["config.json"],
    a_configuration_that_is_a_list: |model: &Path| write(model.join("config.json"), "[]").expect("writable")
        => ["config.json", "must hold a JSON object"],
    a_configuration_nested_too_deep: |model: &Path| {
        write(model.join("config.json"), format!("{{\"a\":{}", "[".repeat(1_000_000))).expect("writable");
    } => ["config.json", "recursion limit"],
    a_configuration_over_the_limit: |model: &Path| {
        write(model.join("config.json"), vec![b' '; (16 << 20) + 1]).expect("writable");
    } => ["config.json", "more than the 16777216 allowed"],
}

refused! { FROM_SCRATCH:
    a_vocabulary_below_the_tokenizers: config("vocab_size", json!(61))
        => ["the tokenizer's token", "has number 61", "vocab_size 61"],
    a_size_beyond_any_machine: config("vocab_size", json!(9_000_000_000_000_000_000u64))
        => ["config.json", "vocab_size: expected a whole number from 1 to"],
    a_product_beyond_any_machine: edit_json("config.json", |config| {
        config["hidden_size"] = json!(1 << 24);
        config["vocab_size"] = json!(1 << 24);
    }) => ["config.json", "more than 2^40 weights"],
    more_layers_than_any_network: config("num_hidden_layers", json!(1_000_000))
        => ["config.json", "num_hidden_layers: expected at most"],
    a_negative_size: config("hidden_size", json!(-32)) => ["config.json", "hidden_size: expected a whole number from 1"],
    a_size_with_a_fraction: config("hidden_size", json!(32.5)) => ["config.json", "hidden_size"],
    no_size: config("hidden_size", Value::Null) => ["config.json", "\"hidden_size\" is missing"],
}

/// Terabytes of weights that a configuration asks for: refused before any is allocated.
#[test]
fn more_weights_than_this_machine_holds() {
    let spoil = edit_json("config.json", |config| {
        config["hidden_size"] = json!(1 << 16);
        config["intermediate_size"] = json!(1 << 16);
        config["vocab_size"] = json!(1 << 20);
    });
    refuse(&[&["train", "--set", "init=random"]], spoil, &["config.json", "GiB", "this machine has"]);
}
